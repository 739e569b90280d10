"""Dependencies of the node routes."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import Request

from neurogrid.nodes.service import NodeService


async def node_service(request: Request) -> NodeService:
    """Return the service of this process."""
    return cast("NodeService", request.state.nodes)


Nodes = Annotated[NodeService, Depends(node_service)]
