"""Names of fields as the client wrote them: ``input.messages[0].role``, ``query.limit``, ``Prefer``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from neurogrid.core.errors import FieldError

MAX_SHOWN = 300
"""Characters of a field's name, or of what is wrong with it, that an answer repeats."""
MAX_ERRORS = 50
"""Field errors of one answer at most; a list of thousands of bad items would otherwise echo thousands."""


def join(parts: Sequence[str | int]) -> str:
    """Join the steps into a document: ``("input", "messages", 0, "role")`` to ``input.messages[0].role``."""
    text = ""
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def field_errors(errors: Sequence[Any], body: Any) -> tuple[FieldError, ...]:
    """Turn pydantic's errors on a request into ours, each once, at most ``MAX_ERRORS``."""
    found: dict[FieldError, None] = {}
    for error in errors:
        field = _name(error["loc"], error["type"], body)
        message = str(error["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
        found[FieldError(field[:MAX_SHOWN], message[:MAX_SHOWN])] = None
        if len(found) == MAX_ERRORS:
            break
    return tuple(found)


def _name(location: Sequence[str | int], kind: str, body: Any) -> str:
    source, *rest = location or ("body",)
    if source == "header" and rest:
        return "-".join(word.capitalize() for word in str(rest[0]).replace("_", "-").split("-"))
    if source == "body":
        return join(_written(rest, kind, body)) or "body"
    return join((source, *rest))


def _written(steps: Sequence[str | int], kind: str, body: Any) -> list[str | int]:
    """Keep the steps that lead somewhere in ``body``: pydantic adds its own, for the branches of unions."""
    written: list[str | int] = []
    node = body
    for position, step in enumerate(steps):
        absent = kind == "missing" and position == len(steps) - 1
        if _leads(node, step):
            node = node[step]
        elif not absent:
            continue
        written.append(step)
    return written


def _leads(node: Any, step: str | int) -> bool:
    if isinstance(node, dict):
        return step in node
    return isinstance(node, list) and isinstance(step, int) and step < len(node)


def strings(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Walk all strings of a JSON value, names of fields included, with the steps that lead to them."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield (*path, key), key
            yield from strings(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from strings(item, (*path, index))
