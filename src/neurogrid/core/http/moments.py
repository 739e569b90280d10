"""Days and moments in bodies and queries; a moment names its offset, and is within what UTC can say."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator

_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def _begins_with_a_date(value: Any) -> Any:
    """Refuse what pydantic takes besides: seconds or milliseconds since 1970, it guesses which."""
    if isinstance(value, date) or (isinstance(value, str) and _DATE.match(value)):
        return value
    msg = "must be written as 2026-11-22, a moment as 2026-11-22T08:00:00Z"
    raise ValueError(msg)


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        msg = "the year in UTC must lie between 1 and 9999"
        raise ValueError(msg) from None


Day = Annotated[date, BeforeValidator(_begins_with_a_date)]
Moment = Annotated[AwareDatetime, BeforeValidator(_begins_with_a_date), AfterValidator(_in_utc)]
