"""``neurogrid up``: everything in one process."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(up)


def up() -> None:
    """Run a whole NeuroGrid here."""
