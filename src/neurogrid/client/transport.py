"""What both clients ask of httpx: time-outs, and what its errors mean to us."""

from __future__ import annotations

from typing import TypeVar

import httpx

from neurogrid.client.calls import Answer, Call
from neurogrid.client.errors import ConnectionFailed
from neurogrid.client.retrying import Lost

T = TypeVar("T")

CONNECT = 5.0
"""Seconds to wait for a connection."""
SILENCE = 60.0
"""Seconds without a byte after which an event stream is taken for dead; gateways speak every 20 s."""

_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_HOPELESS = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)


def limits(read: float) -> httpx.Timeout:
    """Return httpx's time-outs with ``read`` seconds between two bytes of an answer."""
    return httpx.Timeout(read, connect=CONNECT)


def prepare(client: httpx.Client | httpx.AsyncClient, call: Call[T], timeout: float) -> httpx.Request:
    """Return the request for ``call``, to be answered within ``timeout`` seconds."""
    return client.build_request(
        call.method,
        call.path,
        params=dict(call.query),
        content=call.body,
        headers=dict(call.headers),
        timeout=limits(timeout + call.patience),
    )


def answer_of(response: httpx.Response) -> Answer:
    """Return what was read."""
    return Answer(response.status_code, response.headers, response.content)


def reason_of(error: httpx.TransportError, url: str) -> str:
    """Say in a sentence what went wrong between us and ``url``."""
    what = str(error) or type(error).__name__
    return f"no connection to {url}: {what}" if isinstance(error, _NOT_SENT) else f"lost {url}: {what}"


def lost(error: httpx.TransportError, url: str) -> Lost:
    """Tell whether the request may have been received. Raises ``ConnectionFailed`` where no try can help."""
    if isinstance(error, _HOPELESS):
        raise ConnectionFailed(reason_of(error, url)) from error
    return Lost(reason_of(error, url), sent=not isinstance(error, _NOT_SENT))
