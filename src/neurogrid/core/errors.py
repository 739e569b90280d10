"""Errors that people see. Each carries a stable code and a status; ``core.http`` renders them (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field, named as the client wrote it (``input.messages[0].role``)."""

    field: str
    message: str


class GridError(Exception):
    """Base of all errors with an answer for the client.

    ``detail`` is a sentence that says what to do; it never holds internals. ``headers`` go onto the answer.
    """

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

    def __init__(
        self,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})


class BadRequest(GridError):
    """The request cannot be read."""

    code, status, title = "bad_request", 400, "Bad request"


class MalformedJson(BadRequest):
    """The body is no JSON, or is nested too deeply."""

    code, title = "malformed_json", "Malformed JSON"


class Unauthenticated(GridError):
    """No credentials, or credentials that are not valid."""

    code, status, title = "unauthenticated", 401, "Not authenticated"


class Forbidden(GridError):
    """Known, but not allowed."""

    code, status, title = "forbidden", 403, "Not allowed"


class NotFound(GridError):
    """No such thing, or not yours: the two look the same."""

    code, status, title = "not_found", 404, "Not found"


class Conflict(GridError):
    """The thing's state does not admit the request."""

    code, status, title = "conflict", 409, "Conflict"


class TooLarge(GridError):
    """The body is over its limit."""

    code, status, title = "body_too_large", 413, "Body too large"


class Invalid(GridError):
    """The request was read, and a field of it is wrong."""

    code, status, title = "invalid", 422, "Invalid request"


class TooManyTasks(GridError):
    """The owner has as many unfinished tasks as allowed."""

    code, status, title = "too_many_tasks", 429, "Too many unfinished tasks"


class ProviderUnavailable(GridError):
    """Somebody else's service, which the answer depends on, does not do what it should."""

    code, status, title = "provider_unavailable", 502, "Provider unavailable"


class Unavailable(GridError):
    """A part is away or overloaded; trying again later helps."""

    code, status, title = "unavailable", 503, "Temporarily unavailable"

    def __init__(self, detail: str, *, retry_after: int = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


class OutcomeUnknown(Unavailable):
    """The database did not say in time whether the write happened (R8)."""

    code, title = "outcome_unknown", "Outcome unknown"
