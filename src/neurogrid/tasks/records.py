"""Rows as events: what live streams replay and heal from (R22-R25)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import orjson

from neurogrid.core.errors import BadRequest, FieldError
from neurogrid.core.ids import is_id
from neurogrid.protocol.events import FINAL, Event, EventId, EventType, make_event
from neurogrid.queue import eventdata
from neurogrid.tasks.store import TaskStore

_LAST = "ffffffff-ffff-ffff-ffff-ffffffffffff"
_BIGINT, _INT = 2**63 - 1, 2**31 - 1
_FINAL_TYPES = frozenset(kind.value for kind in FINAL)


class TaskRecords:
    """The durable side of live streams."""

    def __init__(self, store: TaskStore) -> None:
        """Read through ``store``."""
        self._store = store

    async def owner_of(self, task_id: str) -> str | None:
        """Return the owner of a task."""
        return await self._store.owner_of(task_id)

    async def leader_of(self, task_id: str) -> str | None:
        """Return the task whose execution a task waits to share."""
        return await self._store.leader_of(task_id)

    async def state_events(self, task_id: str, after: EventId) -> list[Event]:
        """Return the committed state events of a task after ``after``; a final one carries the output."""
        rows = await self._store.events(task_id, after)
        return [await self._event(task_id, row) for row in rows]

    async def _event(self, task_id: str, row: Any) -> Event:
        data = row["data"]
        if row["type"] in _FINAL_TYPES:
            end = await self._store.final(task_id)
            if end is not None and end["attempt"] == row["attempt"]:
                output = None if end["output_apart"] else end["output"]
                data = eventdata.with_result(
                    data, output, end["started_at"], end["finished_at"], apart=end["output_apart"]
                )
        return make_event(
            task_id, EventId(row["attempt"], row["seq"]), EventType(row["type"]), data.encode(), row["at"]
        )

    async def final_text(self, task_id: str) -> tuple[EventId, str] | None:
        """Return the id of the final event and the text of the output, or ``None`` while there is none."""
        end = await self._store.final(task_id)
        if end is None:
            return None
        return EventId(end["attempt"], end["final_seq"] or 0), text_of(end["output"])

    async def newest_states(self, task_ids: Sequence[str]) -> list[Event]:
        """Return the newest state event of each of the tasks, without data."""
        return [
            make_event(
                row["task_id"], EventId(row["attempt"], row["seq"]), EventType(row["type"]), at=row["at"]
            )
            for row in await self._store.newest_events(task_ids)
        ]

    async def owner_events(
        self, owner_id: str, cursor: str | None, limit: int
    ) -> tuple[list[tuple[str, Event]], str]:
        """Return (cursor, event) of an owner after ``cursor`` (R25), and the newest safe cursor.

        Without a cursor nothing is returned but the one that stands for now. Raises ``BadRequest``.
        """
        if cursor is None:
            return [], _pack((await self._store.newest_xid() - 1, _LAST, 0, 0))
        found = []
        for row in await self._store.owner_events(owner_id, _unpack(cursor), limit):
            position = (row["xid"], row["task_id"], row["attempt"], row["seq"])
            found.append((_pack(position), await self._event(row["task_id"], row)))
        return found, found[-1][0] if found else cursor


def text_of(output: str | None) -> str:
    """Return the text of an output, if it is one that has a text."""
    if output is None:
        return ""
    value = orjson.loads(output)
    text = value.get("text") if isinstance(value, dict) else None
    return text if isinstance(text, str) else ""


def _pack(position: tuple[int, str, int, int]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(position)).decode().rstrip("=")


def _unpack(cursor: str) -> tuple[int, str, int, int]:
    try:
        xid, task, attempt, seq = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if is_id(task) and 0 <= xid <= _BIGINT and 0 <= attempt <= _INT and 0 <= seq <= _INT:
            return int(xid), task, int(attempt), int(seq)
    except (binascii.Error, ValueError, TypeError, AttributeError):
        pass
    msg = "The cursor is not one this server gave out; leave it out to begin anew."
    raise BadRequest(msg, errors=[FieldError("cursor", msg)])
