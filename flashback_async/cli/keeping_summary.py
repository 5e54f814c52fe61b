"""The summary of an export on standard error, and its exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

from flashback_async import FlashbackError, NotFoundError, PermissionDeniedError
from flashback_async.cli import text
from flashback_async.cli.exits import Exit
from flashback_async.cli.messages import say
from flashback_async.cli.records import reason
from flashback_async.cli.summary import Effort
from flashback_async.history import ExportReport

_SHOWN = 20
_ANSWERS = (NotFoundError, PermissionDeniedError)


def code(report: ExportReport) -> Exit:
    """Return the exit code of an export that came to its end."""
    if report.ok:
        return Exit.OK
    return Exit.SOME_FAILED if report.days else Exit.NOTHING_SUCCEEDED


def write(report: ExportReport, effort: Effort, seconds: float, *, quiet: bool) -> None:
    """Write the summary; of a run that kept every day, nothing if it is to be quiet."""
    if quiet and report.ok:
        return
    if not quiet:
        _tell_effort(effort)
        _tell_rest(report)
    _tell_failures(report)
    rows = text.plural(report.rows, "row")
    kept = f"{text.plural(len(report.days), 'day')} kept, {rows}, in {text.seconds(seconds)}"
    if report.not_kept:
        asked = text.plural(len(report.days) + len(report.not_kept), "day")
        kept = f"error: {len(report.not_kept):,} of {asked} not kept; {kept}"
    say(kept)


def days_text(days: Sequence[date]) -> str:
    """Return days in ascending order as text, with runs of them as ranges."""
    runs: list[list[date]] = []
    for day in days:
        if runs and day - runs[-1][-1] == timedelta(1):
            runs[-1][1:] = [day]
        else:
            runs.append([day])
    shown = [" to ".join(map(str, run)) for run in runs[:_SHOWN]]
    if len(runs) > _SHOWN:
        shown.append("...")
    return ", ".join(shown)


def _tell_effort(effort: Effort) -> None:
    if effort.paused:
        say(f"the API asked for pauses of {text.seconds(effort.paused)} in all")
    if effort.repeated:
        requests = text.plural(effort.requests, "request")
        say(f"{effort.repeated:,} of {requests} repeated one that had failed")


def _tell_rest(report: ExportReport) -> None:
    """Write what was not asked for."""
    if report.skipped:
        say(f"{text.plural(len(report.skipped), 'day')} kept before")
    if report.unsettled:
        say(f"left out, because they have not ended, or only just: {days_text(report.unsettled)}")
    if report.other_ids:
        days = days_text(report.other_ids)
        say(f"asked with other bucket ids before: {days} (--redo DAY asks again)")


def _tell_failures(report: ExportReport) -> None:
    lost = {*report.not_kept}
    lines = 0
    for day in report.not_kept:
        errors = report.failed[day]
        failed = {b: e for b, e in errors.items() if not isinstance(e, _ANSWERS)}
        if lines < _SHOWN:
            say(f"{day} not kept: {text.plural(len(failed), 'bucket')} failed: {_first(failed)}")
        lines += 1
    if lines > _SHOWN:
        say(f"and {lines - _SHOWN:,} more days")
    without: dict[str, FlashbackError] = {}
    for day, errors in report.failed.items():
        if day not in lost:
            without |= errors
    if without:
        say(f"{text.plural(len(without), 'bucket')} without rows on some days: {_first(without)}")


def _first(errors: Mapping[str, FlashbackError]) -> str:
    """Return the first of the errors, with its bucket."""
    bucket_id, error = next(iter(errors.items()))
    more = f" and {len(errors) - 1:,} more" if len(errors) > 1 else ""
    return f"{text.printable(bucket_id)}: {reason(error)}{more}"
