"""Cookies of the console, and what keeps other sites from using them.

The access token travels in ``__Host-ng_access`` and the refresh token in ``__Secure-ng_refresh``, which goes to
``/v1/auth`` alone; neither can be read by scripts. What changes something has to repeat, as ``X-CSRF-Token``, what
``__Host-ng_csrf`` says, which only our own pages can read; it is a keyed hash of the session, so that a cookie planted
by a neighbouring host is worth nothing. Requests that say they come from another origin are refused besides.

On plain http to this machine itself, where browsers keep no secure cookies, the names have no prefix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.responses import Response

from neurogrid.auth.sessions import Issued
from neurogrid.auth.visitors import Visitor
from neurogrid.core.crypto import Keyring
from neurogrid.core.errors import Forbidden

HEADER: Final = "X-CSRF-Token"
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
REFRESH_PATH: Final = "/v1/auth"
DEVICE_SECONDS: Final = 400 * 24 * 3600
"""As long as browsers keep any cookie."""
_HERE: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class CsrfRefused(Forbidden):
    """The request came with a session cookie, and may have been made by another site."""

    code, title = "csrf_refused", "Not from a page of ours"


@dataclass(frozen=True, slots=True)
class _Names:
    access: str
    refresh: str
    csrf: str
    device: str
    flow: str
    secure: bool


_SECURE: Final = _Names(
    "__Host-ng_access", "__Secure-ng_refresh", "__Host-ng_csrf", "__Host-ng_device", "__Host-ng_flow", True
)
_PLAIN: Final = _Names("ng_access", "ng_refresh", "ng_csrf", "ng_device", "ng_flow", False)


class Cookies:
    """Sets and reads them."""

    def __init__(self, keyring: Keyring, origins: tuple[str, ...]) -> None:
        """Trust pages of ``origins`` besides those of the host that is asked."""
        self._keyring = keyring
        self._origins = frozenset(origins)

    def set(self, request: HTTPConnection, response: Response, issued: Issued, device: str | None) -> None:
        """Put a session into cookies; with ``device``, make the device known as well."""
        names = _names(request)
        csrf = self.csrf_token(issued.session_id)
        _set(response, names, names.access, issued.access_token, issued.expires_in)
        _set(
            response,
            names,
            names.refresh,
            issued.refresh_token,
            issued.refresh_expires_in,
            path=REFRESH_PATH,
        )
        _set(response, names, names.csrf, csrf, issued.refresh_expires_in, script=True)
        if device is not None:
            self.set_device(request, response, device)

    def set_device(self, request: HTTPConnection, response: Response, device: str) -> None:
        """Make a device known."""
        names = _names(request)
        _set(response, names, names.device, device, DEVICE_SECONDS)

    def set_flow(self, request: HTTPConnection, response: Response, sealed: str, seconds: int) -> None:
        """Let a browser carry a sign-in that it has begun at a provider, whose site sends it back to us."""
        names = _names(request)
        _set(response, names, names.flow, sealed, seconds, site="lax")

    def flow(self, request: HTTPConnection) -> str | None:
        """Return the sign-in under way that a browser carries."""
        return request.cookies.get(_names(request).flow)

    def clear_flow(self, request: HTTPConnection, response: Response) -> None:
        """Take it out of the browser."""
        self.set_flow(request, response, "", 0)

    def clear(self, request: HTTPConnection, response: Response) -> None:
        """Take a session out of the browser; the device stays known."""
        names = _names(request)
        for name, path in ((names.access, "/"), (names.refresh, REFRESH_PATH), (names.csrf, "/")):
            _set(response, names, name, "", 0, path=path)

    def access(self, request: HTTPConnection) -> str | None:
        """Return the access token in a cookie."""
        return request.cookies.get(_names(request).access)

    def refresh(self, request: HTTPConnection) -> str | None:
        """Return the refresh token in a cookie."""
        return request.cookies.get(_names(request).refresh)

    def visitor(self, request: HTTPConnection) -> Visitor:
        """Return who knocks."""
        address = request.client.host if request.client else ""
        device = request.cookies.get(_names(request).device)
        return Visitor(address, request.headers.get("user-agent", ""), device)

    def csrf_token(self, session_id: str) -> str:
        """Return what a request with the cookie of a session has to say."""
        return self._keyring.tag("csrf", session_id)

    def check(self, request: HTTPConnection, session_id: str | None) -> None:
        """Refuse a request with a session's cookie that another site may have made. Raises ``CsrfRefused``."""
        self.check_origin(request)
        token = request.headers.get(HEADER, "")
        if session_id is None or not self._keyring.tagged("csrf", session_id, token):
            msg = f"Send the value of the cookie {_names(request).csrf} as the header {HEADER}."
            raise CsrfRefused(msg)

    def check_origin(self, request: HTTPConnection) -> None:
        """Refuse a request that a page of another site made. Raises ``CsrfRefused``."""
        origin = request.headers.get("origin")
        site = request.headers.get("sec-fetch-site", "same-origin")
        if origin is None and site in {"same-origin", "none"}:
            return
        if origin is None or not self._is_ours(request, origin):
            msg = "The request comes from a page of another origin; see NEUROGRID_AUTH__ALLOWED_ORIGINS."
            raise CsrfRefused(msg)

    def at_handshake(self, websocket: HTTPConnection) -> str | None:
        """Return the access token in a cookie of a page of ours: browsers let any page open a WebSocket."""
        origin = websocket.headers.get("origin")
        if origin is None or not self._is_ours(websocket, origin):
            return None
        return self.access(websocket)

    def _is_ours(self, request: HTTPConnection, origin: str) -> bool:
        return origin in self._origins or origin.partition("://")[2] == request.headers.get("host")


def _names(request: HTTPConnection) -> _Names:
    if request.scope["scheme"] not in {"http", "ws"}:
        return _SECURE
    try:
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    except ValueError:
        return _SECURE
    return _PLAIN if host in _HERE or host.endswith(".localhost") else _SECURE


def _set(
    response: Response,
    names: _Names,
    name: str,
    value: str,
    seconds: int,
    *,
    path: str = "/",
    script: bool = False,
    site: Literal["lax", "strict"] = "strict",
) -> None:
    response.set_cookie(
        name,
        value,
        max_age=seconds,
        path=path,
        secure=names.secure,
        httponly=not script,
        samesite=site,
    )
