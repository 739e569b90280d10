"""Request bodies are read strictly, and what is wrong with them is named as the client wrote it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurogrid.core.errors import FieldError, Invalid, MalformedJson
from neurogrid.core.http.body import parse_json
from neurogrid.core.http.fields import MAX_ERRORS, field_errors, join

DEPTH = 8


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nope",
        b'{"a":NaN}',
        b"[Infinity]",
        b"[-Infinity]",
        b"[1e999]",
        b'"\xff"',
        b'"\\ud800"',
        b'"\x00"',
        b"{'a':1}",
        b"[1,]",
        b"]" * 5000,
        b"][" * 5000,
    ],
    ids=str,
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    """NaN, infinities, broken text and broken structure are malformed, never something else."""
    with pytest.raises(MalformedJson, match=r"not valid JSON|nested"):
        parse_json(body, DEPTH)


def test_malformed_json_says_where() -> None:
    """The answer to malformed JSON names line and column."""
    with pytest.raises(MalformedJson, match="line 2, column 2"):
        parse_json(b'{"a":\n tru}', DEPTH)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
@pytest.mark.parametrize("depth", [DEPTH + 1, 500, 2000, 300_000])
def test_deep_nesting_is_refused(opening: bytes, depth: int) -> None:
    """Nesting beyond the limit is refused however deep it goes, closed or not."""
    closing = b"]" if opening == b"[" else b"}"
    for body in (opening * depth + b"1" + closing * depth, opening * depth):
        with pytest.raises(MalformedJson, match="nested more than 8 levels"):
            parse_json(body, DEPTH)


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(exclude_characters="\0", codec="utf-8")),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text(st.characters(exclude_characters="\0", codec="utf-8")), inner)
    ),
    max_leaves=30,
)


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


@given(_VALUES, st.integers(1, 6))
def test_depth_is_counted_as_json_nests(value: Any, limit: int) -> None:
    """A document is read if and only if it is nested no deeper than allowed; brackets in text do not count."""
    body = orjson.dumps(value)
    if _depth(value) <= limit:
        assert parse_json(body, limit) == value
    else:
        with pytest.raises(MalformedJson):
            parse_json(body, limit)


def test_nul_is_refused_with_its_field() -> None:
    """NUL is refused with the field named, in values and in names; an escaped backslash is no NUL (R9)."""
    body = b'{"input":{"messages":[{"content":"a\\u0000b"}]},"metadata":{"x\\u0000":1},"ok":"\\\\u0000"}'
    with pytest.raises(Invalid) as refused:
        parse_json(body, DEPTH)
    assert [error.field for error in refused.value.errors] == [
        "input.messages[0].content",
        "metadata.x\\u0000",
    ]
    assert parse_json(b'"\\\\u0000"', DEPTH) == "\\u0000"


def test_fields_are_joined_as_one_writes_them() -> None:
    """Steps into a document read like an expression."""
    assert join(("input", "messages", 0, "role")) == "input.messages[0].role"
    assert join((0, "a", 1, 2)) == "[0].a[1][2]"


@pytest.mark.parametrize(
    ("location", "kind", "body", "field"),
    [
        (
            ("body", "parameters", "temperature"),
            "float",
            {"parameters": {"temperature": "x"}},
            "parameters.temperature",
        ),
        (("body", "input", "str"), "string_type", {"input": 1}, "input"),
        (
            ("body", "input", "Chat", "messages", 0, "role"),
            "enum",
            {"input": {"messages": [{"role": 1}]}},
            "input.messages[0].role",
        ),
        (("body", "input", "Chat", "messages"), "missing", {"input": {}}, "input.messages"),
        (("body", "extra"), "extra_forbidden", {"extra": 1}, "extra"),
        (("body",), "missing", None, "body"),
        (("query", "limit"), "int", None, "query.limit"),
        (("path", "task_id"), "uuid", None, "path.task_id"),
        (("header", "idempotency-key"), "missing", None, "Idempotency-Key"),
    ],
)
def test_errors_name_the_field_of_the_client(location: Any, kind: str, body: Any, field: str) -> None:
    """Validation errors name what the client wrote, without the names of our own types."""
    errors = field_errors([{"loc": location, "type": kind, "msg": "Value error, no"}], body)
    assert errors == (FieldError(field, "no"),)


def test_errors_are_bounded_and_told_once() -> None:
    """A thousand wrong items do not make a thousand lines."""
    many = [{"loc": ("body", n % 100), "type": "int", "msg": "no"} for n in range(1000)]
    errors = field_errors(many, list(range(100)))
    assert len(errors) == len(set(errors)) == MAX_ERRORS
