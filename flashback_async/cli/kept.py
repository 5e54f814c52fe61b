"""The work of `history --status`: what a history holds, for people or as JSON."""

from __future__ import annotations

import json
import sys

from flashback_async.cli import text
from flashback_async.cli.exits import Deadline, Exit
from flashback_async.cli.keeping import naming_own_options
from flashback_async.cli.keeping_summary import days_text
from flashback_async.cli.options import Options
from flashback_async.cli.runner import guarded
from flashback_async.history import HistoryStatus, history_status


def show_status(path: str, options: Options) -> int:
    """Write what a history holds to standard output."""

    def work() -> int:
        with naming_own_options():
            status = history_status(path)
        as_table = options.form == "table"
        sys.stdout.write(_table(status) if as_table else f"{json.dumps(_record(status))}\n")
        sys.stdout.flush()
        return Exit.OK

    return guarded(work, Deadline(None))


def _record(status: HistoryStatus) -> dict[str, object]:
    last = status.last_kept_at
    return {
        "format": status.format,
        "days": [str(day) for day in status.days],
        "gaps": [str(day) for day in status.gaps],
        "rows": status.rows,
        "buckets": status.buckets,
        "incomplete": [str(day) for day in status.incomplete],
        "other_ids": [str(day) for day in status.other_ids],
        "last_kept_at": None if last is None else text.utc(last),
    }


def _table(status: HistoryStatus) -> str:
    last = status.last_kept_at
    lines = {
        "format": status.format,
        "days": _days(len(status.days), days_text(status.days)),
        "missing": _days(len(status.gaps), days_text(status.gaps)),
        "rows": text.count(status.rows),
        "buckets": text.count(status.buckets),
        "incomplete": _days(len(status.incomplete), days_text(status.incomplete)),
        "other ids": _days(len(status.other_ids), days_text(status.other_ids)),
        "last kept": text.NOTHING if last is None else f"{last:%Y-%m-%d %H:%M}Z",
    }
    return "".join(f"{name:<12}{value}\n" for name, value in lines.items())


def _days(number: int, shown: str) -> str:
    return f"{number:,}: {shown}" if number else "none"
