"""Log lines are whole, carry their context, and hold no secrets."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
import structlog

from neurogrid.core.logging import REDACTED, configure


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Put logging back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in stream.getvalue().splitlines()]


def test_both_kinds_of_loggers_write_the_same_lines() -> None:
    """Structlog's and the standard library's loggers write JSON lines with the same context."""
    stream = io.StringIO()
    configure("INFO", json=True, stream=stream)
    structlog.contextvars.bind_contextvars(request_id="r-1")
    structlog.get_logger("neurogrid.x").info("hello", tokens=3)
    logging.getLogger("uvicorn.error").warning("said %s", "so")
    first, second = lines(stream)
    assert first.items() >= {
        "message": "hello", "tokens": 3, "request_id": "r-1", "logger": "neurogrid.x", "level": "info",
    }.items()  # fmt: skip
    assert second.items() >= {
        "message": "said so", "request_id": "r-1", "logger": "uvicorn.error", "level": "warning",
    }.items()  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["api_key", "Authorization", "x-api-key", "password", "token", "refresh_token", "secret", "SECRET_KEY"],
)
def test_secrets_are_taken_out_by_name(name: str) -> None:
    """What is called a secret is not written, at whatever depth."""
    stream = io.StringIO()
    configure("INFO", json=True, stream=stream)
    structlog.get_logger().info("x", **{name: "hush"}, headers={name: "hush", "list": [{name: "hush"}]})
    assert "hush" not in stream.getvalue()
    assert lines(stream)[0][name] == REDACTED


@pytest.mark.parametrize("name", ["prompt_tokens", "tokens", "key_id", "max_tokens", "keyboard"])
def test_figures_stay(name: str) -> None:
    """Names that only resemble those of secrets stay readable."""
    stream = io.StringIO()
    configure("INFO", json=True, stream=stream)
    structlog.get_logger().info("x", **{name: 7})
    assert lines(stream)[0][name] == 7


@pytest.mark.parametrize(
    "text",
    [
        "the key ng_8X1sVn5aIFgXceXub3DU0G0yIfexjNSj2FxaEZ leaked",
        "token ngn_OElPggS1FiAPv2BTfr9HrgUQXt5mUJbG1WWTVq",
        "Authorization: Bearer eyJhbGciOi.x.y",
        "postgresql://user:hunter22@host/db",
    ],
)
def test_secrets_are_taken_out_by_their_looks(text: str) -> None:
    """A credential in the middle of a text, an exception's too, is not written."""
    stream = io.StringIO()
    configure("INFO", json=True, stream=stream)
    structlog.get_logger().error("failed", why=text, exc_info=ValueError(text))
    logging.getLogger("x").error(text)
    for secret in ("8X1sVn5", "OElPggS1", "eyJhbGci", "hunter22"):
        assert secret not in stream.getvalue()


def test_a_stranger_cannot_steer_the_terminal() -> None:
    """On the console, control characters are shown, not sent."""
    stream = io.StringIO()
    configure("INFO", json=False, stream=stream)
    structlog.get_logger().info("x", path="/a\x1b[31m\nforged line")
    logging.getLogger("uvicorn").info("got %s", "\x1b]0;title\x07\nforged line")
    assert "\x1b" not in stream.getvalue()
    assert len(stream.getvalue().splitlines()) == 2


def test_level_counts_for_both() -> None:
    """Nothing below the level is written."""
    stream = io.StringIO()
    configure("warning", json=True, stream=stream)
    structlog.get_logger().info("no")
    logging.getLogger("x").info("no")
    assert stream.getvalue() == ""
    with pytest.raises(ValueError, match="unknown log level"):
        configure("loud")
