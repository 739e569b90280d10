"""What the routes of sign-in by providers take and answer."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, model_validator

from neurogrid.auth.oauth.linking import WAYS
from neurogrid.auth.schemas import Password, Token

Ticket = Annotated[str, Field(max_length=4096, description="From the answer that asked for it.")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ProviderView(BaseModel):
    """A provider that one may sign in by."""

    name: str = Field(examples=["google"])
    label: str = Field(examples=["Google"])
    start: str = Field(description="Where a browser begins.", examples=["/v1/auth/oauth/google/start"])


class ProviderList(BaseModel):
    """The providers, in the order of the settings."""

    data: list[ProviderView]
    next_cursor: None = None


class Begun(BaseModel):
    """Where the browser that got this answer's cookie is to go, within so many seconds."""

    authorization_url: str = Field(
        examples=["https://accounts.google.com/o/oauth2/v2/auth?response_type=code&…"]
    )
    expires_in: int = Field(examples=[600])


class LinkNeeded(BaseModel):
    """There is an account with this address. Show that it is yours in one of ``ways``, with this ``ticket``."""

    ticket: str
    ways: list[str] = Field(examples=[list(WAYS)])
    expires_in: int = Field(examples=[900])


class LinkTicket(_Body):
    """The ticket of an account elsewhere."""

    ticket: Ticket


class LinkProof(LinkTicket):
    """A ticket, and what shows whose the account here is: its password, or the token of the mail."""

    password: Password | None = None
    token: Token | None = None
    cookie: StrictBool = Field(False, description="Keep the tokens in cookies, for pages of ours.")

    @model_validator(mode="after")
    def _one_proof(self) -> Self:
        if (self.password is None) is (self.token is None):
            msg = "give either password or token"
            raise ValueError(msg)
        return self


class IdentityView(BaseModel):
    """An account elsewhere by which you can sign in. ``email`` is the address it had there last."""

    id: str
    provider: str = Field(examples=["google"])
    email: str | None
    created_at: datetime
    last_used_at: datetime | None


class IdentityList(BaseModel):
    """Your linked accounts, the oldest first."""

    data: list[IdentityView]
    next_cursor: None = None
