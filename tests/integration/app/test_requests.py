"""Whatever is sent, the answer is clear, small, and never 5xx."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import suppress

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurogrid.core.errors import Invalid, MalformedJson
from neurogrid.core.http.body import parse_json
from tests.support.gateway import Account, RunningGateway

JSON = {"Content-Type": "application/json"}
MIB = 1024 * 1024


def clear(answer: httpx.Response) -> bool:
    """Tell whether ``answer`` refuses in the one form that refusals have."""
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(problem) == {"type", "title", "status", "detail", "code", "request_id", "errors"}
    assert problem["request_id"] == answer.headers["x-request-id"]
    return bool(problem["detail"]) and problem["status"] == answer.status_code


def wrapped(input: bytes) -> bytes:
    return b'{"model":"debug.echo","input":' + input + b"}"


BODIES: dict[str, tuple[bytes, int]] = {
    "nothing": (b"", 422),
    "not json": (b"hello", 400),
    "cut off": (b'{"input": "hi', 400),
    "two documents": (b'{"input":1}{"input":2}', 400),
    "trailing comma": (b'{"input":1,}', 400),
    "single quotes": (b"{'input':1}", 400),
    "not a number": (wrapped(b"NaN"), 400),
    "infinity": (wrapped(b"Infinity"), 400),
    "minus infinity": (wrapped(b"-Infinity"), 400),
    "beyond a double": (wrapped(b"1e999"), 400),
    "nested arrays": (wrapped(b"[" * 200 + b"]" * 200), 400),
    "nested objects": (wrapped(b'{"a":' * 200 + b"1" + b"}" * 200), 400),
    "very deep": (b"[" * 500_000, 400),
    "NUL": (wrapped(rb'"a\u0000b"'), 422),
    "NUL in a name": (wrapped(rb'{"a\u0000b":1}'), 422),
    "raw NUL": (wrapped(b'"a\x00b"'), 400),
    "lone surrogate": (wrapped(rb'"\ud800"'), 400),
    "wrong surrogates": (wrapped(rb'"\udc00\ud800"'), 400),
    "invalid UTF-8": (wrapped(b'"\xff\xfe"'), 400),
    "encoded surrogate": (wrapped(b'"\xed\xa0\x80"'), 400),
    "overlong": (wrapped(b'"\xc0\xaf"'), 400),
    "UTF-16": ('{"input":1}'.encode("utf-16"), 400),
    "array": (b"[]", 422),
    "string": (b'"input"', 422),
    "null": (b"null", 422),
    "number": (b"1", 422),
    "model is a number": (b'{"model":1,"input":1}', 422),
    "model is empty": (b'{"model":"","input":1}', 422),
    "model is long": (b'{"model":"' + b"m" * 500 + b'","input":1}', 422),
    "model steers terminals": (rb'{"model":"\u001b[2J\r\nSet-Cookie: a=b","input":1}', 422),
    "parameters are a list": (b'{"model":"debug.echo","input":1,"parameters":[]}', 422),
    "huge time-out": (b'{"model":"debug.echo","input":1,"timeout":1e300}', 422),
    "huge attempts": (b'{"model":"debug.echo","input":1,"max_attempts":99999999999999999999}', 422),
    "half an attempt": (b'{"model":"debug.echo","input":1,"max_attempts":1.5}', 422),
    "empty name in metadata": (b'{"model":"debug.echo","input":1,"metadata":{"":"a"}}', 422),
    "prototype": (b'{"model":"debug.echo","input":1,"__proto__":{}}', 422),
}
TAKEN: dict[str, bytes] = {
    "byte order of names": wrapped(b'{"b":1,"a":2}'),
    "big number": wrapped(b"123456789012345678901234567890"),
    "minus zero": wrapped(b"-0.0"),
    "emoji": wrapped('"\U0001f600\uffff\u2028"'.encode()),
    "escaped emoji": wrapped(rb'"\ud83d\ude00"'),
    "control characters": wrapped(rb'"\u001b\r\n\t\u007f"'),
    "brackets in text": wrapped(b'"' + b"[{" * 1000 + b'"'),
    "null": wrapped(b"null"),
    "depth that is allowed": wrapped(b"[" * 60 + b"]" * 60),
    "lines in metadata": rb'{"model":"debug.echo","input":1,"metadata":{"a\r\nX-Evil: 1":"b\r\nLocation: //evil"}}',
}


@pytest.mark.asyncio
async def test_bad_bodies_are_refused_clearly(grid: RunningGateway, ada: Account) -> None:
    """Each way of being wrong has its 4xx, as problem details; none of them is stored."""
    del grid
    for case, (body, status) in BODIES.items():
        answer = await ada.http.post("/v1/tasks", content=body, headers=JSON)
        assert answer.status_code == status, (case, answer.text[:300])
        assert clear(answer), case
        assert len(answer.content) < 4000, case
    assert (await ada.http.get("/v1/tasks")).json()["data"] == []


@pytest.mark.asyncio
async def test_strange_bodies_are_taken_whole(grid: RunningGateway, ada: Account) -> None:
    """What is JSON is taken, however strange, and comes back as it was sent, from either database."""
    del grid
    for case, body in TAKEN.items():
        answer = await ada.http.post("/v1/tasks", content=body, headers={**JSON, "Prefer": "wait=30"})
        assert answer.status_code == 200, (case, answer.text)
        assert answer.json()["output"] == answer.json()["input"], case
        sent = parse_json(body, 64)
        assert (answer.json()["input"], answer.json()["metadata"]) == (
            sent["input"],
            sent.get("metadata", {}),
        )
        assert "x-evil" not in answer.headers
        assert answer.headers["location"].startswith("/v1/tasks/0")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "application"]
)
async def test_other_types_are_refused(sqlite_grid: RunningGateway, type: str) -> None:
    """A body that is said to be no JSON is 415: no form of another site can submit a task."""
    ada = await sqlite_grid.account()
    answer = await ada.http.post("/v1/tasks", content=b'{"input":1}', headers={"Content-Type": type})
    assert answer.status_code == 415
    assert clear(answer)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "type", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/merge-patch+json"]
)
async def test_forms_of_json_are_taken(sqlite_grid: RunningGateway, type: str) -> None:
    """JSON by any of its names is read."""
    ada = await sqlite_grid.account()
    answer = await ada.http.post("/v1/tasks", content=wrapped(b"1"), headers={"Content-Type": type})
    assert answer.status_code == 202


async def chunks(size: int) -> AsyncIterator[bytes]:
    yield b'{"model":"debug.echo","input":"'
    for _ in range(size // 65536):
        yield b"x" * 65536
    yield b'"}'


@pytest.mark.asyncio
async def test_large_bodies_are_refused(sqlite_grid: RunningGateway) -> None:
    """More than 1 MB is 413, whether announced or streamed; up to it is taken."""
    ada = await sqlite_grid.account()
    frame = len(wrapped(b'""'))
    whole = wrapped(b'"' + b"x" * (MIB - frame) + b'"')
    assert (await ada.http.post("/v1/tasks", content=whole, headers=JSON)).status_code == 202
    for content in (whole + b" ", chunks(2 * MIB)):
        answer = await ada.http.post("/v1/tasks", content=content, headers=JSON)
        assert answer.status_code == 413
        assert clear(answer)
        assert str(MIB) in answer.json()["detail"]


@pytest.mark.asyncio
async def test_nasty_paths_and_queries(grid: RunningGateway, ada: Account) -> None:
    """No path, query or header brings a 5xx, on either database."""
    task = await ada.submit("debug.echo")
    strange = (
        "%00",
        "..%2f..%2fetc%2fpasswd",
        "%ff",
        "'%20OR%201=1--",
        "x" * 90,
        "x" * 5000,
        "-",
        "%0d%0aX-Evil:1",
    )
    paths = [
        *(f"/v1/tasks/{text}{rest}" for text in strange for rest in ("", "/log", "/events")),
        *(f"/v1/models/{text}" for text in strange),
        *(f"/v1/tasks/{task}/events?after={text}" for text in ("999999999999999-1", "1-999999999999999", "-", "x", "%00")),
        *(f"/v1/tasks?model={text}" for text in strange),
        *(f"/v1/tasks?cursor={text}" for text in strange),
        *(f"/v1/tasks?{name}={time}" for name in ("created_after", "created_before") for time in (
            "0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59-14:00", "1e400", "-1", "99999999999999999999", "%00",
        )),
        f"/v1/tasks/{task.upper()}", f"/v1/tasks/{{{task}}}", f"/v1/tasks/urn:uuid:{task}", f"/v1//tasks/{task}",
    ]  # fmt: skip
    for path in paths:
        async with ada.http.stream("GET", path) as answer:  # a stream of events would have no end
            assert answer.status_code < 500, path
            assert "x-evil" not in answer.headers
        for method, rest in (("DELETE", ""), ("POST", "/cancel")):
            if "?" not in path:
                assert (await ada.http.request(method, path + rest)).status_code < 500, (method, path)


@pytest.mark.asyncio
async def test_request_id_comes_back(sqlite_grid: RunningGateway) -> None:
    """A sane request id is echoed, on refusals too; one that could steer a log or a header is replaced."""
    client = await sqlite_grid.client()
    for path in ("/health/live", "/v1/tasks", "/nowhere"):
        assert (await client.get(path, headers={"X-Request-ID": "abc-1.2_3"})).headers[
            "x-request-id"
        ] == "abc-1.2_3"
        assert len((await client.get(path)).headers["x-request-id"]) == 36
        for bad in ("a b", "x" * 200, "a\tb", '"', "é"):
            answer = await client.get(path, headers=[(b"X-Request-ID", bad.encode())])
            assert len(answer.headers["x-request-id"]) == 36


@pytest.mark.asyncio
async def test_paths_and_methods_that_do_not_exist(sqlite_grid: RunningGateway) -> None:
    """404 and 405 are problems as well."""
    client = await sqlite_grid.client()
    missing = await client.get("/v2/tasks")
    assert (missing.status_code, clear(missing)) == (404, True)
    method = await client.put("/v1/tasks", json={})
    assert (method.status_code, clear(method)) == (405, True)
    assert method.headers["allow"] == "GET, POST"


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_parser_takes_or_refuses(body: bytes) -> None:
    """Bytes are JSON or refused with an error that is ours; nothing else is ever raised."""
    with suppress(MalformedJson, Invalid):
        parse_json(body, 8)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=10), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(json_values)
def test_parser_reads_what_json_says(value: object) -> None:
    """Any JSON value within the depth is read as Python's own parser reads it."""
    assert parse_json(json.dumps(value).encode(), 64) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode(), 64) == value
