"""One process of the grid, to be started, paused and killed over and over."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from neurogrid.drill.patience import until

REAP_WITHIN = 10.0


class GridProcess:
    """A command in a session of its own, its output in a file. Starting anew appends to it."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        """Prepare to run ``command`` with ``environment`` in the folder of ``log``."""
        self.name = name
        self.log = log
        self.paused = False
        self.wanted = False
        """It was started, and nobody asked it to end since."""
        self._command = list(command)
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        """Whether it runs or is paused."""
        return self._process is not None and self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        """How it ended, ``None`` while it runs."""
        return self._process.poll() if self._process is not None else None

    def start(self) -> None:
        """Start it."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
                cwd=self.log.parent,
                start_new_session=True,
            )
        self.paused = False
        self.wanted = True

    def pause(self) -> None:
        """Stop it where it stands."""
        self._send(signal.SIGSTOP)
        self.paused = True

    def resume(self) -> None:
        """Let it go on."""
        self._send(signal.SIGCONT)
        self.paused = False

    def kill(self) -> None:
        """End it without a warning, with its children, and reap it."""
        self.wanted = False
        if self._process is not None:
            self._send(signal.SIGKILL)
            self._process.wait(REAP_WITHIN)
        self.paused = False

    async def terminate(self, seconds: float) -> int | None:
        """Ask it to stop; return how it ended, ``None`` when it did not within ``seconds``."""
        self.wanted = False
        self._send(signal.SIGTERM)
        return await self.ended(seconds)

    async def ended(self, seconds: float) -> int | None:
        """Wait for its end; return how it ended, ``None`` when it did not within ``seconds``."""

        async def over() -> bool:
            return not self.alive

        await until(over, seconds, 0.05)
        return self.returncode

    def _send(self, what: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, what)
