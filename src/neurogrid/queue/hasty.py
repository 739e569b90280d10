"""For the drill's self-test alone: a journal that promises before it writes."""

from __future__ import annotations

from collections.abc import Sequence

from neurogrid.core.background import Background
from neurogrid.core.ids import now
from neurogrid.core.settings import JournalSettings
from neurogrid.queue.answers import Answer, Inserted
from neurogrid.queue.journal import Journal
from neurogrid.queue.ops import Insert, Op
from neurogrid.queue.policy import Status
from neurogrid.queue.writer import Writer


class HastyJournal(Journal):
    """Answers for new tasks at once, before their commit."""

    def __init__(self, writer: Writer, settings: JournalSettings) -> None:
        """Break the promises of a journal of ``writer``."""
        super().__init__(writer, settings)
        self._promised = Background()

    async def execute_all(self, ops: Sequence[Op], *, patient: bool = False) -> list[Answer | Exception]:
        """Do what ``Journal.execute_all`` does, but for inserts too early."""
        if not all(isinstance(op, Insert) for op in ops):
            return await super().execute_all(ops, patient=patient)
        self._promised.spawn(super().execute_all(ops, patient=True), "journal.promised")
        return [Inserted(op.id, Status.QUEUED, now()) for op in ops if isinstance(op, Insert)]
