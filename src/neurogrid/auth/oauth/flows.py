"""A sign-in under way: what the browser carries from its beginning to the provider's answer.

All of it is in one sealed cookie, so that beginning one writes nothing; what is written is the state of one that
ended, so that it ends once, at whatever gateway.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import time
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

import orjson

from neurogrid.core.crypto import Keyring
from neurogrid.core.errors import FieldError, Invalid

LIFETIME: Final = 600
"""Seconds that somebody may take at the provider."""
MAX_PATH: Final = 512
_PLACE: Final = "oauth flow"
_PATH: Final = re.compile(r"/(?!/)[!\"$-\[\]-~]*")
"""Visible ASCII without backslash and fragment: neither a browser nor a proxy reads a host into it."""


@dataclass(frozen=True, slots=True)
class Flow:
    """A sign-in by ``provider``, which returns to ``path``; with ``session_id``, somebody who links an account."""

    provider: str
    path: str
    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    expires: int
    invitation: str | None = field(default=None, repr=False)
    user_id: str | None = None
    session_id: str | None = None

    @property
    def challenge(self) -> str:
        """The code challenge of PKCE, by SHA-256 (RFC 7636)."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def answers(self, provider: str, state: str) -> bool:
        """Tell whether an answer of ``provider`` with ``state`` is to this, and in time."""
        same = hmac.compare_digest(self.state.encode(), state.encode())
        return same and self.provider == provider and time.time() < self.expires


def begin(
    provider: str,
    path: str,
    invitation: str | None = None,
    user_id: str | None = None,
    session_id: str | None = None,
) -> Flow:
    """Return a fresh one. Raises ``Invalid`` for a path that is not ours."""
    return Flow(
        provider, own_path(path), secrets.token_urlsafe(32), secrets.token_urlsafe(32),
        secrets.token_urlsafe(48), int(time.time()) + LIFETIME, invitation, user_id, session_id,
    )  # fmt: skip


def own_path(path: str) -> str:
    """Return a path of ours. Raises ``Invalid`` for whatever a browser could take for another host's."""
    if len(path) > MAX_PATH or not _PATH.fullmatch(path):
        msg = "`next` has to be a path of this grid: it begins with one slash, and has no fragment or backslash."
        raise Invalid(msg, errors=[FieldError("next", "must be a path of this grid")])
    return path


def seal(keyring: Keyring, flow: Flow) -> str:
    """Return what the browser is to carry."""
    return seal_object(keyring, asdict(flow), _PLACE)


def unseal(keyring: Keyring, text: str | None) -> Flow | None:
    """Return what the browser carried, if it is ours."""
    value = unseal_object(keyring, text, _PLACE)
    return Flow(**value) if value is not None and value.keys() == _NAMES else None


_NAMES: Final = {each.name for each in fields(Flow)}


def seal_object(keyring: Keyring, value: dict[str, Any], place: str) -> str:
    """Return ``value`` sealed, in characters that cookies and URLs take."""
    return base64.urlsafe_b64encode(keyring.seal(orjson.dumps(value), place)).decode().rstrip("=")


def unseal_object(keyring: Keyring, text: str | None, place: str) -> dict[str, Any] | None:
    """Return what was sealed for ``place``, if it was."""
    try:
        sealed = base64.urlsafe_b64decode((text or "").encode() + b"=" * (-len(text or "") % 4))
    except (binascii.Error, ValueError):
        return None
    plain = keyring.unseal(sealed, place)
    if plain is None:
        return None
    value: dict[str, Any] = orjson.loads(plain)
    return value
