"""Settings of sign-in by other providers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, StringConstraints, field_validator, model_validator

from neurogrid.core.settings_base import Section

ProviderName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]

PRESETS: Final[dict[str, dict[str, str]]] = {
    "google": {"label": "Google", "issuer": "https://accounts.google.com"},
    # No OpenID: who has signed in is asked of the API, by the access token.
    "discord": {
        "label": "Discord",
        "issuer": "https://discord.com",
        "authorization_endpoint": "https://discord.com/oauth2/authorize",
        "token_endpoint": "https://discord.com/api/oauth2/token",
        "userinfo_endpoint": "https://discord.com/api/users/@me",
        "scopes": "identify email",
        "subject_claim": "id",
        "verified_claim": "verified",
    },
}
"""What is known of providers of these names, unless the settings say otherwise."""

_URLS: Final = ("issuer", "authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri")


class ProviderSettings(Section):
    """One provider."""

    client_id: str = Field(min_length=1, description="What the provider calls this grid.")
    client_secret: SecretStr | None = Field(
        None, description="The secret that goes with it, if there is one."
    )
    label: str | None = Field(None, max_length=60, description="What users call the provider.")
    issuer: str | None = Field(
        None, description="The provider's URL, below which `/.well-known/openid-configuration` describes it."
    )
    authorization_endpoint: str | None = Field(
        None, description="Where users sign in, of a provider that does not describe itself."
    )
    token_endpoint: str | None = Field(None, description="The same, for tokens.")
    userinfo_endpoint: str | None = Field(None, description="The same, for who has signed in.")
    jwks_uri: str | None = Field(
        None, description="The same, for the keys of ID tokens; without it there are none (plain OAuth2)."
    )
    scopes: str = Field("openid email profile", description="What is asked for, separated by spaces.")
    subject_claim: str = Field("sub", description="What names the account there, of plain OAuth2.")
    verified_claim: str = Field(
        "email_verified", description="What says that the e-mail address is proven, of plain OAuth2."
    )
    private: bool = Field(False, description="Whether it may have a private address, and be asked over http.")

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        """Refuse what cannot work, or would send secrets over the open net."""
        if self.issuer is None:
            msg = "needs an issuer, such as https://id.example.org/realms/main"
            raise ValueError(msg)
        for name in _URLS:
            url = getattr(self, name)
            if url is not None:
                check_url(url, name, private=self.private)
        if self.issuer.endswith("/.well-known/openid-configuration"):
            msg = "issuer ends before /.well-known/openid-configuration"
            raise ValueError(msg)
        explicit = (self.authorization_endpoint, self.token_endpoint)
        if any(explicit) and not (all(explicit) and (self.jwks_uri or self.userinfo_endpoint)):
            msg = "needs authorization_endpoint, token_endpoint, and jwks_uri or userinfo_endpoint, or none of them"
            raise ValueError(msg)
        return self


class OAuthSettings(Section):
    """Sign-in by other providers. `google` and `discord` take an id and a secret; others an issuer besides."""

    providers: dict[ProviderName, ProviderSettings] = Field(
        {},
        description="The providers by name. `google` and `discord` are known, of others the issuer is needed.",
    )

    @field_validator("providers", mode="before")
    @classmethod
    def _fill_in(cls, given: Any) -> Any:
        """Put in what is known of a provider by its name."""
        if not isinstance(given, Mapping):
            return given
        return {
            name: {**PRESETS.get(name, {}), **fields} if isinstance(fields, Mapping) else fields
            for name, fields in given.items()
        }

    @field_validator("providers")
    @classmethod
    def _are_told_apart(cls, providers: dict[str, ProviderSettings]) -> dict[str, ProviderSettings]:
        """Refuse two that call themselves alike: accounts are known by issuer and subject."""
        issuers = [each.issuer for each in providers.values()]
        if len(set(issuers)) < len(issuers):
            msg = "two providers have the same issuer"
            raise ValueError(msg)
        return providers


def check_url(url: str, name: str, *, private: bool) -> None:
    """Refuse a URL that is not https, or http to a private host. Raises ``ValueError``."""
    parts = urlsplit(url)
    if not parts.hostname or parts.scheme not in ({"https", "http"} if private else {"https"}):
        msg = f"{name} has to begin with https://" + (
            "" if private else ", or be private and begin with http://"
        )
        raise ValueError(msg)
    if (
        parts.username is not None
        or parts.fragment
        or not url.isascii()
        or not url.isprintable()
        or " " in url
    ):
        msg = f"{name} holds a user name, a fragment or a character that no URL has"
        raise ValueError(msg)
