"""Who in this process wants to hear what: callbacks by channel."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Listener = TypeVar("Listener")


class Listeners(Generic[Listener]):
    """Callbacks by channel name. A channel's tuple is replaced, never changed, so that callbacks may come and go
    while one of them is being called.
    """

    def __init__(self) -> None:
        self._by_channel: dict[str, tuple[Listener, ...]] = {}

    def add(self, channel: str, listener: Listener) -> None:
        """Let ``listener`` hear ``channel``."""
        self._by_channel[channel] = (*self._by_channel.get(channel, ()), listener)

    def remove(self, channel: str, listener: Listener) -> None:
        """Let ``listener`` hear ``channel`` no more."""
        left = tuple(other for other in self._by_channel.get(channel, ()) if other is not listener)
        if left:
            self._by_channel[channel] = left
        else:
            self._by_channel.pop(channel, None)

    def of(self, channel: str) -> tuple[Listener, ...]:
        """Return who listens to ``channel`` now."""
        return self._by_channel.get(channel, ())

    def channels(self) -> list[str]:
        """Return the channels with at least one listener."""
        return list(self._by_channel)


class Listening:
    """A subscription that ends by calling ``release`` once."""

    def __init__(self, release: Callable[[], Awaitable[None]]) -> None:
        self._release = release
        self._open = True

    async def close(self) -> None:
        """Stop listening. Idempotent."""
        if self._open:
            self._open = False
            await self._release()
