"""Dependencies of the task routes."""

from __future__ import annotations

import re
from typing import Annotated, cast

from fastapi import Depends, Header
from starlette.requests import Request

from neurogrid.auth.deps import permitted
from neurogrid.auth.policy import Identity, Permission
from neurogrid.core.errors import BadRequest, FieldError
from neurogrid.idempotency.deps import Once, once
from neurogrid.limits.policy import HEAVY, LATER, READS, REPEATABLE, ROWS, TASKS
from neurogrid.tasks.bulk import BulkSubmissions
from neurogrid.tasks.explain import Forecaster
from neurogrid.tasks.replays import Replays
from neurogrid.tasks.service import TaskService
from neurogrid.tasks.submission import Gone, Submissions


async def task_service(request: Request) -> TaskService:
    """Return the service of this process."""
    return cast("TaskService", request.state.tasks)


async def forecaster(request: Request) -> Forecaster:
    """Return the service of this process."""
    return cast("Forecaster", request.state.forecaster)


async def submission_service(request: Request) -> Submissions:
    """Return the service of this process."""
    return cast("Submissions", request.state.submissions)


async def replay_service(request: Request) -> Replays:
    """Return the service of this process."""
    return cast("Replays", request.state.replays)


async def client_gone(request: Request) -> Gone:
    """Return how to wait until the client hangs up; nothing is listened to before that is called."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    return gone


_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(?P<seconds>[^\s,;\"]*)", re.IGNORECASE)
_MAX_DIGITS = 9


async def preferred_wait(
    submissions: Annotated[Submissions, Depends(submission_service)],
    prefer: Annotated[
        str | None,
        Header(
            description="`wait=N` waits up to N seconds (at most 60) for the result (RFC 7240).",
            examples=["wait=30"],
        ),
    ] = None,
) -> float | None:
    """Return the seconds to wait for the result, as wished and allowed. Raises ``BadRequest``."""
    match = _WAIT.search(prefer) if prefer else None
    if match is None:
        return None
    seconds = match["seconds"]
    if not (seconds.isascii() and seconds.isdigit() and len(seconds) <= _MAX_DIGITS):
        msg = "Prefer: wait=N takes a whole number of seconds."
        raise BadRequest(msg, errors=[FieldError("Prefer", msg)])
    return min(float(seconds), submissions.max_wait)


async def bulk_submissions(request: Request) -> BulkSubmissions:
    """Return the service of this process."""
    return cast("BulkSubmissions", request.state.bulk)


Bulk = Annotated[BulkSubmissions, Depends(bulk_submissions)]
OnceWriter = Annotated[Once, Depends(once(Permission.TASKS_WRITE, HEAVY, ROWS, REPEATABLE))]
Forecasts = Annotated[Forecaster, Depends(forecaster)]
ClientGone = Annotated[Gone, Depends(client_gone)]
Replaying = Annotated[Replays, Depends(replay_service)]
Submit = Annotated[Submissions, Depends(submission_service)]
Tasks = Annotated[TaskService, Depends(task_service)]
Reader = Annotated[Identity, Depends(permitted(Permission.TASKS_READ))]
Lister = Annotated[Identity, Depends(permitted(Permission.TASKS_READ, READS))]
Writer = Annotated[Identity, Depends(permitted(Permission.TASKS_WRITE))]
Submitter = Annotated[Identity, Depends(permitted(Permission.TASKS_WRITE, TASKS, REPEATABLE))]
Retrier = Annotated[Identity, Depends(permitted(Permission.TASKS_WRITE, TASKS))]
Replayer = Annotated[Identity, Depends(permitted(Permission.TASKS_WRITE, LATER, HEAVY))]
Wait = Annotated[float | None, Depends(preferred_wait)]
