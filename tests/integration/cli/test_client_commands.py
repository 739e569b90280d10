"""The commands that talk to a gateway: what goes to stdout, what to stderr, and how they exit."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner, Result

from neurogrid.cli.main import app
from tests.integration.client import stand_in
from tests.integration.client.stand_in import (
    IDS,
    STORY,
    TASK,
    StandIn,
    event,
    events,
    json,
    problem,
    task_json,
)
from tests.support.processes import free_port

EVENTS = f"GET /v1/tasks/{TASK}/events"
GET = f"GET /v1/tasks/{TASK}"


@pytest.fixture(scope="module")
def running() -> Iterator[StandIn]:
    """A stand-in for a gateway, on a real socket."""
    with stand_in.running() as gateway:
        yield gateway


@pytest.fixture
def gateway(running: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """The stand-in as the gateway that ``neurogrid up`` runs here."""
    running.requests.clear()
    running.scripts.clear()
    running.answer("POST /v1/tasks", json(task_json(status="queued", output=None), 202))
    for name in ("NEUROGRID_URL", "NEUROGRID_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NEUROGRID_DATA_DIR", str(tmp_path))
    credentials = {"email": "a@b", "api_key": "ng_own", "url": running.url}
    (tmp_path / "credentials.json").write_bytes(orjson.dumps(credentials))
    return running


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=stdin)


def test_watch_prints_the_text_alone(gateway: StandIn) -> None:
    """Stdout is the text, byte for byte; how it went is on stderr."""
    gateway.answer(EVENTS, events(*STORY[:4], cut=True), stand_in.resumable())
    gateway.answer(GET, json(task_json(output={"text": "abéc"})))
    done = run("task", "submit", "debug.echo", "--input", "hi", "--watch")
    assert (done.exit_code, done.stdout) == (0, "abéc")
    assert "2 prompt + 3 completion tokens" in done.stderr
    assert gateway.requests[0][1]["authorization"] == "Bearer ng_own"


def test_watch_prints_events_for_scripts(gateway: StandIn) -> None:
    """With --json every event is a line."""
    gateway.answer(EVENTS, stand_in.resumable())
    done = run("task", "watch", TASK, "--json")
    assert [orjson.loads(line)["id"] for line in done.stdout.splitlines()] == IDS


def test_output_that_is_no_text_is_printed_as_json(gateway: StandIn) -> None:
    """Models without text have their output printed when it is there."""
    gateway.answer(EVENTS, events(event("0-1", "task.queued"), event("1-5", "task.completed")))
    gateway.answer(GET, json(task_json(output={"label": "positive"})))
    done = run("task", "submit", "sentiment", "--input", "-", "--watch", stdin="great")
    assert orjson.loads(done.stdout) == {"label": "positive"}
    assert orjson.loads(gateway.requests[0][2])["input"] == "great"


def test_failed_task_exits_with_1(gateway: StandIn) -> None:
    """A failed task is one red line and exit code 1, watched, awaited or asked for."""
    gateway.answer(EVENTS, events(*STORY[:3], event("1-9", "task.failed")))
    failed = task_json(
        status="failed", output=None, error={"code": "model_error", "message": "no \x1b[31mluck"}
    )
    gateway.answer(GET, json(failed))
    for command in (
        ["submit", "m", "-i", "x", "--watch"],
        ["submit", "m", "-i", "x", "--wait"],
        ["get", TASK],
    ):
        done = run("task", *command)
        assert done.exit_code == 1
        assert "Error: the task failed: no \ufffd[31mluck (model_error)" in done.stderr


def test_limits_of_a_task_are_sent(gateway: StandIn) -> None:
    """Time-out, deadline and what a disconnect does go with the submission; a deadline may be seconds from now."""
    at = "2999-01-01T00:00:00+00:00"
    options = ["--timeout", "5", "--deadline", at, "--on-disconnect", "cancel"]
    assert run("task", "submit", "m", "-i", "x", *options).exit_code == 0
    body = orjson.loads(gateway.requests[0][2])
    assert (body["timeout"], body["on_disconnect"]) == (5.0, "cancel")
    assert datetime.fromisoformat(body["deadline"]) == datetime.fromisoformat(at)
    assert run("task", "submit", "m", "-i", "x", "--deadline", "60").exit_code == 0
    left = datetime.fromisoformat(orjson.loads(gateway.requests[1][2])["deadline"]) - datetime.now(UTC)
    assert 0 < left.total_seconds() <= 60
    assert run("task", "submit", "m", "-i", "x", "--deadline", "soon").exit_code == 2


def test_retry_says_what_runs_again(gateway: StandIn) -> None:
    """Stdout has the ids of tasks that run again; the others are told on stderr, and make the exit code 1."""
    refused = {"id": "b", "code": "conflict", "detail": "It is running."}
    replay = "POST /v1/tasks/dead-letters/replay"
    gateway.answer(replay, json({"replayed": ["a"], "refused": [refused], "more": False}))
    done = run("task", "retry", "a", "b")
    assert (done.exit_code, done.stdout) == (1, "a\n")
    assert "b: It is running." in done.stderr
    assert orjson.loads(gateway.requests[0][2]) == {"ids": ["a", "b"]}
    done = run("task", "retry", "a", "b", "--json")
    assert orjson.loads(done.stdout) == {"replayed": ["a"], "refused": [refused]}


def test_log_lists_what_happened(gateway: StandIn) -> None:
    """The log says when, where and why, for people in lines and for scripts as the events themselves."""
    story = [
        ("0-1", "task.queued", {"model": "m"}),
        ("1-1", "task.running", {"node": "n1"}),
        (
            "2-0",
            "task.retrying",
            {"reason": "error", "error": {"code": "boom", "message": "it \x1b[31mbroke"}},
        ),
        ("2-1", "task.running", {"node": "n2"}),
    ]
    data = [
        {"id": id, "type": kind, "task_id": TASK, "at": stand_in.AT, "data": data} for id, kind, data in story
    ]
    gateway.answer(f"GET /v1/tasks/{TASK}/log", json({"data": data}))
    done = run("task", "log", TASK)
    assert done.exit_code == 0
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [(line[0], line[3]) for line in lines[1:]] == [
        (id, kind.removeprefix("task.")) for id, kind, _ in story
    ]
    assert lines[2][-1] == "n1"
    assert "error · it \ufffd[31mbroke (boom)" in done.stdout
    shown = orjson.loads(run("task", "log", TASK, "--json").stdout)
    assert [(event["id"], event["type"], event["data"]) for event in shown] == story


def test_dead_letters_are_listed_and_replayed(gateway: StandIn) -> None:
    """Dead letters are shown with their error; --replay goes on until there are no more."""
    failed = task_json(id="a", status="failed", error={"code": "boom", "message": "it broke"})
    gateway.answer("GET /v1/tasks/dead-letters", json({"data": [failed], "next_cursor": None}))
    done = run("task", "dead-letters")
    assert done.exit_code == 0
    assert "it broke (boom)" in done.stdout
    assert orjson.loads(run("task", "dead-letters", "--json").stdout)[0]["id"] == "a"
    gateway.answer(
        "POST /v1/tasks/dead-letters/replay",
        json({"replayed": ["a"], "refused": [], "more": True}),
        json({"replayed": ["b"], "refused": [], "more": False}),
    )
    done = run("task", "dead-letters", "--replay", "--model", "m")
    assert (done.exit_code, done.stdout) == (0, "a\nb\n")


def test_submit_prints_the_id_alone(gateway: StandIn) -> None:
    """Without --watch stdout is the task's id, for scripts to keep."""
    done = run(
        "task",
        "submit",
        "m",
        "--input-json",
        '{"a": 1}',
        "-p",
        "n=2",
        "--metadata",
        "k=v",
        "--priority",
        "low",
    )
    assert (done.exit_code, done.stdout) == (0, f"{TASK}\n")
    assert orjson.loads(gateway.requests[0][2]) == {
        "input": {"a": 1}, "model": "m", "parameters": {"n": 2}, "metadata": {"k": "v"}, "priority": "low",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        (problem(422, "invalid", "parameters.n is wrong"), 2, "parameters.n is wrong"),
        (problem(401, "unauthenticated", "not valid"), 2, "neurogrid key create"),
        (problem(500, "internal_error", "Something went wrong"), 2, "r-1"),
    ],
)
def test_refusals_are_one_line_and_a_remedy(
    gateway: StandIn, answer: stand_in.Script, code: int, message: str
) -> None:
    """A refusal is shown without a traceback, with exit code 2 and what to do about it."""
    gateway.answer("POST /v1/tasks", answer)
    done = run("task", "submit", "m", "--input", "x")
    assert (done.exit_code, done.stdout) == (code, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_nobody_there_exits_with_3(gateway: StandIn) -> None:
    """A gateway that is not there is exit code 3 and a hint how to start one."""
    done = run("models", "list", "--url", f"http://127.0.0.1:{free_port()}", "--api-key", "k")
    assert done.exit_code == 3
    assert "neurogrid up" in done.stderr


def test_lists_for_people_and_scripts(gateway: StandIn) -> None:
    """Lists are tables, or with --json the gateway's own objects."""
    gateway.answer("GET /v1/models", json({"data": [{"id": "m1", "kind": "text", "available": True}]}))
    gateway.answer("GET /v1/nodes", json({"data": [{"id": "1", "name": "n1", "slots": 2}]}))
    gateway.answer("GET /v1/tasks", json({"data": [task_json()], "next_cursor": None}))
    gateway.answer(f"POST /v1/tasks/{TASK}/cancel", json(task_json(status="canceled")))
    for command, word in ((["models"], "m1"), (["nodes"], "n1"), (["task"], TASK)):
        assert word in run(*command, "list").stdout
        assert orjson.loads(run(*command, "list", "--json").stdout)
    assert run("task", "cancel", TASK).stdout == "canceled\n"
