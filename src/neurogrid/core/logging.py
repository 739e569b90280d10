"""Logs: structlog, one line an event, JSON for machines or coloured text for people (MON-5).

The standard library's loggers (uvicorn, SQLAlchemy, Alembic, asyncio) pass through the same processors.
Context (``request_id``, ``task``) comes from ``structlog.contextvars``; secrets are taken out by the name
of their field and by their looks.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

REDACTED: Final = "***"

_SECRET_NAME = re.compile(
    r"(?:.*[_-])?(?:authorization|token|password|passwd|secret|credentials?|cookie|(?:api[_-]?)?key)",
    re.IGNORECASE,
)
_SECRET_VALUE = re.compile(
    r"\bng[a-z]?_[A-Za-z0-9_-]{8,}|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_.-]+|(?<=Bearer )\S+|(?<=://)[^\s/:@]*:[^\s/@]+(?=@)"
)
_SERVER: Final = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")
_QUIET: Final = {
    "sqlalchemy": logging.WARNING,
    "aiosqlite": logging.WARNING,
    "alembic.runtime.plugins": logging.WARNING,
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "asgi_correlation_id": logging.ERROR,  # says so whenever a caller's request id is replaced
}


def configure(level: str = "INFO", *, json: bool | None = None, stream: TextIO | None = None) -> None:
    """Set up all logging of this process; may be called again.

    ``json`` defaults to whether ``stream`` (default: stderr, so that a command's output stays clean) is
    no terminal. Raises ``ValueError`` for an unknown level.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        msg = f"unknown log level {level!r}: use DEBUG, INFO, WARNING or ERROR"
        raise ValueError(msg)
    stream = stream or sys.stderr
    json = not stream.isatty() if json is None else json
    before: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        redact,
    ]
    after = _json_renderer() if json else _console_renderers(colors=stream.isatty())
    structlog.configure(
        processors=[*before, *after],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=_sink_factory(stream),
        cache_logger_on_first_use=True,
    )
    _route_stdlib(stream, number, before, after)


class _Sink(structlog.WriteLogger):
    """A logger with a name that writes ready lines."""

    def __init__(self, file: TextIO, name: str) -> None:
        super().__init__(file)
        self.name = name


def _sink_factory(stream: TextIO) -> Callable[..., _Sink]:
    return lambda name="neurogrid", *_: _Sink(stream, name)


def _route_stdlib(stream: TextIO, level: int, before: list[Processor], after: list[Processor]) -> None:
    handler = logging.StreamHandler(stream)
    handler.setLevel(level)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=before,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *after],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _SERVER:  # whatever a server configured before us
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate, logger.disabled = True, False
        logger.setLevel(logging.NOTSET)
    for name, quiet in _QUIET.items():
        logging.getLogger(name).setLevel(quiet)
    logging.captureWarnings(capture=True)


def _json_renderer() -> list[Processor]:
    def dumps(event: Any, default: Callable[[Any], Any]) -> str:
        return orjson.dumps(event, default, orjson.OPT_NON_STR_KEYS).decode()

    return [structlog.processors.EventRenamer("message"), structlog.processors.JSONRenderer(dumps)]


def _console_renderers(*, colors: bool) -> list[Processor]:
    return [
        _escape,
        structlog.dev.ConsoleRenderer(
            colors=colors,
            repr_native_str=True,
            pad_event_to=24,
            exception_formatter=structlog.dev.plain_traceback,
        ),
    ]


def _escape(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Keep what a stranger sent from steering the terminal; values are shown by ``repr`` already."""
    del logger, method
    text = str(event.get("event", ""))
    if not text.isprintable():
        event["event"] = text.encode("unicode_escape").decode()
    return event


def redact(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Replace secrets in ``event``, whatever their depth (a structlog processor)."""
    del logger, method
    for name, value in event.items():
        event[name] = _redacted(name, value)
    return event


def _redacted(name: object, value: Any) -> Any:
    if _is_secret(name) and value is not None:
        return REDACTED
    if isinstance(value, str):
        return _SECRET_VALUE.sub(REDACTED, value)
    if isinstance(value, dict):
        return {key: _redacted(key, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(None, item) for item in value]
    return value


@lru_cache(maxsize=1024)
def _is_secret(name: object) -> bool:
    return isinstance(name, str) and _SECRET_NAME.fullmatch(name) is not None
