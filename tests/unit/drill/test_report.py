"""The report of a drill: the names that scripts rely on, and figures that can be added up."""

from __future__ import annotations

from typing import Any

from neurogrid.drill.records import OwnerRecord, StreamRecord, Submission
from neurogrid.drill.report import SHOWN, Report
from neurogrid.drill.verdict import Finding, Kind, Verdict
from neurogrid.drill.work import draw

ID = "019a7c1e-52f0-7d3a-9d2b-0c6f5f1f7a10"
OTHER = ID.replace("0", "1")


def report(*submissions: Submission, findings: list[Finding] | None = None) -> Report:
    accepted = sum(one.accepted for one in submissions)
    return Report(
        seed=7,
        seconds=60.04,
        verdict=Verdict(findings or [], accepted, accepted),
        submissions=submissions,
        owners=[OwnerRecord()],
        existing=frozenset({1}),
        kills=2,
        pauses=3,
        cuts=4,
        orders=5,
        misfortunes={"kill_node": 2},
        complaints=[],
        logs="/logs",
    )


def test_scripts_find_what_they_rely_on() -> None:
    """Design §7: the figures are there by name, in this order, whatever else is."""
    figures = report().as_json()
    names = [
        "accepted",
        "finished",
        "lost",
        "finished_twice",
        "stream_gaps",
        "stuck",
        "kills",
        "pauses",
        "seed",
    ]
    assert list(figures)[: len(names)] == names
    assert (figures["kills"], figures["pauses"], figures["seed"]) == (2, 3, 7)


def test_a_task_counts_once() -> None:
    """Several findings of a kind about one task are one loss, and the report does not grow without end."""
    many = [Finding(Kind.STREAM_GAPS, "t", f"{number}") for number in range(SHOWN * 2)]
    broken = report(findings=[*many, Finding(Kind.LOST, "t", "…")])
    figures = broken.as_json()
    assert not broken.lossless
    assert (figures["stream_gaps"], figures["lost"], figures["stuck"]) == (1, 1, 0)
    assert len(figures["findings"]) == SHOWN


def test_submissions_add_up() -> None:
    """Accepted, refused and unknown are all there is; equal reasons are counted together."""
    stream = StreamRecord(ID, "sse", None)
    stream.connections = 3
    given: list[dict[str, Any]] = [
        {"unknown": f"lost http://127.0.0.1:1234: whether {ID} was accepted"},
        {"unknown": f"lost http://127.0.0.1:4321: whether {OTHER} was accepted"},
        {"refused": "no"},
        {"task": ID, "streams": [stream], "cancel_told": True},
    ]
    figures = report(
        *(Submission(draw(7, number), **fields) for number, fields in enumerate(given, 1))
    ).as_json()
    assert figures["submitted"] == 4
    assert (figures["accepted"], figures["refused"], figures["unknown"]) == (1, 1, 2)
    assert (figures["unknown_accepted"], figures["canceled"]) == (1, 1)
    assert (figures["streams"], figures["stream_connections"]) == (2, 3)
    assert figures["reasons"] == {"lost …: whether … was accepted": 2, "no": 1}
