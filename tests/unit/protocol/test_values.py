"""What models say is JSON that every client can read."""

from __future__ import annotations

import pytest

from neurogrid.protocol.values import MAX_DEPTH, BadValue, check_value


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


@pytest.mark.parametrize(
    "raw",
    [
        b"null",
        b'{"text":"\xc3\xa4 \\u0000 \\ud834\\udd1e"}',
        b"[1.7e308,1e-400,-0,12345678901234567890]",
        nested(MAX_DEPTH),
        b'"' + b"[{" * 1000 + b'\\"' + b"[" * 1000 + b'"',
        b"[" + b"[],{}," * 20_000 + b"1]",
    ],
    ids=["null", "text", "numbers", "deep", "brackets in a string", "many containers"],
)
def test_json_passes(raw: bytes) -> None:
    """Depth is what counts, not how many brackets there are, nor what strings hold."""
    check_value(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"[1e400]",
        b"9" * 400,
        b"NaN",
        b"[Infinity]",
        b'"\xff\xfe"',
        b'"\\ud800"',
        b"{broken",
        b"",
        b"1 2",
        nested(MAX_DEPTH + 1),
        nested(10_000),
        b"[" * 10_000,
        b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1),
        b'"["' + nested(MAX_DEPTH + 1),
    ],
)
def test_anything_else_is_refused(raw: bytes) -> None:
    """Numbers beyond a double, NaN, bytes that are no UTF-8, half a surrogate, and nesting beyond the bound."""
    with pytest.raises(BadValue):
        check_value(raw)
