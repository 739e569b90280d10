"""Fair shares over two gateways and two nodes, judged by the order in which the rows say tasks began (R15-R17)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import httpx
import pytest

from neurogrid.tasks.policy import AGED_EVERY
from tests.e2e.grids import LONG, Cluster
from tests.support.until import until_blocking

pytestmark = pytest.mark.timeout(400)

MODEL = "debug.sleep"
SECONDS = 0.05
SLOTS = 4
CROWD = 1000
NEWCOMER = 10
LOW = 5
TIERS = {"crowd": "free", "newcomer": "free", "patient": "free", "pro": "pro", "enterprise": "enterprise"}
BACKLOG = {"pro": 100, "enterprise": 130}
WEIGHTS = {"crowd": 1, "pro": 2, "enterprise": 4}


@dataclass(frozen=True, order=True)
class Row:
    """A task as its row has it: when it began, empty as long as it has not, and when it came."""

    began: str
    came: str
    owner: str


class Grid:
    """Two gateways, each with a node of two slots, and users who submit at either."""

    def __init__(self, cluster: Cluster) -> None:
        """Start everything."""
        self.users = cluster.accounts(TIERS)
        self.gateways = [cluster.gateway(name) for name in "ab"]
        for gateway in self.gateways:
            cluster.node(f"node-{gateway.name}", gateway, MODEL, slots=2)

    def submit(self, name: str, count: int, *, priority: str = "normal") -> None:
        """Submit ``count`` tasks, half of them at each gateway."""
        for index, gateway in enumerate(self.gateways):
            task = {"model": MODEL, "input": {"seconds": SECONDS}, "priority": priority}
            tasks = [task] * ((count + index) // 2)
            with self.users[name].http(gateway) as http:
                answer = http.post("/v1/tasks/bulk", json={"tasks": tasks}).raise_for_status()
            assert answer.json()["accepted"] == len(tasks)

    def rows(self, name: str) -> list[Row]:
        """Return the tasks of a user."""
        with self.users[name].http(self.gateways[0]) as http:
            return [Row(task["started_at"] or "", task["created_at"], name) for task in _listed(http)]

    def wait(self, name: str, count: int) -> None:
        """Wait until ``count`` tasks of a user have begun."""

        def begun() -> bool:
            return sum(bool(row.began) for row in self.rows(name)) >= count

        until_blocking(begun, LONG, interval=0.3, what=f"{count} tasks of {name} have begun")

    def starts(self, since: str) -> list[Row]:
        """Return the tasks that began after ``since``, in their order."""
        rows = [row for name in self.users for row in self.rows(name)]
        return sorted(row for row in rows if row.began > since)


def _listed(http: httpx.Client) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    asked: dict[str, str] = {}
    while True:
        page = http.get("/v1/tasks", params={"limit": "100", **asked}).raise_for_status().json()
        found += page["data"]
        if page["next_cursor"] is None:
            return found
        asked = {"cursor": page["next_cursor"]}


def places(starts: list[Row], owner: str) -> list[int]:
    """Return where in the order, counted from 1, an owner's tasks began."""
    return [place for place, row in enumerate(starts, 1) if row.owner == owner]


def test_everybody_gets_a_fair_share(cluster: Cluster) -> None:
    """R15-R17: whatever a crowd has queued, others get their share of every slot, at whichever gateway they ask.

    Beside 1,000 tasks of one user, ten of another of the same tier wait no longer than about twice as if the
    two shared the grid evenly; the tiers get their weights' shares within 15 %; and `low` is never starved.
    """
    grid = Grid(cluster)
    grid.submit("crowd", CROWD)
    grid.wait("crowd", 20)
    grid.submit("newcomer", NEWCOMER)
    grid.wait("newcomer", NEWCOMER)
    came = min(row.came for row in grid.rows("newcomer"))
    for number, place in enumerate(places(grid.starts(came), "newcomer"), 1):
        assert place <= 2 * (2 * number) + SLOTS  # shared by two it would be every second

    for name, count in BACKLOG.items():
        grid.submit(name, count)
    grid.submit("patient", LOW, priority="low")
    for name, count in {**BACKLOG, "patient": LOW}.items():
        grid.wait(name, count)
    came = max(row.came for name in (*BACKLOG, "patient") for row in grid.rows(name))
    starts = grid.starts(came)
    assert not all(row.began for row in grid.rows("crowd"))  # somebody of a higher class waited all the time
    for number, place in enumerate(places(starts, "patient"), 1):
        assert place <= len(grid.gateways) * AGED_EVERY * number + SLOTS
    shares = contested(starts)
    for name, weight in WEIGHTS.items():
        fair = weight / sum(WEIGHTS.values())
        assert shares[name] / shares.total() == pytest.approx(fair, rel=0.15), shares


def contested(starts: list[Row]) -> Counter[str]:
    """Count the starts of each owner of ``WEIGHTS`` as long as all of them have something queued."""
    left = Counter(row.owner for row in starts)
    shares: Counter[str] = Counter()
    for row in starts:
        if not all(left[name] for name in WEIGHTS):
            break
        left[row.owner] -= 1
        shares[row.owner] += row.owner in WEIGHTS
    return shares
