"""What the options of ``neurogrid task`` say: inputs, pairs, times."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from neurogrid.cli.failures import Failure


def read_input(text: str | None, json: str | None) -> Any:
    """Return a task's input from the two options that give it. Raises ``Failure``."""
    if (text is None) == (json is None):
        hint = 'For example: neurogrid task submit smollm2-135m --input "Hello"'
        raise Failure("give the input by --input or by --input-json", hint=hint)
    if json is None:
        return _content("--input", text or "")
    try:
        return orjson.loads(_content("--input-json", json))
    except orjson.JSONDecodeError as error:
        raise Failure(f"--input-json is not valid JSON: {error}") from None


def pairs(option: str, given: list[str] | None) -> dict[str, Any] | None:
    """Read ``name=value`` options; a value that is JSON counts as what it says, any other as text."""
    found = {}
    for each in given or ():
        name, equals, value = each.partition("=")
        if not (name and equals):
            raise Failure(f"{option} takes name=value, not {each!r}")
        try:
            found[name] = orjson.loads(value)
        except orjson.JSONDecodeError:
            found[name] = value
    return found or None


def moment(option: str, text: str | None) -> datetime | None:
    """Read a time, or seconds from now. Raises ``Failure``."""
    if text is None:
        return None
    try:
        return datetime.now(UTC) + timedelta(seconds=float(text))
    except (ValueError, OverflowError):
        pass
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        hint = "For example: --deadline 60, or --deadline 2030-01-31T12:00:00Z"
        raise Failure(f"{option}: {text!r} is no time", hint=hint) from None


def _content(option: str, given: str) -> str:
    try:
        if given == "-":
            return sys.stdin.buffer.read().decode()
        return Path(given[1:]).read_bytes().decode() if given.startswith("@") else given
    except OSError as error:
        raise Failure(f"{option} {given}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Failure(f"{option} {given}: this is no text in UTF-8") from None
