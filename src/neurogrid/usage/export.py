"""Usage as CSV, piece by piece, so that its size does not matter."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date
from typing import Final

from neurogrid.queue.usage import NO_KEY
from neurogrid.usage.policy import MICRO
from neurogrid.usage.store import Span, UsageStore

HEAD: Final = (
    "day", "key_id", "key_name", "model", "requests", "prompt_tokens", "completion_tokens", "total_tokens",
    "compute_seconds",
)  # fmt: skip
AT_ONCE = 1000
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


async def lines(store: UsageStore, span: Span, names: Mapping[str, str]) -> AsyncIterator[bytes]:
    """Yield a table by day, key and model; ``names`` are those of keys, by id."""
    yield _csv([HEAD])
    after: tuple[date, str, str] | None = None
    while True:
        rows = await store.lines(span, after, AT_ONCE)
        if rows:
            yield _csv(
                [
                    (
                        str(row["day"]),
                        "" if row["key_id"] == NO_KEY else str(row["key_id"]),
                        safe(names.get(row["key_id"], "")),
                        safe(row["model"]),
                        str(row["requests"]),
                        str(row["prompt_tokens"]),
                        str(row["completion_tokens"]),
                        str(row["prompt_tokens"] + row["completion_tokens"]),
                        f"{row['compute_us'] / MICRO:.6f}",
                    )
                    for row in rows
                ]
            )
        if len(rows) < AT_ONCE:
            return
        last = rows[-1]
        after = (last["day"], last["key_id"], last["model"])


def safe(text: str) -> str:
    """Return what a spreadsheet shows as it is, and does not take for a formula."""
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def _csv(rows: Sequence[Sequence[str]]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue().encode()
