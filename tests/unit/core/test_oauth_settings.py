"""Settings of providers: what is known of them, and what is refused before anybody can be sent there."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from neurogrid.auth.oauth.providers import providers_of
from neurogrid.core.secret_key import UnsafeForProduction, check_production
from neurogrid.core.settings import Settings
from neurogrid.core.settings_oauth import OAuthSettings

ISSUER = "https://id.example"


def settings(**providers: dict[str, Any]) -> OAuthSettings:
    return OAuthSettings.model_validate({"providers": providers})


def test_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Google and Discord take an id and a secret, another provider an issuer; the secret is not shown."""
    for name, value in {
        "GOOGLE__CLIENT_ID": "1", "GOOGLE__CLIENT_SECRET": "hush", "DISCORD__CLIENT_ID": "2",
        "MY_KEYCLOAK__CLIENT_ID": "3", "MY_KEYCLOAK__ISSUER": ISSUER, "MY_KEYCLOAK__LABEL": "Work",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"NEUROGRID_OAUTH__PROVIDERS__{name}", value)
    made = Settings(_env_file=None)
    found = providers_of(made.oauth)
    assert {name: each.label for name, each in found.items()} == {
        "google": "Google", "discord": "Discord", "my_keycloak": "Work",
    }  # fmt: skip
    assert found["google"].endpoints is None
    assert found["google"].client_secret == "hush"
    assert found["discord"].endpoints is not None
    assert found["discord"].endpoints.jwks is None
    assert "hush" not in repr(found) + repr(made)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"issuer": "http://id.example"},
        {"issuer": "ftp://id.example", "private": True},
        {"issuer": "https://"},
        {"issuer": "https://user@id.example"},
        {"issuer": "https://id.example#x"},
        {"issuer": "https://id.example/ x"},
        {"issuer": "https://id.éxample"},
        {"issuer": f"{ISSUER}/.well-known/openid-configuration"},
        {"issuer": ISSUER, "token_endpoint": f"{ISSUER}/token"},
        {"issuer": ISSUER, "token_endpoint": f"{ISSUER}/t", "authorization_endpoint": f"{ISSUER}/a"},
        {"issuer": ISSUER, "jwks_uri": "http://id.example/keys"},
        {"issuer": ISSUER, "client_id": ""},
        {"issuer": ISSUER, "unknown": 1},
    ],
    ids=str,
)
def test_what_is_refused(fields: dict[str, Any]) -> None:
    """No issuer, a URL without encryption or with credentials, half of the endpoints, a name that does not exist."""
    with pytest.raises(ValidationError):
        settings(work={"client_id": "1", **fields})


def test_names_and_issuers_are_unique_and_plain() -> None:
    """A name fits into a path, and no two providers can vouch for each other's accounts."""
    with pytest.raises(ValidationError):
        settings(**{"../x": {"client_id": "1", "issuer": ISSUER}})
    with pytest.raises(ValidationError, match="same issuer"):
        settings(a={"client_id": "1", "issuer": ISSUER}, b={"client_id": "2", "issuer": ISSUER})


def test_production_knows_where_it_is() -> None:
    """In production providers send users back to a URL that is set, over https."""
    options = {"env": "production", "secret_key": "kD8vQ2xN5rT1wZ7yB4mL9pS6cF3hJ0gA", "_env_file": None}
    providers = {"oauth": {"providers": {"google": {"client_id": "1"}}}}
    for url, fits in ((None, False), ("http://grid.example", False), ("https://grid.example", True)):
        made = Settings.model_validate({**options, **providers, "public_url": url})
        if fits:
            check_production(made)
        else:
            with pytest.raises(UnsafeForProduction, match="PUBLIC_URL"):
                check_production(made)
