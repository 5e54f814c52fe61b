"""Times as the JSON form writes and reads them: ISO 8601 in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[T ]([01]\d|2[0-3]):\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?", re.ASCII
)


def time_text(moment: datetime) -> str:
    """Return a time as text in UTC, which is also assumed for a naive one."""
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.isoformat().replace("+00:00", "Z")


def time_of(text: str) -> datetime | None:
    """Return the time that a text tells, in UTC, or None if it tells none."""
    try:
        if _TIME.fullmatch(text):
            moment = datetime.fromisoformat(text)
            return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # such as the 30th of February, or the year 0 in UTC
        pass
    return None
