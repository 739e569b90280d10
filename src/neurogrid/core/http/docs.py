"""Swagger UI and ReDoc without a CDN (HTTP-1): the assets come from ``fastapi-offline``'s wheel."""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import Final

from fastapi import FastAPI, Request
from fastapi.openapi.docs import (
    get_redoc_html,
    get_swagger_ui_html,
    get_swagger_ui_oauth2_redirect_html,
)
from fastapi.staticfiles import StaticFiles
from starlette.responses import HTMLResponse

ASSETS: Final = "/docs/assets"
OAUTH_REDIRECT: Final = "/docs/oauth2-redirect"
_PARAMETERS: Final = {
    "persistAuthorization": True,
    "displayRequestDuration": True,
    "docExpansion": "list",
    "filter": True,
    "tryItOutEnabled": True,
}


def install(app: FastAPI) -> None:
    """Serve ``/docs`` and ``/redoc``. ``app`` must be made with ``docs_url=None, redoc_url=None``."""
    with as_file(files("fastapi_offline") / "static") as directory:
        app.mount(ASSETS, StaticFiles(directory=directory), name="docs-assets")

    async def swagger(request: Request) -> HTMLResponse:
        root = request.scope.get("root_path", "")
        return get_swagger_ui_html(
            openapi_url=f"{root}{app.openapi_url}",
            title=f"{app.title} · API",
            oauth2_redirect_url=f"{root}{OAUTH_REDIRECT}",
            swagger_js_url=f"{root}{ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{root}{ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{root}{ASSETS}/favicon.png",
            swagger_ui_parameters=_PARAMETERS,
        )

    async def redoc(request: Request) -> HTMLResponse:
        root = request.scope.get("root_path", "")
        return get_redoc_html(
            openapi_url=f"{root}{app.openapi_url}",
            title=f"{app.title} · API reference",
            redoc_js_url=f"{root}{ASSETS}/redoc.standalone.js",
            redoc_favicon_url=f"{root}{ASSETS}/favicon.png",
            with_google_fonts=False,
        )

    async def oauth_redirect() -> HTMLResponse:
        return get_swagger_ui_oauth2_redirect_html()

    for path, page in (("/docs", swagger), ("/redoc", redoc), (OAUTH_REDIRECT, oauth_redirect)):
        app.add_api_route(path, page, include_in_schema=False, response_class=HTMLResponse)
