"""Errors as people read them: one red line with the remedy, an exit code, never a traceback."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any, Final, NoReturn

import typer
from typer.core import TyperGroup

TASK_FAILED: Final = 1
SERVER_FAILED: Final = 1
REFUSED: Final = 2
UNREACHABLE: Final = 3
UNEXPECTED: Final = 70
INTERRUPTED: Final = 130

_MODULE_EXIT_CODES: Final = {
    ("neurogrid.client.errors", "ConnectionFailed"): UNREACHABLE,
    ("neurogrid.client.errors", "WaitTimeout"): UNREACHABLE,
    ("neurogrid.client.errors", "ApiError"): REFUSED,
    ("neurogrid.core.errors", "Unavailable"): UNREACHABLE,
    ("neurogrid.core.errors", "GridError"): REFUSED,
    ("neurogrid.core.migrations", "MigrationLocked"): UNREACHABLE,
    ("sqlalchemy.exc", "DBAPIError"): UNREACHABLE,
    ("sqlalchemy.exc", "ArgumentError"): REFUSED,
    ("asyncpg.exceptions._base", "PostgresError"): UNREACHABLE,
    ("neurogrid.core.migrations", "SchemaDrift"): REFUSED,
    ("neurogrid.runners.weights", "PullError"): UNREACHABLE,
    ("neurogrid.runners.base", "ModelUnavailable"): REFUSED,
    ("neurogrid.agent.connect", "NodeRefused"): REFUSED,
    ("neurogrid.servers.errors", "ServerFailed"): SERVER_FAILED,
    ("neurogrid.drill.grid", "GridFailed"): SERVER_FAILED,
}


class Failure(Exception):
    """A command cannot go on; the text says why and what would help."""

    def __init__(self, message: str, *, hint: str = "", code: int = REFUSED) -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code


class Commands(TyperGroup):
    """A group whose commands may raise what they like."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command and turn its exception, if any, into a line and an exit code."""
        try:
            return super().invoke(ctx)
        except Failure as failure:
            complain(str(failure), failure.hint)
            raise typer.Exit(failure.code) from None
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            _close_stdout()
        except Exception as error:  # noqa: BLE001  the edge: what nobody caught is shown here
            _report(error)


def complain(message: str, hint: str = "") -> None:
    """Write an error in red, and what to do about it, to stderr."""
    typer.secho(f"Error: {message}", fg="red", err=True)
    if hint:
        typer.echo(hint, err=True)


def _report(error: Exception) -> NoReturn:
    code = _known(error)
    if code is not None:
        complain(_text(error), _hint(error))
        raise typer.Exit(code) from None
    if _is_library_error(error):  # typer's own: usage, Exit, Abort
        raise error
    complain(f"{type(error).__name__}: {error}", "Set NEUROGRID_TRACEBACK=1 to see where it comes from.")
    if os.environ.get("NEUROGRID_TRACEBACK"):
        traceback.print_exception(error)
    raise typer.Exit(UNEXPECTED) from None


def _known(error: Exception) -> int | None:
    for kind in type(error).__mro__:
        code = _MODULE_EXIT_CODES.get((kind.__module__, kind.__name__))
        if code is not None:
            return code
    if isinstance(error, ConnectionError):
        return UNREACHABLE
    return REFUSED if isinstance(error, OSError) else None


def _is_library_error(error: Exception) -> bool:
    return type(error).__module__.partition(".")[0] in {"typer", "click"}


def _text(error: Exception) -> str:
    detail = getattr(error, "detail", None) or str(getattr(error, "orig", None) or error)
    if not isinstance(detail, str):  # SQLAlchemy's errors have a list of this name
        detail = str(getattr(error, "orig", error))
    fields = [each for each in getattr(error, "errors", ()) if each.field not in detail]
    return "\n  ".join([detail, *(f"{each.field}: {each.message}" for each in fields)])


def _hint(error: Exception) -> str:
    if hint := getattr(error, "hint", ""):
        return str(hint)
    if getattr(error, "status", None) == 401:
        return "Give a key by --api-key or NEUROGRID_API_KEY; make one by `neurogrid key create`."
    if _known(error) == UNREACHABLE and type(error).__module__ == "neurogrid.client.errors":
        return "Is it running? `neurogrid up` starts one here; --url or NEUROGRID_URL names another."
    request_id = getattr(error, "request_id", None)
    return f"Request id: {request_id}" if request_id and getattr(error, "status", 0) >= 500 else ""


def _close_stdout() -> None:
    """Whoever read our output has gone (``| head``): that is no error, and Python must not flush into it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
