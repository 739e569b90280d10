"""How the journal claims on PostgreSQL: lanes by rank or by age, and what only so many of an owner's may run at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import asyncpg

from neurogrid.queue import postgres_held, statements
from neurogrid.queue.answers import Answer, Claimed
from neurogrid.queue.ops import Want
from neurogrid.queue.policy import Priority

CLAIM_ROUNDS: Final = 32
"""How often one claim goes on when what it met may not run now."""
_LANE, _STARTED_AT = 2, 12

_Row = Any


class Claims:
    """The claims of one writer."""

    def __init__(self) -> None:
        """Nothing was met yet."""
        self.met = False
        """Whether the last claim met tasks whose owner may run only so many: then it is two statements (LIM-3)."""

    async def claim(
        self, connection: asyncpg.Connection[Any], ops: Sequence[Want], *, repeat: bool
    ) -> list[Answer]:
        """Carry out ``Want``, all of one batch."""
        if not ops:
            return []
        found: list[_Row] = []
        missing: Sequence[Want] = ops
        if repeat:  # first what the lost batch may have claimed, then the rest
            keys = _columns([(op.session.id, op.write_id) for op in ops])
            found = await connection.fetch(statements.CLAIMED_BEFORE, *keys)
            known = {row[-1] for row in found}
            missing = [op for op in ops if op.write_id not in known]
        for aged in (True, False):
            found += await self._claim_all(connection, [op for op in missing if op.aged is aged], aged=aged)
        done = {row[-1]: Claimed(*tuple(row)[:-1]) for row in found}
        return [done.get(op.write_id) for op in ops]

    async def _claim_all(
        self, connection: asyncpg.Connection[Any], ops: Sequence[Want], *, aged: bool
    ) -> list[_Row]:
        """Claim, and again for slots whose task turned out to be one too many of its owner's (LIM-3)."""
        found: list[_Row] = []
        for _ in range(CLAIM_ROUNDS):
            if not ops:
                break
            rows = await _claim_rows(connection, ops, aged=aged)
            met = [row for row in rows if row[_STARTED_AT] is None]
            found += [row for row in rows if row[_STARTED_AT] is not None]
            self.met = bool(met)
            if not met:
                break
            wants = {op.write_id: op for op in ops}
            found += await postgres_held.begin(connection, met, wants)
            known, lanes = {row[-1] for row in found}, {row[_LANE] for row in met}
            ops = [op for op in ops if op.write_id not in known and op.lane in lanes]
        return found


def _columns(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


async def _claim_rows(connection: asyncpg.Connection[Any], ops: Sequence[Want], *, aged: bool) -> list[_Row]:
    rows = [(op.lane, op.session.id, op.session.gen, op.session.node, op.write_id) for op in ops]
    classes = range(len(Priority))
    order = classes[::-1] if aged else classes
    lowest: dict[str, tuple[float, ...]] = {}
    for op in ops:
        lowest[op.lane] = tuple(map(min, op.floors, lowest.get(op.lane, op.floors)))
    floors = [(lane, priority, lowest[lane][priority]) for lane in lowest for priority in order]
    return list(await connection.fetch(statements.CLAIM, *_columns(rows), *_columns(floors)))
