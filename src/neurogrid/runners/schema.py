"""One declaration of a model's input: the msgspec type that a run reads is also its JSON schema.

A schema written by hand beside the code that reads the value drifts from it sooner or later.
"""

from __future__ import annotations

from typing import Any, TypeVar, overload

import msgspec

from neurogrid.runners.base import TaskError

_Value = TypeVar("_Value")


class Closed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of objects in which a misspelt field is an error rather than silently ignored."""


class NoParameters(Closed, frozen=True):
    """The model takes no parameters."""


@overload
def read(value: Any, type: type[_Value]) -> _Value: ...
@overload
def read(value: Any, type: Any) -> Any: ...
def read(value: Any, type: Any) -> Any:
    """Return ``value`` as ``type``. Raises ``TaskError`` (``invalid_input``) naming the place that is wrong.

    Gateways have checked the schema already; this protects a run from a gateway that knew another release
    of the model. Like JSON Schema, ``3.0`` is taken for an integer.
    """
    try:
        return msgspec.convert(value, type, strict=False)
    except msgspec.ValidationError as error:
        raise TaskError("invalid_input", str(error)) from error


def schema_of(type: Any) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of ``type``, self-contained and without ``$ref`` or ``anyOf``.

    Alternatives of different JSON types are merged into one schema with a list of types: the keywords of
    one type say nothing about another, and a validator can then name the field that is wrong where it
    could only say that no alternative matched.
    """
    schema = msgspec.json.schema(type)
    definitions = schema.pop("$defs", {})
    return _inline(schema, definitions)


def _inline(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        target = definitions[schema["$ref"].rpartition("/")[2]]
        schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    schema = {key: value for key, value in schema.items() if key != "title"}
    if "properties" in schema:
        schema["properties"] = {
            name: _inline(field, definitions) for name, field in schema["properties"].items()
        }
    if isinstance(schema.get("items"), dict):
        schema["items"] = _inline(schema["items"], definitions)
    if "anyOf" in schema:
        branches = [_inline(branch, definitions) for branch in schema.pop("anyOf")]
        merged: dict[str, Any] = {}
        for branch in branches:
            merged = {**branch, **merged}
        schema = {**merged, **schema, "type": [branch["type"] for branch in branches]}
    return schema
