"""What usage and quotas look like."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from neurogrid.core.http.numbers import IS_NUMBER
from neurogrid.queue.usage import NO_KEY
from neurogrid.usage.policy import MICRO, NONE, Kind, Override, Quota, Used
from neurogrid.usage.quotas import Standing

Amount = Annotated[int, Field(ge=NONE, le=10**15), IS_NUMBER]
OWN = Field(None, description="null: what the tier has; -1: no quota.")


class Figures(BaseModel):
    """What was used."""

    requests: int = Field(description="Tasks accepted.")
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    compute_seconds: float

    @classmethod
    def shown(cls, used: Used) -> dict[str, float]:
        """Return figures by name."""
        return {
            "requests": used.requests,
            "prompt_tokens": used.prompt_tokens,
            "completion_tokens": used.completion_tokens,
            "total_tokens": used.prompt_tokens + used.completion_tokens,
            "compute_seconds": used.compute_us / MICRO,
        }


class UsageGroup(Figures):
    """What was used on a day, of a model, or by a key."""

    day: date | None = None
    model: str | None = None
    key_id: str | None = Field(None, description="null: tasks submitted by a session.")
    key_name: str | None = None


class Usage(BaseModel):
    """What a user used in some days (UTC)."""

    object: Literal["usage"] = "usage"
    user_id: str | None = Field(description="null: all users.")
    first: date = Field(serialization_alias="from")
    last: date = Field(serialization_alias="to", description="Included.")
    group_by: Literal["day", "model", "key"]
    data: list[UsageGroup]
    total: Figures


class QuotaLine(BaseModel):
    """How much of one quota is used."""

    used: int
    quota: int | None = Field(description="null: as much as you like.")
    remaining: int | None
    percent: float | None

    @classmethod
    def of(cls, used: Used, quota: Quota, kind: Kind) -> Self:
        """Return how a quota is shown."""
        amount, bound = used.of(kind), quota.of(kind)
        if bound is None:
            return cls(used=amount, quota=None, remaining=None, percent=None)
        percent = round(amount * 100 / bound, 1) if bound else 100.0
        return cls(used=amount, quota=bound, remaining=max(0, bound - amount), percent=percent)


class MonthView(BaseModel):
    """The current month (UTC): what was used of each quota."""

    object: Literal["usage_month"] = "usage_month"
    user_id: str
    month: str = Field(examples=["2026-11"])
    resets_at: datetime
    tasks: QuotaLine
    tokens: QuotaLine
    compute_seconds: QuotaLine

    @classmethod
    def of(cls, user: str, standing: Standing) -> Self:
        """Return where a user stands."""
        tasks, tokens, compute = (QuotaLine.of(standing.used, standing.quota, kind) for kind in Kind)
        month = standing.month
        return cls(
            user_id=user,
            month=f"{month.first:%Y-%m}",
            resets_at=month.ends_at,
            tasks=tasks,
            tokens=tokens,
            compute_seconds=compute,
        )


class QuotaChange(BaseModel):
    """Monthly quotas of one user in place of the tier's."""

    model_config = ConfigDict(extra="forbid")

    tasks: Amount | None = OWN
    tokens: Amount | None = OWN
    compute_seconds: Amount | None = OWN

    def override(self) -> Override | None:
        """Return what is set; ``None`` if nothing is."""
        own = Override(self.tasks, self.tokens, self.compute_seconds)
        return None if own == Override() else own


class QuotaView(MonthView):
    """The same, and what an administrator set for this user."""

    own: QuotaChange | None = Field(description="null: everything as the tier has it.")

    @classmethod
    def of(cls, user: str, standing: Standing) -> Self:
        """Return where a user stands, and why."""
        shown = MonthView.of(user, standing).model_dump()
        own = standing.own
        change = None
        if own is not None:
            change = QuotaChange(tasks=own.tasks, tokens=own.tokens, compute_seconds=own.compute_seconds)
        return cls(**shown, own=change)


class TopUser(Figures):
    """A user, and what they used."""

    user_id: str
    email: str | None = Field(description="null: the account is gone.")


class TopUsers(BaseModel):
    """Who used most in some days (UTC)."""

    first: date = Field(serialization_alias="from")
    last: date = Field(serialization_alias="to")
    data: list[TopUser]
    total: Figures


def key_of(id: str) -> str | None:
    """Return a key's id as it is shown."""
    return None if id == NO_KEY else id
