"""Numbers and times as people read them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_FLOOR, Decimal

_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_LEAST = Decimal("0.01")
_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60))


def plural(number: int, noun: str) -> str:
    """Return a number with its noun, whose plural takes a plain s."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def verb(number: int, one: str, many: str) -> str:
    """Return the form of a verb that a number takes."""
    return one if number == 1 else many


def percent(value: float | None) -> str:
    """Return a share in two digits, rounded down, so that it is on the right side of each limit.

    What is above 0 is never shown as 0.
    """
    if value is None:
        return "not reported"
    exact = Decimal(repr(round(value, 9)))  # the last digits of a mean are noise
    shown = exact.quantize(_LEAST, ROUND_FLOOR)
    return f"{_LEAST if value > 0 and not shown else shown} %"


def month(moment: date) -> str:
    """Return the name of a month in English, whatever the locale."""
    return _MONTHS[moment.month - 1]


def day(moment: date) -> str:
    """Return a day, such as "3 October 2026"."""
    return f"{moment.day} {month(moment)} {moment.year}"


def minute(moment: datetime) -> str:
    """Return a moment in UTC, such as "3 October 2026, 07:05 UTC"."""
    at = moment.astimezone(UTC)
    return f"{day(at)}, {at:%H:%M} UTC"


def age(moment: datetime, now: datetime) -> str:
    """Return how long before now a moment was, or its date if that is more than a month.

    The text is read later, so it does not say "ago".
    """
    passed = now - moment
    if passed >= timedelta(days=30) or passed <= timedelta(minutes=-1):
        return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    whole = max(0, int(passed.total_seconds()))
    for unit, seconds in _UNITS:
        if whole >= seconds:
            return f"{whole // seconds} {unit} before"
    return f"{whole} s before"
