"""Days in UTC, from dates, datetimes and text."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta

from flashback_async.errors import InvalidArgumentError, show

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?"
    r"(Z|[+-][0-9]{2}:?[0-9]{2})?",
    re.IGNORECASE,
)


def day_range(
    first: date | datetime | str, last: date | datetime | str | None = None
) -> list[date]:
    """Return every day from the first to the last, both included.

    Each is a date, an aware datetime (its UTC day counts), or either as ISO 8601 text; text
    without an offset is UTC.

    Args:
        first: The first day.
        last: The last day; None is yesterday in UTC, the last day that has ended.

    Raises:
        InvalidArgumentError: One of them is not a day, or ``last`` is before ``first``.
    """
    start = utc_day(first, "first")
    end = _yesterday() if last is None else utc_day(last, "last")
    if end < start:
        shown = f"yesterday, {end}," if last is None else f"{end}"
        raise InvalidArgumentError(f"last must not lie before first: {shown} is before {start}")
    return [start + timedelta(n) for n in range((end - start).days + 1)]


def utc_days(days: object) -> list[date]:
    """Return one day or several as dates.

    Raises:
        InvalidArgumentError: One of them is not a day, or there is none.
    """
    if isinstance(days, str | date) or not isinstance(days, Iterable):
        return [utc_day(days)]
    if dates := [utc_day(day) for day in days]:
        return dates
    raise InvalidArgumentError("days must hold at least one day")


def utc_day(value: object, name: str = "day") -> date:
    """Return a day as a date; ``name`` is the argument that the message names.

    Raises:
        InvalidArgumentError: It is not a day.
    """
    if isinstance(value, str):
        value = _parsed(value, name)
    if isinstance(value, datetime):
        return _utc_date(value, name)
    if isinstance(value, date):
        return value
    raise InvalidArgumentError(
        f"{name} must be a date, an aware datetime or ISO 8601 text, not {type(value).__name__}"
    )


def _yesterday() -> date:
    return datetime.fromtimestamp(time.time(), UTC).date() - timedelta(1)


def _utc_date(at: datetime, name: str) -> date:
    if at.tzinfo is None:
        raise InvalidArgumentError(
            f"{name} must be a date or an aware datetime, not the naive {show(at)}"
        )
    with suppress(OverflowError):
        return at.astimezone(UTC).date()
    raise InvalidArgumentError(f"{name} must lie in the years 1 to 9999, in UTC")


def _parsed(text: str, name: str) -> date:
    """Return the date or time in ISO 8601 text; a time without an offset is UTC."""
    with suppress(ValueError):  # such as the 30th of February
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
        if _TIME.fullmatch(text):
            at = datetime.fromisoformat(text)
            return at if at.tzinfo else at.replace(tzinfo=UTC)
    raise InvalidArgumentError(
        f"{name} must be ISO 8601 text such as 2024-01-15 or 2024-01-15T00:00:00Z, not {show(text)}"
    )
