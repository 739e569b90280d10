"""The nodes of the grid, whether connected or not."""

from __future__ import annotations

import msgspec
import orjson

from neurogrid.auth import tokens
from neurogrid.core.errors import FieldError, Invalid, NotFound, Unauthenticated
from neurogrid.core.ids import new_id, now
from neurogrid.nodes.catalog import Catalog, CatalogModel, NodeModels, compile_schema
from neurogrid.nodes.schemas import ModelView, NodeView, TokenView
from neurogrid.nodes.store import NodeStore
from neurogrid.nodes.tables import Node, NodeToken
from neurogrid.protocol.messages import Hello
from neurogrid.queue.views import QueueViews

MAX_NAME = 200
ACTIVE = "active"


class NodeService:
    """Registers nodes, lets them in, and keeps the catalogue of their models."""

    def __init__(self, store: NodeStore, queue: QueueViews, default_model: str) -> None:
        """Keep nodes in ``store``; ``default_model`` is marked in the list of models."""
        self._store = store
        self._queue = queue
        self._default_model = default_model
        self.catalog = Catalog()

    async def admit(self, token: str) -> str:
        """Return the name of the node token. Raises ``Unauthenticated``."""
        row = None
        if tokens.well_formed(token, tokens.NODE_TOKEN):
            row = await self._store.token(tokens.digest(token), now())
        if row is None:
            msg = "The node token is not valid. Make one with `neurogrid nodes token`."
            raise Unauthenticated(msg)
        return str(row["name"])

    async def create_token(self, name: str) -> TokenView:
        """Make a token by which nodes join; it cannot be read again."""
        secret = tokens.make(tokens.NODE_TOKEN)
        token = NodeToken(
            id=new_id(), name=name, prefix=secret.shown, hash=secret.hash, created_at=now(),
            expires_at=None, revoked_at=None,
        )  # fmt: skip
        await self._store.add_token(token)
        return TokenView(id=token.id, name=name, token=secret.text)

    async def register(self, hello: Hello) -> str:
        """Record what a node says of itself and return its id. Raises ``Invalid``."""
        if not 0 < len(hello.name) <= MAX_NAME:
            msg = f"A node's name has 1 to {MAX_NAME} characters."
            raise Invalid(msg, errors=[FieldError("name", msg)])
        for spec in hello.models:
            try:
                compile_schema(spec.input_schema)
                compile_schema(spec.parameters_schema)
            except ValueError as error:
                msg = f"The schema of model {spec.name} is not valid: {error}"
                raise Invalid(msg, errors=[FieldError("models", msg)]) from None
        moment = now()
        node = Node(
            id=new_id(), name=hello.name, version=hello.version,
            models=msgspec.json.encode(hello.models).decode(), labels=orjson.dumps(hello.labels).decode(),
            slots=hello.slots, state=ACTIVE, registered_at=moment, seen_at=moment,
        )  # fmt: skip
        node_id = await self._store.upsert(node)
        await self.refresh()
        return node_id

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

    async def overview(self) -> list[NodeView]:
        """Return all nodes with what they do now."""
        load = await self._queue.load_by_node()
        views = []
        for row in await self._store.all():
            running = load.get(row["id"])
            specs = msgspec.json.decode(row["models"], type=list[ModelSpecName])
            views.append(
                NodeView(
                    id=row["id"],
                    name=row["name"],
                    version=row["version"],
                    state=row["state"],
                    connected=running is not None,
                    slots=row["slots"],
                    running=running or 0,
                    models=[spec.name for spec in specs],
                    labels=orjson.loads(row["labels"]),
                    registered_at=row["registered_at"],
                    seen_at=row["seen_at"],
                )
            )
        return views

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


class ModelSpecName(msgspec.Struct):
    """Only the name of a model spec; the rest is skipped when decoding."""

    name: str
