"""Who may come at all, by address: for the whole gateway, and for its administration (AUTH-9).

Only the address that the server, or a proxy that is trusted, says a request comes from counts. What has none, such
as a caller on a Unix socket, is refused wherever there is a list to be on.
"""

from __future__ import annotations

from typing import Final

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from neurogrid.core import networks
from neurogrid.core.errors import Forbidden
from neurogrid.core.http.problems import of_grid_error
from neurogrid.core.networks import Networks
from neurogrid.core.settings_access import AccessSettings

ADMIN_PATHS: Final = ("/v1/admin",)
PROBES: Final = frozenset({"/health/live", "/health/ready"})
"""Asked by what runs the gateway, from addresses that nobody knows beforehand; they tell nothing."""

log = structlog.get_logger(__name__)


class AddressNotAllowed(Forbidden):
    """What was asked for may not be asked for from there."""

    code, title = "address_not_allowed", "Not allowed from this address"

    def __init__(self) -> None:
        super().__init__("This may not be used from the address that you come from.")


def client_address(scope: Scope) -> str:
    """Return the address a connection comes from; empty if it has none. Behind trusted proxies it is what they say."""
    client = scope.get("client")
    return str(client[0]) if client else ""


class AddressGate:
    """Refuses requests and WebSockets from where they may not come, before anything of them is read."""

    def __init__(self, app: ASGIApp, settings: AccessSettings) -> None:
        self._app = app
        self._allow, self._deny = networks.read(settings.allow), networks.read(settings.deny)
        self._admin_allow = networks.read(settings.admin_allow)
        self._admin_deny = networks.read(settings.admin_deny)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, or refuse."""
        if scope["type"] == "lifespan" or self._admits(scope):
            await self._app(scope, receive, send)
            return
        log.info("request.address_refused", path=scope["path"], client=client_address(scope))
        answer = of_grid_error(AddressNotAllowed())
        if scope["type"] == "websocket":
            await WebSocket(scope, receive, send).send_denial_response(answer)
        else:
            await answer(scope, receive, send)

    def _admits(self, scope: Scope) -> bool:
        path: str = scope["path"]
        if path in PROBES:
            return True
        address = client_address(scope)
        if not admitted(address, self._allow, self._deny):
            return False
        return not _is_admin(path) or admitted(address, self._admin_allow, self._admin_deny)


def admitted(address: str, allow: Networks, deny: Networks) -> bool:
    """Tell whether an address may come, where no ``allow`` means all."""
    if not allow and not deny:
        return True
    if address in deny or (deny and address not in networks.EVERYWHERE):
        return False
    return not allow or address in allow


def _is_admin(path: str) -> bool:
    return any(path == each or path.startswith(f"{each}/") for each in ADMIN_PATHS)
