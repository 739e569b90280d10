"""Which nodes serve a model, and how busy they are: what forecasts are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec
import orjson

from neurogrid.core.prepared import Row
from neurogrid.nodes.policy import NodeState


@dataclass(frozen=True, slots=True)
class ServingNode:
    """A node that has a model. ``slots`` are those it has for this model, ``room`` its free ones for any."""

    name: str
    labels: Mapping[str, str]
    connected: bool
    accepting: bool
    slots: int
    room: int


class _Spec(msgspec.Struct):
    name: str
    slots: int = 1


_decode = msgspec.json.Decoder(list[_Spec]).decode


def serving(model: str, rows: Iterable[Row], load: Mapping[str, int]) -> list[ServingNode]:
    """Return the nodes that have ``model``; ``load`` has the running tasks of those connected, by id."""
    nodes = []
    for row in rows:
        slots = next((spec.slots for spec in _decode(row["models"]) if spec.name == model), None)
        if slots is not None:
            connected = row["id"] in load
            nodes.append(
                ServingNode(
                    name=row["name"],
                    labels=orjson.loads(row["labels"]),
                    connected=connected,
                    accepting=connected and row["state"] == NodeState.ACTIVE,
                    slots=min(slots, row["slots"]),
                    room=max(0, row["slots"] - load.get(row["id"], 0)),
                )
            )
    return nodes
