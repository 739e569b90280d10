"""`/v1/tasks`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Path, Query, Response

from neurogrid.core.http.body import StrictJSONRoute
from neurogrid.core.http.moments import Moment
from neurogrid.core.http.openapi import problems
from neurogrid.idempotency.deps import REPLAYED, Key, headers_of
from neurogrid.limits.deps import GrantedRows, LaterRows
from neurogrid.tasks.bulk import MAX_BULK_BODY, BulkAnswer, BulkSubmit
from neurogrid.tasks.deps import (
    Bulk,
    ClientGone,
    Forecasts,
    Lister,
    OnceWriter,
    Reader,
    Replayer,
    Replaying,
    Retrier,
    Submit,
    Submitter,
    Tasks,
    Wait,
    Writer,
)
from neurogrid.tasks.explain import Explanation, Quote
from neurogrid.tasks.replays import ReplayAnswer, ReplayRequest
from neurogrid.tasks.schemas import (
    SUBMIT_EXAMPLES,
    ClientStatus,
    TaskLog,
    TaskPage,
    TaskSubmit,
    TaskView,
)
from neurogrid.tasks.service import MAX_PAGE, Filter

JSON = "application/json"
TaskId = Annotated[str, Path(description="Id of a task of yours.")]

router = APIRouter(prefix="/v1/tasks", tags=["tasks"], route_class=StrictJSONRoute)


@router.post(
    "",
    status_code=202,
    response_model=TaskView,
    responses={
        200: {"model": TaskView, "description": "The task finished within `Prefer: wait`."},
        **problems(400, 401, 403, 409, 413, 415, 422, 429, 503),
    },
)
async def submit_task(
    body: Annotated[TaskSubmit, Body(openapi_examples=SUBMIT_EXAMPLES)],
    actor: Submitter,
    submissions: Submit,
    wait: Wait,
    key: Key,
    gone: ClientGone,
    rows: GrantedRows,
) -> Response:
    """Submit an AI task.

    The answer is 202 as soon as the task is durable; `Location` leads to it. With `Prefer: wait=N` the answer
    is 200 with the finished task if that takes no longer than N seconds, else 202 as before. With an
    `Idempotency-Key` that was used before, the task of then is returned (`Idempotency-Replayed: true`). With
    `on_disconnect: cancel` the task is cancelled when you hang up while you wait.
    """
    finished = None
    headers = {}
    if wait is None:
        submitted = await submissions.submit(actor, body, key=key, granted=rows)
    else:
        submitted, finished = await submissions.submit_and_wait(
            actor, body, wait, key=key, gone=gone, granted=rows
        )
        headers["Preference-Applied"] = f"wait={wait:.0f}"
    headers["Location"] = f"/v1/tasks/{submitted.id}"
    if submitted.replayed:
        headers[REPLAYED] = "true"
    if finished is None:
        return Response(submitted.body, 202, headers, JSON)
    return Response(finished, 200, headers, JSON)


@router.post(
    "/bulk",
    response_model=BulkAnswer,
    max_body_size=MAX_BULK_BODY,
    responses=problems(400, 401, 403, 409, 413, 415, 422, 429),
)
async def submit_bulk(body: BulkSubmit, once: OnceWriter, bulk: Bulk, rows: GrantedRows) -> Response:
    """Submit up to 1,000 tasks in one request; each is accepted or refused by itself.

    The answers come in the order of the tasks. A task that names no priority gets `low`. One `Idempotency-Key`
    stands for the whole request: repeated, it is answered with the tasks of then as they are now.
    """
    answer = await bulk.submit(once.actor, body, once.keyed(body), rows)
    return Response(answer.body, answer.status, headers_of(answer), JSON)


@router.post("/quote", responses=problems(400, 401, 403, 413, 415, 422))
async def quote_task(
    body: Annotated[TaskSubmit, Body(openapi_examples=SUBMIT_EXAMPLES)], actor: Writer, forecasts: Forecasts
) -> Quote:
    """Say what would become of a task: whether it is valid, what it costs, and when it would begin."""
    return await forecasts.quote(actor, body)


@router.get("", response_model=TaskPage, responses=problems(400, 401, 403, 422))
async def list_tasks(
    actor: Lister,
    tasks: Tasks,
    status: Annotated[list[ClientStatus] | None, Query(description="Only tasks in these states.")] = None,
    model: Annotated[
        str | None, Query(max_length=200, pattern=r"^[^\x00]*$", description="Only tasks of this model.")
    ] = None,
    created_after: Annotated[Moment | None, Query(description="Created at or after this.")] = None,
    created_before: Annotated[Moment | None, Query(description="Created before this.")] = None,
    cursor: Annotated[
        str | None, Query(max_length=200, description="`next_cursor` of the last page.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="Tasks on a page.")] = 20,
) -> Response:
    """List your tasks, newest first."""
    wanted = Filter(status or (), model, created_after, created_before)
    return Response(await tasks.page(actor, wanted, cursor, limit), media_type=JSON)


@router.get("/dead-letters", response_model=TaskPage, responses=problems(400, 401, 403, 422))
async def list_dead_letters(
    actor: Lister,
    tasks: Tasks,
    model: Annotated[
        str | None, Query(max_length=200, pattern=r"^[^\x00]*$", description="Only tasks of this model.")
    ] = None,
    created_after: Annotated[Moment | None, Query(description="Created at or after this.")] = None,
    created_before: Annotated[Moment | None, Query(description="Created before this.")] = None,
    cursor: Annotated[
        str | None, Query(max_length=200, description="`next_cursor` of the last page.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="Tasks on a page.")] = 20,
) -> Response:
    """List your tasks that failed for good because their attempts were used up, newest first."""
    wanted = Filter((), model, created_after, created_before, dead_letters=True)
    return Response(await tasks.page(actor, wanted, cursor, limit), media_type=JSON)


@router.post(
    "/dead-letters/replay",
    response_model=ReplayAnswer,
    responses=problems(400, 401, 403, 413, 415, 422, 429, 503),
)
async def replay_tasks(
    body: ReplayRequest, actor: Replayer, replays: Replaying, grant: LaterRows
) -> Response:
    """Run many failed or cancelled tasks again, or all dead letters; each is replayed or refused by itself."""
    return Response(await replays.many(actor, body, grant), media_type=JSON)


@router.get("/{id}", response_model=TaskView, responses=problems(401, 403, 404))
async def get_task(id: TaskId, actor: Reader, tasks: Tasks) -> Response:
    """Return one task."""
    return Response(await tasks.get(actor, id), media_type=JSON)


@router.post("/{id}/cancel", response_model=TaskView, responses=problems(401, 403, 404, 409, 503))
async def cancel_task(id: TaskId, actor: Writer, tasks: Tasks) -> Response:
    """Cancel a task that has not finished. Cancelling it again changes nothing."""
    return Response(await tasks.cancel(actor, id), media_type=JSON)


@router.post("/{id}/retry", response_model=TaskView, responses=problems(401, 403, 404, 409, 429, 503))
async def retry_task(id: TaskId, actor: Retrier, replays: Replaying) -> Response:
    """Run a failed or cancelled task again, from the start and with all its attempts."""
    return Response(await replays.retry(actor, id), media_type=JSON)


@router.delete("/{id}", status_code=204, responses=problems(401, 403, 404, 409))
async def delete_task(id: TaskId, actor: Writer, tasks: Tasks) -> None:
    """Delete a finished task, its output and its events."""
    await tasks.delete(actor, id)


@router.get("/{id}/log", response_model=TaskLog, responses=problems(401, 403, 404))
async def get_task_log(id: TaskId, actor: Lister, tasks: Tasks) -> Response:
    """Return everything that happened to a task, oldest first."""
    return Response(await tasks.log(actor, id), media_type=JSON)


@router.get("/{id}/explain", responses=problems(401, 403, 404))
async def explain_task(id: TaskId, actor: Lister, forecasts: Forecasts) -> Explanation:
    """Say why a task waits or waited, when it may begin, what it cost, and every decision about it."""
    return await forecasts.explain(actor, id)
