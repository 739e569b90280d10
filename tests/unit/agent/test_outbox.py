"""Unconfirmed outcomes are kept, in memory or on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from neurogrid.agent.outbox import Outbox

pytestmark = pytest.mark.asyncio


async def test_kept_until_discarded(tmp_path: Path) -> None:
    """An outcome can be read again and again until it is confirmed."""
    outbox = Outbox(tmp_path)
    await outbox.put(("a", 1), b"result")
    assert await outbox.get(("a", 1)) == b"result"
    assert await outbox.get(("a", 1)) == b"result"
    outbox.discard(("a", 1))
    assert await outbox.get(("a", 1)) is None
    await outbox.emptied()


async def test_large_ones_spill_to_disk(tmp_path: Path) -> None:
    """What memory is too small for goes to disk, comes back, and is removed."""
    outbox = Outbox(tmp_path / "new", max_memory=10)
    await outbox.put(("a", 1), b"x" * 8)
    await outbox.put(("b", 1), b"y" * 8)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in files] == [b"y" * 8]
    assert await outbox.get(("b", 1)) == b"y" * 8
    outbox.discard(("b", 1))
    assert not files[0].exists()
    await outbox.put(("c", 1), b"zz")
    outbox.close()
    assert await outbox.get(("a", 1)) == b"x" * 8
    assert list((tmp_path / "new").iterdir()) == []


async def test_unwritable_folder_keeps_in_memory(tmp_path: Path) -> None:
    """A full or missing disk loses nothing."""
    (tmp_path / "file").write_text("in the way")
    outbox = Outbox(tmp_path / "file", max_memory=1)
    await outbox.put(("a", 1), b"result")
    assert await outbox.get(("a", 1)) == b"result"
