"""``neurogrid task``: submit, get, list, watch, log, cancel, retry, dead-letters."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neurogrid.cli import screen, watching
from neurogrid.cli.connection import connect
from neurogrid.cli.failures import TASK_FAILED, complain
from neurogrid.cli.options import ApiKey, Json, Url
from neurogrid.cli.task_options import moment, pairs, read_input

if TYPE_CHECKING:
    from neurogrid.client import Replay, Task

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", help="Submit, watch and cancel tasks.")

REPLAYS = 1000
"""Tasks that one request may run again."""
TaskId = Annotated[str, typer.Argument(help="The task's id.")]


@app.command()
def submit(
    model: Annotated[
        str | None, typer.Argument(help="The model; see `neurogrid models list`.", show_default="the default")
    ] = None,
    input: Annotated[
        str | None, typer.Option("--input", "-i", help="Text, `@file`, or `-` for standard input.")
    ] = None,
    input_json: Annotated[
        str | None, typer.Option("--input-json", help="JSON, `@file` or `-`, for input that is no text.")
    ] = None,
    param: Annotated[
        list[str] | None, typer.Option("--param", "-p", help="A parameter, `name=value`; may be repeated.")
    ] = None,
    metadata: Annotated[
        list[str] | None, typer.Option("--metadata", help="A note of yours, `name=value`; may be repeated.")
    ] = None,
    priority: Annotated[str | None, typer.Option(help="`high`, `normal` or `low`.")] = None,
    max_attempts: Annotated[int | None, typer.Option(help="How often it may be tried.", min=1)] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds that an attempt may run.")] = None,
    deadline: Annotated[
        str | None,
        typer.Option(help="When it is of no use any more: a time (ISO 8601), or seconds from now."),
    ] = None,
    on_disconnect: Annotated[
        str | None, typer.Option(help="`cancel` it when its watcher goes away, or `detach` (the default).")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Print the output as it is made.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait, and print the output at the end.")] = False,
    json: Json = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Submit a task. Prints its id; with --watch the output, token by token.

    Examples:

        neurogrid task submit smollm2-135m --input "Name three uses of a paper clip." --watch

        neurogrid task submit e5-small --input @notes.txt --wait --json

        neurogrid task submit smollm2-135m -i "Hello" -p max_tokens=20 -p temperature=0

    With --watch, --json prints the events, one a line; otherwise the task.
    """
    value = read_input(input, input_json)
    parameters, notes = pairs("--param", param), pairs("--metadata", metadata)
    with connect(url, api_key) as client:
        task = client.submit(
            value,
            model,
            parameters,
            priority=priority,
            metadata=notes,
            max_attempts=max_attempts,
            timeout=timeout,
            deadline=moment("--deadline", deadline),
            on_disconnect=on_disconnect,
        )
        if watch:
            watching.watch(client, task.id, json=json)
        elif wait:
            with screen.status("waiting for the output …"):
                task = client.wait(task.id)
            show(task.raw, json=json)
        elif json:
            screen.print_json(task.raw)
        else:
            typer.echo(task.id)
            screen.note(f"{task.status}; watch it: neurogrid task watch {task.id}")


@app.command()
def get(task_id: TaskId, json: Json = False, url: Url = None, api_key: ApiKey = None) -> None:
    """Print a task: its output when it has one, else how it stands.

    Example:

        neurogrid task get 019a7c1e-52f0-7d3a-9d2b-0c6f5f1f7a10 --json
    """
    with connect(url, api_key) as client:
        show(client.get(task_id).raw, json=json)


@app.command(name="list")
def list_(
    status: Annotated[str | None, typer.Option(help="Only tasks in this state.")] = None,
    model: Annotated[str | None, typer.Option(help="Only tasks of this model.")] = None,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1)] = 20,
    json: Json = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """List your tasks, newest first.

    Example:

        neurogrid task list --status failed --limit 50
    """
    with connect(url, api_key) as client:
        tasks = list(client.tasks(status=status, model=model, limit=limit))
    if json:
        screen.print_json([task.raw for task in tasks])
        return
    screen.print_table(
        ["ID", "STATUS", "MODEL", "TIME", "CREATED"],
        [
            (
                task.id,
                task.status,
                task.model,
                "" if task.processing_time_ms is None else f"{task.processing_time_ms / 1000:.2f} s",
                _when(task.created_at),
            )
            for task in tasks
        ],
    )


@app.command()
def watch(task_id: TaskId, json: Json = False, url: Url = None, api_key: ApiKey = None) -> None:
    """Print a task's output as it is made. Ctrl-C stops watching, not the task.

    Example:

        neurogrid task watch 019a7c1e-52f0-7d3a-9d2b-0c6f5f1f7a10
    """
    with connect(url, api_key) as client:
        watching.watch(client, task_id, json=json)


@app.command()
def log(task_id: TaskId, json: Json = False, url: Url = None, api_key: ApiKey = None) -> None:
    """List everything that happened to a task, oldest first.

    Example:

        neurogrid task log 019a7c1e-52f0-7d3a-9d2b-0c6f5f1f7a10
    """
    with connect(url, api_key) as client:
        events = client.log(task_id)
    if json:
        screen.print_json([watching.plain(event) for event in events])
        return
    screen.print_table(
        ["ID", "WHEN", "EVENT", "DETAIL"],
        [
            (str(event.id), _when(event.at), event.type.removeprefix("task."), watching.remark(event))
            for event in events
        ],
    )


@app.command()
def cancel(task_id: TaskId, json: Json = False, url: Url = None, api_key: ApiKey = None) -> None:
    """Cancel a task.

    Example:

        neurogrid task cancel 019a7c1e-52f0-7d3a-9d2b-0c6f5f1f7a10
    """
    with connect(url, api_key) as client:
        task = client.cancel(task_id)
    if json:
        screen.print_json(task.raw)
    else:
        typer.echo(task.status)


@app.command()
def retry(
    task_ids: Annotated[list[str], typer.Argument(help="The ids of failed or cancelled tasks.")],
    json: Json = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Run failed or cancelled tasks again, with all their attempts. Prints the ids of those that are.

    Example:

        neurogrid task retry 019a7c1e-52f0-7d3a-9d2b-0c6f5f1f7a10
    """
    with connect(url, api_key) as client:
        report(
            [client.replay(task_ids[at : at + REPLAYS]) for at in range(0, len(task_ids), REPLAYS)], json=json
        )


@app.command(name="dead-letters")
def dead_letters(
    model: Annotated[str | None, typer.Option(help="Only tasks of this model.")] = None,
    limit: Annotated[int, typer.Option(help="How many to list at most.", min=1)] = 20,
    replay: Annotated[bool, typer.Option("--replay", help="Run all of them again.")] = False,
    json: Json = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """List your tasks that failed for good because their attempts were used up, or run them all again.

    Example:

        neurogrid task dead-letters --model e5-small --replay
    """
    with connect(url, api_key) as client:
        if replay:
            answers = [client.replay_dead_letters(model=model)]
            while answers[-1].more and answers[-1].replayed:
                answers.append(client.replay_dead_letters(model=model))
            report(answers, json=json)
            return
        tasks = list(client.dead_letters(model=model, limit=limit))
    if json:
        screen.print_json([task.raw for task in tasks])
        return
    screen.print_table(
        ["ID", "MODEL", "ERROR", "FINISHED"],
        [(task.id, task.model, _why(task), _when(task.finished_at)) for task in tasks],
    )


def report(answers: Sequence[Replay], *, json: bool) -> None:
    """Print which tasks are run again; exits with 1 when some are not."""
    replayed = [task for answer in answers for task in answer.replayed]
    refused = [row for answer in answers for row in answer.refused]
    if json:
        rows = [{"id": row.id, "code": row.code, "detail": row.detail} for row in refused]
        screen.print_json({"replayed": replayed, "refused": rows})
    else:
        for task in replayed:
            typer.echo(task)
        for row in refused:
            complain(f"{row.id}: {screen.safe(row.detail)}")
    if refused:
        raise typer.Exit(TASK_FAILED)


def _when(moment: datetime | None) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment else ""


def _why(task: Task) -> str:
    return screen.safe(f"{task.error.message} ({task.error.code})") if task.error else ""


def show(task: Any, *, json: bool) -> None:
    """Print a task; exits with 1 when it failed."""
    from neurogrid.client import Task

    parsed = Task.parse(task)
    if json:
        screen.print_json(task)
    elif parsed.status == "completed":
        typer.echo(watching.describe(parsed.output))
        watching.summarize(parsed)
    elif parsed.finished:
        watching.summarize(parsed)
    else:
        typer.echo(parsed.status)
        screen.note(f"watch it: neurogrid task watch {parsed.id}")
    if parsed.finished and parsed.status != "completed":
        raise typer.Exit(TASK_FAILED)
