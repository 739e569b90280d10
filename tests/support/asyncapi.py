"""Judging frames by the AsyncAPI document, as somebody would who has nothing else."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs

from neurogrid.protocol.asyncapi import document

DOCUMENT: dict[str, Any] = document()


def messages_of(operation: str) -> dict[str, dict[str, Any]]:
    """Return the schemas of an operation's messages by the value of their ``type``."""
    schemas = {}
    for reference in DOCUMENT["operations"][operation]["messages"]:
        message = look_up(look_up(reference["$ref"])["$ref"])
        schemas[message["name"]] = {**message["payload"], "components": DOCUMENT["components"]}
    return schemas


def look_up(reference: str) -> Any:
    """Return what a reference into the document leads to. Raises ``KeyError`` when it leads nowhere."""
    found: Any = DOCUMENT
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    return found


def check(operation: str, frame: str | bytes) -> dict[str, Any]:
    """Return a frame's JSON. Fails unless the document says that ``operation`` has such a message."""
    message: dict[str, Any] = json.loads(frame)
    schemas = messages_of(operation)
    assert message["type"] in schemas, f"{operation} has no message {message['type']!r}"
    validator = jsonschema_rs.Draft7Validator(schemas[message["type"]])
    errors = [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(message)]
    assert not errors, f"{frame!r}: {errors}"
    return message
