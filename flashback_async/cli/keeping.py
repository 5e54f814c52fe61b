"""The work of `history`: export the days that are missing, with a bar and a summary."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from flashback_async import (
    CallEnded,
    ConfigurationError,
    FlashbackClient,
    InvalidArgumentError,
    day_range,
)
from flashback_async.cli import keeping_summary, text
from flashback_async.cli.exits import Deadline
from flashback_async.cli.ids import all_ids
from flashback_async.cli.log import log_lines, stderr_lines
from flashback_async.cli.options import Options
from flashback_async.cli.progress import progress
from flashback_async.cli.runner import guarded, run_loop
from flashback_async.cli.settings import make_client, make_timeout, naming_options
from flashback_async.cli.summary import Effort
from flashback_async.history import ExportReport, export_days, history_status

_OPTIONS = {"path": "--out", "format": "--format", "first": "--from", "last": "--to"}
_ANSWERED = (None, "NotFoundError", "PermissionDeniedError")


def export_history(
    ids: Sequence[str] | None,
    first: date,
    last: date | None,
    settings: Mapping[str, Any],
    options: Options,
) -> int:
    """Export the days that are missing, and return the exit code; None means all buckets."""
    began = Deadline(None)

    def work() -> int:
        effort = _Effort()
        with ExitStack() as stack:
            if options.verbose:
                stack.enter_context(log_lines(options, stack.enter_context(stderr_lines())))
            stack.enter_context(naming_options(options))
            stack.enter_context(naming_own_options())
            client = make_client(options, effort)
            report = run_loop(_export(client, effort, ids, (first, last), settings, options))
        keeping_summary.write(report, effort, began.elapsed, quiet=options.quiet)
        return keeping_summary.code(report)

    return guarded(work, began)


class _Effort(Effort):
    """The requests of an export, and the bar that moves with the buckets that have answered."""

    step: Callable[[], None] | None = None

    def call_ended(self, fact: CallEnded) -> None:
        """Move the bar, unless the bucket will be asked again."""
        if self.step and fact.operation == "node_stats.get" and fact.error in _ANSWERED:
            self.step()


async def _export(
    client: FlashbackClient,
    effort: _Effort,
    arguments: Sequence[str] | None,
    span: tuple[date, date | None],
    settings: Mapping[str, Any],
    options: Options,
) -> ExportReport:
    path, redo = settings["path"], settings["redo"]
    settle = timedelta(hours=settings["settle"])
    async with client:
        ids = await _ids(client, arguments, options)
        state = await asyncio.to_thread(_form_and_days, path)
        due = _due(span, redo, settle, state[1])
        done = 0

        def note() -> str:
            return f"{done:,} of {text.plural(due, 'day')}"

        def count(day: date, rows: int) -> None:
            nonlocal done
            done += 1

        bar = progress(
            shown=options.shows_bar,
            total=due * len(ids),
            pace=lambda: client.pace,
            note=note,
        )
        with bar as effort.step:
            return await export_days(
                client,
                ids,
                *span,
                path,
                format=settings["form"] or state[0],
                settle=settle,
                allow_failed=settings["allow_failed"],
                on_day=count,
                redo=redo,
            )


async def _ids(
    client: FlashbackClient, arguments: Sequence[str] | None, options: Options
) -> list[str]:
    if arguments is None:
        client = client.with_options(timeout=make_timeout(options))
        ids = [stats.bucket_id for stats in await client.bucket_stats.list()]
        if not ids:
            raise click.UsageError("the token can see no bucket")
        return ids
    ids = await all_ids(arguments)
    if not ids:
        raise click.UsageError("standard input holds no ids")
    return ids


def _form_and_days(path: str) -> tuple[Any, list[date]]:
    """Return the format of a history, and its days; those of a new one if there is none."""
    # What is wrong with it, the export tells.
    with suppress(ConfigurationError, OSError):
        status = history_status(path)
        return status.format, status.days
    return ("parquet" if Path(path).is_dir() else "sqlite"), []


def _due(
    span: tuple[date, date | None], redo: Sequence[date], settle: timedelta, kept: Sequence[date]
) -> int:
    """Return how many days will be asked for."""
    newest = (datetime.now(UTC) - settle).date() - timedelta(1)
    wanted = {*day_range(*span)}.difference(kept).union(redo)
    return sum(day <= newest for day in wanted)


@contextmanager
def naming_own_options() -> Iterator[None]:
    """Name the option in the error of an argument that was made from it."""
    try:
        yield
    except (ConfigurationError, InvalidArgumentError) as error:
        message = str(error.args[0]) if error.args else ""
        word = re.match(r"\w+", message)
        if word and word[0] in _OPTIONS:
            message = _OPTIONS[word[0]] + message[word.end() :].replace(
                "before first:", "before --from:", 1
            )
        raise type(error)(message) from None
