"""The processes under measurement: started by hand, watched from outside, gone at the end."""

from __future__ import annotations

import contextlib
import http.client
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]

READY_WITHIN = 120.0
STOP_WITHIN = 30.0
_POLL = 0.01
_SERVER_CORE = 0
_HAS_CPU_CLOCKS = platform.system() == "Linux"


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory in MiB: of the process alone, and with its children."""

    alone: float
    with_children: float


class Process:
    """One running ``python -m …``. Its output goes to ``<directory>/<name>.log``."""

    def __init__(
        self, name: str, arguments: Sequence[str], directory: Path, environment: Mapping[str, str]
    ) -> None:
        """Start it."""
        self.name = name
        self.log = directory / f"{name}.log"
        self._began = time.perf_counter()
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=clean_environment(environment),
                cwd=directory,
                start_new_session=True,
            )
        self._figures = psutil.Process(self._process.pid)

    @property
    def age(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._began

    @property
    def cpu(self) -> float:
        """Seconds of CPU used so far by all its threads, without children."""
        if _HAS_CPU_CLOCKS:
            return time.clock_gettime(_cpu_clock(self._process.pid))
        times = self._figures.cpu_times()
        return float(times.user + times.system)

    @property
    def memory(self) -> Memory:
        """What it holds now."""
        alone = self._figures.memory_info().rss
        children = 0
        for child in self._figures.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                children += child.memory_info().rss
        return Memory(alone / 2**20, (alone + children) / 2**20)

    def to_core_of_its_own(self) -> None:
        """Bind it to the core that ``leaving_a_core`` keeps free; a no-op where that is impossible."""
        if _can_pin():
            self._figures.cpu_affinity([_SERVER_CORE])

    def check(self) -> None:
        """Raise ``RuntimeError`` with the end of its log when it is gone."""
        code = self._process.poll()
        if code is not None:
            tail = self.log.read_text(errors="replace")[-3000:]
            raise RuntimeError(f"{self.name} ended with {code}:\n{tail}")

    def wait_until_ready(self, port: int) -> float:
        """Return the seconds from its start until ``/health/ready`` answered 200."""
        while True:
            self.check()
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                with contextlib.closing(connection):
                    connection.request("GET", "/health/ready")
                    if connection.getresponse().status == http.client.OK:
                        return self.age
            if self.age > READY_WITHIN:
                raise RuntimeError(f"{self.name} is not ready after {READY_WITHIN} s, see {self.log}")
            time.sleep(_POLL)

    def stop(self) -> None:
        """Ask it to end, and make it; idempotent."""
        self._process.terminate()
        try:
            self._process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(STOP_WITHIN)


@contextmanager
def running(
    name: str, arguments: Sequence[str], directory: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Process]:
    """Run ``python -m ARGUMENTS`` for as long as the block runs."""
    process = Process(name, arguments, directory, environment or {})
    try:
        yield process
    finally:
        process.stop()


def run(arguments: Sequence[str], directory: Path, environment: Mapping[str, str]) -> str:
    """Run ``python -m ARGUMENTS`` to its end and return what it printed. Raises ``RuntimeError``."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        env=clean_environment(environment),
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=READY_WITHIN,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout.strip()


def clean_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return this process' variables without settings of its own, so that only ``extra`` counts."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("NEUROGRID_")}
    # Without bytecode on disk each start would compile everything anew.
    for name in ("DATABASE_URL", "REDIS_URL", "PORT", "LOG_LEVEL", "PYTHONDONTWRITEBYTECODE"):
        inherited.pop(name, None)
    return {**inherited, **extra}


def free_port() -> int:
    """Return a TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def leaving_a_core() -> AbstractContextManager[None]:
    """Keep this process, and what it starts meanwhile, off the core of ``Process.to_core_of_its_own``."""
    return _on(lambda cores: [core for core in cores if core != _SERVER_CORE])


def on_the_core_left() -> AbstractContextManager[None]:
    """Put this process itself where the server would be."""
    return _on(lambda _: [_SERVER_CORE])


@contextmanager
def _on(choose: Callable[[list[int]], list[int]]) -> Iterator[None]:
    if not _can_pin():
        yield
        return
    ours = psutil.Process()
    before = ours.cpu_affinity()
    ours.cpu_affinity(choose(before))
    try:
        yield
    finally:
        ours.cpu_affinity(before)


def _cpu_clock(pid: int) -> int:
    """Return the clock that clock_getcpuclockid(3) names: to the nanosecond, where cpu_times counts in 10 ms."""
    return (~pid << 3) | 2


def _can_pin() -> bool:
    return hasattr(psutil.Process, "cpu_affinity") and (psutil.cpu_count() or 1) > 1
