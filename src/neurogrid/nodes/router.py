"""`/v1/nodes` and `/v1/models`."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from neurogrid.auth.deps import permitted
from neurogrid.auth.policy import Permission
from neurogrid.core.http.body import StrictJSONRoute
from neurogrid.core.http.openapi import problems
from neurogrid.nodes.deps import Nodes
from neurogrid.nodes.schemas import ModelList, ModelView, NewToken, NodeList, TokenView

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
    dependencies=[Depends(permitted(Permission.NODES_WRITE))],
    responses=problems(400, 401, 403, 422),
)
async def create_node_token(body: NewToken, nodes: Nodes) -> TokenView:
    """Make a token by which nodes join the grid. It is shown this once."""
    return await nodes.create_token(body.name)
