"""Passwords come from a prompt or from standard input, never from an argument, which others on the machine can read."""

from __future__ import annotations

import sys

import typer

from neurogrid.cli.failures import Failure


def new_password(*, stdin: bool) -> str:
    """Return a password to set: the first line of standard input, or what is typed twice. Raises ``Failure``."""
    if stdin:
        password = sys.stdin.readline().rstrip("\r\n")
        if not password:
            raise Failure("there is no password on standard input")
        return password
    if not sys.stdin.isatty():
        raise Failure("there is no terminal to ask for the password on", hint="Use --password-stdin.")
    typed: str = typer.prompt("New password", hide_input=True, confirmation_prompt=True, err=True)
    return typed
