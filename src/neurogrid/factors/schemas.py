"""What the routes of second factors and passkeys take and answer."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StrictBool, model_validator

from neurogrid.auth.schemas import Password, Token
from neurogrid.core.prepared import Row

Code = Annotated[
    str,
    Field(
        max_length=40,
        description="Six digits of the authenticator app, or a recovery code. Each is good once.",
        examples=["123456"],
    ),
]
Binary = Annotated[str, Field(max_length=12_000, pattern=r"^[A-Za-z0-9_-]*$", examples=["6Zk8…"])]
Options = dict[str, Any]
"""Options of WebAuthn in their JSON form, which browsers take by ``parse…OptionsFromJSON``."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Browsers(BaseModel):
    """Something a browser put together, which may hold more than is needed."""

    model_config = ConfigDict(extra="ignore")


class _Attestation(_Browsers):
    client_data: Binary = Field(alias="clientDataJSON")
    attestation: Binary = Field(alias="attestationObject")
    transports: list[Annotated[str, Field(pattern=r"^[a-z-]{1,30}$")]] = Field([], max_length=10)


class _Assertion(_Browsers):
    client_data: Binary = Field(alias="clientDataJSON")
    authenticator_data: Binary = Field(alias="authenticatorData")
    signature: Binary
    user_handle: Binary | None = Field(None, alias="userHandle")


class _Credential(_Browsers):
    id: Binary
    raw_id: Binary = Field(alias="rawId")
    type: Literal["public-key"]

    def as_json(self) -> dict[str, Any]:
        """Return it as the browser named its fields."""
        return self.model_dump(by_alias=True, exclude_none=True)


class MadeCredential(_Credential):
    """What ``navigator.credentials.create`` gave, by its ``toJSON()``."""

    response: _Attestation


class AnsweredCredential(_Credential):
    """What ``navigator.credentials.get`` gave, by its ``toJSON()``."""

    response: _Assertion


class FactorsView(BaseModel):
    """What your account has besides its password."""

    totp: bool = Field(description="Whether an authenticator app is in use.")
    totp_since: datetime | None
    passkeys: int
    recovery_codes_left: int
    required: bool = Field(description="Whether your role takes a second factor and you have none yet.")


class NewTotp(BaseModel):
    """What to tell an authenticator app; shown this once."""

    secret: str = Field(description="For apps that do not scan, in base 32.")
    uri: str = Field(examples=["otpauth://totp/NeuroGrid:ada%40example.org?secret=…&issuer=NeuroGrid"])
    qr_svg: str = Field(description="The same as a QR code, an SVG image.")


class CodeBody(_Body):
    """A code."""

    code: Code


class RecoveryCodes(BaseModel):
    """Codes that stand for a lost second factor, each once. They are shown this once; keep them safe."""

    recovery_codes: list[str] = Field(examples=[["k7qm-2v9d-x3ht-8wpz"]])


class FactorAdded(BaseModel):
    """A factor is in use. ``recovery_codes`` are shown this once; null if you have some from before."""

    recovery_codes: list[str] | None = None


class TicketBody(_Body):
    """A sign-in that waits for a second factor."""

    ticket: Token


class SecondStepBody(TicketBody):
    """The second factor of a sign-in: ``code`` or ``credential``."""

    code: Code | None = None
    credential: AnsweredCredential | None = None
    cookie: StrictBool = Field(False, description="Keep the tokens in cookies, for pages of ours.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        _exactly_one(code=self.code, credential=self.credential)
        return self


class PasskeySignIn(_Body):
    """What a passkey answered."""

    credential: AnsweredCredential
    cookie: StrictBool = Field(False, description="Keep the tokens in cookies, for pages of ours.")


class Proofs(_Body):
    """Who you are: ``password``, or, where you have a second factor, ``code`` or ``credential``."""

    password: Password | None = None
    code: Code | None = None
    credential: AnsweredCredential | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        _exactly_one(password=self.password, code=self.code, credential=self.credential)
        return self


class SteppedUp(BaseModel):
    """You have shown who you are."""

    expires_in: int = Field(description="Seconds until sensitive acts take another proof.", examples=[600])


class NewPasskey(_Body):
    """A passkey that the browser made, and what you call it."""

    credential: MadeCredential
    name: str = Field("", max_length=100, examples=["Laptop"])


class PasskeyName(_Body):
    """What you call a passkey."""

    name: str = Field(min_length=1, max_length=100, examples=["Phone"])


class PasskeyView(BaseModel):
    """A passkey, as far as it is shown."""

    id: str
    object: Literal["passkey"] = "passkey"
    name: str
    synced: bool = Field(description="Whether it is kept by a provider on several devices.")
    aaguid: str = Field(description="The kind of authenticator.")
    created_at: datetime
    last_used_at: datetime | None

    @classmethod
    def of(cls, row: Row) -> Self:
        """Return how a passkey is shown."""
        same = ("id", "name", "aaguid", "created_at", "last_used_at")
        return cls(**{name: row[name] for name in same}, synced=row["backed_up"])


class FreshPasskey(PasskeyView):
    """A passkey just added. ``recovery_codes`` are shown this once; null if you have some from before."""

    recovery_codes: list[str] | None = None


class PasskeyList(BaseModel):
    """Your passkeys, the oldest first."""

    data: list[PasskeyView]
    next_cursor: None = None


def _exactly_one(**given: str | SecretStr | BaseModel | None) -> None:
    if sum(value is not None for value in given.values()) != 1:
        msg = f"give one of {', '.join(given)}"
        raise ValueError(msg)
