"""What a drill says in the end."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from neurogrid.drill.records import OwnerRecord, Submission
from neurogrid.drill.verdict import Finding, Kind, Verdict
from neurogrid.drill.work import RECITE

_VARIABLE = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|http://[\d.]+:\d+")
SHOWN = 50
"""Findings in the report at most."""


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of one drill. ``misfortunes`` counts what happened by name, ``logs`` is a folder."""

    seed: int
    seconds: float
    verdict: Verdict
    submissions: Sequence[Submission]
    owners: Sequence[OwnerRecord]
    existing: frozenset[int]
    """The numbers of the submissions that are in the database."""
    kills: int
    pauses: int
    cuts: int
    orders: int
    misfortunes: Mapping[str, int]
    complaints: Sequence[str]
    logs: str

    @property
    def lossless(self) -> bool:
        """Whether nothing at all was lost."""
        return not self.verdict.findings

    @property
    def findings(self) -> Sequence[Finding]:
        """Every broken promise."""
        return self.verdict.findings

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON; the first names are those that scripts rely on (design §7)."""
        unknown = [one for one in self.submissions if one.unknown is not None]
        streams = [stream for one in self.submissions for stream in one.streams]
        connections = sum(one.connections for one in streams) + sum(one.connections for one in self.owners)
        return {
            "accepted": self.verdict.accepted,
            "finished": self.verdict.finished,
            **{kind.value: self.verdict.count(kind) for kind in Kind if kind is not Kind.MISCHARGED},
            "kills": self.kills,
            "pauses": self.pauses,
            "seed": self.seed,
            Kind.MISCHARGED.value: self.verdict.count(Kind.MISCHARGED),
            "seconds": round(self.seconds, 1),
            "cuts": self.cuts,
            "orders": self.orders,
            "submitted": len(self.submissions),
            "refused": sum(one.refused is not None for one in self.submissions),
            "unknown": len(unknown),
            "unknown_accepted": sum(one.work.number in self.existing for one in unknown),
            "canceled": sum(one.cancel_told for one in self.submissions),
            **_variety(self.submissions),
            "deserted": self.verdict.deserted,
            "streams": len(streams) + len(self.owners),
            "stream_connections": connections,
            "stream_replacements": sum(stream.replaced for stream in streams),
            "misfortunes": dict(sorted(self.misfortunes.items())),
            "reasons": _reasons(self.submissions),
            "complaints": list(self.complaints),
            "findings": [
                {"kind": one.kind.value, "task": one.task, "what": one.what} for one in self.findings[:SHOWN]
            ],
            "logs": self.logs,
        }


def _variety(submissions: Sequence[Submission]) -> dict[str, int]:
    """Count what clients did besides submitting a task and waiting for its end."""
    left = [one for one in submissions if one.left or any(stream.left for stream in one.streams)]
    return {
        "bulk": sum(one.bulk and one.accepted for one in submissions),
        "identical": sum(one.work.model == RECITE and one.accepted for one in submissions),
        "repeated": sum(len(one.repeated) for one in submissions),
        "replayed": sum(one.replays for one in submissions),
        "left": len(left),
    }


def _reasons(submissions: Iterable[Submission]) -> dict[str, int]:
    """Count why submissions were not accepted, the commonest first."""
    reasons = (one.refused or one.unknown for one in submissions)
    counted = Counter(_VARIABLE.sub("…", reason) for reason in reasons if reason is not None)
    return dict(counted.most_common(SHOWN))
