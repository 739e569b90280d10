"""Requests are counted under the template of their route, as the router finds it."""

from __future__ import annotations

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request
from prometheus_client import CollectorRegistry

from neurogrid.app import ROUTERS, TEMPLATES
from neurogrid.core.http import metrics
from neurogrid.core.http.templates import Templates

router = APIRouter(prefix="/v1/things")


@router.get("/{id}")  # noqa: FAST003
@router.delete("/{id}")
@router.get("/{id}/parts/{part}")
@router.post("/quote")
@router.get("/all/parts/first")
def anything(request: Request) -> str:
    """Answer."""
    return request.method


@pytest.mark.parametrize(
    ("method", "path", "template"),
    [
        ("GET", "/v1/things/7", "/v1/things/{id}"),
        ("DELETE", "/v1/things/quote", "/v1/things/{id}"),
        ("POST", "/v1/things/quote", "/v1/things/quote"),
        ("PUT", "/v1/things/7", "/v1/things/{id}"),
        ("GET", "/v1/things/all/parts/first", "/v1/things/all/parts/first"),
        ("GET", "/v1/things/all/parts/second", "/v1/things/{id}/parts/{part}"),
        ("GET", "/v1/things", None),
        ("GET", "/v1/things/", None),
        ("GET", "/v1/things//parts/first", None),
        ("GET", "/v1/things/7/parts", None),
        ("GET", "/" + "v1/" * 1000, None),
        ("GET", "", None),
    ],
)
def test_paths_have_templates(method: str, path: str, template: str | None) -> None:
    """Literals go before variables, and a route that takes the method before others."""
    assert Templates([router]).find(method, path) == template


def test_every_route_of_the_gateway_is_found() -> None:
    """Each template leads to itself, so that none is counted under another's name."""
    for one in ROUTERS:
        for route in one.routes:
            methods = getattr(route, "methods", None) or {""}
            for method in methods:
                assert TEMPLATES.find(method, route.path) == route.path


@pytest.mark.asyncio
async def test_requests_are_counted_by_template() -> None:
    """Ids are in no label; what no router has is found by the instrumentator, or left out."""
    app = FastAPI()
    app.include_router(router)

    @app.get("/page/{name}")
    def page(name: str) -> str:
        return name

    registry = CollectorRegistry()
    metrics.install(app, Templates([router]), registry)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://grid") as client:
        for path in ("/v1/things/seven", "/page/one", "/nowhere/seven"):
            await client.get(path)
        shown = (await client.get("/metrics")).text
    assert 'handler="/v1/things/{id}"' in shown
    assert 'handler="/page/{name}"' in shown
    assert "seven" not in shown
    assert registry.get_sample_value(
        "http_requests_total", {"handler": "/v1/things/{id}", "method": "GET", "status": "2xx"}
    )
