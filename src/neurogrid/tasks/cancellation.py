"""Cancelling a task for its owner, who asked for it or went away (`on_disconnect: cancel`)."""

from __future__ import annotations

from neurogrid.events.states import StateEvents
from neurogrid.queue.journal import Journal
from neurogrid.queue.ops import Cancel
from neurogrid.tasks.ports import Dispatching
from neurogrid.tasks.store import TaskStore


class Cancellation:
    """Cancels tasks and sees that they stop wherever they run."""

    def __init__(
        self, journal: Journal, store: TaskStore, states: StateEvents, dispatching: Dispatching
    ) -> None:
        """Write through ``journal``, tell ``dispatching`` what to stop."""
        self._journal = journal
        self._store = store
        self._states = states
        self._dispatching = dispatching

    async def cancel(self, owner: str, task: str, *, patient: bool = False) -> bool:
        """Cancel a task if it is not over; ``False`` if it is, or is not ``owner``'s. Raises ``Unavailable``.

        A ``patient`` caller waits for a database that is away.
        """
        answer = await self._journal.execute(Cancel(task, owner), patient=patient)
        if answer is None:
            return False
        self._states.canceled(answer)
        await self._dispatching.stopped(answer)
        return True

    async def wanted(self, task: str) -> str | None:
        """Return the owner of an unfinished task that is to be cancelled when nobody waits for it any more."""
        return await self._store.cancels_on_disconnect(task)
