"""Stateful tests (Hypothesis) of what is asynchronous: each example has a loop of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

T = TypeVar("T")


class AsyncMachine(RuleBasedStateMachine):
    """A machine whose rules ``run`` what they await; what is entered into ``stack`` ends with the example."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.stack = AsyncExitStack()

    def run(self, work: Awaitable[T]) -> T:
        """Wait for ``work``; nothing goes on in between."""
        return self.loop.run_until_complete(_awaited(work))

    def teardown(self) -> None:
        """End what was begun."""
        self.loop.run_until_complete(self.stack.aclose())
        self.loop.close()


async def _awaited(work: Awaitable[T]) -> T:
    return await work


def run_machine(machine: type[AsyncMachine], *, examples: int, steps: int, **attributes: Any) -> None:
    """Run a machine, of which ``attributes`` say where it works, as a test."""
    here = type(f"{machine.__name__}Here", (machine,), attributes)
    run_state_machine_as_test(
        here,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
