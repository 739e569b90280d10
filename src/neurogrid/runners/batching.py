"""Many small pieces of work, few native calls: what arrives while a call runs goes together into the next."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

_Result = TypeVar("_Result")


class Batcher(Generic[_Result]):
    """Runs ``call(group, texts)`` in one thread of its own, over as many waiting texts as fit.

    A call takes texts of one group only, at most ``max_texts`` and (unless it is a single one)
    ``max_characters`` in all; a text whose waiter was cancelled is left out. Nothing waits for company:
    a lone text starts at once, and a crowd gathers while it runs.

    The thread is its own because native engines keep a pool of workers per calling thread.
    """

    def __init__(
        self,
        call: Callable[[Hashable, Sequence[str]], Sequence[_Result]],
        *,
        max_texts: int,
        max_characters: int,
    ) -> None:
        self._call = call
        self._max_texts = max_texts
        self._max_characters = max_characters
        self._waiting: deque[tuple[Hashable, str, asyncio.Future[_Result]]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batch")
        self._worker: asyncio.Task[None] | None = None
        self.calls = 0

    async def submit(self, group: Hashable, text: str) -> _Result:
        """Return the result for ``text``. Raises what the call raised; cancelling takes the text back."""
        future: asyncio.Future[_Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((group, text, future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await future

    async def close(self) -> None:
        """Cancel what waits and end the thread once the running call is over; idempotent."""
        for _, _, future in self._waiting:
            future.cancel()
        self._waiting.clear()
        if self._worker is not None:
            await self._worker
        self._thread.shutdown(wait=False)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while batch := self._take():
            group = batch[0][0]
            self.calls += 1
            try:
                results = await loop.run_in_executor(
                    self._thread, self._call, group, [text for _, text, _ in batch]
                )
            except Exception as error:  # noqa: BLE001  the error belongs to the waiters, the loop goes on
                for _, _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, _, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)

    def _take(self) -> list[tuple[Hashable, str, asyncio.Future[_Result]]]:
        batch: list[tuple[Hashable, str, asyncio.Future[_Result]]] = []
        left_over: deque[tuple[Hashable, str, asyncio.Future[_Result]]] = deque()
        characters = 0
        while self._waiting and len(batch) < self._max_texts:
            item = self._waiting.popleft()
            group, text, future = item
            if future.done():
                continue
            fits = not batch or (group == batch[0][0] and characters + len(text) <= self._max_characters)
            if not fits:
                left_over.append(item)
                continue
            batch.append(item)
            characters += len(text)
        self._waiting.extendleft(reversed(left_over))
        return batch
