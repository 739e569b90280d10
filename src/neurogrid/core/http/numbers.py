"""Numbers in bodies: JSON's own. Left alone, pydantic takes ``true`` for 1 and ``"5"`` for 5."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BeforeValidator


def _is_number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        msg = "must be a number"
        raise ValueError(msg)  # noqa: TRY004  pydantic takes no other for a wrong value
    return value


IS_NUMBER: Final = BeforeValidator(_is_number)
"""Goes behind the bounds of a number, which the document would lack otherwise: ``Annotated[int, Field(ge=0), IS_NUMBER]``.

An integer may be written ``3.0``, as in JSON Schema.
"""
