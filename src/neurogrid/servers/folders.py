"""Where sockets lie, and who may pass on the way to them."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from hashlib import sha256
from pathlib import Path

from neurogrid.servers.errors import ServerFailed

LONGEST_SOCKET = 100
"""Bytes that the path of a socket may have; systems differ between 104 and 108."""


def socket_folder(folder: Path, name: str) -> Path:
    """Return ``folder``, or, where the path of a socket in it is too long, a private one for temporary files."""
    folder = folder.resolve()
    if len(os.fsencode(folder / name)) <= LONGEST_SOCKET:
        return folder
    short = short_folder(folder)
    short.mkdir(mode=0o700, exist_ok=True)
    found = short.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {os.geteuid(), folder.stat().st_uid}:
        raise ServerFailed(f"{short} belongs to somebody else", hint="Choose a shorter path by --data-dir.")
    return short


def short_folder(folder: Path) -> Path:
    """Return where the sockets of ``folder`` lie if its path is too long for them."""
    name = sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"neurogrid-{name}"


def leave_short_folder(folder: Path) -> None:
    """Remove the short folder of ``folder``, if there is one and nothing is in it any more."""
    with contextlib.suppress(OSError):
        short_folder(folder).rmdir()


def let_pass(path: Path) -> None:
    """Let PostgreSQL's user pass (not read) the folders above ``path``; only root gets here."""
    for parent in path.resolve().parents:
        mode = parent.stat().st_mode
        if not mode & stat.S_IXOTH:
            parent.chmod(mode | stat.S_IXOTH)
