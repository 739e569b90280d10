"""What kind of file some bytes are (Magika, over 200 kinds, from content alone)."""

from __future__ import annotations

import asyncio
import base64
import binascii
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from neurogrid.protocol.messages import ModelSpec
from neurogrid.runners.base import Emit, Output, TaskError
from neurogrid.runners.imports import load_package
from neurogrid.runners.schema import Closed, NoParameters, read, schema_of

BASE64 = r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
"""RFC 4648, with padding and nothing between."""


class FileInput(Closed, frozen=True):
    """The file."""

    base64: Annotated[
        str,
        Meta(
            max_length=8 * 1024 * 1024,
            pattern=BASE64,
            description="The file's bytes in base64. Magika looks at both ends; the first and last "
            "64 KB of a large file are enough.",
        ),
    ]


class FileType:
    """Output ``{"mime_type": …, "label": Magika's short name, "score": 0…1}``."""

    def __init__(self) -> None:
        self.spec = ModelSpec(
            name="file-type",
            version="magika",
            kind="classification",
            description="The type of a file, told from its content.",
            input_schema=schema_of(FileInput),
            parameters_schema=schema_of(NoParameters),
            example_input={
                "base64": "eyJuYW1lIjogIm5ldXJvZ3JpZCIsICJ2ZXJzaW9uIjogMSwgInRhZ3MiOiBbImdyaWQiLCAiYWkiXSwgIm5lc3RlZCI6IHsiZGVlcCI6IFsxLCAyLCAzXX19"
            },
            slots=2,
            deterministic=True,
        )
        self._magika: Any = None

    async def load(self) -> None:
        """Load the 3 MB network that is part of the package."""
        self._magika, version = await load_package("magika", _magika)
        self.spec = msgspec.structs.replace(self.spec, version=f"{self._magika.get_model_name()}-{version}")

    async def run(self, input: Any, parameters: dict[str, Any], emit: Emit) -> Output:
        """Return the likeliest type. Raises ``TaskError`` (``invalid_input``) when it is no base64."""
        return Output(await asyncio.to_thread(self._identify, input))

    def _identify(self, input: Any) -> dict[str, Any]:
        encoded = read(input, FileInput).base64
        try:
            content = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError) as error:
            raise TaskError("invalid_input", f"not base64: {error} - at `$.base64`") from error
        found = self._magika.identify_bytes(content)
        return {
            "mime_type": found.output.mime_type,
            "label": str(found.output.label),
            "score": round(float(found.score), 4),
        }

    async def close(self) -> None:
        """Let go of the network."""
        self._magika = None


def _magika() -> Any:
    from magika import Magika

    return Magika()
