"""How messages of the node protocol travel: as JSON text frames.

A frame is one message or, to a peer that says it reads ``arrays``, an array of messages, which spares both sides
most of what a frame costs. Unknown messages are passed over, in arrays too (R30).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

import msgspec

from neurogrid.protocol.messages import FromNode, Message, ToNode

ARRAY_LENGTH = 64
ARRAY_BYTES = 128 * 1024
"""Of the messages of one frame, at most, unless it is a single one."""

_Union = TypeVar("_Union")


class BadMessage(ValueError):
    """The peer sent something that is no message of this protocol."""


class _Tag(msgspec.Struct):
    type: str


_encoder = msgspec.json.Encoder()
_tag = msgspec.json.Decoder(_Tag)
_pieces = msgspec.json.Decoder(list[msgspec.Raw])


class _Reader(Generic[_Union]):
    """Reads the frames of one side, which sends the messages of ``union``."""

    def __init__(self, union: Any) -> None:
        self.types = frozenset(member.__struct_config__.tag for member in union.__args__)
        self._one: msgspec.json.Decoder[_Union] = msgspec.json.Decoder(union)
        self._many: msgspec.json.Decoder[list[_Union]] = msgspec.json.Decoder(list[union])

    def one(self, frame: bytes | str | msgspec.Raw) -> _Union | None:
        try:
            return self._one.decode(frame)
        except (msgspec.MsgspecError, RecursionError) as error:
            try:
                tag = _tag.decode(frame).type
            except (msgspec.MsgspecError, RecursionError):
                raise BadMessage(str(error)) from error
            if tag not in self.types:
                return None
            raise BadMessage(f"{tag}: {error}") from error

    def all(self, frame: bytes | str) -> list[_Union]:
        if not is_array(frame):
            message = self.one(frame)
            return [] if message is None else [message]
        try:
            return self._many.decode(frame)
        except (msgspec.MsgspecError, RecursionError):
            return self._known(frame)

    def _known(self, frame: bytes | str) -> list[_Union]:
        try:
            pieces = _pieces.decode(frame)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise BadMessage(str(error)) from error
        return [message for piece in pieces if (message := self.one(piece)) is not None]


_from_node: _Reader[FromNode] = _Reader(FromNode)
_to_node: _Reader[ToNode] = _Reader(ToNode)
FROM_NODE_TYPES = _from_node.types
TO_NODE_TYPES = _to_node.types


def encode(message: Message) -> bytes:
    """Return ``message`` as one JSON frame."""
    return _encoder.encode(message)


def pack(messages: Iterable[bytes]) -> Iterator[bytes]:
    """Return encoded messages in as few frames as there may be, in their order."""
    held: list[bytes] = []
    size = 0
    for message in messages:
        if held and (len(held) == ARRAY_LENGTH or size + len(message) > ARRAY_BYTES):
            yield _array(held)
            held, size = [], 0
        held.append(message)
        size += len(message)
    if held:
        yield _array(held)


def _array(messages: list[bytes]) -> bytes:
    return messages[0] if len(messages) == 1 else b"[" + b",".join(messages) + b"]"


def is_array(frame: bytes | str) -> bool:
    """Tell whether a frame holds an array of messages."""
    return frame[:1] in {"[", b"["}


def decode_from_node(frame: bytes | str) -> FromNode | None:
    """Parse a node's message; ``None`` for a type this release does not know. Raises ``BadMessage``."""
    return _from_node.one(frame)


def decode_to_node(frame: bytes | str) -> ToNode | None:
    """Parse a gateway's message; ``None`` for a type this release does not know. Raises ``BadMessage``."""
    return _to_node.one(frame)


def read_from_node(frame: bytes | str) -> list[FromNode]:
    """Parse a node's frame. Raises ``BadMessage``, also where only one message of an array is bad."""
    return _from_node.all(frame)


def read_to_node(frame: bytes | str) -> list[ToNode]:
    """Parse a gateway's frame. Raises ``BadMessage``, also where only one message of an array is bad."""
    return _to_node.all(frame)
