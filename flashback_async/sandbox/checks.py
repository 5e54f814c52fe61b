"""Argument checks, whose ValueErrors name the argument and its rule.

Some return the value as the API sends it.
"""

from __future__ import annotations

import math
import unicodedata
from datetime import UTC, date, datetime

_LONGEST_ID = 256
_MOST_DIGITS = 1_000  # beyond some 4,000, Python refuses to write an integer
_UNSEEN = "CZ"  # categories of characters that no id may have, but for spaces
_OPENED = date(2020, 1, 1)


def whole(name: str, value: object, least: int | None = None, most: int | None = None) -> None:
    """Raise ValueError unless the value is a whole number within the bounds."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name} must be a whole number, not {value!r}")
    _bounds(name, value, least, most)


def number(name: str, value: object, least: float, most: float | None = None) -> None:
    """Raise ValueError unless the value is a finite number within the bounds."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not _is_finite(value):
        raise ValueError(f"{name} must be a finite number, not {value!r}")
    _bounds(name, value, least, most)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int beyond the floats
        return False


def text(name: str, value: object) -> str:
    """Return text as it is; raise ValueError unless it is text."""
    if not isinstance(value, str):
        raise ValueError(f"{name} must be text, not {value!r}")
    return value


def header(name: str, value: object) -> None:
    """Raise ValueError unless the value is text for an HTTP header."""
    shown = text(name, value)
    if not shown.isascii() or any(c < " " for c in shown):
        raise ValueError(f"{name} must be ASCII without control characters, not {value!r}")


def flag(name: str, value: object) -> None:
    """Raise ValueError unless the value is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, not {value!r}")


def bucket_id(name: str, value: object) -> None:
    """Raise ValueError unless the value can be the id of a bucket."""
    given = text(name, value)
    if not 0 < len(given) <= _LONGEST_ID:
        raise ValueError(f"{name} must have 1 to {_LONGEST_ID} characters, not {value!r}")
    hidden = any(unicodedata.category(c)[0] in _UNSEEN and c != " " for c in given)
    if hidden or given.strip() != given or set(given) & set("/\\,") or given in (".", ".."):
        raise ValueError(f"{name} must be an id that can stand in a path, not {value!r}")


def day(name: str, value: object) -> None:
    """Raise ValueError unless the value is a day since the account was opened."""
    if not isinstance(value, date) or isinstance(value, datetime):
        raise ValueError(f"{name} must be a date, not {value!r}")
    if value < _OPENED:
        raise ValueError(f"{name} must be {_OPENED} or later, not {value}")


def moment(name: str, value: object) -> str:
    """Return a time as it is sent; raise ValueError unless it is one with a time zone."""
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError(f"{name} must be a datetime with a time zone, not {value!r}")
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def duration(name: str, value: float) -> float:
    """Return milliseconds as they are sent; raise ValueError unless they are 0 or more."""
    number(name, value, 0)
    return value


def percent(name: str, value: float) -> float:
    """Return a percentage as it is sent; raise ValueError unless it is from 0 to 100."""
    number(name, value, 0, 100)
    return value


def count(name: str, value: int) -> str:
    """Return a counter as it is sent; raise ValueError unless it is whole, and 0 or more."""
    whole(name, value, 0)
    return _digits(name, value)


def whole_text(name: str, value: int) -> str:
    """Return a whole number as it is sent; raise ValueError unless it is one."""
    whole(name, value)
    return _digits(name, value)


def _digits(name: str, value: int) -> str:
    if abs(value) >= 10**_MOST_DIGITS:
        raise ValueError(f"{name} must have at most {_MOST_DIGITS:,} digits")
    return str(value)


def _bounds(name: str, value: float, least: float | None, most: float | None) -> None:
    if least is not None and value < least:
        raise ValueError(f"{name} must be {least} or more, not {value!r}")
    if most is not None and value > most:
        raise ValueError(f"{name} must be {most} or less, not {value!r}")
