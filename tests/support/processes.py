"""Real ``neurogrid`` processes for end-to-end tests, each in a process group of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import httpx

from tests.support.limits import as_environment
from tests.support.plain import NOBODY
from tests.support.until import until_blocking

READY_WITHIN = 60.0
STOP_WITHIN = 30.0


def free_port() -> int:
    """Return a TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Grid:
    """The processes of one test. ``environment`` goes to all of them; logs lie in ``directory``.

    Use as a context manager: at its end every process that is left is killed with its children.
    """

    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    processes: list[GridProcess] = field(default_factory=list)

    def start(
        self, *arguments: str, name: str = "", environment: Mapping[str, str] | None = None
    ) -> GridProcess:
        """Start ``neurogrid ARGUMENTS``, its output in ``<name>.log``."""
        name = name or f"{arguments[0]}-{len(self.processes)}"
        process = GridProcess(
            name, arguments, self.directory / f"{name}.log", {**self.environment, **(environment or {})}
        )
        self.processes.append(process)
        return process

    def gateway(self, *arguments: str, command: str = "serve", name: str = "") -> GridProcess:
        """Start a gateway on a free port and wait until it is ready."""
        port = free_port()
        process = self.start(command, "--host", "127.0.0.1", "--port", str(port), *arguments, name=name)
        process.url = f"http://127.0.0.1:{port}"
        return process.wait_until_ready()

    def run(self, *arguments: str, check: bool = True, timeout: float = 120.0) -> str:
        """Run ``neurogrid ARGUMENTS`` to its end and return what it printed on stdout."""
        done = subprocess.run(
            [sys.executable, "-m", "neurogrid.cli.main", *arguments],
            env=_environment(self.environment),
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"neurogrid {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}"
            )
        return done.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.processes):
            process.kill()


class GridProcess:
    """One running ``neurogrid`` command."""

    def __init__(
        self, name: str, arguments: Sequence[str], log: Path, environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self.log = log
        self.url = ""
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "neurogrid.cli.main", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment(environment),
                cwd=log.parent,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process, and the process group that it leads."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """How it ended; ``None`` while it runs."""
        return self._process.poll()

    def output(self) -> str:
        """Everything printed so far, stdout and stderr."""
        return self.log.read_text(errors="replace")

    def wait_until_ready(self, timeout: float = READY_WITHIN) -> GridProcess:
        """Wait until ``/health/ready`` answers 200; fail with the log when the process ends before."""
        with httpx.Client(trust_env=False, verify=NOBODY, timeout=5.0) as client:

            def ready() -> bool:
                if self.returncode is not None:
                    raise AssertionError(f"{self.name} ended with {self.returncode}:\n{self.output()}")
                try:
                    return client.get(f"{self.url}/health/ready").status_code == httpx.codes.OK
                except httpx.TransportError:
                    return False

            deadline = time.monotonic() + timeout
            while not ready():
                if time.monotonic() > deadline:
                    raise AssertionError(f"{self.name} is not ready after {timeout} s:\n{self.output()}")
                time.sleep(0.05)
        return self

    def wait_for_output(self, text: str, timeout: float = READY_WITHIN) -> None:
        """Wait until ``text`` was printed; fail when the process ends before."""

        def printed() -> bool:
            if text in self.output():
                return True
            if self.returncode is not None:
                raise AssertionError(f"{self.name} ended with {self.returncode}:\n{self.output()}")
            return False

        until_blocking(printed, timeout, what=f"{self.name} printed {text!r}")

    def send(self, what: signal.Signals) -> None:
        """Send a signal to the process alone (``SIGSTOP`` and ``SIGCONT`` pause and resume it)."""
        self._process.send_signal(what)

    def terminate(self, timeout: float = STOP_WITHIN) -> int:
        """Send SIGTERM and return the exit code."""
        self._process.terminate()
        return self._process.wait(timeout)

    def kill(self) -> None:
        """Send SIGKILL to the process and its children, and reap it; idempotent."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(STOP_WITHIN)


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The variables of this process without its NeuroGrid settings: limits are generous, else only ``extra`` counts."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("NEUROGRID_")}
    for alias in ("DATABASE_URL", "REDIS_URL", "PORT", "LOG_LEVEL", "ENABLE_API_DOCS"):
        inherited.pop(alias, None)
    return {**inherited, **as_environment(), "PYTHONUNBUFFERED": "1", **extra}
