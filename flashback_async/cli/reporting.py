"""The work of `report`: ask buckets once, read their history, write the file."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import aclosing
from datetime import UTC, date, datetime, timedelta
from itertools import chain, islice
from typing import TYPE_CHECKING

from flashback_async import BucketStatus, ConfigurationError, FlashbackClient, Outcome
from flashback_async.cli import records, summary, text
from flashback_async.cli.choice import chosen_ids
from flashback_async.cli.exits import Deadline, Exit, Tally
from flashback_async.cli.files import check_writable, write_whole
from flashback_async.cli.log import log_to_stderr
from flashback_async.cli.messages import say
from flashback_async.cli.options import Options
from flashback_async.cli.output import write_raw
from flashback_async.cli.progress import progress
from flashback_async.cli.runner import guarded, run_loop
from flashback_async.cli.settings import make_client, naming_options

if TYPE_CHECKING:
    from flashback_async.history import NodeDay

Days = Iterator[tuple[date, list["NodeDay"]]]

_STDOUT = "-"
_YEAR = 366  # days of a history


def write_report(
    ids: Sequence[str] | None, options: Options, *, history: str | None, out: str
) -> int:
    """Ask buckets and write a report on them; None means all buckets."""
    deadline = Deadline(options.deadline)

    def work() -> int:
        if options.verbose:
            log_to_stderr(options.verbose)
        if out != _STDOUT:
            _check_target(out, history)
        days = None if history is None else _read(history)
        tally, effort = Tally(deadline), summary.Effort()
        asked_at = datetime.now(UTC)
        with naming_options(options):
            client = make_client(options, effort)
            outcomes = run_loop(_ask(client, ids, tally, options))
        code = tally.code()
        if code is not Exit.TOKEN_REJECTED or tally.succeeded:
            # Buckets that nobody asked for are left out, unless all were asked for.
            wanted = None if ids is None else {outcome.key for outcome in outcomes}
            _write(outcomes, days, wanted, asked_at, out, options)
        summary.write(
            tally, effort, records.STATUS, quiet=options.quiet, in_full=False, unread=False
        )
        return code

    return guarded(work, deadline)


def _check_target(out: str, history: str | None) -> None:
    if history is not None and os.path.realpath(out) == os.path.realpath(history):
        raise ConfigurationError("--out must not be the file of --history, which it would replace")
    check_writable(out)


def _read(history: str) -> Days:
    """Return the days of a history; the first is read at once, so that a bad file is told early."""
    days = _days(history)
    return chain(list(islice(days, 1)), days)


def _days(history: str) -> Days:
    from flashback_async.history import read_history

    try:
        yield from read_history(history, datetime.now(UTC).date() - timedelta(days=_YEAR))
    except ConfigurationError as error:
        message = str(error).removeprefix("path: ")
        raise ConfigurationError(f"--history: {message}") from None


async def _ask(
    client: FlashbackClient, ids: Sequence[str] | None, tally: Tally, options: Options
) -> list[Outcome[str, BucketStatus]]:
    found = []
    async with client:
        chosen = await chosen_ids(client, ids, options, tally.deadline)
        run = client.status.iter_many(chosen, deadline=tally.deadline.left())
        bar = progress(shown=options.shows_bar, total=len(chosen), pace=lambda: client.pace)
        with bar as step:
            async with aclosing(run) as outcomes:
                async for outcome in outcomes:
                    tally.count(outcome)
                    found.append(outcome)
                    step()
        tally.pace = client.pace
    return found


def _write(
    outcomes: Sequence[Outcome[str, BucketStatus]],
    days: Days | None,
    wanted: Collection[str] | None,
    asked_at: datetime,
    out: str,
    options: Options,
) -> None:
    from flashback_async.pages import make_report

    if days is not None:
        days = _counted(days, wanted, options)
    data = make_report(outcomes, days, asked_at=asked_at).encode()
    if out == _STDOUT:
        sys.stdout.flush()
        write_raw(sys.stdout, data)
        return
    write_whole(out, data)
    if not options.quiet:
        say(f"wrote {out} ({text.size(len(data))}), a report on {_buckets(len(outcomes))}")


def _counted(days: Days, wanted: Collection[str] | None, options: Options) -> Days:
    """Yield days with the rows of the wanted buckets; a bar counts the days."""
    with progress(shown=options.shows_bar, total=None, pace=lambda: None) as step:
        for day, rows in days:
            yield day, [row for row in rows if wanted is None or row.bucket_id in wanted]
            step()


def _buckets(number: int) -> str:
    return text.plural(number, "bucket")
