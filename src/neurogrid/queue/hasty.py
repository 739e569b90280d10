"""For the drill's self-test alone: a journal that promises before it writes."""

from __future__ import annotations

from typing import Any

from neurogrid.core.background import Background
from neurogrid.core.ids import now
from neurogrid.core.settings import JournalSettings
from neurogrid.queue.journal import Journal
from neurogrid.queue.ops import Answer, Insert, Inserted, Op
from neurogrid.queue.policy import Status
from neurogrid.queue.writer import Writer


class HastyJournal(Journal):
    """Answers for new tasks at once, before their commit."""

    def __init__(self, writer: Writer, settings: JournalSettings) -> None:
        """Break the promises of a journal of ``writer``."""
        super().__init__(writer, settings)
        self._promised = Background()

    async def execute(self, op: Op, *, patient: bool = False) -> Any:
        """Do what ``Journal.execute`` does, but for inserts too early."""
        if not isinstance(op, Insert):
            return await self._write_now(op, patient=patient)
        self._promised.spawn(self._write_now(op, patient=True), "journal.promised")
        return Inserted(op.id, Status.QUEUED, now())

    async def _write_now(self, op: Any, *, patient: bool) -> Answer:
        answer: Answer = await super().execute(op, patient=patient)
        return answer
