"""What the statistics of the limits look like."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field


class LimitedCaller(BaseModel):
    """Somebody who was limited."""

    caller: str = Field(
        description="`u:` and a user's id, or `a:` and a network.",
        examples=["u:0190b0f0-0000-7000-8000-000000000000"],
    )
    refused: int
    windows: dict[str, int] = Field(description="How often in which window.")
    last_at: datetime


class LimitedPath(BaseModel):
    """Where callers were limited."""

    path: str = Field(examples=["/v1/tasks"])
    refused: int
    windows: dict[str, int]


class Refusals(BaseModel):
    """How often callers of a tier were refused by a window."""

    tier: str = Field(examples=["free"])
    window: str = Field(examples=["tasks"])
    refused: int


class LimitStatistics(BaseModel):
    """Who is limited, where, and how often: what the living gateways have seen since each began.

    Each tells the others every few seconds, of callers and paths the hundred most limited.
    """

    gateway: str = Field(description="The one that answers.")
    seen_by: list[str] = Field(description="The gateways whose figures these are.")
    since: datetime
    engine: str = Field(description="What counts: `redis`, `memory`, or `memory (redis is away)`.")
    gateways: int = Field(description="That share the limits while Redis is away.")
    outages: int = Field(description="How often Redis went away.")
    algorithm: str
    allowed: dict[str, int] = Field(description="Requests by tier.")
    refused: list[Refusals]
    paths: list[LimitedPath] = Field(description="Most often limited first.")
    callers: list[LimitedCaller] = Field(description="Most often limited first.")
