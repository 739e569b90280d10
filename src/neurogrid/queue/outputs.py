"""Outputs too large for a journal batch: written beside it, before the row that points to them (R12)."""

from __future__ import annotations

from sqlalchemy.dialects import postgresql, sqlite

from neurogrid.core.db import Database
from neurogrid.queue.tables import TaskOutput


class OutputStore:
    """Keeps large outputs on a connection of their own."""

    def __init__(self, database: Database, inline: int, most: int) -> None:
        """Keep outputs above ``inline`` bytes apart; ``most`` is the largest there may be."""
        self._database = database
        self._inline = inline
        self.most = most

    def is_small(self, output: bytes) -> bool:
        """Tell whether ``output`` may go into the task's row."""
        return len(output) <= self._inline

    async def put_apart(self, task: str, attempt: int, output: str) -> bool:
        """Keep ``output`` if it is large; ``False`` if it may go into the task's row. Safe to repeat."""
        if len(output) <= self._inline:
            return False
        insert = sqlite.insert if self._database.sqlite else postgresql.insert
        statement = insert(TaskOutput).values(task_id=task, attempt=attempt, output=output)
        async with self._database.transaction() as transaction:
            await transaction.execute(statement.on_conflict_do_nothing())
        return True
