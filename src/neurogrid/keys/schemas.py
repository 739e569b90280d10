"""What the routes of keys take and answer."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from neurogrid.auth.keyfamily import limits_of
from neurogrid.auth.policy import KeyLimits, Permission
from neurogrid.core import networks
from neurogrid.core.http.moments import Moment
from neurogrid.core.http.numbers import IS_NUMBER
from neurogrid.core.ids import now
from neurogrid.core.prepared import Row

MAX_LIFETIME: Final = 100 * 365 * 86_400
MAX_OVERLAP: Final = 30 * 86_400
MAX_NETWORKS: Final = 50
MOST_PER_MINUTE: Final = 1_000_000
MOST_PER_HOUR: Final = 60_000_000


def _is_network(text: str) -> str:
    return str(networks.of([text]))


NetworkText = Annotated[str, Field(max_length=64), AfterValidator(_is_network)]


class _Lifetime(BaseModel):
    model_config = ConfigDict(extra="forbid")

    expires_in_s: Annotated[float, Field(gt=0, le=MAX_LIFETIME), IS_NUMBER] | None = Field(
        None, description="Seconds that it holds."
    )
    expires_at: Moment | None = Field(None, description="The same as a moment.")

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if self.expires_in_s is not None and self.expires_at is not None:
            msg = "give `expires_in_s` or `expires_at`, not both"
            raise ValueError(msg)
        return self

    @property
    def end(self) -> datetime | None:
        """When it ends; ``None`` if that was left open."""
        if self.expires_in_s is not None:
            return now() + timedelta(seconds=self.expires_in_s)
        return self.expires_at


PerMinute = Annotated[int, Field(ge=1, le=MOST_PER_MINUTE), IS_NUMBER]
PerHour = Annotated[int, Field(ge=1, le=MOST_PER_HOUR), IS_NUMBER]


class Limits(BaseModel):
    """How often a key may be used. What your tier allows you holds besides, so the smaller of both counts."""

    model_config = ConfigDict(extra="forbid")

    requests_per_minute: PerMinute | None = Field(
        None, description="Requests with this key; null: no own limit."
    )
    requests_per_hour: PerHour | None = Field(None, description="Requests with this key; null: no own limit.")
    tasks_per_hour: PerHour | None = Field(
        None, description="Tasks submitted with this key, each row of a bulk; null: no own limit."
    )

    @property
    def wanted(self) -> KeyLimits:
        """What is to hold."""
        return KeyLimits(self.requests_per_minute, self.requests_per_hour, self.tasks_per_hour)


class KeyChange(BaseModel):
    """What is to be different of a key."""

    model_config = ConfigDict(extra="forbid")

    limits: Limits = Field(description="All limits of its own; those left out end.")


class NewKey(_Lifetime):
    """What a key is called, and what it is good for. Without an end it holds until it is revoked."""

    name: str = Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$", examples=["laptop"])
    scopes: list[Permission] | None = Field(
        None,
        min_length=1,
        max_length=len(Permission),
        description="The only permissions it has, of those that you have; by default all that your role has.",
        examples=[["tasks:read", "tasks:write"]],
    )
    allowed_networks: list[NetworkText] | None = Field(
        None,
        min_length=1,
        max_length=MAX_NETWORKS,
        description="The only networks it may be used from; by default everywhere.",
        examples=[["192.0.2.0/24"]],
    )
    limits: Limits | None = Field(None, description="Limits of its own; by default those of your tier alone.")


class Rotation(_Lifetime):
    """How an exchange goes. Without an end the new key lasts as long as the old one was made to."""

    overlap_s: Annotated[float, Field(ge=0, le=MAX_OVERLAP), IS_NUMBER] | None = Field(
        None,
        description="Seconds that the old key still holds (default: `NEUROGRID_AUTH__KEY_OVERLAP`, a day).",
    )


class KeyView(BaseModel):
    """A key without its secret."""

    id: str
    object: Literal["api_key"] = "api_key"
    name: str
    prefix: str = Field(description="How the key begins.", examples=["ng_8GkT2mXwQ"])
    scopes: list[str] | None = Field(description="The only permissions it has; null: all of your role.")
    allowed_networks: list[str] | None = Field(description="The only networks it may be used from.")
    limits: Limits | None = Field(description="Limits of its own, besides those of your tier.")
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = Field(None, description="Within a minute.")
    successor: str | None = Field(None, description="The id of the key that it was exchanged for.")
    made_by: str | None = Field(
        None, description="The id of the key that made it and bounds it; null: it was made by a session."
    )

    @classmethod
    def of(cls, row: Row) -> Self:
        """Return how a key is shown."""
        return cls(**_fields(row))


class KeyPage(BaseModel):
    """Keys, the newest first, also those that no longer hold."""

    data: list[KeyView]
    next_cursor: str | None = None


class FreshKey(KeyView):
    """A new key with its secret, shown this once."""

    key: str = Field(examples=["ng_…"])

    @classmethod
    def made(cls, row: Row, key: str) -> Self:
        """Return how a new key is shown."""
        return cls(**_fields(row), key=key)


def _fields(row: Row) -> dict[str, Any]:
    same = (
        "id",
        "name",
        "prefix",
        "created_at",
        "expires_at",
        "revoked_at",
        "last_used_at",
        "successor",
        "made_by",
    )
    lists = {"scopes": row["scopes"], "allowed_networks": row["networks"]}
    return {
        **{name: row[name] for name in same},
        "limits": asdict(limits_of(row)) if limits_of(row) else None,
        **{name: None if text is None else text.split() for name, text in lists.items()},
    }
