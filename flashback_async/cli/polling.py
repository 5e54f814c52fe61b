"""The work of `status`, `stats` and `node-stats`: find the ids, poll them, write the outcomes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import date
from typing import Any, NamedTuple

import attrs

from flashback_async import (
    BucketDay,
    BucketStats,
    BucketStatus,
    Failure,
    FlashbackClient,
    NodeState,
    Success,
)
from flashback_async.cli import cluster, records, summary
from flashback_async.cli.exits import Deadline, Tally
from flashback_async.cli.ids import Ids, IdStream, ids_of
from flashback_async.cli.log import log_to_stderr
from flashback_async.cli.options import Options
from flashback_async.cli.output import AnyOutcome, AnyView, Writer, make_writer
from flashback_async.cli.progress import progress
from flashback_async.cli.runner import guarded, run_loop
from flashback_async.cli.settings import make_client, make_timeout, naming_options

Outcomes = AsyncGenerator[AnyOutcome, None]


class _Poll(NamedTuple):
    """What a command asks for."""

    view: AnyView
    ask: Callable[[FlashbackClient, Ids, float | None], Outcomes]
    days: Sequence[date] | None = None
    is_list: bool = False  # the search for all buckets has the answers already
    # What of an outcome is shown; None leaves it out.
    shown: Callable[[AnyOutcome], AnyOutcome | None] = lambda outcome: outcome

    def keys(self, bucket_id: str) -> Sequence[Any]:
        if self.days is None:
            return [bucket_id]
        return [BucketDay(bucket_id, day) for day in self.days]


def poll_status(
    ids: Sequence[str] | None, options: Options, *, not_online: bool, dask: str | None = None
) -> int:
    """Show the current state of buckets' nodes, or of those not ONLINE; None means all buckets.

    With the address of a Dask scheduler, its workers poll.
    """

    def ask(client: FlashbackClient, ids: Ids, deadline: float | None) -> Outcomes:
        return client.status.iter_many(ids, deadline=deadline)

    poll = _Poll(records.STATUS, ask)
    if dask is not None:
        cluster.check_options(options)
        poll = poll._replace(ask=cluster.through(dask, options))
    return _run(poll._replace(shown=_not_online) if not_online else poll, ids, options)


def poll_stats(ids: Sequence[str] | None, options: Options) -> int:
    """Show the traffic counters of buckets; None means all buckets."""

    def ask(client: FlashbackClient, ids: Ids, deadline: float | None) -> Outcomes:
        return client.bucket_stats.iter_many(ids, deadline=deadline)

    return _run(_Poll(records.STATS, ask, is_list=True), ids, options)


def poll_node_stats(ids: Sequence[str] | None, days: Sequence[date], options: Options) -> int:
    """Show the daily figures of buckets' nodes; None means all buckets."""

    def ask(client: FlashbackClient, ids: Ids, deadline: float | None) -> Outcomes:
        return client.node_stats.iter_many(ids, days, deadline=deadline)

    return _run(_Poll(records.NODE_STATS, ask, days), ids, options)


def _run(poll: _Poll, ids: Sequence[str] | None, options: Options) -> int:
    deadline = Deadline(options.deadline)

    def work() -> int:
        if options.verbose:
            log_to_stderr(options.verbose)
        tally, writer = Tally(deadline), make_writer(options.form, poll.view)
        effort = summary.Effort()
        wanted = None if ids is None else ids_of(ids)
        with naming_options(options):
            # Made outside of the event loop, because Ctrl-C must end the read of a token file.
            client = make_client(options, effort)
            run_loop(_write_all(client, poll, wanted, tally, writer, options))
        writer.finish()
        unread = isinstance(wanted, IdStream) and wanted.unread
        summary.write(
            tally,
            effort,
            poll.view,
            quiet=options.quiet,
            in_full=options.form == "table",
            unread=unread,
        )
        return tally.code()

    return guarded(work, deadline)


async def _write_all(
    client: FlashbackClient,
    poll: _Poll,
    ids: Ids | None,
    tally: Tally,
    writer: Writer,
    options: Options,
) -> None:
    async with client:
        listed = await _list_all(client, options, tally.deadline) if ids is None else []
        if ids is None:
            ids = [stats.bucket_id for stats in listed]
        if listed and poll.is_list:
            outcomes = _as_outcomes(listed, tally.deadline)
        else:
            outcomes = poll.ask(client, ids, tally.deadline.left())
        bar = progress(shown=options.shows_bar, total=_total(poll, ids), pace=lambda: client.pace)
        with bar as step:
            async with aclosing(_with_unsent(outcomes, poll, ids, tally)) as every:
                async for outcome in every:
                    tally.count(outcome)
                    step()
                    if (shown := poll.shown(outcome)) is not None:
                        await writer.add(shown)
        await writer.drain()
        tally.pace = client.pace


def _not_online(outcome: AnyOutcome) -> AnyOutcome | None:
    """Return an outcome with those nodes alone that are not ONLINE; None if there are none."""
    if outcome.error is not None:
        return outcome
    status: BucketStatus = outcome.value
    nodes = tuple(node for node in status.nodes if node.state != NodeState.ONLINE)
    return attrs.evolve(outcome, value=attrs.evolve(status, nodes=nodes)) if nodes else None


def _total(poll: _Poll, ids: Ids) -> int | None:
    """Return how many outcomes there will be; None if standard input may hold more ids."""
    return None if isinstance(ids, IdStream) else len(ids) * len(poll.keys(""))


async def _with_unsent(outcomes: Outcomes, poll: _Poll, ids: Ids, tally: Tally) -> Outcomes:
    """Yield the outcomes of a run, and a failure for each id that the run did not take.

    A run that ends early reads no further in an async iterable, so this function does.
    """
    async with aclosing(outcomes):
        async for outcome in outcomes:
            yield outcome
    if not isinstance(ids, IdStream) or ids.ended:
        return
    tally.end_early()
    place = tally.total
    async for bucket_id in ids.late():
        for key in poll.keys(bucket_id):
            yield Failure(place, key, tally.error_of_unsent(bucket_id), 0.0)
            place += 1


async def _as_outcomes(listed: list[BucketStats], deadline: Deadline) -> Outcomes:
    for place, stats in enumerate(listed):
        yield Success(place, stats.bucket_id, stats, deadline.elapsed)


async def _list_all(
    client: FlashbackClient, options: Options, deadline: Deadline
) -> list[BucketStats]:
    timeout = make_timeout(options, deadline.left())
    return await client.with_options(timeout=timeout).bucket_stats.list()
