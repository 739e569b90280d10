"""The AsyncAPI document of both WebSocket protocols, made of the types that speak them.

With it a node or a client can be written in any language. Seen from the gateway: it *receives* what nodes and
clients send.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, get_args

import msgspec

from neurogrid.protocol import live, messages

NODE_CLOSE_CODES = {
    1002: "a message that is none of this protocol",
    1011: "the gateway failed, or the node does not read; connect again",
    1012: "the gateway restarts; connect again, to any gateway",
    4400: "the hello was refused; the reason says why",
    4401: "the token is unknown, revoked or expired; do not try again with it",
    4403: "the token does not allow such a node, or the node was removed; do not try again",
    4409: "the node attached anew, over another connection",
    4410: "the session is lost: its tasks run elsewhere; connect again and begin anew",
}
LIVE_CLOSE_CODES = {
    1009: "a message over 16 KB before authentication, or far over 64 KB after it",
    1011: "the gateway failed; reconnect and resume",
    1012: "the gateway restarts; reconnect, to any gateway, and resume",
    1013: "the client reads too slowly; reconnect and resume with the last id",
    4401: "the credential is missing, wrong, expired or revoked",
    4403: "the account may not do this",
    4408: "no authentication in time",
    4429: "too many connections or messages",
}
_NODE = """How a node serves a gateway. JSON text frames, told apart by `type`; unknown types and fields are to be ignored.

The node connects with its token, says `hello`, and is welcomed with a session and its lease. From then on it sends
a `heartbeat` every `heartbeat_s` seconds. Whatever it says about an execution carries `task` and `attempt`; events
(`chunk`, `progress`, `metric`, `log`) are numbered from 2 without holes. It keeps a `result` or `error` until
`committed` or `refused` answers it, and presents what is unanswered as `done` in its next `hello`.

A node whose `hello` says `arrays` may get several messages in one frame, as an array, and may send such frames to a
gateway whose `welcome` says so.
"""
_LIVE = """Live events for clients. JSON text frames, told apart by `type`; unknown types and fields are to be ignored.

The client authenticates by the header `Authorization: Bearer`, by `X-API-Key`, by the subprotocols `bearer, <key>`,
or by `authenticate` as its first message, each with an API key or an access token; pages of the gateway by cookie. Then it follows channels: `task:<id>` (everything about one task), `tasks`
(state changes of all one's tasks), `system` (announcements), `stats` (figures every few seconds), and operators and administrators `admin`
(nodes that come and go, limits hit, sign-ins delayed, audit entries).
"""
_KEYS = {"nodeToken": "A node token, `ngn_…`.", "apiKey": "An API key, `ng_…`, or an access token."}
_CHANNELS = {
    "node": ("/v1/nodes/connect", "Node protocol", _NODE, NODE_CLOSE_CODES),
    "live": ("/v1/ws", "Live events", _LIVE, LIVE_CLOSE_CODES),
}
_OPERATIONS = {
    "receiveFromNode": ("receive", "node", "nodeToken", messages.FromNode),
    "sendToNode": ("send", "node", "nodeToken", messages.ToNode),
    "receiveFromClient": ("receive", "live", "apiKey", live.FromClient),
    "sendToClient": ("send", "live", "apiKey", live.ToClient),
}
_RULE = re.compile(r"\s*\(R\d+(?:, R\d+)*\)")


def document() -> dict[str, Any]:
    """Return the document, AsyncAPI 3.0, as plain JSON values."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "NeuroGrid over WebSocket",
            "version": str(messages.PROTOCOL_VERSION),
            "description": "The node protocol, and live events for clients. The HTTP interface is in openapi.json.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"gateway": {"host": "127.0.0.1:8000", "protocol": "ws"}},
        "channels": {name: _channel(name) for name in _CHANNELS},
        "operations": dict(_operations()),
        "components": {
            "messages": {
                kind.__name__: _message(kind)
                for *_, union in _OPERATIONS.values()
                for kind in get_args(union)
            },
            "schemas": _schemas(),
            "securitySchemes": {
                name: {"type": "http", "scheme": "bearer", "description": text}
                for name, text in _KEYS.items()
            },
        },
    }


def _channel(name: str) -> dict[str, Any]:
    address, title, description, codes = _CHANNELS[name]
    closings = "\n".join(f"- {code}: {meaning}" for code, meaning in codes.items())
    return {
        "address": address,
        "title": title,
        "description": f"{description}\nClose codes:\n\n{closings}\n",
        "messages": {
            kind.__name__: _reference("messages", kind)
            for _, channel, _, union in _OPERATIONS.values()
            if channel == name
            for kind in get_args(union)
        },
    }


def _operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, (action, channel, key, union) in _OPERATIONS.items():
        yield (
            name,
            {
                "action": action,
                "channel": {"$ref": f"#/channels/{channel}"},
                "security": [{"$ref": f"#/components/securitySchemes/{key}"}],
                "messages": [
                    {"$ref": f"#/channels/{channel}/messages/{kind.__name__}"} for kind in get_args(union)
                ],
            },
        )


def _message(kind: Any) -> dict[str, Any]:
    return {
        "name": kind.__struct_config__.tag,
        "summary": _plain(kind.__doc__),
        "payload": _reference("schemas", kind),
    }


def _schemas() -> dict[str, Any]:
    kinds = [kind for *_, union in _OPERATIONS.values() for kind in get_args(union)]
    _, schemas = msgspec.json.schema_components(
        [*kinds, *live.NEWS], ref_template="#/components/schemas/{name}"
    )
    for schema in schemas.values():
        if "description" in schema:
            schema["description"] = _plain(schema["description"])
    return {name: _draft_07(schema) for name, schema in schemas.items()}


def _draft_07(schema: Any) -> Any:
    """Return a schema of JSON Schema 2020-12 in the draft that AsyncAPI speaks."""
    if isinstance(schema, list):
        return [_draft_07(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    old = {name: _draft_07(value) for name, value in schema.items() if name != "discriminator"}
    if "prefixItems" in old:
        old["additionalItems"], old["items"] = old["items"], old.pop("prefixItems")
    return old


def _reference(section: str, kind: type) -> dict[str, str]:
    return {"$ref": f"#/components/{section}/{kind.__name__}"}


def _plain(docstring: str) -> str:
    """Return a docstring as one line of Markdown; the numbers of our own rules mean nothing outside."""
    return _RULE.sub("", " ".join(docstring.split())).replace("``", "`")
