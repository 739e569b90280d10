"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
