"""The audit log: who did what that matters for security, when, to what, and from where (AUTH-8).

Every entry holds the hash of the one before it, and is hashed with it; the newest hash stands in a row of its own. So
an entry that was changed, taken out, put in or moved breaks the chain where that was done, and a log whose end was cut
off does not end in the newest hash. Whoever can rewrite the whole database can rewrite the chain as well: note its
newest hash elsewhere from time to time, and verify against that.

An entry is written in the transaction of the act: there are both or neither. Entries take turns on the row of the
newest hash until their transactions end, so note what was done last in a transaction, and no hot path notes anything.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from neurogrid.auth.policy import Identity
from neurogrid.auth.tables import AuditEntry, AuditHead
from neurogrid.core.db import Database
from neurogrid.core.ids import now
from neurogrid.core.prepared import Row
from neurogrid.protocol.events import isoformat

HEAD: Final = 1
START: Final = ""
"""What stands for the hash before the first entry."""
PAGE: Final = 1000
SERVER: Final = "server"
"""What commands on the server itself come by."""

_ENTRY = select(
    AuditEntry.seq, AuditEntry.at, AuditEntry.actor, AuditEntry.via, AuditEntry.action, AuditEntry.target,
    AuditEntry.address, AuditEntry.details, AuditEntry.previous, AuditEntry.hash,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries; ``action`` may end in ``.*``. ``None``: whatever it is."""

    actor: str | None = None
    action: str | None = None
    target: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of the chain: ``seq`` and ``hash`` of its sound end, and what is wrong after it, if anything."""

    seq: int
    hash: str
    problem: str | None = None


class Audit:
    """Writes and reads the log."""

    def __init__(self, database: Database) -> None:
        """Keep it in ``database``."""
        self._database = database

    async def note(
        self,
        transaction: AsyncSession,
        action: str,
        actor: Identity | str | None,
        target: str | None = None,
        address: str | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        """Write down an act in its transaction, as the last thing done there.

        ``actor`` is who calls, the id of a user, ``SERVER``, or nobody that is known. No secret and no e-mail address
        belongs into ``details``, which is JSON.
        """
        moved = await transaction.execute(
            update(AuditHead)
            .where(AuditHead.id == HEAD)
            .values(seq=AuditHead.seq + 1)
            .returning(AuditHead.seq, AuditHead.hash)
            .execution_options(synchronize_session=False)
        )
        seq, previous = moved.one()
        who, via = _who(actor)
        entry = {
            "seq": seq, "at": now(), "actor": who, "via": via, "action": action, "target": target,
            "address": address or None, "details": orjson.dumps(details or {}, option=orjson.OPT_SORT_KEYS).decode(),
            "previous": previous,
        }  # fmt: skip
        digest = hash_of(entry)
        await transaction.execute(insert(AuditEntry).values(**entry, hash=digest))
        await transaction.execute(
            update(AuditHead)
            .where(AuditHead.id == HEAD)
            .values(hash=digest)
            .execution_options(synchronize_session=False)
        )

    async def page(self, wanted: Wanted, before: int | None, limit: int) -> list[Row]:
        """Return up to ``limit`` entries, the newest first, older than number ``before``."""
        statement = _ENTRY.order_by(AuditEntry.seq.desc()).limit(limit)
        for condition in _conditions(wanted, before):
            statement = statement.where(condition)
        return await self._database.all(statement)

    async def news(self, after: int | None) -> tuple[int, list[dict[str, Any]]]:
        """Return the number of the newest entry, and up to ``PAGE`` entries after ``after``; none where that is ``None``."""
        if after is None:
            head = await self._database.first(select(AuditHead.seq).where(AuditHead.id == HEAD))
            return (head["seq"] if head is not None else 0), []
        rows = await self._database.all(
            _ENTRY.where(AuditEntry.seq > after).order_by(AuditEntry.seq).limit(PAGE)
        )
        same = ("seq", "actor", "via", "action", "target", "address")
        return (rows[-1]["seq"] if rows else after), [
            {
                **{name: row[name] for name in same},
                "at": isoformat(row["at"]),
                "details": orjson.loads(row["details"]),
            }
            for row in rows
        ]

    async def verify(self, known: tuple[int, str] | None = None) -> Verdict:
        """Walk the whole chain; ``known`` is a number and the hash that it had at some earlier time.

        Goes on while entries are added.
        """
        sound = Verdict(0, START)
        while True:
            rows = await self._database.all(
                _ENTRY.where(AuditEntry.seq > sound.seq).order_by(AuditEntry.seq).limit(PAGE)
            )
            for row in rows:
                problem = _problem(row, sound, known)
                if problem is not None:
                    return Verdict(sound.seq, sound.hash, problem)
                sound = Verdict(row["seq"], row["hash"])
            if not rows:
                # Read after the rows, it is never behind them; what it is ahead of them was added meanwhile, or cut off.
                head = await self._database.first(
                    select(AuditHead.seq, AuditHead.hash).where(AuditHead.id == HEAD)
                )
                more = _ENTRY.where(AuditEntry.seq > sound.seq).limit(1)
                if head is not None and head["seq"] > sound.seq and await self._database.first(more):
                    continue
                return Verdict(sound.seq, sound.hash, _end(head, sound, known))


def hash_of(entry: Any) -> str:
    """Return the SHA-256 over an entry and the hash before it."""
    said = [
        entry["seq"], entry["at"].isoformat(timespec="microseconds"), entry["actor"], entry["via"],
        entry["action"], entry["target"], entry["address"], entry["details"], entry["previous"],
    ]  # fmt: skip
    return hashlib.sha256(orjson.dumps(said)).hexdigest()


def _who(actor: Identity | str | None) -> tuple[str | None, str | None]:
    if not isinstance(actor, Identity):
        return (None, SERVER) if actor == SERVER else (actor, None)
    if actor.key_id is not None:
        return actor.user_id, f"key {actor.key_id}"
    return actor.user_id, f"session {actor.session_id}"


def _conditions(wanted: Wanted, before: int | None) -> list[Any]:
    conditions: list[Any] = []
    if before is not None:
        conditions.append(AuditEntry.seq < before)
    if wanted.actor is not None:
        conditions.append(AuditEntry.actor == wanted.actor)
    if wanted.action is not None:
        stem = wanted.action.removesuffix("*")
        named = AuditEntry.action == wanted.action
        conditions.append(
            AuditEntry.action.startswith(stem, autoescape=True) if stem != wanted.action else named
        )
    if wanted.target is not None:
        conditions.append(AuditEntry.target == wanted.target)
    if wanted.since is not None:
        conditions.append(AuditEntry.at >= wanted.since)
    if wanted.until is not None:
        conditions.append(AuditEntry.at < wanted.until)
    return conditions


def _problem(row: Row, sound: Verdict, known: tuple[int, str] | None) -> str | None:
    """Return what is wrong with the entry that comes after a sound one."""
    seq = row["seq"]
    if seq != sound.seq + 1:
        return f"entry {sound.seq + 1} is missing: after {sound.seq} comes {seq}"
    if row["previous"] != sound.hash:
        return (
            f"entry {seq} does not follow entry {sound.seq}: one of the two was put there, moved or changed"
        )
    if hash_of(row) != row["hash"]:
        return f"entry {seq} was changed"
    if known is not None and known[0] == seq and known[1] != row["hash"]:
        return f"entry {seq} is not the one it was when its hash was noted"
    return None


def _end(head: Row | None, sound: Verdict, known: tuple[int, str] | None) -> str | None:
    """Return what is wrong with where the log ends."""
    if head is None:
        return "the row of the newest hash is missing"
    if head["seq"] > sound.seq:
        return f"entry {sound.seq + 1} is missing: the log was cut off, it had {head['seq']} entries"
    if (head["seq"], head["hash"]) != (sound.seq, sound.hash):
        return f"the newest hash is that of entry {head['seq']}, and the log goes on to {sound.seq}"
    if known is not None and known[0] > sound.seq:
        return f"entry {sound.seq + 1} is missing: entry {known[0]} was there when its hash was noted"
    return None
