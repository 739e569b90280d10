"""What all groups of settings are made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

KIB = 1024
MIB = 1024 * KIB

Seconds = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A group of settings: frozen, and closed to names that do not exist."""

    model_config = ConfigDict(frozen=True, extra="forbid")
