"""The synchronous client."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from neurogrid.client import calls, transport
from neurogrid.client.calls import Answer, Call
from neurogrid.client.errors import WaitTimeout
from neurogrid.client.following import Following
from neurogrid.client.retrying import Lost, Pause, conversation
from neurogrid.client.types import Model, Node, NodeToken, Replay, Task, TaskEvent
from neurogrid.protocol.events import EventId

T = TypeVar("T")


class Client:
    """Talks to one gateway; safe to share between threads. Close it, or use it as a context manager.

    Every method raises ``ApiError`` when the gateway refuses and ``ConnectionFailed`` when it cannot be
    reached. A busy gateway (429, 503) is asked again after the time it names, a lost connection is made
    again where repeating the request does no harm, ``retries`` times at most.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 30.0,
        retries: int = 3,
        http_transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Prepare to talk to ``base_url`` (default: ``NEUROGRID_URL``, else port 8000 of this machine).

        ``api_key`` defaults to ``NEUROGRID_API_KEY``; ``timeout`` is in seconds per request.
        """
        self._url, headers = calls.connection(base_url, api_key)
        self._timeout = timeout
        self._retries = retries
        self._http = httpx.Client(base_url=self._url, headers=headers, transport=http_transport)

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the client."""
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def submit(
        self,
        input: Any,
        model: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        *,
        priority: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        max_attempts: int | None = None,
        timeout: float | None = None,
        deadline: datetime | None = None,
        on_disconnect: str | None = None,
        wait: float | None = None,
        idempotency_key: str | None = None,
    ) -> Task:
        """Submit a task and return it as accepted; with ``wait``, as it is after at most so many seconds.

        Without an ``idempotency_key`` a connection lost half-way is an error, since the task may exist.
        """
        fields = {
            "model": model,
            "parameters": parameters,
            "priority": priority,
            "metadata": metadata,
            "max_attempts": max_attempts,
            "timeout": timeout,
            "deadline": deadline,
            "on_disconnect": on_disconnect,
        }
        return self._run(calls.submit(input, wait, idempotency_key, fields))

    def get(self, task_id: str) -> Task:
        """Return one task."""
        return self._run(calls.get(task_id))

    def tasks(
        self, *, status: str | None = None, model: str | None = None, limit: int | None = None
    ) -> Iterator[Task]:
        """Iterate over one's tasks, newest first, page by page; over ``limit`` of them at most."""
        pages = calls.Pages(status, model, limit)
        while (call := pages.next()) is not None:
            yield from pages.take(self._run(call))

    def cancel(self, task_id: str) -> Task:
        """Cancel a task and return it."""
        return self._run(calls.cancel(task_id))

    def retry(self, task_id: str) -> Task:
        """Run a failed or cancelled task again, with all its attempts, and return it."""
        return self._run(calls.retry(task_id))

    def dead_letters(self, *, model: str | None = None, limit: int | None = None) -> Iterator[Task]:
        """Iterate over one's tasks that failed for good, newest first; over ``limit`` of them at most."""
        pages = calls.Pages(None, model, limit, path=calls.DEAD_LETTERS)
        while (call := pages.next()) is not None:
            yield from pages.take(self._run(call))

    def replay(self, task_ids: Iterable[str]) -> Replay:
        """Run up to 1,000 failed or cancelled tasks again; the answer says which are."""
        return self._run(calls.replay({"ids": list(task_ids)}))

    def replay_dead_letters(self, *, model: str | None = None) -> Replay:
        """Run the oldest 1,000 dead letters again; the answer says which are, and whether there are more."""
        return self._run(calls.replay({"all": True, "model": model}))

    def log(self, task_id: str) -> tuple[TaskEvent, ...]:
        """Return the whole log of a task."""
        return self._run(calls.log(task_id))

    def models(self) -> tuple[Model, ...]:
        """Return the models of the grid."""
        return self._run(calls.models())

    def nodes(self) -> tuple[Node, ...]:
        """Return the nodes of the grid."""
        return self._run(calls.nodes())

    def node(self, node_id: str) -> Node:
        """Return one node."""
        return self._run(calls.node(node_id))

    def cordon_node(self, node_id: str) -> Node:
        """Give a node nothing new, also after restarts; it finishes what it has."""
        return self._run(calls.order(node_id, "cordon"))

    def uncordon_node(self, node_id: str) -> Node:
        """Give a node tasks again."""
        return self._run(calls.order(node_id, "uncordon"))

    def drain_node(self, node_id: str, deadline: float | None = None) -> Node:
        """Have a node finish what it can within ``deadline`` seconds, hand back the rest and leave."""
        return self._run(calls.drain(node_id, deadline))

    def remove_node(self, node_id: str) -> None:
        """Forget a node; what it runs, runs elsewhere."""
        self._run(calls.remove_node(node_id))

    def node_tokens(self) -> tuple[NodeToken, ...]:
        """Return the tokens by which nodes join, without their secrets."""
        return self._run(calls.node_tokens())

    def create_node_token(
        self,
        name: str = "node",
        *,
        expires_in: float | None = None,
        node: str | None = None,
        models: Sequence[str] | None = None,
    ) -> NodeToken:
        """Make a token by which nodes join; its secret is in ``token``, this once.

        ``expires_in`` is in seconds; ``node`` the only name, ``models`` the only models such a node may have.
        """
        fields = {"name": name, "expires_in_s": expires_in, "node": node, "models": models}
        return self._run(calls.create_node_token(fields))

    def revoke_node_token(self, token_id: str) -> None:
        """Revoke a token; the nodes that joined by it are disconnected."""
        self._run(calls.revoke_node_token(token_id))

    def wait(self, task_id: str, timeout: float | None = None) -> Task:
        """Return the task when it is over, in whatever way. Raises ``WaitTimeout`` after ``timeout`` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            for _ in self._events(Following(task_id), deadline):
                pass
            task = self.get(task_id)
            if task.finished:  # else it was replayed in the meantime
                return task

    def stream(self, task_id: str, after: EventId | str | None = None) -> Iterator[TaskEvent]:
        """Iterate over a task's events, from its first or from the one after ``after``, until it is over.

        A broken connection is made again and continued where it broke: nothing is left out or told twice.
        """
        return self._events(Following(task_id, after), None)

    def _events(self, following: Following, deadline: float | None) -> Iterator[TaskEvent]:
        while not following.over:
            yield from self._listen(following, deadline)
            time.sleep(min(following.pause, _until(deadline)))

    def _listen(self, following: Following, deadline: float | None) -> Iterator[TaskEvent]:
        """Yield the events of one connection; ``following`` knows what comes after it."""
        call = following.connect()
        timeout = transport.limits(_until(deadline))
        try:
            with self._http.stream(
                call.method, call.path, headers=dict(call.headers), timeout=timeout
            ) as response:
                if not response.is_success:
                    response.read()
                    following.refused(transport.answer_of(response))
                    return
                for piece in response.iter_bytes():
                    for event in following.feed(piece):
                        yield event
                        _until(deadline)
        except httpx.TransportError as error:
            if following.over:
                return
            _until(deadline)
            following.lost(transport.lost(error, self._url).reason)
            return
        if not following.over:
            following.lost(f"{self._url} ended the stream before the task was over")

    def _run(self, call: Call[T]) -> T:
        steps = conversation(call, self._retries)
        try:
            step = next(steps)
            while True:
                if isinstance(step, Pause):
                    time.sleep(step.seconds)
                    step = steps.send(None)
                else:
                    step = steps.send(self._send(call))
        except StopIteration as end:
            result: T = end.value
            return result

    def _send(self, call: Call[T]) -> Answer | Lost:
        try:
            return transport.answer_of(self._http.send(transport.prepare(self._http, call, self._timeout)))
        except httpx.TransportError as error:
            return transport.lost(error, self._url)


def _until(deadline: float | None) -> float:
    """Return the seconds that one read may take. Raises ``WaitTimeout`` past the deadline."""
    if deadline is None:
        return transport.SILENCE
    left = deadline - time.monotonic()
    if left <= 0:
        msg = "the task is not over yet"
        raise WaitTimeout(msg)
    return min(left, transport.SILENCE)
