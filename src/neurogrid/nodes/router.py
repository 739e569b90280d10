"""`/v1/nodes` and `/v1/models`."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response

from neurogrid.auth.deps import permitted, trail_of
from neurogrid.auth.policy import Permission
from neurogrid.core.http.body import StrictJSONRoute
from neurogrid.core.http.openapi import problems
from neurogrid.nodes.deps import Acting, Nodes, OnceSecret, Tokens
from neurogrid.nodes.schemas import (
    DrainOrder,
    FreshToken,
    ModelList,
    ModelView,
    NewToken,
    NodeList,
    NodeView,
    TokenList,
)

router = APIRouter(prefix="/v1", route_class=StrictJSONRoute)


@router.get(
    "/models",
    tags=["models"],
    dependencies=[Depends(permitted(Permission.MODELS_READ))],
    responses=problems(401, 403),
)
async def list_models(nodes: Nodes) -> ModelList:
    """List the models of the grid with the JSON Schemas of their input and parameters."""
    return ModelList(data=await nodes.models())


@router.get(
    "/models/{name}",
    tags=["models"],
    dependencies=[Depends(permitted(Permission.MODELS_READ))],
    responses=problems(401, 403, 404),
)
async def get_model(name: str, nodes: Nodes) -> ModelView:
    """Return one model of the grid."""
    return await nodes.model_view(name)


@router.get(
    "/nodes",
    tags=["nodes"],
    dependencies=[Depends(permitted(Permission.NODES_READ))],
    responses=problems(401, 403),
)
async def list_nodes(nodes: Nodes) -> NodeList:
    """List the nodes of the grid, connected or not."""
    return NodeList(data=await nodes.overview())


@router.post(
    "/nodes/tokens",
    tags=["nodes"],
    status_code=201,
    response_model=FreshToken,
    responses=problems(400, 401, 403, 409, 422),
)
async def create_node_token(body: NewToken, request: Request, tokens: Tokens, once: OnceSecret) -> Response:
    """Make a token by which nodes join the grid. It is shown this once.

    A request repeated with its `Idempotency-Key` and by the same API key gets the same token; by another key of
    yours it is refused with 409, since what is kept of the token can be read by nothing else.
    """
    trail = trail_of(request, once.actor)
    return await once(body, lambda transaction: tokens.create(transaction, body, trail))


@router.get(
    "/nodes/tokens",
    tags=["nodes"],
    dependencies=[Depends(permitted(Permission.NODES_WRITE))],
    responses=problems(401, 403),
)
async def list_node_tokens(tokens: Tokens) -> TokenList:
    """List the tokens by which nodes join, without their secrets, also those that no longer hold."""
    return TokenList(data=await tokens.overview())


@router.delete(
    "/nodes/tokens/{id}",
    tags=["nodes"],
    status_code=204,
    responses=problems(401, 403, 404),
)
async def revoke_node_token(id: str, tokens: Tokens, trail: Acting) -> None:
    """Revoke a token: the nodes that joined by it are disconnected within 5 seconds."""
    await tokens.revoke(id, trail)


@router.get(
    "/nodes/{id}",
    tags=["nodes"],
    dependencies=[Depends(permitted(Permission.NODES_READ))],
    responses=problems(401, 403, 404),
)
async def get_node(id: str, nodes: Nodes) -> NodeView:
    """Return one node of the grid."""
    return await nodes.view(id)


@router.post(
    "/nodes/{id}/cordon",
    tags=["nodes"],
    responses=problems(401, 403, 404),
)
async def cordon_node(id: str, nodes: Nodes, trail: Acting) -> NodeView:
    """Give a node nothing new. It stays connected and finishes what it has; restarts do not change that."""
    return await nodes.cordon(id, trail)


@router.post(
    "/nodes/{id}/uncordon",
    tags=["nodes"],
    responses=problems(401, 403, 404),
)
async def uncordon_node(id: str, nodes: Nodes, trail: Acting) -> NodeView:
    """Give a node tasks again. One that is about to leave still leaves, and is taken back when it returns."""
    return await nodes.uncordon(id, trail)


@router.post(
    "/nodes/{id}/drain",
    tags=["nodes"],
    responses=problems(400, 401, 403, 404, 422),
)
async def drain_node(id: str, nodes: Nodes, trail: Acting, body: DrainOrder | None = None) -> NodeView:
    """Have a node finish what it can, hand back the rest at its deadline, and end.

    What is handed back runs elsewhere, and counts neither as an error nor as a loss. The node is `draining`
    until it has left, then `cordoned`: when it is started again, it gets nothing before it is uncordoned.
    """
    return await nodes.drain(id, (body or DrainOrder()).deadline_s, trail)


@router.delete(
    "/nodes/{id}",
    tags=["nodes"],
    status_code=204,
    responses=problems(401, 403, 404),
)
async def remove_node(id: str, nodes: Nodes, trail: Acting) -> None:
    """Forget a node and end its process; what it runs, runs elsewhere at once and is not counted against tasks.

    Started again with a token that holds, it joins as a new node.
    """
    await nodes.remove(id, trail)
