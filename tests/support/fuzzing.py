"""A gateway for requests made up from its document: who asks, and the ids of things that are there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import httpx
import schemathesis
from anyio.from_thread import BlockingPortal, start_blocking_portal

from neurogrid.auth.policy import Role, Tier
from neurogrid.core.ids import new_id
from tests.support.door import PASSWORD
from tests.support.gateway import RunningGateway, running
from tests.support.plain import NOBODY
from tests.support.until import PATIENCE

BY_SESSION = ("/v1/auth/", "/v1/admin/")
"""What is asked by somebody signed in: parts of it are refused to API keys."""


@dataclass
class Asker:
    """An administrator with a key and a session that was just begun, and things that are theirs or everybody's."""

    url: str
    email: str
    key: str
    gone: bool = False

    @cached_property
    def access(self) -> str:
        """An access token."""
        return str(self.post("/v1/auth/token", email=self.email, password=PASSWORD)["access_token"])

    def credential(self, path: str) -> str:
        """Return what a path is asked with."""
        return self.access if path.startswith(BY_SESSION) else self.key

    def ask(self, method: str, path: str, credential: str, body: Any = None, wait: int = 0) -> Any:
        """Return the body of an answer that is no error."""
        headers = {"Authorization": f"Bearer {credential}", "Prefer": f"wait={wait}"}
        with httpx.Client(base_url=self.url, trust_env=False, verify=NOBODY, timeout=PATIENCE) as http:
            return http.request(method, path, headers=headers, json=body).raise_for_status().json()

    def get(self, path: str) -> list[dict[str, Any]]:
        """Return a list."""
        found: list[dict[str, Any]] = self.ask("GET", path, self.credential(path))["data"]
        return found

    def post(self, path: str, **body: Any) -> Any:
        """Post JSON, and return the answer."""
        return self.ask("POST", path, self.key, body)

    def task(self) -> str:
        """Return a task that is over."""
        body = {"model": "debug.echo", "input": "hi"}
        return str(self.ask("POST", "/v1/tasks", self.key, body, wait=1)["id"])

    def sleeper(self) -> str:
        """Return a task that runs."""
        return str(self.post("/v1/tasks", model="debug.sleep", input={"seconds": 60})["id"])

    def canceled(self) -> str:
        """Return a task that was cancelled."""
        id = self.sleeper()
        self.post(f"/v1/tasks/{id}/cancel")
        return id

    def session(self) -> str:
        """Return another session of the administrator."""
        self.post("/v1/auth/token", email=self.email, password=PASSWORD)
        return next(str(each["id"]) for each in self.get("/v1/auth/sessions") if not each["current"])

    def node(self) -> str:
        """Return a node, unless it was removed."""
        return next((str(each["id"]) for each in self.get("/v1/nodes")), new_id())


EXISTING: dict[str, Callable[[Asker], str]] = {
    "/v1/auth/sessions/{session_id}": Asker.session,
    "/v1/keys/{id}": lambda asker: str(asker.post("/v1/keys", name="another")["id"]),
    "/v1/tasks/{id}/cancel": Asker.sleeper,
    "/v1/tasks/{id}/retry": Asker.canceled,
    "/v1/tasks/{": Asker.task,
    "/v1/models/{name}": lambda _: "debug.echo",
    "/v1/nodes/tokens/{id}": lambda asker: str(asker.post("/v1/nodes/tokens", name="another")["id"]),
    "/v1/nodes/{id}": Asker.node,
    "/v1/admin/users/{id}": lambda asker: str(asker.get("/v1/admin/users")[-1]["id"]),
}
"""How ids come about that are not made up, by the beginning of a path; the first that fits counts.

Passkeys and linked identities are not among them: they take an authenticator and a provider, and have tests that do.
"""


@dataclass
class Fuzzed:
    """A gateway that runs in a thread of its own."""

    grid: RunningGateway
    portal: BlockingPortal
    _askers: dict[str, Asker] = field(default_factory=dict)

    def asker(self, operation: str) -> Asker:
        """Return who asks an operation: somebody new, if it ended the session of whom it had."""
        asker = self._askers.get(operation)
        if asker is None or asker.gone:
            email = f"{new_id()}@example.org"
            self.portal.call(self.grid.auth.create_user, email, Role.ADMIN, Tier.PRO, PASSWORD)
            key = self.portal.call(self.grid.auth.create_key, email, "test")
            asker = self._askers[operation] = Asker(self.grid.url, email, key)
        return asker

    def check(self, case: schemathesis.Case[Any]) -> None:
        """Send a request, and once more for a thing that is there, and hold the answers against the document."""
        path = case.operation.path
        asker = self.asker(case.operation.label)
        self._send(case, asker)
        make = next((make for start, make in EXISTING.items() if path.startswith(start)), None)
        if make is not None and case.method == case.operation.method.upper():
            [name] = case.path_parameters
            case.path_parameters = {name: make(asker)}
            self._send(case, asker)

    def _send(self, case: schemathesis.Case[Any], asker: Asker) -> None:
        headers = {"Authorization": f"Bearer {asker.credential(case.operation.path)}"}
        answer = case.call(base_url=self.grid.url, headers=headers)
        asker.gone = asker.gone or answer.status_code == httpx.codes.UNAUTHORIZED
        case.validate_response(answer, headers=headers)


@contextmanager
def fuzzed(database_url: str, **options: Any) -> Iterator[Fuzzed]:
    """Run a gateway that takes requests of this thread."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(running(database_url, **options)) as grid,
    ):
        yield Fuzzed(grid, portal)
