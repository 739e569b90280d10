"""Dependencies of the node routes."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import Request

from neurogrid.auth.deps import acting
from neurogrid.auth.policy import Permission, Proof
from neurogrid.auth.trail import Trail
from neurogrid.idempotency.deps import Once, once
from neurogrid.limits.policy import KEYS
from neurogrid.nodes.joining import JoinTokens
from neurogrid.nodes.service import NodeService


async def node_service(request: Request) -> NodeService:
    """Return the service of this process."""
    return cast("NodeService", request.state.nodes)


async def join_tokens(request: Request) -> JoinTokens:
    """Return the tokens of nodes."""
    return cast("JoinTokens", request.state.join_tokens)


Nodes = Annotated[NodeService, Depends(node_service)]
Acting = Annotated[Trail, Depends(acting(Permission.NODES_WRITE))]
Tokens = Annotated[JoinTokens, Depends(join_tokens)]
OnceSecret = Annotated[Once, Depends(once(Permission.NODES_WRITE, KEYS, secret=True, proof=Proof.RECENT))]
