"""Quotes against what then happened, on real processes with a known backlog (GRID-12)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
import pytest

from tests.e2e.grids import LONG, Cluster
from tests.support.until import until_blocking

pytestmark = pytest.mark.timeout(400)

TASK = {"model": "debug.sleep", "input": {"seconds": 0.25}, "priority": "normal"}
SLOTS = 4
HISTORY = 24
BACKLOG = 120
SHARE = 30
LOW = 4


@dataclass
class Asked:
    """A quote, and the task that was submitted right after it."""

    name: str
    quote: Any
    task: str


def bulk(http: httpx.Client, count: int, **fields: Any) -> list[str]:
    """Submit ``count`` tasks and return their ids."""
    answer = http.post("/v1/tasks/bulk", json={"tasks": [{**TASK, **fields}] * count}).raise_for_status()
    return [row["task"]["id"] for row in answer.json()["data"]]


def ask(name: str, http: httpx.Client, **fields: Any) -> Asked:
    """Ask for a quote, and submit what it was for."""
    task = {**TASK, **fields}
    quote = http.post("/v1/tasks/quote", json=task).raise_for_status().json()
    return Asked(name, quote, http.post("/v1/tasks", json=task).raise_for_status().json()["id"])


def waited(http: httpx.Client, task: str) -> float:
    """Return how many seconds a task waited for its start, by its row."""

    def begun() -> Any:
        row = http.get(f"/v1/tasks/{task}").raise_for_status().json()
        return row if row["started_at"] else None

    row = until_blocking(begun, LONG, what="the task has begun")
    return (
        datetime.fromisoformat(row["started_at"]) - datetime.fromisoformat(row["created_at"])
    ).total_seconds()


def test_quotes_come_true(cluster: Cluster) -> None:
    """With a known backlog p50 and p90 lie within a factor of two of the real start, whoever asks, at any gateway.

    Behind one's own tasks it is their number that counts, behind a crowd's one's share, and in a lower class the
    turn that age gives.
    """
    a, b = cluster.gateway("a"), cluster.gateway("b")
    cluster.node("node-a", a, "debug.sleep", slots=SLOTS)
    users = cluster.accounts({"crowd": "free", "other": "free", "patient": "free"})
    with (
        users["crowd"].http(a) as crowd,
        users["other"].http(b) as other,
        users["patient"].http(b) as patient,
    ):
        last = bulk(crowd, HISTORY)[-1]
        until_blocking(lambda: crowd.get(f"/v1/tasks/{last}").json()["finished_at"], LONG)
        bulk(crowd, BACKLOG)
        bulk(other, SHARE)
        patient.post("/v1/tasks/bulk", json={"tasks": [{**TASK, "priority": "low"}] * LOW}).raise_for_status()
        asked = [
            (crowd, ask("own", crowd)),
            (other, ask("share", other)),
            (patient, ask("low", patient, priority="low")),
        ]
        for http, each in asked:
            really = waited(http, each.task)
            expected = each.quote["expected_start"]
            for figure in ("p50_seconds", "p90_seconds"):
                assert really / 2 <= expected[figure] <= really * 2, (figure, each, really)
