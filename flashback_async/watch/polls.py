"""The polls of a watch: what falls due in a step is one bulk run."""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TypeAlias

from flashback_async.bulk.report import Outcome
from flashback_async.clock import Clock
from flashback_async.endings import all_ended
from flashback_async.errors import (
    AuthenticationError,
    ClientClosedError,
    DeadlineExceededError,
    EventLoopError,
    FlashbackError,
    InvalidArgumentError,
    NotFoundError,
    RateLimitError,
    ServerError,
    TokenProviderError,
    TransportError,
)
from flashback_async.models import BucketStatus
from flashback_async.watch.schedule import Schedule
from flashback_async.watch.tracker import Tracker

logger = logging.getLogger("flashback_async")

Ask: TypeAlias = Callable[[list[str]], AsyncGenerator[Outcome[str, BucketStatus], None]]

# Errors with which no later poll can succeed.
LASTING = (AuthenticationError, ClientClosedError, EventLoopError)
_NO_ANSWER = (
    TransportError,
    DeadlineExceededError,
    ServerError,
    RateLimitError,
    TokenProviderError,
)
# Polls in a row without an answer that make an outage; fewer if there were no others before.
_OUTAGE_AFTER = 64
_PROBE_EVERY = 1.0  # seconds, at least
_SHORT, _LONG = 0.5, 1e6  # seconds of a sleep that needs no end before its own; and of any


class Outage:
    """The polls in a row that had no answer, and when the API may be probed again."""

    def __init__(self) -> None:
        self.error: FlashbackError | None = None  # the last one
        self._ended = 0
        self._in_a_row = 0
        self._probed_at = float("-inf")

    @property
    def in_force(self) -> bool:
        """Whether the last polls had no answer, which are all of them at first."""
        return 0 < min(_OUTAGE_AFTER, self._ended) <= self._in_a_row

    def record(self, error: FlashbackError | None) -> None:
        """Record the end of a poll."""
        if isinstance(error, InvalidArgumentError):
            return  # it was never sent
        self._ended += 1
        if isinstance(error, _NO_ANSWER):
            self.error = error
            self._in_a_row += 1
        else:
            self._in_a_row = 0

    def may_probe(self, now: float) -> bool:
        """Return whether to probe now, and record that."""
        if now - self._probed_at < _PROBE_EVERY:
            return False
        self._probed_at = now
        return True


class Lateness:
    """Whether polling keeps up, as the log tells: once when it does not, and once when it does."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._late_from: float | None = None  # what the schedule had been moved by before
        self._moved_at = 0.0

    def record(self, now: float, schedule: Schedule, moved: float) -> None:
        """Record a step, and the seconds by which it had to move the schedule."""
        if moved:
            self._moved_at = now
            if self._late_from is None:
                self._late_from = schedule.shifted - moved
                text = "watch: polling %d buckets every %g s is too slow, so they are polled later"
                logger.warning(text, len(schedule), self._interval)
        elif self._late_from is not None and now - self._moved_at >= self._interval:
            late = schedule.shifted - self._late_from
            logger.info("watch: polling keeps up again, %.1f s later than planned", late)
            self._late_from = None


class Polls:
    """The polls of a watch.

    ``ask`` makes a bulk run over ids. All runs together make ``concurrency`` calls at once, at
    most. ``changed`` is called after each poll.
    """

    def __init__(
        self,
        tracker: Tracker,
        clock: Clock,
        interval: float,
        concurrency: int,
        ask: Ask,
        changed: Callable[[], object],
    ) -> None:
        self.asked = 0
        self.failed = 0
        self.schedule = Schedule(interval)
        self._tracker = tracker
        self._clock = clock
        self._concurrency = concurrency
        self._ask = ask
        self._changed = changed
        self._in_flight: set[str] = set()
        self._sleeping: asyncio.Future[None] | None = None
        self._unasked: set[str] | None = None  # those whose first poll is waited for
        self._outage = Outage()
        self._lateness = Lateness(interval)

    @property
    def first_have_ended(self) -> bool:
        """Whether each of the first buckets was asked, or had its turn in an outage."""
        return self._unasked is not None and not self._unasked

    def set_buckets(self) -> None:
        """Poll the buckets that the tracker watches now."""
        members = self._tracker.members()
        self.schedule.set_buckets(members, self._clock.monotonic())
        if self._sleeping is not None:
            self._sleeping.cancel()
        if self._unasked is not None:
            self._unasked &= members

    def expect_first(self) -> None:
        """Begin to wait for the first poll of each bucket that is watched now."""
        self._unasked = {
            bucket_id
            for bucket_id in self._tracker.members()
            if self._tracker.buckets[bucket_id].asked_at is None
        }

    async def run(self) -> None:
        """Poll what falls due, step by step, for ever.

        Raises:
            FlashbackError: No later poll can succeed.
        """
        try:
            async with asyncio.TaskGroup() as runs:
                while True:
                    if due := self._step(self._clock.monotonic()):
                        self._in_flight.update(due)
                        runs.create_task(self._poll(due))
                    await self._sleep(self.schedule.next_step(self._clock.monotonic()))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _sleep(self, seconds: float) -> None:
        """Sleep until the next step; a long sleep ends early if the buckets change."""
        if seconds <= _SHORT:
            await self._clock.sleep(seconds)
            return
        self._sleeping = asyncio.ensure_future(self._clock.sleep(min(seconds, _LONG)))
        try:
            await asyncio.wait([self._sleeping])
        finally:
            self._sleeping.cancel()
            await all_ended([self._sleeping])

    async def _poll(self, bucket_ids: list[str]) -> None:
        """Make one bulk run over a few buckets."""
        try:
            async with aclosing(self._ask(bucket_ids)) as outcomes:
                async for outcome in outcomes:
                    self._in_flight.discard(outcome.key)
                    self._record(outcome)
        finally:
            self._in_flight.difference_update(bucket_ids)

    def _step(self, now: float) -> list[str]:
        """Return the buckets to poll now."""
        buckets = len(self.schedule)
        if self._outage.in_force:
            due = self._probe(self.schedule.take(now, buckets, self._in_flight), now)
        else:
            room = self._concurrency - len(self._in_flight)
            due = self.schedule.take(now, room, self._in_flight)
        self._lateness.record(now, self.schedule, self.schedule.shift(now))
        return due

    def _probe(self, due: list[str], now: float) -> list[str]:
        """Return the bucket to poll in an outage, if any; the others fail as the last poll did."""
        probe = due[:1] if due and not self._in_flight and self._outage.may_probe(now) else []
        for bucket_id in due[len(probe) :]:
            error = copy.copy(self._outage.error)
            assert error is not None  # noqa: S101 - polls have failed
            error.bucket_id, error.attempts, error.elapsed = bucket_id, 0, 0.0
            self._end(bucket_id, error)
        return probe

    def _record(self, outcome: Outcome[str, BucketStatus]) -> None:
        if isinstance(outcome.error, LASTING):
            raise outcome.error
        self._outage.record(outcome.error)
        if outcome.error is None:
            self._tracker.answered(outcome.key, outcome.value.nodes, self.now())
        self._end(outcome.key, outcome.error)

    def _end(self, bucket_id: str, error: FlashbackError | None) -> None:
        """Record the end of a poll, or of one that an outage spared."""
        if isinstance(error, NotFoundError):
            self._tracker.missing(bucket_id, self.now())
        elif error is not None:
            self._tracker.failed(bucket_id, error, self.now())
            self.failed += 1
        self.asked += 1
        if self._unasked:
            self._unasked.discard(bucket_id)
        self._changed()

    def now(self) -> datetime:
        """Return the time of day, in UTC."""
        return datetime.fromtimestamp(self._clock.wall(), UTC)
