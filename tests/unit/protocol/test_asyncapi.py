"""The AsyncAPI document is complete, says what the code does, and is the one in the repository."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from neurogrid.cli.openapi import render_asyncapi
from neurogrid.dispatch import connection
from neurogrid.protocol import link, live, messages
from neurogrid.protocol.asyncapi import LIVE_CLOSE_CODES, NODE_CLOSE_CODES
from neurogrid.protocol.frames import encode
from neurogrid.streams import outlet, socket
from tests.support.asyncapi import DOCUMENT, check, look_up, messages_of

COMMITTED = Path(__file__).parents[3] / "asyncapi.json"
OPERATIONS = {
    "receiveFromNode": messages.FromNode,
    "sendToNode": messages.ToNode,
    "receiveFromClient": live.FromClient,
    "sendToClient": live.ToClient,
}


def references(value: Any) -> Iterator[str]:
    """Yield all references in a document."""
    match value:
        case {"$ref": str(reference)}:
            yield reference
        case dict():
            for each in value.values():
                yield from references(each)
        case list():
            for each in value:
                yield from references(each)


def test_the_committed_document_is_the_generated_one() -> None:
    """asyncapi.json says what the code does; `neurogrid asyncapi --output asyncapi.json` writes it anew."""
    assert COMMITTED.read_bytes() == render_asyncapi()


def test_references_lead_somewhere() -> None:
    """Nothing in the document refers to something that is not there."""
    found = list(references(DOCUMENT))
    assert found
    for reference in found:
        look_up(reference)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_message_is_left_out(operation: str) -> None:
    """Each operation lists every message of its side of the protocol."""
    tags = {kind.__struct_config__.tag for kind in get_args(OPERATIONS[operation])}
    assert set(messages_of(operation)) == tags


def test_close_codes_are_those_of_the_code() -> None:
    """Every code that a gateway closes with is explained, and no other."""
    named = {**vars(connection), **vars(link)}
    node = {value for name, value in named.items() if name.startswith("CLOSE_")}
    assert set(NODE_CLOSE_CODES) == node
    closes = {close.code for close in vars(outlet).values() if isinstance(close, outlet.Close)}
    assert set(LIVE_CLOSE_CODES) == closes - {outlet.GONE.code} | {1011}


def test_the_client_may_send_what_the_gateway_reads() -> None:
    """The gateway's own, lenient reading of client messages has the fields of the document, no more."""
    documented = {field for kind in get_args(live.FromClient) for field in kind.__struct_fields__}
    assert documented | {"type"} == set(socket.ClientMessage.__struct_fields__)


RAW = msgspec.Raw(b'{"text":"a"}')
SAMPLES = {
    "receiveFromNode": [
        messages.Hello(
            "n", "1", [messages.ModelSpec("m", "1", "text")], 2, session="s", running=[("t", 1, 4)],
            done=[messages.Result("t", 1, 3, RAW), messages.Error("t", 1, 3, messages.Failure("c", "m"))],
        ),
        messages.Heartbeat(0.5, 10, [("t", 1, 2)]),
        messages.Chunk("t", 1, 2, RAW),
        messages.Snapshot("t", 1, 9, "text"),
        messages.Result("t", 1, 3, RAW, messages.Usage(1, 2, 0.5)),
        messages.Drained(),
    ],
    "sendToNode": [
        messages.Welcome("n", "s", 10.0, 3.0),
        messages.Assign("t", 1, "m", RAW, RAW, 2.5),
        messages.Resend("t", 1, 4),
        messages.Drain(),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("operation", "message"),
    [(operation, message) for operation, samples in SAMPLES.items() for message in samples],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_is_sent_fits_the_document(operation: str, message: messages.Message) -> None:
    """A message as it is encoded is valid by its schema."""
    check(operation, encode(message))
