"""Reads that wait together fare each by itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import bindparam, literal_column, select

from neurogrid.core.prepared import Prepared, SqliteReader

pytestmark = pytest.mark.asyncio


async def test_every_read_is_answered(tmp_path: Path) -> None:
    """One that cannot even be asked fails for its own caller, who would else wait for ever."""
    reader = SqliteReader(str(tmp_path / "any.db"))
    statement = Prepared(
        select(bindparam("value", type_=None).label("found"), literal_column("1").label("one"))
    )
    async with asyncio.timeout(10):
        bad, good = await asyncio.gather(
            reader.fetch(statement, {}), reader.fetch(statement, {"value": "it"}), return_exceptions=True
        )
    await reader.close()
    assert isinstance(bad, KeyError)
    assert good == [{"found": "it", "one": 1}]
