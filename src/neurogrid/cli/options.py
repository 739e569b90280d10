"""Options that several commands share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from neurogrid.cli.failures import Failure

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 24 * 3600}

Url = Annotated[
    str | None,
    typer.Option("--url", envvar="NEUROGRID_URL", help="The gateway.", show_default="http://127.0.0.1:8000"),
]
ApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        envvar="NEUROGRID_API_KEY",
        help="An API key.",
        show_default="that of `neurogrid up` on this machine",
        show_envvar=True,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", envvar="NEUROGRID_DATA_DIR", help="Where data and credentials lie."),
]


def read_duration(option: str, text: str | None) -> float | None:
    """Read ``90s``, ``5m``, ``12h`` or ``30d`` as seconds; ``None`` when nothing was given. Raises ``Failure``."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if found is None:
        raise Failure(f"{option} takes a time such as 90s, 5m, 12h or 30d, not {text!r}")
    return float(found[1]) * _SECONDS[found[2]]
