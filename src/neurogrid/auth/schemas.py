"""What the routes of accounts take and answer."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StrictBool

from neurogrid.auth.passwords import MINIMUM_LENGTH
from neurogrid.auth.policy import Role, Tier
from neurogrid.auth.service import MAX_ADDRESS

Email = Annotated[str, Field(max_length=MAX_ADDRESS, examples=["ada@example.org"])]
Password = Annotated[SecretStr, Field(max_length=1024, examples=["correct horse battery staple"])]
NewPassword = Annotated[
    SecretStr,
    Field(
        max_length=1024,
        description=f"At least {MINIMUM_LENGTH} characters.",
        examples=["correct horse battery staple"],
    ),
]
Token = Annotated[str, Field(max_length=200)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewAccount(_Body):
    """Who wants an account."""

    email: Email
    password: NewPassword
    invitation: Token | None = Field(None, description="Where registering takes one: `ngi_…`.")


class PasswordSignIn(_Body):
    """Who wants to sign in. ``cookie`` keeps the tokens in cookies that scripts cannot read, for pages of ours.

    ``code`` is that of a second factor, for those who have one.
    """

    email: Email
    password: Password
    code: str | None = Field(None, max_length=40)
    cookie: StrictBool = False


class RefreshRequest(_Body):
    """The refresh token; not needed where a cookie has it."""

    refresh_token: Token | None = None


class MailedToken(_Body):
    """The token of a mail."""

    token: Token


class Address(_Body):
    """Whose password was forgotten."""

    email: Email


class PasswordReset(MailedToken):
    """The token of a mail, and the password to be."""

    password: NewPassword


class PasswordChange(_Body):
    """The password that is, and the one to be."""

    current_password: Password
    new_password: NewPassword


class TokenAnswer(BaseModel):
    """A session. ``expires_in`` and ``refresh_expires_in`` are seconds."""

    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - RFC 6749's name for how to use it
    expires_in: int = Field(examples=[900])
    refresh_token: str = Field(examples=["ngr_…"])
    refresh_expires_in: int = Field(examples=[2592000])
    session_id: str


class CookieAnswer(BaseModel):
    """A session whose tokens are in cookies. Send ``csrf_token`` as `X-CSRF-Token` with whatever changes something."""

    csrf_token: str
    expires_in: int = Field(examples=[900])
    refresh_expires_in: int = Field(examples=[2592000])
    session_id: str


class SecondFactorNeeded(BaseModel):
    """The password was right, and one of ``second_factors`` is needed besides, with this ``ticket``.

    Go on at `/v1/auth/2fa/sign-in`. The ticket is good for that alone, and once.
    """

    code: Literal["mfa_required"] = "mfa_required"
    ticket: str
    second_factors: list[str] = Field(examples=[["totp", "recovery_code"]])
    expires_in: int = Field(examples=[300])


class Accepted(BaseModel):
    """What happens next; the same whether or not there is such an account."""

    detail: str


class AccountView(BaseModel):
    """Who you are."""

    id: str
    email: str
    email_verified: bool
    role: Role
    tier: Tier
    created_at: datetime
    session_id: str | None = Field(description="The session you use; null with an API key.")
    permissions: list[str] = Field(examples=[["tasks:read", "tasks:write"]])
    second_factor_required: bool = Field(
        description="Whether your role takes a second factor and you have none yet; until then you may do nothing else."
    )


class SessionView(BaseModel):
    """Where you are signed in. ``expires_at`` moves on as the session is used."""

    id: str
    current: bool
    user_agent: str
    address: str
    methods: list[str] = Field(description="What was shown to sign in.", examples=[["password"]])
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime


class SessionList(BaseModel):
    """Your sessions, the last used first."""

    data: list[SessionView]
    next_cursor: None = None
