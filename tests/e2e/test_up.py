"""``neurogrid up``: the one command of a newcomer."""

from __future__ import annotations

import json
import signal
import stat
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.e2e.grids import LONG, Single, User
from tests.support.processes import GridProcess
from tests.support.until import until_blocking

pytestmark = pytest.mark.timeout(600)
DEBUG = ("--debug-models", "--models", "debug.sleep,debug.echo", "--slots", "4")
OF_EACH: dict[str, tuple[Any, dict[str, Any]]] = {
    "smollm2-135m": ("Say hello.", {"max_tokens": 4}),
    "e5-small": (["how much protein per day", "paper clips"], {}),
    "language": ("Où est la gare ?", {}),
    "sentiment": ("What a wonderful day!", {}),
    "file-type": ({"base64": "JVBERi0xLjcK"}, {}),
    "debug.echo": ({"hello": "world"}, {}),
    "debug.sleep": ({"seconds": 0.01, "chunks": 2}, {}),
    "debug.fail": ({"times": 1}, {}),
}


def everything(user: User, gateway: GridProcess) -> list[Any]:
    """Return all tasks of a user, by pages."""
    tasks: list[Any] = []
    cursor: dict[str, str] = {}
    with user.http(gateway) as http:
        while True:
            page = http.get("/v1/tasks", params={"limit": 100, **cursor}).raise_for_status().json()
            tasks += page["data"]
            if page["next_cursor"] is None:
                return tasks
            cursor = {"cursor": page["next_cursor"]}


def all_over(user: User, gateway: GridProcess) -> Callable[[], bool]:
    return lambda: all(task["finished_at"] for task in everything(user, gateway))


@pytest.mark.parametrize(
    "servers", [pytest.param((), id="sqlite"), pytest.param(("--servers",), id="servers")]
)
@pytest.mark.models
def test_main_job(single: Single, servers: tuple[str, ...]) -> None:
    """A task submitted by the command line prints its output as it comes and ends with usage; so does SSE."""
    gateway = single.up(*servers)
    question = "Name three uses of a paper clip."
    printed = single.grid.run(
        "task", "submit", "smollm2-135m", "--input", question, "--watch", "-p", "max_tokens=40"
    )
    user = single.user()
    [task] = everything(user, gateway)
    whole = user.task(gateway, task["id"])
    assert whole["status"] == "completed"
    assert whole["output"]["text"].strip() in printed
    assert whole["usage"]["completion_tokens"] > 0
    assert single.credentials["url"] == gateway.url

    again = user.submit(gateway, "smollm2-135m", question, parameters={"max_tokens": 40})
    with user.http(gateway) as http, http.stream("GET", f"/v1/tasks/{again}/events") as events:
        data = [
            json.loads(line.removeprefix("data: "))
            for line in events.iter_lines()
            if line.startswith("data: ")
        ]
    assert (
        "".join(event["data"]["text"] for event in data if event["type"] == "task.chunk")
        == whole["output"]["text"]
    )
    assert data[-1]["type"] == "task.completed"
    assert gateway.terminate() == 0


@pytest.mark.models
def test_five_hundred_tasks_over_all_models(single: Single) -> None:
    """500 tasks over all models complete, each once, and no log line has the key."""
    gateway = single.up("--debug-models")
    user = single.user()
    counts = {"smollm2-135m": 24, "e5-small": 60, "debug.fail": 16}
    rest = [model for model in OF_EACH if model not in counts]
    counts |= dict.fromkeys(rest, (500 - sum(counts.values())) // len(rest))
    assert sum(counts.values()) == 500
    with user.http(gateway) as http:
        for number in range(max(counts.values())):
            for model, count in counts.items():
                if number < count:
                    input, parameters = OF_EACH[model]
                    body = {"model": model, "input": input, "parameters": parameters}
                    assert http.post("/v1/tasks", json=body).status_code == httpx.codes.ACCEPTED
    until_blocking(all_over(user, gateway), 4 * LONG, interval=0.5, what="all 500 are over")
    tasks = everything(user, gateway)
    assert Counter(task["model"] for task in tasks) == counts
    assert {task["status"] for task in tasks} == {"completed"}
    assert {task["attempt"] for task in tasks if task["model"] != "debug.fail"} == {1}
    assert user.key not in gateway.output()
    assert single.credentials["password"] not in gateway.output()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=lambda how: how.name)
@pytest.mark.parametrize(
    "servers", [pytest.param((), id="sqlite"), pytest.param(("--servers",), id="servers")]
)
def test_restart_in_the_middle(single: Single, how: signal.Signals, servers: tuple[str, ...]) -> None:
    """Whether it is killed or asked to stop in the middle of 50 tasks: all 50 finish, each once."""
    gateway = single.up(*DEBUG, *servers)
    user = single.user()
    tasks = [user.submit(gateway, "debug.sleep", {"seconds": 0.4, "chunks": 4}) for _ in range(50)]
    until_blocking(lambda: user.task(gateway, tasks[8])["finished_at"], LONG, what="some are done")
    if how is signal.SIGTERM:
        assert gateway.terminate() == 0
    else:
        gateway.kill()

    gateway = single.up(*DEBUG, *servers)
    assert single.user() == user, "the key outlives a restart"
    until_blocking(all_over(user, gateway), LONG, interval=0.2, what="all 50 are over")
    shown = everything(user, gateway)
    assert {task["id"] for task in shown} == set(tasks)
    assert {task["status"] for task in shown} == {"completed"}
    assert {task["errors"] for task in shown} == {0}
    # One told to stop hands its tasks back, free of charge, and may meet some of them twice on its way out.
    assert max(task["attempt"] for task in shown) <= (3 if how is signal.SIGTERM else 2)
    for task in tasks:
        types = [event["type"] for event in user.states(gateway, task)]
        assert (types.count("task.completed"), types[-1]) == (1, "task.completed")


def test_credentials_are_for_their_owner_only(single: Single) -> None:
    """The first admin's credentials lie in a file that nobody else can read, and open the gateway."""
    gateway = single.up(*DEBUG)
    assert set(single.credentials) == {"email", "password", "api_key", "url"}
    file = single.directory / "credentials.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(single.directory.stat().st_mode) & 0o077 == 0
    user = single.user()
    assert user.finished(gateway, user.submit(gateway, "debug.echo", 1))["output"] == 1
    assert user.key not in gateway.output()
