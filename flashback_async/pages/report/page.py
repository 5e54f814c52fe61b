"""A report on buckets as one HTML file, which needs no script and nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from flashback_async import BucketStatus, InvalidArgumentError, Outcome
from flashback_async.pages.look import static_text
from flashback_async.pages.report.findings import find
from flashback_async.pages.report.head import contents, figures, headline, more, tone
from flashback_async.pages.report.history import history as history_sections
from flashback_async.pages.report.markup import Markup, size, tag
from flashback_async.pages.report.now import cells, regions
from flashback_async.pages.report.phrases import minute
from flashback_async.pages.report.problems import problems
from flashback_async.pages.report.uptime import Uptime

if TYPE_CHECKING:
    from flashback_async.history import NodeDay

# What a report without history takes at most, unless its cells are more than these.
_MOST, _CELLS = 400 * 1024, 5_000
_CELL = 10  # bytes of a further one
_FRAMES = 4_096  # bytes that the sections of what is wrong take beside their rows and lists
# Nothing may run, and nothing may be fetched, whatever a name from the API holds.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def make_report(
    outcomes: Iterable[Outcome[str, BucketStatus] | BucketStatus],
    history: Iterable[tuple[date, Iterable[NodeDay]]] | None = None,
    *,
    asked_at: datetime | None = None,
) -> str:
    """Return a report on the state of buckets, as the text of an HTML file.

    The file opens without a network. It holds no script, and it shows what the API sent as text.
    A report on 5,000 buckets takes less than 400 KiB, without history.

    Args:
        outcomes: Of ``client.status.get_many`` or ``iter_many``, or the statuses themselves. The
            last one of a bucket counts.
        history: Days with their rows, the oldest first, as ``read_history`` yields them. They are
            read once, a day at a time. None leaves the uptime out.
        asked_at: When the buckets were asked, with a time zone; None is now.

    Raises:
        InvalidArgumentError: An outcome is none, a day of the history does not come after the one
            before it, or ``asked_at`` has no time zone.
    """
    now = datetime.now(UTC) if asked_at is None else asked_at
    if now.tzinfo is None:
        raise InvalidArgumentError("asked_at must have a time zone")
    uptime = None if history is None else Uptime()
    for day, rows in history or ():
        assert uptime is not None  # noqa: S101 - there is a history
        uptime.add(day, rows)
    found = find(outcomes)
    title = headline(found)
    above = [
        _header(title, more(found), now, tone(found).css),
        figures(found),
        contents(found, has_history=uptime is not None),
    ]
    by_region, all_cells = regions(found), cells(found)
    around = size(_page(title, [*above, by_region, all_cells]))
    room = _MOST + _CELL * max(0, found.total - _CELLS) - _FRAMES - around
    wrong = problems(found, now, room)
    past = history_sections(uptime) if uptime is not None else ()
    return _page(title, [*above, *wrong, by_region, *past, all_cells])


def _header(title: str, more: str, now: datetime, css: str) -> Markup:
    asked = tag("time", minute(now), datetime=now.astimezone(UTC).isoformat(timespec="seconds"))
    brand = tag("p", "Flashback storage", class_="brand")
    lines = (tag("h1", title), tag("p", f"{more} " if more else "", "Asked on ", asked, "."))
    return tag("header", brand, tag("div", lines, class_=f"headline s-{css}"))


def _page(title: str, body: Iterable[Markup]) -> str:
    style = Markup(_compact(static_text("look.css") + static_text("report.css")))
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{title} – Flashback"),
        tag("link", rel="icon", href="data:,"),
        tag("style", style),
    )
    sections = (Markup(f"{part}\n") for part in body if part)
    footer = tag("footer", tag("p", "All days and times are in UTC."))
    page = tag("html", head, Markup("\n"), tag("body", tag("main", sections), footer), lang="en")
    return f"<!DOCTYPE html>\n{page}\n"


def _compact(css: str) -> str:
    """Return a style sheet without the white space at the beginning of its lines."""
    return "\n".join(line.strip() for line in css.splitlines() if line.strip())
