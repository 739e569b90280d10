"""``neurogrid usage``: what was used, and whether it adds up, on the server itself."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neurogrid.cli import screen
from neurogrid.cli.options import DataDir, Json
from neurogrid.cli.service import with_database

if TYPE_CHECKING:
    from neurogrid.core.db import Database
    from neurogrid.core.settings import Settings
    from neurogrid.usage.reconciliation import Drift

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", help="Show and check what was used.")

From = Annotated[
    datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First day (UTC).", metavar="DAY")
]
To = Annotated[
    datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day, included.", metavar="DAY")
]
FIGURES = ("REQUESTS", "PROMPT", "COMPLETION", "SECONDS")


@app.command()
def show(
    user: Annotated[str | None, typer.Option(help="Only this user, by e-mail address.")] = None,
    first: From = None,
    last: To = None,
    by: Annotated[str, typer.Option(help="What each row is: day, model, key or user.")] = "day",
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Show what was used, in the current month if no days are given. Run it on the server.

    Example:

        neurogrid usage show --user ada@example.org --by model
    """
    columns = {"day": "day", "model": "model", "key": "key_id", "user": "user_id"}
    if by not in columns:
        raise typer.BadParameter("it is one of day, model, key and user", param_hint="--by")

    async def read(database: Database, settings: Settings) -> list[dict[str, Any]]:
        from neurogrid.auth.parts import make_auth
        from neurogrid.core.ids import now
        from neurogrid.queue.usage import NO_KEY
        from neurogrid.usage.policy import Month
        from neurogrid.usage.schemas import Figures
        from neurogrid.usage.store import Span, UsageStore

        owner = await make_auth(database, settings).keys.owner_of(user) if user is not None else None
        end = _day(last) or now().date()
        span = Span(_day(first) or Month.of(end).first, end + timedelta(days=1), owner)
        groups = await UsageStore(database).grouped(span, columns[by], 10_000)
        named = [
            ("-" if by == "key" and str(group) == NO_KEY else str(group), used) for group, used in groups
        ]
        return [{by: name, **Figures.shown(used)} for name, used in named]

    found = with_database(data_dir, read)
    if json:
        screen.print_json(found)
        return
    names = ("requests", "prompt_tokens", "completion_tokens", "compute_seconds")
    screen.print_table(
        [by.upper(), *FIGURES], [(row[by], *(f"{row[name]:g}" for name in names)) for row in found]
    )


@app.command()
def reconcile(
    first: From = None,
    last: To = None,
    fix: Annotated[bool, typer.Option("--fix", help="Charge what the tasks say.")] = False,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Compare what was charged with what the tasks say; all days, if none are given. The grid may be busy meanwhile.

    Exits with 1, and shows where they differ, if they do; with --fix they no longer do afterwards. Run it on the server.

    Example:

        neurogrid usage reconcile
    """
    end = _day(last)

    async def compare(database: Database, _: object) -> list[Drift]:
        from neurogrid.usage.reconciliation import Reconciliation

        reconciliation = Reconciliation(database)
        work = reconciliation.mend if fix else reconciliation.drift
        return await work(_day(first), end + timedelta(days=1) if end else None)

    drifts = with_database(data_dir, compare)
    if json:
        screen.print_json([_row(drift) for drift in drifts])
    elif drifts:
        shown = [_row(drift) for drift in drifts]
        screen.print_table(
            ["DAY", "USER", "KEY", "MODEL", "CHARGED", "OWED"],
            [
                tuple(str(row[name]) for name in ("day", "user_id", "key_id", "model", "charged", "owed"))
                for row in shown
            ],
        )
    if not drifts:
        screen.note("no drift: what was charged is what the tasks say")
        return
    screen.note(f"{len(drifts)} differences{'; they are mended' if fix else ''}")
    if not fix:
        raise typer.Exit(1)


def _row(drift: Drift) -> dict[str, Any]:
    from dataclasses import astuple

    return {
        "day": str(drift.day),
        "user_id": drift.user,
        "key_id": drift.key,
        "model": drift.model,
        "charged": list(astuple(drift.charged)),
        "owed": list(astuple(drift.owed)),
    }


def _day(moment: datetime | None) -> date | None:
    return moment.date() if moment is not None else None
