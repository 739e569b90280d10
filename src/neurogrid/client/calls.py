"""Requests and the reading of answers, without any input or output, so that both clients share them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import orjson

from neurogrid.client.errors import ApiError, FieldProblem
from neurogrid.client.types import Model, Node, NodeToken, Replay, Task, TaskEvent

DEFAULT_URL = "http://127.0.0.1:8000"
DEAD_LETTERS = "/v1/tasks/dead-letters"
PAGE = 100
"""Tasks asked for at a time when listing."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request, and how its answer is read.

    ``repeatable``: sending it twice does no harm. ``patience``: seconds the gateway was asked to wait.
    """

    method: str
    path: str
    read: Callable[[Any], T]
    query: Mapping[str, str | int] = field(default_factory=dict)
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True
    patience: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status, headers by lower-case name, the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def accepted(self) -> bool:
        """Whether the gateway did what was asked."""
        return 200 <= self.status < 300

    def json(self) -> Any:
        """Return the body, ``None`` for 204. Raises ``ApiError`` when it is no JSON: then no gateway speaks here."""
        if self.status == 204:
            return None
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            start = self.body[:200].decode(errors="replace")
            msg = f"This is not a NeuroGrid gateway's answer: {start!r}"
            raise ApiError(self.status, "not_json", msg) from None

    def error(self) -> ApiError:
        """Return the problem that the body holds."""
        try:
            problem = orjson.loads(self.body)
            errors = tuple(FieldProblem(each["field"], each["message"]) for each in problem.get("errors", ()))
            return ApiError(
                self.status,
                problem["code"],
                problem["detail"],
                request_id=problem.get("request_id"),
                errors=errors,
            )
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            text = self.body[:200].decode(errors="replace").strip() or "no explanation"
            return ApiError(self.status, "unknown", text, request_id=self.headers.get("x-request-id"))


@dataclass(frozen=True, slots=True)
class Page:
    """Some tasks of a list, and where the next ones begin (``None``: nowhere)."""

    tasks: tuple[Task, ...]
    cursor: str | None


class Pages:
    """Goes through a list of tasks page by page, up to ``limit`` tasks."""

    def __init__(
        self, status: str | None, model: str | None, limit: int | None, *, path: str = "/v1/tasks"
    ) -> None:
        self._path = path
        self._filters = {"status": status, "model": model}
        self._left = limit
        self._cursor: str | None = None
        self._begun = False

    def next(self) -> Call[Page] | None:
        """Return the request for the next page, ``None`` after the last."""
        if self._left == 0 or (self._begun and self._cursor is None):
            return None
        size = PAGE if self._left is None else min(self._left, PAGE)
        query = {**self._filters, "cursor": self._cursor, "limit": size}
        given = {name: value for name, value in query.items() if value is not None}
        return Call("GET", self._path, _page, query=given)

    def take(self, page: Page) -> tuple[Task, ...]:
        """Take a page and return the tasks of it that are wanted."""
        tasks = page.tasks[: self._left]
        self._begun, self._cursor = True, page.cursor
        self._left = None if self._left is None else self._left - len(tasks)
        return tasks


def connection(base_url: str | None, api_key: str | None) -> tuple[str, dict[str, str]]:
    """Return the URL and headers to use: what is given, else ``NEUROGRID_URL`` and ``NEUROGRID_API_KEY``."""
    url = base_url or os.environ.get("NEUROGRID_URL") or DEFAULT_URL
    key = api_key or os.environ.get("NEUROGRID_API_KEY")
    headers = {"User-Agent": "neurogrid-client"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    return url.rstrip("/"), headers


def submit(
    input: Any, wait: float | None, idempotency_key: str | None, fields: Mapping[str, Any]
) -> Call[Task]:
    """Submit a task; ``fields`` that are ``None`` are left to the gateway."""
    body = {"input": input} | {name: value for name, value in fields.items() if value is not None}
    headers = {"Content-Type": "application/json"}
    if wait:
        headers["Prefer"] = f"wait={wait:g}"
    if idempotency_key:
        headers["Idempotency-Key"] = idempotency_key
    return Call(
        "POST",
        "/v1/tasks",
        Task.parse,
        body=orjson.dumps(body),
        headers=headers,
        repeatable=idempotency_key is not None,
        patience=wait or 0.0,
    )


def get(task_id: str) -> Call[Task]:
    """Ask for one task."""
    return Call("GET", task_path(task_id), Task.parse)


def cancel(task_id: str) -> Call[Task]:
    """Cancel one task; on one that has ended the gateway answers as if for the first time, or refuses."""
    return Call("POST", task_path(task_id) + "/cancel", Task.parse)


def retry(task_id: str) -> Call[Task]:
    """Run one failed or cancelled task again."""
    return Call("POST", task_path(task_id) + "/retry", Task.parse, repeatable=False)


def replay(asked: Mapping[str, Any]) -> Call[Replay]:
    """Run many failed or cancelled tasks again."""
    body = orjson.dumps({name: value for name, value in asked.items() if value is not None})
    headers = {"Content-Type": "application/json"}
    return Call("POST", f"{DEAD_LETTERS}/replay", Replay.parse, body=body, headers=headers, repeatable=False)


def log(task_id: str) -> Call[tuple[TaskEvent, ...]]:
    """Ask for every event of a task's log."""
    return Call("GET", task_path(task_id) + "/log", lambda value: _items(value, TaskEvent.parse))


def models() -> Call[tuple[Model, ...]]:
    """Ask for the catalogue."""
    return Call("GET", "/v1/models", lambda value: _items(value, Model.parse))


def nodes() -> Call[tuple[Node, ...]]:
    """Ask for the nodes."""
    return Call("GET", "/v1/nodes", lambda value: _items(value, Node.parse))


def node(node_id: str) -> Call[Node]:
    """Ask for one node."""
    return Call("GET", _node_path(node_id), Node.parse)


def order(node_id: str, what: str) -> Call[Node]:
    """Order a node to ``cordon`` or ``uncordon``."""
    return Call("POST", f"{_node_path(node_id)}/{what}", Node.parse)


def drain(node_id: str, seconds: float | None) -> Call[Node]:
    """Order a node to leave within ``seconds``, ``None`` leaving that to the gateway."""
    return _post(f"{_node_path(node_id)}/drain", Node.parse, {"deadline_s": seconds})


def remove_node(node_id: str) -> Call[None]:
    """Forget a node."""
    return Call("DELETE", _node_path(node_id), _nothing)


def node_tokens() -> Call[tuple[NodeToken, ...]]:
    """Ask for the tokens by which nodes join."""
    return Call("GET", "/v1/nodes/tokens", lambda value: _items(value, NodeToken.parse))


def create_node_token(fields: Mapping[str, Any]) -> Call[NodeToken]:
    """Make a token by which nodes join; made twice it is two tokens."""
    return _post("/v1/nodes/tokens", NodeToken.parse, fields, repeatable=False)


def revoke_node_token(token_id: str) -> Call[None]:
    """Revoke a token by which nodes join."""
    return Call("DELETE", f"/v1/nodes/tokens/{quote(token_id, safe='')}", _nothing)


def task_path(task_id: str) -> str:
    """Return the path of one task."""
    return f"/v1/tasks/{quote(task_id, safe='')}"


def _node_path(node_id: str) -> str:
    return f"/v1/nodes/{quote(node_id, safe='')}"


def _post(
    path: str, read: Callable[[Any], T], fields: Mapping[str, Any], *, repeatable: bool = True
) -> Call[T]:
    """Send those of ``fields`` that are given."""
    body = orjson.dumps({name: value for name, value in fields.items() if value is not None})
    headers = {"Content-Type": "application/json"}
    return Call("POST", path, read, body=body, headers=headers, repeatable=repeatable)


def _nothing(_: Any) -> None:
    return None


def _page(value: Any) -> Page:
    return Page(_items(value, Task.parse), value.get("next_cursor"))


def _items(value: Any, parse: Callable[[Any], T]) -> tuple[T, ...]:
    return tuple(parse(item) for item in value["data"])
