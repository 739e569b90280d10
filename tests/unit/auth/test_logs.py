"""Credentials that end up in a log by mistake are taken out."""

from __future__ import annotations

import pytest

from neurogrid.auth import tokens
from neurogrid.auth.access import AccessTokens
from neurogrid.core.crypto import Keyring
from neurogrid.core.ids import new_id
from neurogrid.core.logging import redact

PREFIXES = (
    tokens.API_KEY,
    tokens.NODE_TOKEN,
    tokens.REFRESH_TOKEN,
    tokens.INVITATION,
    tokens.VERIFICATION,
    tokens.RESET,
)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_tokens_are_taken_out(prefix: str) -> None:
    """Whatever the field is called, and whatever stands around them."""
    text = tokens.make(prefix).text
    event = redact(None, "info", {"event": f"got {text}!", "where": {"url": f"/x#token={text}&y"}})
    assert text[4:] not in str(event)


def test_access_tokens_are_taken_out() -> None:
    """So are JSON Web Tokens, each part of them."""
    text = AccessTokens(Keyring.ephemeral(), 900).make(new_id(), new_id())
    event = redact(None, "info", {"event": f"got {text}!", "cookie_line": f"ng_access={text}; x=1"})
    assert not any(part in str(event) for part in text.split("."))
