"""The baseline: one FastAPI route with a typed body and one dependency, and nothing behind it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from pydantic import BaseModel

app = FastAPI()


class Body(BaseModel):
    """As much as a small task has."""

    input: Any
    model: str | None = None
    parameters: dict[str, Any] = {}


async def caller(request: Request) -> str:
    """Stand in for authentication."""
    return request.headers["authorization"]


@app.post("/v1/tasks", status_code=202)
async def submit(body: Body, caller: Annotated[str, Depends(caller)]) -> Response:
    """Accept and forget."""
    return Response(b'{"id":"0","status":"queued"}', 202, media_type="application/json")


@app.get("/v1/tasks/{id}")
async def get(id: str, caller: Annotated[str, Depends(caller)]) -> Response:
    """Answer from memory."""
    return Response(b'{"id":"0","status":"completed"}', media_type="application/json")


@app.get("/health/ready")
async def ready() -> dict[str, str]:
    """Tell that it runs."""
    return {"status": "ok"}
