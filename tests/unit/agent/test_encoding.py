"""Only JSON leaves a node."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from neurogrid.agent.encoding import encode_value
from neurogrid.runners.base import TaskError


@pytest.mark.parametrize(
    ("value", "raw"),
    [
        ({"a": [1, 2.5, None, True, "ü"]}, '{"a":[1,2.5,null,true,"ü"]}'),
        (msgspec.Raw(b'{"already": "encoded"}'), '{"already": "encoded"}'),
        ("", '""'),
    ],
)
def test_json_is_passed_on(value: Any, raw: str) -> None:
    """JSON values and JSON already encoded."""
    assert encode_value(value) == raw.encode()


def _endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def _deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        {"a": [float("inf")]},
        object(),
        b"bytes",
        {1, 2},
        "\ud800",
        _endless(),
        msgspec.Raw(b"{broken"),
        msgspec.Raw(b"NaN"),
        msgspec.Raw(b"[1e400]"),
        msgspec.Raw(b'"\xff"'),
        10**400,
        _deep(200),
    ],
    ids=[
        "nan",
        "infinity",
        "object",
        "bytes",
        "set",
        "surrogate",
        "endless",
        "broken",
        "raw NaN",
        "raw infinity",
        "no UTF-8",
        "large",
        "deep",
    ],
)
def test_anything_else_is_invalid_output(value: Any) -> None:
    """NaN, infinities and whatever is not JSON is refused by name rather than bent."""
    with pytest.raises(TaskError) as caught:
        encode_value(value)
    assert caught.value.code == "invalid_output"
    assert not caught.value.retryable
