"""What counts as a number in a body."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, get_args

import pytest
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import TypeAdapter, ValidationError

from neurogrid.app import create_app
from neurogrid.core.http.numbers import IS_NUMBER
from tests.support.gateway import settings_for


def numbers() -> Iterator[tuple[str, str, Any]]:
    """Yield each number that a body of any route may have: path, field, and the field's type."""
    app = create_app(settings_for("sqlite+aiosqlite:///nowhere.db"))
    for route in iter_route_contexts(app.routes):
        original = route.original_route
        field = original.body_field if isinstance(original, APIRoute) else None
        for name, adapter in numbers_of(field and field.field_info.annotation):
            yield str(route.path), name, adapter


def numbers_of(model: Any) -> Iterator[tuple[str, Any]]:
    for name, info in getattr(model, "model_fields", {}).items():
        within = [
            each for each in (info.annotation, *get_args(info.annotation)) if hasattr(each, "model_fields")
        ]
        for each in within:
            yield from numbers_of(each)
        adapter: TypeAdapter[Any] = TypeAdapter(info.rebuild_annotation())
        kinds = str(adapter.json_schema())
        if not within and ("'number'" in kinds or "'integer'" in kinds):
            yield name, adapter


@pytest.mark.parametrize(("path", "field", "adapter"), list(numbers()))
def test_booleans_and_texts_are_no_numbers(path: str, field: str, adapter: TypeAdapter[Any]) -> None:
    """A field that takes a number takes neither `true` nor `"1"` for one, on any route."""
    assert adapter.validate_python(1) == 1
    for value in (True, False, "1"):
        with pytest.raises(ValidationError):
            adapter.validate_python(value)


def test_the_numbers_are_found() -> None:
    """The walk above sees what there is to see."""
    assert {("/v1/tasks", "timeout"), ("/v1/nodes/tokens", "expires_in_s")} <= {
        each[:2] for each in numbers()
    }


def test_whole_numbers_may_have_a_point() -> None:
    """As in JSON Schema 3.0 is an integer, 3.5 is none, and 3 is a number."""
    integer: TypeAdapter[int] = TypeAdapter(Annotated[int, IS_NUMBER])
    number: TypeAdapter[float] = TypeAdapter(Annotated[float, IS_NUMBER])
    assert integer.validate_python(3.0) == 3
    assert number.validate_python(3) == 3.0
    with pytest.raises(ValidationError):
        integer.validate_python(3.5)
