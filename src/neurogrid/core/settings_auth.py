"""Settings of accounts, sign-in, and the mails they cause."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from neurogrid.core.settings_base import Seconds, Section

SECRET_LENGTH = 32
"""Bytes that a secret key has at least."""
MINUTE = 60.0
DAY = 24 * 60 * MINUTE


class Registration(StrEnum):
    """Who may make an account for themselves."""

    OPEN = "open"
    INVITATION = "invitation"
    CLOSED = "closed"


class AuthSettings(Section):
    """Accounts and sign-in."""

    registration: Registration = Field(
        Registration.OPEN, description="Who may register: `open`, `invitation` or `closed`."
    )
    require_verified_email: bool | None = Field(
        None,
        description="Submitting tasks takes a verified e-mail address (default: in production).",
    )
    previous_secret_keys: tuple[SecretStr, ...] = Field(
        (),
        description="JSON list of earlier secret keys, which are still accepted while you rotate; the last one first.",
    )
    access_token: Seconds = Field(15 * MINUTE, description="How long an access token is good.")
    refresh_token: Seconds = Field(30 * DAY, description="How long a session lasts without being used.")
    session: Seconds = Field(90 * DAY, description="How long a session lasts at most.")
    max_sessions: int = Field(50, gt=0, description="Sessions a user may have; the longest unused end first.")
    refresh_grace: float = Field(
        10.0, ge=0, description="How long a refresh token that was used gives the same successor again."
    )
    allowed_origins: tuple[str, ...] = Field(
        (),
        description="JSON list of other origins whose pages may use session cookies, such as `https://a.example`.",
    )
    key_overlap: float = Field(
        DAY, ge=0, description="How long an API key that was rotated still holds, unless the request says."
    )
    max_keys: int = Field(100, gt=0, description="API keys a user may have that hold.")
    hash_concurrency: int = Field(2, gt=0, description="Passwords hashed at once, each on 64 MiB of memory.")
    hash_queue: int = Field(32, ge=0, description="Passwords that may wait for that; more are answered 503.")
    verification: Seconds = Field(2 * DAY, description="How long a link that verifies an address is good.")
    reset: Seconds = Field(60 * MINUTE, description="How long a link that resets a password is good.")
    second_factor_roles: tuple[Literal["user", "operator", "admin"], ...] = Field(
        (),
        description='JSON list of roles that take a second factor, such as `["admin"]`; without one they may set one up, and nothing else.',
    )
    second_step: Seconds = Field(
        5 * MINUTE,
        description="How long a sign-in waits for its second factor, and a passkey's question holds.",
    )
    step_up: Seconds = Field(
        10 * MINUTE, description="How long after showing who you are sensitive acts take no new proof."
    )
    passkey_domain: str | None = Field(
        None,
        description="Domain that passkeys are made for: the host of `NEUROGRID_PUBLIC_URL`, which is the default, or one above it.",
    )

    @field_validator("previous_secret_keys")
    @classmethod
    def _long_enough(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for key in keys:
            check_secret(key)
        return keys

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            scheme, _, rest = origin.partition("://")
            if scheme not in {"http", "https"} or not rest or "/" in rest or "*" in rest:
                msg = "an origin reads https://host or https://host:port, and nothing after it"
                raise ValueError(msg)
        return origins


class MailSettings(Section):
    """Mails to users."""

    sender: str = Field("NeuroGrid <neurogrid@localhost>", description="Whom mails come from.")
    outbox: Path | None = Field(
        None,
        description="Directory to write mails to as `.eml` files (`neurogrid up`: `outbox` in the data dir).",
    )


def check_secret(secret: SecretStr) -> None:
    """Refuse a key that is short or public. Raises ``ValueError``, which does not repeat it."""
    value = secret.get_secret_value()
    if len(value.encode()) < SECRET_LENGTH:
        msg = f"has to have at least {SECRET_LENGTH} bytes; make one by `openssl rand -base64 48`"
        raise ValueError(msg)
    if value.lstrip().startswith(("-----BEGIN", "ssh-", "ecdsa-")):
        msg = (
            "is a key pair's or a certificate's, which others may know; make one by `openssl rand -base64 48`"
        )
        raise ValueError(msg)
