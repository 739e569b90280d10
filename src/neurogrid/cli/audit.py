"""``neurogrid audit``: what was done that matters for security, on the server itself."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neurogrid.cli import screen
from neurogrid.cli.failures import Failure
from neurogrid.cli.options import DataDir, Json
from neurogrid.cli.service import with_database

if TYPE_CHECKING:
    from neurogrid.auth.audit import Verdict
    from neurogrid.core.db import Database

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", help="Read and check the audit log.")
_KNOWN = re.compile(r"([1-9]\d{0,17}):([0-9a-f]{64})")


@app.command()
def verify(
    known: Annotated[
        str | None, typer.Option(help="A NUMBER:HASH that was printed before and kept elsewhere.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Check that no entry was changed, taken out, put in or moved; print the newest as NUMBER:HASH.

    Keep what it prints on another machine, and give it as --known later: that also shows a log that was written anew
    as a whole. Exits with 1, and names the first broken link, if there is one. Run it on the server.

    Example:

        neurogrid audit verify
    """
    noted = None
    if known is not None:
        found = _KNOWN.fullmatch(known)
        if found is None:
            raise Failure("--known takes NUMBER:HASH as `neurogrid audit verify` prints it")
        noted = (int(found[1]), found[2])

    async def check(database: Database, _: object) -> Verdict:
        from neurogrid.auth.audit import Audit

        return await Audit(database).verify(noted)

    verdict = with_database(data_dir, check)
    if verdict.problem is not None:
        screen.note(f"the log is sound up to entry {verdict.seq}; then {verdict.problem}")
        raise typer.Exit(1)
    typer.echo(f"{verdict.seq}:{verdict.hash}")


@app.command(name="list")
def list_(
    actor: Annotated[str | None, typer.Option(help="Only acts of this user, by id.")] = None,
    action: Annotated[str | None, typer.Option(help="Only these acts, such as 'key.*'.")] = None,
    target: Annotated[str | None, typer.Option(help="Only what was done to this, by id.")] = None,
    limit: Annotated[int, typer.Option(help="So many at most.", min=1, max=10_000)] = 50,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """List what was done, the newest first. Run it on the server.

    Example:

        neurogrid audit list --action 'key.*'
    """

    async def read(database: Database, _: object) -> list[dict[str, Any]]:
        from neurogrid.admin.audit import AuditEntryView
        from neurogrid.auth.audit import Audit, Wanted

        rows = await Audit(database).page(Wanted(actor, action, target), None, limit)
        return [AuditEntryView.of(row).model_dump(mode="json") for row in rows]

    found = with_database(data_dir, read)
    if json:
        screen.print_json(found)
        return
    screen.print_table(
        ["SEQ", "AT", "ACTION", "ACTOR", "VIA", "TARGET", "ADDRESS"],
        [
            tuple(
                str(each[name] or "") for name in ("seq", "at", "action", "actor", "via", "target", "address")
            )
            for each in found
        ],
    )
