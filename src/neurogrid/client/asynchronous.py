"""The asynchronous client: the same methods as ``Client``, to be awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from neurogrid.client import calls, transport
from neurogrid.client.calls import Answer, Call
from neurogrid.client.errors import WaitTimeout
from neurogrid.client.following import Following
from neurogrid.client.retrying import Lost, Pause, conversation
from neurogrid.client.types import Model, Node, Task, TaskEvent
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

    async def log(self, task_id: str) -> tuple[TaskEvent, ...]:
        """Return the whole log of a task."""
        return await self._run(calls.log(task_id))

    async def models(self) -> tuple[Model, ...]:
        """Return the models of the grid."""
        return await self._run(calls.models())

    async def nodes(self) -> tuple[Node, ...]:
        """Return the nodes of the grid."""
        return await self._run(calls.nodes())

    async def wait(self, task_id: str, timeout: float | None = None) -> Task:  # noqa: ASYNC109  as in Client
        """Return the task when it is over, in whatever way. Raises ``WaitTimeout`` after ``timeout`` seconds."""
        try:
            async with asyncio.timeout(timeout), aclosing(self.stream(task_id)) as events:
                async for _ in events:
                    pass
        except TimeoutError:
            msg = "the task is not over yet"
            raise WaitTimeout(msg) from None
        return await self.get(task_id)

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
                    if following.over:
                        return
        except httpx.TransportError as error:
            following.lost(transport.lost(error, self._url).reason)
            return
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
