"""A real OpenID provider as a process: ``python openid_process.py PORT``; it ends with its standard input.

The provider does not look at PKCE, so that is done before it: a code is exchanged only by who shows the verifier of
the challenge with which it was asked for. ``GET /exchanged`` tells how many were.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs, urlsplit
from wsgiref.types import StartResponse, WSGIEnvironment

import oidc_provider_mock
from werkzeug.serving import make_server

App = Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]


class Pkce:
    """Demands S256 of whoever asks for a code, and the verifier of whoever exchanges it."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._challenges: dict[str, str] = {}
        self._exchanged = 0

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        match environ["PATH_INFO"], environ["REQUEST_METHOD"]:
            case "/oauth2/authorize", _:
                return self._authorize(environ, start_response)
            case "/oauth2/token", "POST":
                return self._exchange(environ, start_response)
            case "/exchanged", _:
                start_response("200 OK", [("Content-Type", "text/plain")])
                return [str(self._exchanged).encode()]
        return self._app(environ, start_response)

    def _authorize(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        asked = parse_qs(environ.get("QUERY_STRING", ""))
        if asked.get("code_challenge_method") != ["S256"] or len(asked.get("code_challenge", [""])[0]) != 43:
            return _refuse(start_response, "invalid_request")

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            location = dict(headers).get("Location", "")
            for code in parse_qs(urlsplit(location).query).get("code", []):
                self._challenges[code] = asked["code_challenge"][0]
            return start_response(status, headers, *rest)

        return self._app(environ, start)

    def _exchange(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = self._challenges.pop(form.get("code", ""), None)
        if challenge != base64.urlsafe_b64encode(digest).decode().rstrip("="):
            return _refuse(start_response, "invalid_grant")
        self._exchanged += 1
        return self._app(environ, start_response)


def _refuse(start_response: StartResponse, error: str) -> Iterable[bytes]:
    start_response("400 Bad Request", [("Content-Type", "application/json")])
    return [f'{{"error": "{error}"}}'.encode()]


def main() -> None:
    os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"
    app = Pkce(oidc_provider_mock.app(require_nonce=True))
    server = make_server("127.0.0.1", int(sys.argv[1]), app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
