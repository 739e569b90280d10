"""The figures that the rules of correctness name are the ones in force where nobody sets others."""

from __future__ import annotations

from typing import Any

import pytest

from neurogrid.auth import service as auth
from neurogrid.core import migrations
from neurogrid.core.settings import GridSettings, JournalSettings, LiveSettings, TaskSettings
from neurogrid.core.settings_base import KIB, MIB
from neurogrid.dispatch import assignments, connection, fairness, service, watch
from neurogrid.protocol.messages import ModelSpec
from neurogrid.queue import journal, sqlite
from neurogrid.queue.policy import RetryPolicy
from neurogrid.tasks.policy import AGED_EVERY

GRID, JOURNAL, LIVE, TASKS = GridSettings(), JournalSettings(), LiveSettings(), TaskSettings()
FIGURES: dict[str, tuple[Any, Any]] = {
    "R1: sessions lost under a task": ((TASKS.max_losses, RetryPolicy().max_losses), (5, 5)),
    "R2: lease": (GRID.lease, 10.0),
    "R2: heartbeat": (GRID.heartbeat, 3.0),
    "R4: orphans are looked for every": (GRID.orphan_sweep, 10.0),
    "R5: silence of a model": (
        (ModelSpec("m", "1", "test").max_silence, connection.DEFAULT_SILENCE),
        (60.0, 60.0),
    ),
    "R7: reconciled every": (GRID.reconcile, 1.0),
    "R7: unknown for": (watch.UNKNOWN_FOR, 2.0),
    "R7: share of the lease after which an assign is checked": (assignments.RECHECK_SHARE, 3),
    "R8: a caller waits for": (JOURNAL.max_wait, 5.0),
    "R12: rows of a batch": (JOURNAL.batch_rows, 512),
    "R12: bytes of a batch": (JOURNAL.batch_bytes, 1 * MIB),
    "R12: inline output": (JOURNAL.inline_output, 256 * KIB),
    "R12: largest output": (TASKS.max_output, 16 * MIB),
    "R12: expected wait": (journal.BUSY_WAIT, 1.0),
    "R16: age of the floor": (fairness.FLOOR_AGE, 10.0),
    "R16: without the floor every": (fairness.UNFLOORED_EVERY, 30.0),
    "R17: claims that begin below": (AGED_EVERY, 10),
    "R18: wake-ups of a lane": (service.WAKE_INTERVAL, 0.02),
    "R18: polls": ((GRID.poll, GRID.poll_alone), (1.0, 0.2)),
    "R19: a key is kept for": (sqlite.KEY_SECONDS, 24 * 3600.0),
    "R23: entries of a stream": (LIVE.stream_length, 4096),
    "R23: a stream goes after": (LIVE.stream_linger, 60.0),
    "R24: awaited tasks are looked up every": ((LIVE.waiter_poll, LIVE.waiter_poll_alone), (5.0, 0.5)),
    "R28: an identity is believed for": (auth.CACHE_SECONDS, 5.0),
    "R30: locks of a migration": (migrations.DDL_LOCK_TIMEOUT, "2s"),
}


@pytest.mark.parametrize("figure", FIGURES)
def test_the_figure_of_the_rule_is_in_force(figure: str) -> None:
    """Each bound, interval and limit of R1-R30 has the value that was found to hold."""
    found, said = FIGURES[figure]
    assert found == said
