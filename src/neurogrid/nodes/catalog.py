"""The models of the grid, as all nodes together say: what may be asked for, and with which input.

A model stays in the catalogue while its nodes are away: its tasks wait. Schemas come from nodes, so they are
data: they may not refer to anything outside themselves.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import jsonschema_rs
import msgspec

from neurogrid.core.errors import FieldError, Invalid
from neurogrid.nodes.schemas import UnknownModel
from neurogrid.protocol.messages import ModelSpec

MAX_ERRORS = 10
REFRESH_AFTER = 0.5
"""Seconds after which a look-up of an unknown model may ask the database again."""


def _refuse_reference(uri: str) -> Any:
    msg = f"a model's schema may not refer to {uri}"
    raise ValueError(msg)


def compile_schema(schema: dict[str, Any]) -> jsonschema_rs.Validator:
    """Return a validator of a JSON Schema. Raises ``ValueError`` when it is none."""
    return jsonschema_rs.validator_for(schema, retriever=_refuse_reference)


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
        errors = [*_errors(self.input, input, "input"), *_errors(self.parameters, parameters, "parameters")]
        if errors:
            msg = f"The model {self.spec.name} does not take this: {errors[0].field} {errors[0].message}."
            raise Invalid(msg, errors=errors[:MAX_ERRORS])


def _errors(validator: jsonschema_rs.Validator, value: Any, name: str) -> Iterable[FieldError]:
    if validator.is_valid(value):
        return ()
    return (_field_error(error, name) for error in validator.iter_errors(value))


def _field_error(error: jsonschema_rs.ValidationError, name: str) -> FieldError:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.instance_path)
    return FieldError(name + path, error.message)


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
