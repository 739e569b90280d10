"""A task's text on stdout while it is made, and how it ended on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, TextIO

import orjson
import typer

from neurogrid.cli import screen
from neurogrid.cli.failures import INTERRUPTED, TASK_FAILED, complain

if TYPE_CHECKING:
    from neurogrid.client import Client, Task, TaskEvent


class TextWriter:
    """Writes the text of a task's events as it grows.

    What is written cannot be taken back. When a retry or a snapshot starts the text over, nothing is written
    as long as it repeats what stands there; where it differs, it is written anew from its beginning.
    """

    def __init__(self, out: TextIO) -> None:
        from neurogrid.client import TextFold

        self._out = out
        self._fold = TextFold()
        self._written = ""
        self._terminal = out.isatty()

    @property
    def used(self) -> bool:
        """Whether anything was written."""
        return bool(self._written)

    def add(self, event: TaskEvent) -> None:
        """Take one event."""
        self._fold.add(event)
        self.show(self._fold.text)

    def show(self, text: str) -> None:
        """Bring what is written to ``text``."""
        if self._written.startswith(text):
            return
        if not text.startswith(self._written):
            self._write("\n")
            screen.note("(started over)")
            self._written = ""
        self._write(text[len(self._written) :])
        self._written = text

    def end(self) -> None:
        """Finish the line for the shell's prompt."""
        if self._terminal and self._written and not self._written.endswith("\n"):
            self._write("\n")

    def _write(self, text: str) -> None:
        self._out.write(screen.safe(text) if self._terminal else text)
        self._out.flush()


def watch(client: Client, task_id: str, *, json: bool) -> None:
    """Follow a task to its end. Exits with 1 when it failed, and with how to go on when interrupted."""
    try:
        final = _print_events(client.stream(task_id)) if json else _print_text(client, task_id)
    except KeyboardInterrupt:
        typer.echo("", err=True)
        screen.note(f"The task goes on. Watch it: neurogrid task watch {task_id}")
        screen.note(f"Stop it: neurogrid task cancel {task_id}")
        raise typer.Exit(INTERRUPTED) from None
    if final != "task.completed":
        raise typer.Exit(TASK_FAILED)


def _print_events(events: Iterable[TaskEvent]) -> str:
    last = ""
    for event in events:
        screen.print_json(plain(event), indent=False)
        last = event.type
    return last


def plain(event: TaskEvent) -> dict[str, Any]:
    """Return an event as JSON for scripts."""
    return {
        "id": str(event.id),
        "type": event.type,
        "task_id": event.task_id,
        "at": event.at.isoformat(),
        "data": event.data,
    }


def remark(event: TaskEvent) -> str:
    """Return what a log says of an event besides its kind: where it ran, why it goes on, how it failed."""
    parts = [str(event.data[name]) for name in ("node", "reason") if event.data.get(name)]
    error = event.data.get("error")
    if isinstance(error, dict):
        parts.append(f"{error.get('message')} ({error.get('code')})")
    return " · ".join(parts)


def _print_text(client: Client, task_id: str) -> str:
    writer = TextWriter(sys.stdout)
    last = ""
    for event in _until_text(client.stream(task_id)):
        writer.add(event)
        last = event.type
    task = client.get(task_id)
    if task.text is not None:
        writer.show(task.text)
    elif task.output is not None:
        screen.print_json(task.output)
    writer.end()
    summarize(task)
    return last


def _until_text(events: Iterator[TaskEvent]) -> Iterator[TaskEvent]:
    """Hand on ``events``, showing what the task waits for until it speaks."""
    with ExitStack() as waiting:
        waiting.enter_context(screen.status("waiting for a node …"))
        for event in events:
            if event.type == "task.running":
                waiting.close()
                waiting.enter_context(screen.status("running …"))
            elif event.type != "task.queued":
                waiting.close()
            yield event


def summarize(task: Task) -> None:
    """Write to stderr how the task ended."""
    if task.status == "completed":
        screen.note(usage_line(task))
    elif task.error:
        complain(f"the task failed: {screen.safe(task.error.message)} ({task.error.code})")
    else:
        complain(f"the task was {task.status}")


def usage_line(task: Task) -> str:
    """Return what a finished task took, in one line."""
    usage = task.usage
    parts = []
    if usage.total_tokens:
        parts.append(f"{usage.prompt_tokens} prompt + {usage.completion_tokens} completion tokens")
    if usage.completion_tokens and usage.compute_seconds:
        parts.append(f"{usage.completion_tokens / usage.compute_seconds:.1f} tokens/s")
    if task.processing_time_ms is not None:
        parts.append(f"{task.processing_time_ms / 1000:.2f} s")
    parts.append(f"{task.model} on {task.node}" if task.node else task.model)
    if task.cached:
        parts.append("from the cache")
    if task.attempt > 1:
        parts.append(f"attempt {task.attempt}")
    return " · ".join(parts)


def describe(value: Any) -> str:
    """Return an output as people read it."""
    if isinstance(value, dict) and isinstance(value.get("text"), str):
        return screen.safe(value["text"])
    return screen.safe(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
