"""The nodes of the grid, whether connected or not."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
import orjson

from neurogrid.auth.trail import Note, Trail
from neurogrid.core.errors import FieldError, Forbidden, Invalid, NotFound
from neurogrid.core.ids import is_id, new_id, now
from neurogrid.core.prepared import Row
from neurogrid.nodes.catalog import Catalog, CatalogModel, NodeModels, check_schema, compile_schema
from neurogrid.nodes.fleet import ServingNode, serving
from neurogrid.nodes.policy import NodeState, Scope, Standing
from neurogrid.nodes.schemas import ModelView, NodeView
from neurogrid.nodes.store import NodeStore
from neurogrid.nodes.tables import Node
from neurogrid.protocol.messages import Hello, ModelSpec
from neurogrid.queue.views import QueueViews

MAX_LABELS, MAX_LABEL = 64, 256
MAX_MODELS, MAX_SLOTS, MAX_DESCRIPTION = 256, 10_000, 2_000
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
_MODEL = re.compile(r"[\w.:/@+-]{1,100}")
UNKNOWN = "There is no node with this id."
REMOVED = "This node was removed from the grid. Start it anew to join again."

Announce = Callable[[str], Awaitable[None]]
"""Tells every gateway that a node, by id, is to be looked at anew; a hint that may be lost."""


class NodeService:
    """Registers nodes, takes orders about them, and keeps the catalogue of their models."""

    def __init__(self, store: NodeStore, queue: QueueViews, default_model: str, announce: Announce) -> None:
        """Keep nodes in ``store``; ``default_model`` is marked in the list of models."""
        self._store = store
        self._queue = queue
        self._default_model = default_model
        self._announce = announce
        self.catalog = Catalog()

    async def register(self, hello: Hello, scope: Scope | None) -> Standing:
        """Record what a node says of itself, and return how it stands.

        ``scope`` is that of its token; the node of this very process has none. Raises ``Forbidden`` for a node
        that its token does not allow or that was removed, ``Invalid`` for one that makes no sense.
        """
        if scope is not None:
            scope.check(hello)
        _check(hello)
        moment = now()
        node = Node(
            id=new_id(), name=hello.name, version=hello.version,
            models=msgspec.json.encode(hello.models).decode(), labels=orjson.dumps(hello.labels).decode(),
            slots=hello.slots, state=NodeState.ACTIVE, registered_at=moment, seen_at=moment,
        )  # fmt: skip
        standing = await self._store.register(
            node, resumes=hello.session is not None, token=scope.token if scope else None
        )
        if standing is None:
            raise Forbidden(REMOVED)
        await self.refresh()
        return standing

    async def refresh(self) -> None:
        """Rebuild the catalogue from the rows of the nodes."""
        rows = await self._store.all()
        self.catalog.replace(
            NodeModels(row["name"], int(row["registered_at"].timestamp()), row["models"]) for row in rows
        )

    async def model(self, name: str) -> CatalogModel:
        """Return a model of the grid. Raises ``UnknownModel``."""
        found = self.catalog.find(name)
        if found is None and self.catalog.stale:
            await self.refresh()
            found = self.catalog.find(name)
        if found is None:
            raise self.catalog.unknown(name)
        return found

    async def seen(self, ids: list[str]) -> None:
        """Record a sign of life of connected nodes."""
        if ids:
            await self._store.seen(ids, now())

    async def standings(self, ids: Iterable[str]) -> dict[str, Standing]:
        """Return how the nodes ``ids`` stand, and all that drain; removed ones are not among them."""
        return {standing.id: standing for standing in await self._store.standings(ids)}

    async def drained(self, ids: Sequence[str]) -> None:
        """Record that draining nodes have left: they stay cordoned until an operator takes them back."""
        await self._store.drained(ids)

    async def overview(self) -> list[NodeView]:
        """Return all nodes with what they do now."""
        load = await self._queue.load_by_node()
        return [_node_view(row, load) for row in await self._store.all()]

    async def serving(self, model: str) -> list[ServingNode]:
        """Return the nodes that have ``model``, connected or not."""
        return serving(model, await self._store.all(), await self._queue.load_by_node())

    async def view(self, id: str) -> NodeView:
        """Return one node with what it does now. Raises ``NotFound``."""
        row = await self._store.one(id) if is_id(id) else None
        if row is None:
            raise NotFound(UNKNOWN)
        return _node_view(row, await self._queue.load_by_node())

    async def cordon(self, id: str, trail: Trail) -> NodeView:
        """Give a node nothing new; a draining one goes on to leave. Raises ``NotFound``."""
        return await self._order(id, NodeState.CORDONED, trail.of("node.cordoned", id))

    async def uncordon(self, id: str, trail: Trail) -> NodeView:
        """Give a node tasks again. Raises ``NotFound``."""
        return await self._order(id, NodeState.ACTIVE, trail.of("node.uncordoned", id))

    async def drain(self, id: str, seconds: float, trail: Trail) -> NodeView:
        """Have a node finish what it can within ``seconds``, hand back the rest and leave. Raises ``NotFound``."""
        until = now() + timedelta(seconds=seconds)
        return await self._order(id, NodeState.DRAINING, trail.of("node.drained", id, seconds=seconds), until)

    async def remove(self, id: str, trail: Trail) -> None:
        """Forget a node; whatever it runs, runs elsewhere. Raises ``NotFound``."""
        if not (is_id(id) and await self._store.remove(id, trail.of("node.removed", id))):
            raise NotFound(UNKNOWN)
        await self.refresh()
        await self._announce(id)

    async def _order(
        self, id: str, state: NodeState, note: Note, drain_until: datetime | None = None
    ) -> NodeView:
        if is_id(id):
            await self._store.order(id, state, drain_until, note)
        view = await self.view(id)
        await self._announce(id)
        return view

    async def models(self) -> list[ModelView]:
        """Return the catalogue with the nodes that serve each model now."""
        if self.catalog.stale:
            await self.refresh()
        connected = {node.name for node in await self.overview() if node.connected}
        return [self._view(model, connected) for model in self.catalog.all()]

    async def model_view(self, name: str) -> ModelView:
        """Return one model of the catalogue. Raises ``NotFound``."""
        for view in await self.models():
            if view.id == name:
                return view
        raise NotFound(self.catalog.unknown(name).detail)

    def _view(self, model: CatalogModel, connected: set[str]) -> ModelView:
        spec = model.spec
        serving = [node for node in model.nodes if node in connected]
        return ModelView(
            id=spec.name,
            created=model.created,
            version=spec.version,
            kind=spec.kind,
            description=spec.description,
            default=spec.name == self._default_model,
            available=bool(serving),
            nodes=serving,
            streams=spec.streams,
            deterministic=spec.deterministic,
            input_schema=spec.input_schema,
            parameters_schema=spec.parameters_schema,
            example_input=spec.example_input,
        )


def _check(hello: Hello) -> None:
    """Bound what a node says of itself: it is kept, and shown to everybody. Raises ``Invalid``."""
    labels = [*hello.labels, *hello.labels.values()]
    wrong = {
        "name": not _NAME.fullmatch(hello.name),
        "version": not _NAME.fullmatch(hello.version),
        "slots": not 0 <= hello.slots <= MAX_SLOTS,
        "session": hello.session is not None and not is_id(hello.session),
        "labels": len(hello.labels) > MAX_LABELS or any(len(text) > MAX_LABEL for text in labels),
        "models": len(hello.models) > MAX_MODELS,
    }
    for field, bad in wrong.items():
        if bad:
            msg = f"The node's {field} cannot be taken: too long, too many, or out of range."
            raise Invalid(msg, errors=[FieldError(field, msg)])
    for spec in hello.models:
        _check_model(spec)


def _check_model(spec: ModelSpec) -> None:
    texts = (spec.version, spec.kind)
    bad = not _MODEL.fullmatch(spec.name) or not all(_NAME.fullmatch(text) for text in texts)
    bad = bad or len(spec.description) > MAX_DESCRIPTION or not 1 <= spec.slots <= MAX_SLOTS
    problem = "its name, version, kind, description or slots are out of range" if bad else ""
    if not bad:
        try:
            for schema in (spec.input_schema, spec.parameters_schema):
                check_schema(schema)
                compile_schema(schema)
        except (ValueError, RecursionError) as error:
            problem = f"its schema is not valid: {error}"
    if problem:
        msg = f"The model {spec.name[:MAX_LABEL]!r} cannot be taken: {problem}."
        raise Invalid(msg, errors=[FieldError("models", msg)])


def _node_view(row: Row, load: Mapping[str, int]) -> NodeView:
    running = load.get(row["id"])
    specs = msgspec.json.decode(row["models"], type=list[ModelSpecName])
    return NodeView(
        id=row["id"],
        name=row["name"],
        version=row["version"],
        state=NodeState(row["state"]),
        drain_until=row["drain_until"],
        connected=running is not None,
        slots=row["slots"],
        running=running or 0,
        models=[spec.name for spec in specs],
        labels=orjson.loads(row["labels"]),
        registered_at=row["registered_at"],
        seen_at=row["seen_at"],
    )


class ModelSpecName(msgspec.Struct):
    """Only the name of a model spec; the rest is skipped when decoding."""

    name: str
