"""What a provider is, made of the settings."""

from __future__ import annotations

from dataclasses import dataclass, field

from neurogrid.core.settings_oauth import OAuthSettings, ProviderSettings


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a provider is asked what.

    Without ``jwks`` there are no ID tokens, and ``userinfo`` says who has signed in. ``secret_in_form`` says how the
    client shows who it is, ``names_itself`` that every answer has to name the issuer (RFC 9207).
    """

    authorization: str
    token: str
    userinfo: str | None
    jwks: str | None
    secret_in_form: bool = False
    names_itself: bool = False


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider that users may sign in by. Without ``endpoints`` it describes itself at its issuer."""

    name: str
    label: str
    issuer: str
    client_id: str
    client_secret: str | None = field(repr=False)
    scopes: str
    subject_claim: str
    verified_claim: str
    private: bool
    endpoints: Endpoints | None

    @property
    def method(self) -> str:
        """What a session is said to have been begun by."""
        return f"oauth:{self.name}"


def providers_of(settings: OAuthSettings) -> dict[str, Provider]:
    """Return the providers by name, in the order of the settings."""
    return {name: _provider(name, each) for name, each in settings.providers.items()}


def _provider(name: str, settings: ProviderSettings) -> Provider:
    endpoints = None
    if settings.authorization_endpoint is not None and settings.token_endpoint is not None:
        endpoints = Endpoints(
            settings.authorization_endpoint,
            settings.token_endpoint,
            settings.userinfo_endpoint,
            settings.jwks_uri,
        )
    secret = settings.client_secret
    return Provider(
        name=name,
        label=settings.label or name.replace("_", " ").title(),
        issuer=settings.issuer or "",
        client_id=settings.client_id,
        client_secret=secret.get_secret_value() if secret is not None else None,
        scopes=settings.scopes,
        subject_claim=settings.subject_claim,
        verified_claim=settings.verified_claim,
        private=settings.private,
        endpoints=endpoints,
    )
