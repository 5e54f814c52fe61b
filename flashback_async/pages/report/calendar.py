"""The uptime calendar of a report: days across, buckets down."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from itertools import groupby, islice
from typing import NamedTuple

from flashback_async.pages.report.markup import Markup, foreign, scroll, section, tag
from flashback_async.pages.report.phrases import day, month, percent, plural
from flashback_async.pages.report.uptime import BucketUptime, Uptime

_BUCKETS = 100
_DAYS = 366
_NAMED = 20  # days of a bucket that a pointer names
_NAMED_BELOW = 95.0  # percent
_COLUMN = {"scope": "col"}
_NUMBER = {"scope": "col", "class_": "n"}


class Level(NamedTuple):
    """A range of uptime, and how a day in it looks.

    Attributes:
        css: Its name in the style sheet.
        least: Its lower bound in percent.
        label: What people read.
        depth: The height of the bar in its cell, 0 to 14: the lower the uptime, the higher.
    """

    css: str
    least: float
    label: str
    depth: int


_LEVELS = (
    Level("u6", 100.0, "100 %", 0),
    Level("u5", 99.9, "99.9 % or more", 2),
    Level("u4", 99.0, "99 % or more", 4),
    Level("u3", 95.0, "95 % or more", 7),
    Level("u2", 50.0, "50 % or more", 10),
    Level("u1", 1e-9, "below 50 %", 14),
    Level("u0", float("-inf"), "0 %: down all day", 14),
)
_UNREPORTED = Level("ux", 0.0, "not reported", 0)
_NOT_KEPT = Level("ug", 0.0, "day not kept", 0)


def level_of(uptime: float) -> Level:
    """Return the level of an uptime in percent."""
    return next(level for level in _LEVELS if uptime >= level.least)


def calendar(uptime: Uptime) -> Markup:
    """Return the section with the calendar."""
    buckets = uptime.worst_buckets()
    shown = list(islice(buckets, _BUCKETS))
    start = max(0, uptime.span - _DAYS)
    width = _width(uptime.span - start)
    months = _months(uptime, start, width)
    names = (
        tag("th", "Bucket", **_COLUMN),
        tag("th", months, scope="col", class_="days"),
        tag("th", "Mean", **_NUMBER),
        tag("th", "Below 99 %", **_NUMBER),
    )
    table = tag(
        "table",
        tag("caption", "Uptime of buckets by day, the worst bucket first", class_="hidden"),
        tag("thead", tag("tr", names)),
        tag("tbody", (_row(uptime, bucket, start, width) for bucket in shown)),
        class_="calendar",
    )
    return section(
        "calendar",
        "Uptime by day",
        tag("p", _introduction(uptime, start)),
        _legend(),
        tag("p", "The newest days are at the right end. Scroll for the others.", class_="narrow"),
        scroll(table, "Uptime of buckets by day", at_end=True),
        _left_out(next(buckets, None), uptime.buckets - len(shown)),
        is_wide=True,
    )


def _introduction(uptime: Uptime, start: int) -> str:
    first, last = uptime.first, uptime.last
    assert first is not None and last is not None  # noqa: S101, PT018 - there are days
    period = f"{day(first)} to {day(last)}" if first != last else day(first)
    said = f"{plural(uptime.kept, 'day')} kept, {period}. The worst bucket comes first."
    said += " The uptime of a bucket on a day is the mean of its nodes."
    if start:
        said += f" The pictures show the last {_DAYS} days; the figures are of all."
    return said


def _left_out(best: BucketUptime | None, number: int) -> Markup:
    if best is None:
        return Markup()
    left = f"{plural(number, 'bucket')} with a better uptime {'is' if number == 1 else 'are'}"
    mean = "" if best.mean is None else f"; the lowest mean among them is {percent(best.mean)}"
    return tag("p", f"{left} left out{mean}.", class_="after")


def _row(uptime: Uptime, bucket: BucketUptime, start: int, width: int) -> Markup:
    mean = "–" if bucket.mean is None else percent(bucket.mean)
    return tag(
        "tr",
        tag("th", foreign(bucket.bucket_id), scope="row", class_="id"),
        tag("td", _days(uptime, bucket, start, width), class_="days"),
        tag("td", mean, class_="n"),
        tag("td", f"{bucket.below:,} of {bucket.reported:,}", class_="n"),
    )


def _days(uptime: Uptime, bucket: BucketUptime, start: int, width: int) -> Markup:
    """Return the days of a bucket as a picture, one unit wide each."""
    places = range(start, uptime.span)
    runs: dict[Level, str] = {}
    reported = ""
    for level, run in groupby(places, lambda place: _level(uptime, bucket.days, place)):
        found = list(run)
        first, length = found[0] - start, len(found)
        runs[level] = f"{runs.get(level, '')}M{first} {_middle(level)}h{length}"
        if level in _LEVELS:
            reported += f"M{first} 8h{length}"
    return tag(
        "svg",
        _drawn(runs, reported),
        tag("path", d=f"M0 8h{len(places)}", class_="gap", stroke_dasharray=_gaps(width)),
        _named_days(uptime, bucket, start),
        width=len(places) * width,
        height=16,
        viewBox=f"0 0 {len(places)} 16",
        preserveAspectRatio="none",
        role="img",
        aria_label=_told(uptime, bucket),
    )


def _drawn(runs: dict[Level, str], reported: str) -> Iterator[Markup]:
    """Yield the paths of a row: what is behind the bars, the bars, and the sign of 0 %."""
    if reported:
        yield tag("path", d=reported, class_="up")
    for level, path in runs.items():
        if level.depth or level not in _LEVELS:
            yield tag("path", d=path, class_=level.css)
        if level is _LEVELS[-1]:
            yield tag("path", d=path, class_="sign")


def _middle(level: Level) -> str:
    """Return the height of a line that, as thick as a bar is high, is that bar."""
    return f"{15 - level.depth / 2:g}" if level.depth else "8"


def _gaps(width: int) -> str:
    """Return the dashes of a line that parts the days by one pixel."""
    return f"{1 / width:.3f} {1 - 1 / width:.3f}"


def _level(uptime: Uptime, days: Sequence[float | None], place: int) -> Level:
    if not uptime.is_kept(place):
        return _NOT_KEPT
    value = days[place]
    return _UNREPORTED if value is None else level_of(value)


def _named_days(uptime: Uptime, bucket: BucketUptime, start: int) -> Iterator[Markup]:
    """Yield invisible cells that name the worst days to a pointer."""
    bad = [
        (value, place)
        for place, value in enumerate(bucket.days)
        if place >= start and value is not None and value < _NAMED_BELOW
    ]
    for value, place in sorted(bad)[:_NAMED]:
        title = tag("title", f"{uptime.day(place)}: {percent(value)}")
        yield tag("path", title, d=f"M{place - start} 8h1", class_="named")


def _told(uptime: Uptime, bucket: BucketUptime) -> str:
    """Return in words what the picture of a bucket's days shows."""
    if bucket.worst is None or bucket.mean is None:
        return "not reported on any day"
    worst = percent(bucket.days[bucket.worst])
    return f"{plural(bucket.reported, 'day')}, the worst {uptime.day(bucket.worst)} with {worst}"


def _width(days: int) -> int:
    """Return the width of a day in pixels."""
    return 16 if days <= 45 else 11 if days <= 66 else 8 if days <= 100 else 7


def _months(uptime: Uptime, start: int, width: int) -> Markup:
    """Return the names of the months above the days."""
    days = uptime.span - start
    parts: list[Markup] = []
    free = 0
    for place in range(days):
        at = uptime.day(start + place)
        if (place and at.day != 1) or place * width < free:
            continue
        name, room = _month_name(at, is_first=not parts)
        left = _until_next_month(at)
        if place == 0 and left < days and left * width < room:
            continue  # the first of the next month is more worth a name
        share = f"{100 * place / days:.3f}%"
        parts.append(tag("line", x1=share, x2=share, y1=16, y2=20))
        parts.append(tag("text", name, x=share, y=12))
        free = place * width + room
    return tag("svg", parts, width=days * width, height=20, class_="months", aria_hidden="true")


def _month_name(at: date, *, is_first: bool) -> tuple[str, int]:
    """Return the name of a month, or of the first day, and the pixels that it takes."""
    if at.day != 1:
        return f"{at.day} {month(at)[:3]} {at.year}", 86
    if is_first or at.month == 1:
        return f"{month(at)[:3]} {at.year}", 66
    return month(at)[:3], 36


def _until_next_month(at: date) -> int:
    after = date(at.year + at.month // 12, at.month % 12 + 1, 1)
    return (after - at).days


def _legend() -> Markup:
    items = []
    for level in (*_LEVELS, _UNREPORTED, _NOT_KEPT):
        reported = "M0 8h1" if level in _LEVELS else ""
        parts = _drawn({level: f"M0 {_middle(level)}h1"}, reported)
        box = {"viewBox": "0 0 1 16", "preserveAspectRatio": "none", "aria_hidden": "true"}
        items.append(tag("li", tag("svg", parts, width=11, height=16, **box), level.label))
    return tag("ul", items, class_="legend")
