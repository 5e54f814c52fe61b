"""What `status`, `stats` and `node-stats` do: find the ids, ask for all of them, show what came."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from datetime import UTC, date, datetime, timedelta
from typing import Any

from flashback_async import (
    BucketStats,
    ConfigurationError,
    FlashbackClient,
    Limits,
    Outcome,
    Success,
    Timeout,
)
from flashback_async.cli import records, summary
from flashback_async.cli.exits import Deadline, Tally
from flashback_async.cli.ids import ids_of
from flashback_async.cli.options import Options
from flashback_async.cli.output import AnyView, Writer, make_writer
from flashback_async.cli.progress import progress
from flashback_async.cli.runner import guarded, run_loop

Ids = Iterable[str] | AsyncIterable[str]
Outcomes = AsyncGenerator[Outcome[Any, Any], None]
# Gives the outcomes to come, and how many they are where that is known.
Ask = Callable[[FlashbackClient, Deadline], Awaitable[tuple[Outcomes, int | None]]]


def poll_status(ids: Sequence[str], everything: bool, options: Options) -> int:
    """Show the state of the nodes of buckets."""

    async def ask(client: FlashbackClient, deadline: Deadline) -> tuple[Outcomes, int | None]:
        wanted: Ids = ids_of(ids)
        if everything:
            wanted = [stats.bucket_id for stats in await _list_all(client, options, deadline)]
        return client.status.iter_many(wanted, deadline=deadline.left()), _length(wanted)

    return _poll(records.STATUS, ask, options)


def poll_stats(ids: Sequence[str], options: Options) -> int:
    """Show the traffic counters of buckets; without ids, of all."""

    async def ask(client: FlashbackClient, deadline: Deadline) -> tuple[Outcomes, int | None]:
        if not ids:
            listed = await _list_all(client, options, deadline)
            return _as_outcomes(listed, deadline), len(listed)
        wanted = ids_of(ids)
        return client.bucket_stats.iter_many(wanted, deadline=deadline.left()), _length(wanted)

    return _poll(records.STATS, ask, options)


def poll_node_stats(ids: Sequence[str], days: Sequence[str], options: Options) -> int:
    """Show how the nodes of buckets did on some days."""

    async def ask(client: FlashbackClient, deadline: Deadline) -> tuple[Outcomes, int | None]:
        wanted = ids_of(ids)
        known = _length(wanted)
        outcomes = client.node_stats.iter_many(
            wanted, [_named_day(day) for day in days], deadline=deadline.left()
        )
        return outcomes, None if known is None else known * len(days)

    return _poll(records.NODE_STATS, ask, options)


def _poll(view: AnyView, ask: Ask, options: Options) -> int:
    deadline = Deadline(options.deadline)

    def work() -> int:
        if options.verbose:
            _log_to_stderr(options.verbose)
        tally, writer = Tally(deadline), make_writer(options.form, view)
        run_loop(_run(ask, tally, writer, options))
        writer.finish()
        summary.tell(tally, view, quiet=options.quiet, in_full=options.form == "table")
        return tally.code()

    return guarded(work, deadline)


async def _run(ask: Ask, tally: Tally, writer: Writer, options: Options) -> None:
    async with _make_client(options) as client:
        outcomes, total = await ask(client, tally.deadline)
        with progress(shown=options.shows_bar, total=total) as step:
            async with aclosing(outcomes):
                async for outcome in outcomes:
                    tally.count(outcome)
                    step()
                    await writer.add(outcome)
        await writer.drain()


def _make_client(options: Options) -> FlashbackClient:
    variables = ("FLASHBACK_TOKEN", "FLASHBACK_TOKEN_FILE")
    if not any(map(os.environ.get, variables)):
        raise ConfigurationError(
            f"no token: set {variables[0]}, or {variables[1]} to the name of a file that holds it"
        )
    return FlashbackClient(
        base_url=options.base_url,
        timeout=_timeout(options.timeout),
        limits=Limits(max_concurrency=options.concurrency, max_rate=options.max_rate),
        allow_insecure_http=options.allow_insecure_http,
    )


def _timeout(seconds: float) -> Timeout:
    return Timeout(total=3 * seconds, attempt=seconds, connect=min(seconds, Timeout().connect))


async def _list_all(
    client: FlashbackClient, options: Options, deadline: Deadline
) -> list[BucketStats]:
    timeout = _timeout(options.timeout)
    if (left := deadline.left()) is not None and left < timeout.total:
        timeout = Timeout(total=left, attempt=timeout.attempt, connect=timeout.connect)
    return await client.with_options(timeout=timeout).bucket_stats.list()


async def _as_outcomes(listed: list[BucketStats], deadline: Deadline) -> Outcomes:
    for place, stats in enumerate(listed):
        yield Success(place, stats.bucket_id, stats, deadline.elapsed)


def _length(ids: Ids) -> int | None:
    return len(ids) if isinstance(ids, Sequence) else None


def _named_day(day: str) -> str | date:
    """Read the names of two days; everything else is left to the client."""
    today = datetime.now(UTC).date()
    return {"today": today, "yesterday": today - timedelta(days=1)}.get(day.lower(), day)


def _log_to_stderr(verbosity: int) -> None:
    import logging

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger = logging.getLogger("flashback_async")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO if verbosity == 1 else logging.DEBUG)
