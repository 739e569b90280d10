"""The models of the grid, as all nodes together say: what may be asked for, and with which input.

A model stays in the catalogue while its nodes are away: its tasks wait. Schemas come from nodes, so they are
data: they may not refer to anything outside themselves.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

import jsonschema_rs
import msgspec
import orjson

from neurogrid.core.errors import FieldError, Invalid
from neurogrid.nodes.schemas import UnknownModel
from neurogrid.protocol.messages import ModelSpec

MAX_ERRORS = 10
MAX_SHOWN = 200
"""Characters of a name or message in an answer; names can be as long as a body."""
REFRESH_AFTER = 0.5
"""Seconds after which a look-up of an unknown model may ask the database again."""


def _refuse_reference(uri: str) -> Any:
    msg = f"a model's schema may not refer to {uri}"
    raise ValueError(msg)


SMALL = 16 * 1024
"""Bytes of an input up to which all its errors are named."""
MAX_SCHEMA = 64 * 1024
MAX_EXPANDED = 2000
"""Parts a schema may have when its references are followed: one that doubles thirty times never ends."""


def _expanded(part: Any, root: dict[str, Any], known: dict[str, int]) -> int:
    if isinstance(part, list):
        return sum(_expanded(item, root, known) for item in part)
    if not isinstance(part, dict):
        return 0
    reference = part.get("$ref")
    size = 1 + sum(_expanded(item, root, known) for item in part.values())
    if isinstance(reference, str) and reference.startswith("#"):
        if reference not in known:
            known[reference] = 0  # a reference to itself ends with the data
            known[reference] = _expanded(_resolve(reference, root), root, known)
        size += known[reference]
    return size


def _resolve(reference: str, root: dict[str, Any]) -> Any:
    node: Any = root
    for step in reference.removeprefix("#").split("/")[1:]:
        node = node.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(node, dict) else None
    return node


def check_schema(schema: dict[str, Any]) -> None:
    """Refuse a schema that would hold up whoever is validated by it. Raises ``ValueError``."""
    if len(orjson.dumps(schema)) > MAX_SCHEMA:
        msg = f"it has more than {MAX_SCHEMA} bytes"
        raise ValueError(msg)
    definitions = (schema.get("$defs"), schema.get("definitions"))
    parts = [schema, *(part for group in definitions if isinstance(group, dict) for part in group.values())]
    if sum(_expanded(part, schema, {}) for part in parts) > MAX_EXPANDED:
        msg = f"it has more than {MAX_EXPANDED} parts when its references are followed"
        raise ValueError(msg)


def compile_schema(schema: dict[str, Any]) -> jsonschema_rs.Validator:
    """Return a validator of a JSON Schema. Raises ``ValueError`` when it is none."""
    return jsonschema_rs.validator_for(schema, retriever=_refuse_reference, mask="value")


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """One model: its spec, who serves it, and compiled validators."""

    spec: ModelSpec
    nodes: tuple[str, ...]
    created: int
    input: jsonschema_rs.Validator = field(repr=False)
    parameters: jsonschema_rs.Validator = field(repr=False)

    def validate(self, input: Any, parameters: dict[str, Any]) -> None:
        """Check a task against the model's schemas. Raises ``Invalid`` that names each field."""
        wrong = chain(_errors(self.input, input, "input"), _errors(self.parameters, parameters, "parameters"))
        errors = list(islice(wrong, MAX_ERRORS))
        if errors:
            msg = f"The model {self.spec.name} does not take this: {errors[0].field}: {errors[0].message}."
            raise Invalid(msg, errors=errors)


def _errors(validator: jsonschema_rs.Validator, value: Any, name: str) -> Iterator[FieldError]:
    try:
        validator.validate(value)
    except jsonschema_rs.ValidationError as first:
        # All errors of a large input are found before the first is returned, so it gets only the first.
        small = len(orjson.dumps(value)) <= SMALL
        for error in validator.iter_errors(value) if small else (first,):
            yield from _field_errors(error, name)


def _field_errors(error: jsonschema_rs.ValidationError, name: str) -> Iterator[FieldError]:
    """Name what is missing or too much itself, not what it is missing from; never repeat what was sent."""
    path = [name, *error.instance_path]
    match error.kind:
        case jsonschema_rs.ValidationErrorKind.AdditionalProperties(unexpected=names):
            for extra in names:
                yield FieldError(_shown([*path, extra]), "there is no such field")
        case jsonschema_rs.ValidationErrorKind.Required(property=missing):
            yield FieldError(_shown([*path, missing]), "is required")
        case _:
            yield FieldError(_shown(path), error.message[:MAX_SHOWN])


def _shown(path: list[str | int]) -> str:
    steps = (f"[{step}]" if isinstance(step, int) else f".{step[:MAX_SHOWN]}" for step in path)
    return "".join(steps).removeprefix(".")


@dataclass(frozen=True, slots=True)
class NodeModels:
    """What one node serves, as its row says."""

    node: str
    registered: int
    models: str


class Catalog:
    """The catalogue of one gateway, rebuilt from the rows of the nodes."""

    def __init__(self) -> None:
        """Begin empty."""
        self._models: dict[str, CatalogModel] = {}
        self._seen: tuple[NodeModels, ...] = ()
        self.refreshed = 0.0

    def replace(self, nodes: Iterable[NodeModels]) -> None:
        """Take what the rows of all nodes say; where two disagree on a model, the newer node is right."""
        self.refreshed = time.monotonic()
        rows = tuple(nodes)
        if rows == self._seen:
            return
        specs: dict[str, ModelSpec] = {}
        served: dict[str, list[str]] = {}
        created: dict[str, int] = {}
        for row in sorted(rows, key=lambda row: row.registered):
            for spec in msgspec.json.decode(row.models, type=list[ModelSpec]):
                specs[spec.name] = spec
                served.setdefault(spec.name, []).append(row.node)
                created.setdefault(spec.name, row.registered)
        self._models = {
            name: CatalogModel(
                spec,
                tuple(sorted(served[name])),
                created[name],
                compile_schema(spec.input_schema),
                compile_schema(spec.parameters_schema),
            )
            for name, spec in sorted(specs.items())
        }
        self._seen = rows

    @property
    def stale(self) -> bool:
        """Whether the catalogue is old enough to ask again before saying that a model is unknown."""
        return time.monotonic() - self.refreshed > REFRESH_AFTER

    def find(self, name: str) -> CatalogModel | None:
        """Return a model."""
        return self._models.get(name)

    def all(self) -> list[CatalogModel]:
        """Return all models by name."""
        return list(self._models.values())

    def unknown(self, name: str) -> UnknownModel:
        """Return the error for a model that is not there, naming those that are."""
        known = ", ".join(self._models) or "none yet; no node has joined the grid"
        msg = f"There is no model {name[:100]!r} here. Known models: {known}."
        return UnknownModel(msg, errors=[FieldError("model", "unknown model")])
