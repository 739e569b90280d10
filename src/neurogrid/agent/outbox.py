"""Outcomes that no gateway has confirmed yet (R6), in memory up to a bound and on disk above it."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from pathlib import Path

import structlog

from neurogrid.protocol.messages import Execution

MAX_MEMORY = 64 * 1024 * 1024

log = structlog.get_logger(__name__)


class Outbox:
    """Encoded ``result`` and ``error`` messages by execution.

    ``folder`` is where those above ``max_memory`` bytes go, one file each; without it they go to a
    temporary folder. Files do not outlive the process: after a restart the session is another one.
    """

    def __init__(self, folder: Path | None = None, *, max_memory: int = MAX_MEMORY) -> None:
        self._parent = folder
        self._folder: Path | None = None
        self._max_memory = max_memory
        self._memory = 0
        self._entries: dict[Execution, bytes | Path] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    def __contains__(self, key: Execution) -> bool:
        return key in self._entries

    async def put(self, key: Execution, frame: bytes) -> None:
        """Keep ``frame`` until it is discarded."""
        self._empty.clear()
        self._entries[key] = frame
        self._memory += len(frame)
        if self._memory > self._max_memory:
            await self._spill(key, frame)

    async def get(self, key: Execution) -> bytes | None:
        """Return the frame, ``None`` when it was discarded."""
        entry = self._entries.get(key)
        if not isinstance(entry, Path):
            return entry
        try:
            return await asyncio.to_thread(entry.read_bytes)
        except FileNotFoundError:
            return None

    def discard(self, key: Execution) -> None:
        """Forget a confirmed outcome."""
        entry = self._entries.pop(key, None)
        if isinstance(entry, bytes):
            self._memory -= len(entry)
        elif entry is not None:
            entry.unlink(missing_ok=True)
        if not self._entries:
            self._empty.set()

    async def emptied(self) -> None:
        """Return once everything is confirmed."""
        await self._empty.wait()

    def close(self) -> None:
        """Remove what is on disk."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    async def _spill(self, key: Execution, frame: bytes) -> None:
        try:
            path = await asyncio.to_thread(self._write, key, frame)
        except OSError as error:
            log.warning("agent.spill_failed", error=str(error))
            return
        if self._entries.get(key) is frame:
            self._entries[key] = path
            self._memory -= len(frame)
        else:
            path.unlink(missing_ok=True)

    def _write(self, key: Execution, frame: bytes) -> Path:
        if self._folder is None:
            if self._parent is not None:
                self._parent.mkdir(parents=True, exist_ok=True)
            self._folder = Path(tempfile.mkdtemp(prefix="neurogrid-outbox-", dir=self._parent))
        handle, name = tempfile.mkstemp(prefix=f"{key[1]}-", suffix=".json", dir=self._folder)
        os.close(handle)
        path = Path(name)
        path.write_bytes(frame)
        return path
