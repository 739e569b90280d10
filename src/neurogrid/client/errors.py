"""What can go wrong between client and gateway."""

from __future__ import annotations

from dataclasses import dataclass


class ClientError(Exception):
    """Base of all errors of this client."""


class ConnectionFailed(ClientError):
    """The gateway cannot be reached, or stopped answering."""


class WaitTimeout(ClientError, TimeoutError):
    """The task has not ended in the time given; it goes on."""


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """What is wrong with one field of the request."""

    field: str
    message: str


class ApiError(ClientError):
    """The gateway refused. ``code`` is stable and for programs, ``detail`` is for people."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        request_id: str | None = None,
        errors: tuple[FieldProblem, ...] = (),
    ) -> None:
        super().__init__(f"{detail} ({status} {code})")
        self.status = status
        self.code = code
        self.detail = detail
        self.request_id = request_id
        self.errors = errors
