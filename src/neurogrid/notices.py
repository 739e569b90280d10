"""What the parts of a gateway notice, brought to the `admin` channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neurogrid.auth.parts import AuthParts
    from neurogrid.dispatch.connection import NodeConnection
    from neurogrid.dispatch.service import Dispatcher
    from neurogrid.limits.service import LimitService
    from neurogrid.streams.admin import AdminFeed, Notices


def wire(
    notices: Notices,
    feed: AdminFeed,
    *,
    gateway: str,
    dispatcher: Dispatcher,
    limits: LimitService,
    identity: AuthParts,
) -> None:
    """Have ``notices`` told what happens, and ``feed`` read the audit log."""

    def on_node(type: str, node: NodeConnection) -> None:
        notices.tell(type, node=node.node_id, name=node.name, gateway=gateway)

    def on_refused(tier: str, caller: str, window: str, path: str) -> None:
        notices.tell("limit.hit", f"{caller} {window}", caller=caller, tier=tier, window=window, path=path)

    def on_delay(place: str, seconds: float) -> None:
        notices.tell("sign_in.delayed", place, place=place, seconds=seconds)

    dispatcher.on_node = on_node
    limits.on_refused = on_refused
    identity.lockout.on_delay = on_delay
    feed.read_audit = identity.audit.news
