"""Who may come at all, by address: for the service, and for its administration (AUTH-9)."""

from __future__ import annotations

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from neurogrid.auth.policy import Role
from tests.support.gateway import Start

pytestmark = pytest.mark.asyncio

FROM = "X-Forwarded-For"
PROXIES = {"trusted_proxies": "127.0.0.0/8"}


@pytest.mark.parametrize(
    ("access", "address", "status"),
    [
        ({"allow": "10.0.0.0/8"}, "10.1.2.3", 200),
        ({"allow": "10.0.0.0/8"}, "::ffff:10.1.2.3", 200),
        ({"allow": "10.0.0.0/8, 2001:db8::/32"}, "2001:db8::1", 200),
        ({"allow": "10.0.0.0/8"}, "2001:db8::1", 403),
        ({"allow": "10.0.0.0/8"}, "11.1.2.3", 403),
        ({"allow": "10.0.0.0/8", "deny": "10.1.0.0/16"}, "10.1.2.3", 403),
        ({"allow": "10.0.0.0/8", "deny": "10.1.0.0/16"}, "10.2.2.3", 200),
        ({"deny": "192.0.2.0/24"}, "192.0.2.7", 403),
        ({"deny": "192.0.2.0/24"}, "::ffff:192.0.2.7", 403),
        ({"deny": "192.0.2.0/24"}, "192.0.3.7", 200),
    ],
    ids=str,
)
async def test_the_whole_service(start: Start, access: dict[str, str], address: str, status: int) -> None:
    """Where there is a list, only who is on it comes in; who is denied does not, even with a good key."""
    grid = await start(access=access, limits=PROXIES)
    ada = await grid.account()
    for path in ("/v1/tasks", "/openapi.json"):
        answer = await ada.http.get(path, headers={FROM: address})
        assert answer.status_code == status, path
    if status == 403:
        assert (await ada.http.get("/v1/tasks", headers={FROM: address})).json()[
            "code"
        ] == "address_not_allowed"
        assert (await ada.http.get("/no/such", headers={FROM: address})).status_code == 403
    for probe in ("/health/live", "/health/ready"):
        assert (await ada.http.get(probe, headers={FROM: address})).status_code == 200


async def test_a_made_up_address_opens_nothing(start: Start) -> None:
    """What callers say of themselves counts only where a proxy of ours says it last."""
    for limits, forged in (
        (None, "10.1.2.3"),
        (PROXIES, "10.1.2.3, 192.0.2.7"),
        (PROXIES, "10.1.2.3, nonsense"),
    ):
        grid = await start(access={"allow": "10.0.0.0/8"}, **({"limits": limits} if limits else {}))
        client = await grid.client()
        for header in (FROM, "Forwarded", "X-Real-IP", "X-Client-IP", "True-Client-IP"):
            sent = f"for={forged}" if header == "Forwarded" else forged
            assert (await client.get("/openapi.json", headers={header: sent})).status_code == 403, (
                header,
                forged,
            )


async def test_administration_only_from_there(start: Start) -> None:
    """Admin routes have lists of their own, besides those of the service, however the path is written."""
    grid = await start(access={"admin_allow": "10.0.0.0/8", "admin_deny": "10.9.0.0/16"}, limits=PROXIES)
    admin = await grid.account(Role.ADMIN)
    for address, status in (("10.1.2.3", 200), ("10.9.2.3", 403), ("192.0.2.7", 403)):
        assert (await admin.http.get("/v1/tasks", headers={FROM: address})).status_code == 200
        for path in ("/v1/admin/users", "/v1/admin/audit", "/v1/%61dmin/users"):
            assert (await admin.http.get(path, headers={FROM: address})).status_code == status, path
    for path in (
        "/v1//admin/users",
        "/v1/admin/",
        "/V1/ADMIN/users",
        "/v1/x/../admin/users",
        "/v1/admin%2fusers",
    ):
        answer = await admin.http.get(path, headers={FROM: "192.0.2.7"})
        assert answer.status_code in {403, 404}, path


async def test_web_sockets_too(start: Start) -> None:
    """A WebSocket from where nobody may come is refused at its handshake."""
    grid = await start(access={"deny": "127.0.0.0/8"})
    for path in ("/v1/ws", "/v1/nodes/connect"):
        with pytest.raises(InvalidStatus) as refused:
            await connect(grid.url.replace("http", "ws") + path, proxy=None)
        assert refused.value.response.status_code == 403
