"""Values as text for people: escaped, rounded and in units."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")
NOTHING = "-"


def printable(text: str) -> str:
    """Return text with every character escaped that a terminal would act on, not show."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def optional(text: str | None) -> str:
    return NOTHING if text is None else printable(text)


def count(number: int | None) -> str:
    return NOTHING if number is None else f"{number:,}"


def size(number: int | None, *, signed: bool = False) -> str:
    """Return a number of bytes in three digits and a unit."""
    if number is None:
        return NOTHING
    sign = "-" if number < 0 else "+" if signed and number > 0 else ""
    if abs(number) < 1_000:
        return f"{sign}{abs(number)} B"
    amount, unit = float(abs(number)), "B"
    for unit in _UNITS:  # noqa: B007 - the last one reached is the one to show
        amount /= 1_024
        if amount < 999.5:
            break
    return f"{sign}{_three_digits(amount)} {unit}"


def _three_digits(amount: float) -> str:
    if amount >= 99.95:
        return f"{amount:,.0f}" if amount < 1e15 else f"{amount:.3g}"
    return f"{amount:.1f}" if amount >= 9.995 else f"{amount:.2f}"


def milliseconds(number: float | None) -> str:
    if number is None:
        return NOTHING
    return f"{number:,.0f} ms" if number.is_integer() else f"{number:,.1f} ms"


def percent(number: float | None) -> str:
    return NOTHING if number is None else f"{number:.2f} %"


def seconds(number: float) -> str:
    """Return a length of time in seconds, rounded."""
    shown = f"{number:,.2f}".rstrip("0").rstrip(".") if number >= 1 else f"{number:.3g}"
    return f"{shown} s"


def rate(number: float) -> str:
    """Return requests a second, rounded."""
    return f"{number:,.0f}/s" if number >= 10 else f"{number:.2g}/s"


def age(moment: datetime | None, now: datetime) -> str:
    """Return how long ago a moment was, or its date if that is more than a month."""
    if moment is None:
        return NOTHING
    passed = now - moment
    if passed >= timedelta(days=30) or passed <= timedelta(minutes=-1):
        return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}Z"
    return f"{span(passed)} ago"


def span(length: timedelta) -> str:
    """Return a length of time in its largest whole unit."""
    whole = max(0, int(length.total_seconds()))
    for unit, seconds in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if whole >= seconds:
            return f"{whole // seconds} {unit}"
    return f"{whole} s"


def utc(moment: datetime) -> str:
    """Return a moment as ISO 8601 in UTC."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def plural(number: int, noun: str) -> str:
    """Return a number with its noun, whose plural takes a plain s."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def shortened(text: str, most: int) -> str:
    """Return printable text of a limited length."""
    shown = printable(text)
    return shown if len(shown) <= most else f"{shown[: most - 3]}..."
