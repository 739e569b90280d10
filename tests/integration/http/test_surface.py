"""Whatever is wrong with a request, the answer is a problem document with a request id and no internals."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

import asyncpg
import httpx
import orjson
import pytest
import pytest_asyncio
from fastapi import APIRouter, FastAPI, Header, Query, WebSocket
from pydantic import BaseModel
from starlette.responses import StreamingResponse
from structlog.testing import capture_logs

from neurogrid.core.errors import FieldError, Forbidden, Invalid, Unavailable
from neurogrid.core.http import docs, middleware, openapi, problems
from neurogrid.core.http.body import StrictJSONRoute
from neurogrid.core.http.openapi import problems as responses
from neurogrid.core.settings import TaskSettings

pytestmark = pytest.mark.asyncio

MAX_BODY = 2000
JSON = {"Content-Type": "application/json"}


class Parameters(BaseModel):
    temperature: float = 0.0


class Body(BaseModel):
    input: str
    parameters: Parameters = Parameters()


def make_app() -> FastAPI:
    router = APIRouter(prefix="/v1/things", route_class=StrictJSONRoute)

    @router.post("", responses=responses(400, 413, 415))
    async def make(
        body: Body,
        limit: Annotated[int, Query(le=3)] = 1,
        idempotency_key: Annotated[int | None, Header()] = None,
    ) -> Body:
        return body

    @router.post("/bulk", max_body_size=MAX_BODY * 4)
    async def bulk(body: list[int]) -> int:
        return len(body)

    @router.get("/broken")
    async def broken() -> None:
        raise RuntimeError("hush: /etc/passwd")

    @router.get("/unreadable")
    async def unreadable() -> None:
        raise asyncpg.CannotConnectNowError("the database system is starting up")

    @router.get("/half")
    async def half() -> StreamingResponse:
        async def stream() -> AsyncIterator[bytes]:
            yield b"first"
            raise RuntimeError("hush")

        return StreamingResponse(stream())

    @router.get("/away")
    async def away() -> None:
        raise Unavailable("Try later.", retry_after=7)

    @router.get("/wrong")
    async def wrong() -> None:
        raise Invalid("No.", errors=[FieldError("input", "no")])

    @router.get("/misfit")
    async def misfit() -> Body:
        return {"input": ["hush"]}  # type: ignore[return-value]

    @router.websocket("/socket")
    async def socket(websocket: WebSocket) -> None:
        raise Forbidden("Not you.")

    @router.websocket("/open-socket")
    async def open_socket(websocket: WebSocket) -> None:
        await websocket.accept()
        raise Forbidden("Not you any more.")

    app = FastAPI(title="Test", docs_url=None, redoc_url=None)
    app.include_router(router)
    for part in (problems, openapi, docs):
        part.install(app)
    middleware.install(app, TaskSettings(max_body=MAX_BODY))
    return app


@pytest_asyncio.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(make_app(), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://grid") as connected:
        yield connected


def check(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Check what all problems have in common and return the document."""
    problem: dict[str, Any] = response.json()
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["type"] == f"urn:neurogrid:problem:{code}"
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["request_id"] == response.headers["x-request-id"]
    assert response.headers.get_list("x-request-id") == [problem["request_id"]]
    assert problem["title"]
    assert problem["detail"]
    assert "hush" not in response.text
    return problem


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("DELETE", "/v1/things", 405, "method_not_allowed"),
        ("GET", "/v1/things/broken", 500, "internal_error"),
        ("GET", "/v1/things/misfit", 500, "internal_error"),
        ("GET", "/v1/things/away", 503, "unavailable"),
        ("GET", "/v1/things/wrong", 422, "invalid"),
    ],
)
async def test_every_error_is_a_problem(
    client: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    """Ours, the framework's and unexpected errors look the same."""
    response = await client.request(method, path)
    problem = check(response, status, code)
    assert problem["errors"] == ([{"field": "input", "message": "no"}] if code == "invalid" else [])
    assert response.headers.get("retry-after") == ("7" if status == 503 else None)
    assert response.headers.get("allow") == ("POST" if status == 405 else None)


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b"{", JSON, 400, "malformed_json"),
        (b'{"input":NaN}', JSON, 400, "malformed_json"),
        (b"[" * 1500, JSON, 400, "malformed_json"),
        (b'{"input":"x"}', {"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
        (b'{"input":"x"}', {}, 415, "unsupported_media_type"),
        (b'{"input":"\\u0000"}', JSON, 422, "invalid"),
        (b"", JSON, 422, "invalid"),
        (b'{"input":"' + b"x" * MAX_BODY + b'"}', JSON, 413, "body_too_large"),
    ],
)
async def test_bad_bodies_get_their_own_answer(
    client: httpx.AsyncClient, content: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    """Each way in which a body can be bad has its code."""
    check(await client.post("/v1/things", content=content, headers=headers), status, code)


async def test_validation_names_the_fields(client: httpx.AsyncClient) -> None:
    """Body, query and header fields are named as the client knows them."""
    body = {"input": 1, "parameters": {"temperature": "x"}}
    response = await client.post("/v1/things?limit=9", json=body, headers={"Idempotency-Key": "x"})
    problem = check(response, 422, "invalid")
    assert {error["field"] for error in problem["errors"]} == {
        "query.limit", "Idempotency-Key", "input", "parameters.temperature",
    }  # fmt: skip


async def test_streamed_bodies_are_counted(client: httpx.AsyncClient) -> None:
    """A body that does not say how long it is gets no further than the limit."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 100
            yield b"x" * 100

    check(await client.post("/v1/things", content=endless(), headers=JSON), 413, "body_too_large")
    assert sent <= MAX_BODY + 200


async def test_a_route_may_take_more(client: httpx.AsyncClient) -> None:
    """A route's own limit counts instead of the general one, and is named when it is passed."""
    assert (await client.post("/v1/things/bulk", json=[1] * MAX_BODY)).json() == MAX_BODY
    problem = check(await client.post("/v1/things/bulk", json=[1] * MAX_BODY * 4), 413, "body_too_large")
    assert str(MAX_BODY * 4) in problem["detail"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [("abc-123", True), ("a" * 128, True), ("a" * 129, False), ("a b", False), ("<x>", False)],
)
async def test_request_ids_are_kept_when_sane(client: httpx.AsyncClient, *, given: str, kept: bool) -> None:
    """A caller's own request id comes back, unless it is one that should not go into logs."""
    answered = (await client.get("/docs", headers={"X-Request-ID": given})).headers["x-request-id"]
    assert (answered == given) is kept
    assert answered


async def test_one_access_line_per_request(client: httpx.AsyncClient) -> None:
    """Each request is one line with what one needs, and the query, which may hold secrets, is not in it."""
    with capture_logs() as logs:
        await client.post("/v1/things?limit=2&token=hush", json={"input": "x"})
    (line,) = [entry for entry in logs if entry["event"] == "request"]
    assert (line["method"], line["path"], line["status"], line["log_level"]) == (
        "POST",
        "/v1/things",
        200,
        "info",
    )
    assert line["bytes"] > 0
    assert line["duration_ms"] >= 0
    assert "hush" not in str(line)


async def test_unexpected_errors_are_logged_with_their_cause(client: httpx.AsyncClient) -> None:
    """The traceback that the client does not get is in the log, once, also for an answer broken off."""
    with capture_logs() as logs:
        await client.get("/v1/things/broken")
    (line,) = [entry for entry in logs if entry["event"] == "request_failed"]
    assert line["exc_info"]
    with capture_logs() as logs:
        await client.get("/v1/things/half")
    assert [entry["event"] for entry in logs] == ["request"]


async def test_a_database_that_is_away_is_no_riddle(client: httpx.AsyncClient) -> None:
    """Who reads while the database does not answer is told when to come back; the log has one line, no traceback."""
    with capture_logs() as logs:
        response = await client.get("/v1/things/unreadable")
    check(response, 503, "unavailable")
    assert response.headers["Retry-After"] == "5"
    assert [entry["event"] for entry in logs] == ["database.away", "request"]


async def speak(path: str) -> list[dict[str, Any]]:
    """Open a WebSocket and return what the app sends."""
    scope = {
        "type": "websocket",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [],
        "subprotocols": [],
        "extensions": {"websocket.http.response": {}},
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await make_app()(scope, receive, send)
    return sent


async def test_sockets_get_the_same_errors() -> None:
    """An error before a WebSocket is accepted refuses it with a problem; after, it closes with 4000 + status."""
    start, body = await speak("/v1/things/socket")
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 403)
    assert orjson.loads(body["body"])["code"] == "forbidden"
    accepted, closed = await speak("/v1/things/open-socket")
    assert accepted["type"] == "websocket.accept"
    assert (closed["type"], closed["code"]) == ("websocket.close", 4403)


async def test_docs_need_no_internet(client: httpx.AsyncClient) -> None:
    """Swagger UI and ReDoc load nothing from elsewhere, and all they load is there."""
    for path in ("/docs", "/redoc"):
        page = await client.get(path)
        assert page.status_code == 200
        assert "https://" not in page.text
        assets = {part.split('"')[0] for part in page.text.split('="') if part.startswith("/docs/assets/")}
        assert assets
        for asset in assets:
            assert (await client.get(asset)).status_code == 200


async def test_openapi_describes_the_problems(client: httpx.AsyncClient) -> None:
    """Error answers are documented as what they are, and FastAPI's own error bodies are gone."""
    document = (await client.get("/openapi.json")).json()
    answers = document["paths"]["/v1/things"]["post"]["responses"]
    for status in ("400", "413", "415", "422"):
        content = answers[status]["content"]["application/problem+json"]
        assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
        assert content["example"]["status"] == int(status)
    assert "HTTPValidationError" not in str(document)
    assert (await client.get("/openapi.json")).json() == document
