"""The polls of a watch: what is due goes into one endless bulk run, outcomes come back."""

from __future__ import annotations

import asyncio
import copy
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TypeAlias

from flashback_async.bulk.report import Outcome
from flashback_async.clock import Clock
from flashback_async.errors import (
    AuthenticationError,
    ClientClosedError,
    DeadlineExceededError,
    EventLoopError,
    FlashbackError,
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

Ask: TypeAlias = "Callable[[AsyncIterator[str]], AsyncGenerator[Outcome[str, BucketStatus], None]]"

# Errors with which no later poll can succeed.
LASTING = (AuthenticationError, ClientClosedError, EventLoopError)
_NO_ANSWER = (
    TransportError,
    DeadlineExceededError,
    ServerError,
    RateLimitError,
    TokenProviderError,
)
# Polls in a row without an answer that make an outage; fewer if there are fewer buckets.
_OUTAGE_AFTER = 64
_PROBE_EVERY = 1.0  # seconds, at least


class Feed(AsyncIterator[str]):
    """An endless source of keys for a bulk run."""

    def __init__(self) -> None:
        self._ids: deque[str] = deque()
        self._more = asyncio.Event()

    def push(self, bucket_ids: Iterable[str]) -> None:
        """Add ids to the run."""
        self._ids.extend(bucket_ids)
        self._more.set()

    async def __anext__(self) -> str:
        while not self._ids:
            self._more.clear()
            await self._more.wait()
        return self._ids.popleft()


class Outage:
    """The polls in a row that had no answer, and when the API may be probed again."""

    def __init__(self) -> None:
        self.error: FlashbackError | None = None  # the last one
        self._in_a_row = 0
        self._probed_at = float("-inf")

    def in_force(self, buckets: int) -> bool:
        """Return whether the API answers nobody, as far as so many buckets can tell."""
        return 0 < min(_OUTAGE_AFTER, buckets) <= self._in_a_row

    def record(self, error: FlashbackError | None) -> None:
        """Record the end of a poll."""
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
        self._since: float | None = None
        self._last = 0.0

    def record(self, now: float, buckets: int, *, shifted: bool) -> None:
        """Record a step, and whether it had to move the schedule."""
        if shifted:
            self._last = now
            if self._since is None:
                self._since = now
                logger.warning(
                    "watch: polling %d buckets every %g s is too slow: each is polled later",
                    buckets,
                    self._interval,
                )
        elif self._since is not None and now - self._last >= self._interval:
            lasted = self._last - self._since
            logger.info("watch: polling keeps up again, after %.1f s", lasted)
            self._since = None


class Polls:
    """The polls of a watch.

    ``ask`` makes a bulk run of a source, with ``concurrency`` calls at once. ``changed`` is called
    after each poll.
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
        self._feed = Feed()
        self._in_flight: set[str] = set()
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
        if self._unasked is not None:
            self._unasked &= members

    def expect_first(self) -> None:
        """Begin to wait for the first poll of each bucket that is watched now."""
        self._unasked = {
            bucket_id
            for bucket_id in self._tracker.members()
            if self._tracker.buckets[bucket_id].asked_at is None
        }

    async def take_steps(self) -> None:
        """Hand out what falls due, step by step, for ever."""
        while True:
            self._step(self._clock.monotonic())
            await self._clock.sleep(self.schedule.next_step(self._clock.monotonic()))

    async def take_outcomes(self) -> None:
        """Record the outcome of each poll, for ever.

        Raises:
            FlashbackError: No later poll can succeed.
        """
        async with aclosing(self._ask(self._feed)) as outcomes:
            async for outcome in outcomes:
                self._in_flight.discard(outcome.key)
                self._record(outcome)

    def _step(self, now: float) -> None:
        buckets = len(self.schedule)
        if self._outage.in_force(buckets):
            self._spare(self.schedule.take(now, buckets, self._in_flight), now)
        else:
            room = self._concurrency - len(self._in_flight)
            self._send(self.schedule.take(now, room, self._in_flight))
        self._lateness.record(now, buckets, shifted=self.schedule.shift(now))

    def _send(self, bucket_ids: list[str]) -> None:
        if bucket_ids:
            self._in_flight.update(bucket_ids)
            self._feed.push(bucket_ids)

    def _spare(self, bucket_ids: list[str], now: float) -> None:
        """Poll one bucket at most; the others fail as the last poll did."""
        for bucket_id in bucket_ids:
            if not self._in_flight and self._outage.may_probe(now):
                self._send([bucket_id])
                continue
            error = copy.copy(self._outage.error)
            assert error is not None  # noqa: S101 - polls have failed
            error.bucket_id, error.attempts, error.elapsed = bucket_id, 0, 0.0
            self._end(bucket_id, error)

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
