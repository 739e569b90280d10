"""``neurogrid task``: submit, get, list, watch, cancel."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from neurogrid.cli import screen, watching
from neurogrid.cli.connection import connect
from neurogrid.cli.failures import TASK_FAILED, Failure
from neurogrid.cli.options import ApiKey, Json, Url

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", help="Submit, watch and cancel tasks.")

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
            value, model, parameters, priority=priority, metadata=notes, max_attempts=max_attempts
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
                task.created_at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if task.created_at else "",
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


def read_input(text: str | None, json: str | None) -> Any:
    """Return a task's input from the two options that give it. Raises ``Failure``."""
    if (text is None) == (json is None):
        hint = 'For example: neurogrid task submit smollm2-135m --input "Hello"'
        raise Failure("give the input by --input or by --input-json", hint=hint)
    if json is None:
        return _content("--input", text or "")
    try:
        return orjson.loads(_content("--input-json", json))
    except orjson.JSONDecodeError as error:
        raise Failure(f"--input-json is not valid JSON: {error}") from None


def pairs(option: str, given: list[str] | None) -> dict[str, Any] | None:
    """Read ``name=value`` options; a value that is JSON counts as what it says, any other as text."""
    found = {}
    for each in given or ():
        name, equals, value = each.partition("=")
        if not (name and equals):
            raise Failure(f"{option} takes name=value, not {each!r}")
        try:
            found[name] = orjson.loads(value)
        except orjson.JSONDecodeError:
            found[name] = value
    return found or None


def _content(option: str, given: str) -> str:
    try:
        if given == "-":
            return sys.stdin.buffer.read().decode()
        return Path(given[1:]).read_bytes().decode() if given.startswith("@") else given
    except OSError as error:
        raise Failure(f"{option} {given}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Failure(f"{option} {given}: this is no text in UTF-8") from None
