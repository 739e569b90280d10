"""The proxy before PostgreSQL sees commits and open transactions, however the bytes are cut."""

from __future__ import annotations

import struct

import pytest

from neurogrid.drill.wire import SSL_REQUEST, Conversation, Moment

WRITER = "journal"


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def startup(name: str) -> bytes:
    body = struct.pack("!i", 196608) + b"user\0u\0application_name\0" + name.encode() + b"\0\0"
    return struct.pack("!i", len(body) + 4) + body


def ready(status: bytes) -> bytes:
    return message(b"Z", status)


def connected(name: str = WRITER) -> Conversation:
    conversation = Conversation(WRITER)
    conversation.from_client(startup(name))
    conversation.from_server(message(b"R", b"\0\0\0\0") + ready(b"I"))
    return conversation


LONE_STATEMENT = message(b"B", b"x" * 500) + message(b"E", b"\0" * 5) + message(b"S")


def test_a_commit_is_seen() -> None:
    """The command is a commit on any connection, and done when the server is ready."""
    conversation = connected("another")
    assert conversation.from_client(message(b"Q", b"COMMIT;\0")) == {Moment.COMMIT}
    assert conversation.from_server(message(b"C", b"COMMIT\0") + ready(b"I")) == {Moment.DONE}


def test_a_lone_statement_of_a_writer_is_a_commit() -> None:
    """Outside a transaction it commits by itself; inside one it does not, nor does a reader's."""
    assert connected().from_client(LONE_STATEMENT) == {Moment.COMMIT}
    assert connected("reader").from_client(LONE_STATEMENT) == set()
    inside = connected()
    inside.from_client(message(b"Q", b"BEGIN;\0"))
    inside.from_server(ready(b"T"))
    assert inside.from_client(LONE_STATEMENT) == set()


def test_preparing_a_statement_is_no_commit() -> None:
    """Only what is executed can write."""
    assert connected().from_client(message(b"P", b"s\0SELECT\0") + message(b"S")) == set()


def test_an_open_transaction_is_seen() -> None:
    """A writer that the server waits for inside a transaction holds locks."""
    assert connected().from_server(ready(b"T")) == {Moment.HELD_OPEN}
    assert connected("reader").from_server(ready(b"T")) == set()
    assert connected().from_server(ready(b"E")) == set()


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64, 500])
def test_it_does_not_matter_how_bytes_are_cut(size: int) -> None:
    """Whatever the pieces, the same moments come out, an encryption refused at the beginning included."""
    conversation = Conversation(WRITER)
    said = struct.pack("!ii", 8, SSL_REQUEST)
    assert conversation.from_client(said) == set()
    assert conversation.from_server(b"N") == set()
    said = startup(WRITER) + LONE_STATEMENT
    seen = [conversation.from_client(said[at : at + size]) for at in range(0, len(said), size)]
    assert [moments for moments in seen if moments] == [{Moment.COMMIT}]
    heard = message(b"D", b"row" * 100) + message(b"C", b"INSERT 0 1\0") + ready(b"I")
    seen = [conversation.from_server(heard[at : at + size]) for at in range(0, len(heard), size)]
    assert [moments for moments in seen if moments] == [{Moment.DONE}]
