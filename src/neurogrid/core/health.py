"""`/health/live` and `/health/ready` for probes, `/health/detailed` for people."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Literal, cast

import structlog
from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel
from starlette.requests import Request

CHECK_WITHIN = 2.0

Check = Callable[[], Awaitable[str | None]]
"""Returns what is wrong, or ``None``."""

log = structlog.get_logger(__name__)
router = APIRouter(tags=["health"])


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


Status = Literal["ok", "degraded", "unavailable"]


class Readiness(BaseModel):
    """Whether this gateway can serve, and what is wrong."""

    status: Status
    issues: dict[str, str]


class Part(BaseModel):
    """One part that a gateway uses."""

    status: Literal["ok", "failing"]
    vital: bool
    """Without it the gateway cannot serve."""
    issue: str | None


class Details(BaseModel):
    """Whether this gateway can serve, part by part."""

    status: Status
    parts: dict[str, Part]


class HealthChecks:
    """What a gateway needs (``vital``: without it it cannot serve) and what it would like to have."""

    def __init__(self, vital: Mapping[str, Check], desirable: Mapping[str, Check]) -> None:
        """Take named checks."""
        self._vital = vital
        self._desirable = desirable

    async def readiness(self) -> Readiness:
        """Run all checks at once, each with a time-out."""
        vital, desirable = await asyncio.gather(_run(self._vital), _run(self._desirable))
        status: Status = "ok"
        if vital:
            status = "unavailable"
        elif desirable:
            status = "degraded"
        return Readiness(status=status, issues={**vital, **desirable})

    async def details(self) -> Details:
        """Run all checks and tell of each part, also of those that are well."""
        found = await self.readiness()
        parts = {
            name: Part(
                status="failing" if name in found.issues else "ok",
                vital=name in self._vital,
                issue=found.issues.get(name),
            )
            for name in (*self._vital, *self._desirable)
        }
        return Details(status=found.status, parts=parts)


async def _run(checks: Mapping[str, Check]) -> dict[str, str]:
    found = await asyncio.gather(*(_one(name, check) for name, check in checks.items()))
    return {name: issue for name, issue in zip(checks, found, strict=True) if issue is not None}


async def _one(name: str, check: Check) -> str | None:
    try:
        async with asyncio.timeout(CHECK_WITHIN):
            return await check()
    except TimeoutError:
        return "does not answer"
    except Exception as error:  # noqa: BLE001 - a probe reports whatever is wrong, it never fails itself
        log.warning("health.check_failed", check=name, error=repr(error))
        return "does not work"


async def _checks(request: Request) -> HealthChecks:
    return cast("HealthChecks", request.state.health)


@router.get("/health/live")
async def live() -> Alive:
    """Tell whether the process is alive; asks nothing of anybody else."""
    return Alive()


@router.get(
    "/health/ready",
    responses={503: {"model": Readiness, "description": "This gateway cannot serve now."}},
)
async def ready(response: Response, checks: Annotated[HealthChecks, Depends(_checks)]) -> Readiness:
    """Tell whether this gateway can serve requests. It can while degraded."""
    readiness = await checks.readiness()
    _refuse(response, readiness.status)
    return readiness


@router.get(
    "/health/detailed",
    responses={503: {"model": Details, "description": "This gateway cannot serve now."}},
)
async def detailed(response: Response, checks: Annotated[HealthChecks, Depends(_checks)]) -> Details:
    """Tell of every part that this gateway uses whether it works, and what is wrong with it."""
    details = await checks.details()
    _refuse(response, details.status)
    return details


def _refuse(response: Response, status: Status) -> None:
    if status == "unavailable":
        response.status_code = 503
