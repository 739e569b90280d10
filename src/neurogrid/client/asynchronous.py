"""The asynchronous client: the same methods as ``Client``, to be awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
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


class AsyncClient:
    """Talks to one gateway; ``Client`` says what the methods do and raise. Close it with ``aclose``."""

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 30.0,
        retries: int = 3,
        http_transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Prepare to talk to ``base_url``; the arguments mean what they mean to ``Client``."""
        self._url, headers = calls.connection(base_url, api_key)
        self._timeout = timeout
        self._retries = retries
        self._http = httpx.AsyncClient(base_url=self._url, headers=headers, transport=http_transport)

    async def __aenter__(self) -> Self:
        """Return the client itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the client."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def submit(
        self,
        input: Any,
        model: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        *,
        priority: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        max_attempts: int | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  the task's own
        deadline: datetime | None = None,
        on_disconnect: str | None = None,
        wait: float | None = None,
        idempotency_key: str | None = None,
    ) -> Task:
        """Submit a task and return it as accepted; with ``wait``, as it is after at most so many seconds."""
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
        return await self._run(calls.submit(input, wait, idempotency_key, fields))

    async def get(self, task_id: str) -> Task:
        """Return one task."""
        return await self._run(calls.get(task_id))

    async def tasks(
        self, *, status: str | None = None, model: str | None = None, limit: int | None = None
    ) -> AsyncIterator[Task]:
        """Iterate over one's tasks, newest first, page by page; over ``limit`` of them at most."""
        pages = calls.Pages(status, model, limit)
        while (call := pages.next()) is not None:
            for task in pages.take(await self._run(call)):
                yield task

    async def cancel(self, task_id: str) -> Task:
        """Cancel a task and return it."""
        return await self._run(calls.cancel(task_id))

    async def retry(self, task_id: str) -> Task:
        """Run a failed or cancelled task again, with all its attempts, and return it."""
        return await self._run(calls.retry(task_id))

    async def dead_letters(
        self, *, model: str | None = None, limit: int | None = None
    ) -> AsyncIterator[Task]:
        """Iterate over one's tasks that failed for good, newest first; over ``limit`` of them at most."""
        pages = calls.Pages(None, model, limit, path=calls.DEAD_LETTERS)
        while (call := pages.next()) is not None:
            for task in pages.take(await self._run(call)):
                yield task

    async def replay(self, task_ids: Iterable[str]) -> Replay:
        """Run up to 1,000 failed or cancelled tasks again; the answer says which are."""
        return await self._run(calls.replay({"ids": list(task_ids)}))

    async def replay_dead_letters(self, *, model: str | None = None) -> Replay:
        """Run the oldest 1,000 dead letters again; the answer says which are, and whether there are more."""
        return await self._run(calls.replay({"all": True, "model": model}))

    async def log(self, task_id: str) -> tuple[TaskEvent, ...]:
        """Return the whole log of a task."""
        return await self._run(calls.log(task_id))

    async def models(self) -> tuple[Model, ...]:
        """Return the models of the grid."""
        return await self._run(calls.models())

    async def nodes(self) -> tuple[Node, ...]:
        """Return the nodes of the grid."""
        return await self._run(calls.nodes())

    async def node(self, node_id: str) -> Node:
        """Return one node."""
        return await self._run(calls.node(node_id))

    async def cordon_node(self, node_id: str) -> Node:
        """Give a node nothing new, also after restarts; it finishes what it has."""
        return await self._run(calls.order(node_id, "cordon"))

    async def uncordon_node(self, node_id: str) -> Node:
        """Give a node tasks again."""
        return await self._run(calls.order(node_id, "uncordon"))

    async def drain_node(self, node_id: str, deadline: float | None = None) -> Node:
        """Have a node finish what it can within ``deadline`` seconds, hand back the rest and leave."""
        return await self._run(calls.drain(node_id, deadline))

    async def remove_node(self, node_id: str) -> None:
        """Forget a node; what it runs, runs elsewhere."""
        await self._run(calls.remove_node(node_id))

    async def node_tokens(self) -> tuple[NodeToken, ...]:
        """Return the tokens by which nodes join, without their secrets."""
        return await self._run(calls.node_tokens())

    async def create_node_token(
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
        return await self._run(calls.create_node_token(fields))

    async def revoke_node_token(self, token_id: str) -> None:
        """Revoke a token; the nodes that joined by it are disconnected."""
        await self._run(calls.revoke_node_token(token_id))

    async def wait(self, task_id: str, timeout: float | None = None) -> Task:  # noqa: ASYNC109  as in Client
        """Return the task when it is over, in whatever way. Raises ``WaitTimeout`` after ``timeout`` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while True:
                    async with aclosing(self.stream(task_id)) as events:
                        async for _ in events:
                            pass
                    task = await self.get(task_id)
                    if task.finished:  # else it was replayed in the meantime
                        return task
        except TimeoutError:
            msg = "the task is not over yet"
            raise WaitTimeout(msg) from None

    async def stream(
        self, task_id: str, after: EventId | str | None = None
    ) -> AsyncGenerator[TaskEvent, None]:
        """Iterate over a task's events, from its first or from the one after ``after``, until it is over."""
        following = Following(task_id, after)
        while not following.over:
            async with aclosing(self._listen(following)) as events:
                async for event in events:
                    yield event
            await asyncio.sleep(following.pause)

    async def _listen(self, following: Following) -> AsyncGenerator[TaskEvent, None]:
        """Yield the events of one connection; ``following`` knows what comes after it."""
        call = following.connect()
        timeout = transport.limits(transport.SILENCE)
        try:
            async with self._http.stream(
                call.method, call.path, headers=dict(call.headers), timeout=timeout
            ) as response:
                if not response.is_success:
                    await response.aread()
                    following.refused(transport.answer_of(response))
                    return
                async for piece in response.aiter_bytes():
                    for event in following.feed(piece):
                        yield event
        except httpx.TransportError as error:
            if following.over:
                return
            following.lost(transport.lost(error, self._url).reason)
            return
        if not following.over:
            following.lost(f"{self._url} ended the stream before the task was over")

    async def _run(self, call: Call[T]) -> T:
        steps = conversation(call, self._retries)
        try:
            step = next(steps)
            while True:
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                    step = steps.send(None)
                else:
                    step = steps.send(await self._send(call))
        except StopIteration as end:
            result: T = end.value
            return result

    async def _send(self, call: Call[T]) -> Answer | Lost:
        try:
            response = await self._http.send(transport.prepare(self._http, call, self._timeout))
            return transport.answer_of(response)
        except httpx.TransportError as error:
            return transport.lost(error, self._url)
