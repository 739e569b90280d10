"""Numbers in bodies: JSON's own. Left alone, pydantic takes ``true`` for 1 and ``"5"`` for 5."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator


def _is_number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        msg = "must be a number"
        raise ValueError(msg)  # noqa: TRY004  pydantic takes no other for a wrong value
    return value


Number = Annotated[float, BeforeValidator(_is_number)]
Integer = Annotated[int, BeforeValidator(_is_number)]
"""``3.0`` is one, as in JSON Schema."""
