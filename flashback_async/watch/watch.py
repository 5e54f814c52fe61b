"""The watch itself: an async iterator of changes, and the tasks that work for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from enum import Enum
from functools import partial
from types import TracebackType
from typing import Self, TypeAlias

from flashback_async.clock import Clock
from flashback_async.endings import all_ended
from flashback_async.errors import FlashbackError
from flashback_async.watch.changes import BucketView, Change, WatchStats
from flashback_async.watch.keeper import Keeper
from flashback_async.watch.listing import ListIds, Listing
from flashback_async.watch.outbox import Outbox
from flashback_async.watch.polls import Ask, Polls
from flashback_async.watch.settings import Settings
from flashback_async.watch.tracker import Tracker

Work: TypeAlias = Callable[[], Awaitable[None]]


class _Phase(Enum):
    NEW = "new"
    OPEN = "open"
    LEFT = "left"


class Watch:
    """A watch over buckets: an async iterator of their changes, for ever.

    ``client.status.watch`` makes it. It polls from the begin of its ``async with`` block until
    the end. A change is done when the next one is asked for, or when the block is left without an
    exception. A new ``async for`` starts with the change that is not done. One task at a time may
    wait for a change.
    """

    def __init__(
        self,
        settings: Settings,
        buckets: set[str] | ListIds,
        ask: Ask,
        concurrency: int,
        clock: Clock,
        while_open: Callable[[Work], Awaitable[None]],
        lasting: tuple[type[Exception], ...] = (),
    ) -> None:
        self._settings = settings
        self._buckets = buckets
        self._clock = clock
        self._while_open = while_open
        self._lasting = lasting
        self._tracker = Tracker(settings.fall, settings.rise, settings.unknown_after)
        self._outbox = Outbox(self._tracker, is_kept=settings.state is not None)
        self._polls = Polls(
            self._tracker, clock, settings.interval, concurrency, ask, self._tell_news
        )
        self._keeper: Keeper | None = None
        self._phase = _Phase.NEW
        self._end: BaseException | None = None  # what ended the watch
        self._tasks: list[asyncio.Task[None]] = []
        self._writing: asyncio.Task[None] | None = None
        self._is_listed = False
        self._is_taking = False
        self._again = False  # whether the current change is to be handed out once more

    @property
    def view(self) -> Mapping[str, BucketView]:
        """Every watched bucket as it is known now, by its id; a live mapping."""
        return _View(self._tracker)

    @property
    def stats(self) -> WatchStats:
        """How the watch is doing."""
        polls, schedule = self._polls, self._polls.schedule
        is_open = self._phase is _Phase.OPEN and self._end is None
        return WatchStats(
            buckets=self._tracker.count,
            asked=polls.asked,
            failed=polls.failed,
            waiting=self._outbox.waiting,
            lag=schedule.lag(self._clock.monotonic()) if is_open else 0.0,
            shifted=schedule.shifted,
        )

    async def ready(self) -> None:
        """Wait until the first poll of each bucket has ended, with or without an answer.

        The buckets are those of the first listing, or of the fixed list.

        Raises:
            FlashbackError: What ended the watch, as its loop raises it.
            RuntimeError: The watch is not open, or is left meanwhile.
        """
        while not self._polls.first_have_ended:
            self._raise_end()
            if self._phase is not _Phase.OPEN:
                raise RuntimeError("the watch is not open: wait within its 'async with' block")
            await self._next_news()

    # Changes.

    def __aiter__(self) -> Self:
        self._again = self._outbox.current is not None
        return self

    async def __anext__(self) -> Change:
        """Wait for the next change.

        Raises:
            AuthenticationError: The token was rejected; after the changes that waited.
            ClientClosedError: The client was closed; after the changes that waited.
            EventLoopError: The client belongs to another event loop or process.
            RuntimeError: Another task waits already, or the watch was never entered.
            StopAsyncIteration: The watch has been left.
        """
        if self._phase is _Phase.NEW:
            raise RuntimeError("the watch is not open: enter it with 'async with'")
        if self._is_taking:
            raise RuntimeError("another task waits for a change of this watch already")
        self._is_taking = True
        try:
            return await self._next_change()
        finally:
            self._is_taking = False

    async def _next_change(self) -> Change:
        again, self._again = self._again, False
        if again and self._outbox.current is not None:
            return self._outbox.current
        if self._phase is _Phase.OPEN:
            self._outbox.finish()
            self._tell_news()
        while self._phase is _Phase.OPEN:
            change = self._outbox.take()
            if change is not None:
                return change
            if not self._outbox.waiting:
                self._raise_end()
            await self._next_news()
        raise StopAsyncIteration

    # From the begin to the end.

    async def __aenter__(self) -> Self:
        """Begin to poll.

        Raises:
            ConfigurationError: ``state`` is no file of a watch, or another watch has it.
            RuntimeError: The watch was entered before.
        """
        if self._phase is not _Phase.NEW:
            raise RuntimeError("a watch can be entered only once")
        self._phase, self._news = _Phase.OPEN, asyncio.Event()
        try:
            await self._open()
        except BaseException:
            await self._leave()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop every poll; without an exception, the current change is done."""
        if kind is None:
            self._outbox.finish()
        await self._leave()

    async def _open(self) -> None:
        settings, polls = self._settings, self._polls
        if settings.state is not None:
            self._keeper = Keeper(settings.state, self._outbox, self._clock, self._tell_news)
            await self._keeper.open()
            self._writing = asyncio.create_task(self._run(self._keeper.write_changes))
        if isinstance(self._buckets, set):
            self._set_buckets(self._buckets)
        else:
            listing = Listing(
                self._buckets,
                self._listed,
                self._clock,
                refresh=settings.refresh,
                retry=min(settings.interval, settings.refresh),
                lasting=self._lasting,
            )
            polls.set_buckets()
            self._tasks.append(asyncio.create_task(self._run(listing.look)))
        self._tasks.append(asyncio.create_task(self._run(partial(self._while_open, polls.run))))
        self._tell_news()

    async def _leave(self) -> None:
        """End everything that works for the watch, and then the state file."""
        self._phase = _Phase.LEFT
        tasks = self._tasks if self._writing is None else [*self._tasks, self._writing]
        for task in tasks:
            task.cancel()
        try:
            await all_ended(tasks)
        finally:
            if self._keeper is not None:
                await self._keeper.close()
            self._tell_news()

    async def _run(self, work: Work) -> None:
        """Do a part of the work; if it fails, the watch ends."""
        try:
            await work()
        except asyncio.CancelledError:
            if self._phase is _Phase.OPEN and self._end is None:
                self._finish(RuntimeError("a task of the watch was cancelled from elsewhere"))
            raise
        except BaseException as error:
            self._finish(error)
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise

    def _finish(self, error: BaseException) -> None:
        """Stop polling because of an error, which is raised once no change waits any more."""
        self._end = error
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        self._tell_news()

    def _raise_end(self) -> None:
        if isinstance(self._end, FlashbackError):
            raise self._end.with_traceback(None)
        if self._end is not None:
            raise self._end

    # What happens.

    def _set_buckets(self, bucket_ids: set[str]) -> None:
        """Watch a fixed list; others, from the state file, are gone."""
        now = self._polls.now()
        for bucket_id in self._tracker.members() - bucket_ids:
            self._tracker.remove(bucket_id, now)
        for bucket_id in bucket_ids:
            self._tracker.add(bucket_id, now)
        self._polls.set_buckets()
        self._polls.expect_first()

    def _listed(self, bucket_ids: set[str]) -> None:
        """Watch the buckets of a listing."""
        before = self._tracker.members()
        self._tracker.listed(bucket_ids, self._polls.now())
        if self._tracker.members() != before:
            self._polls.set_buckets()
        if not self._is_listed:
            self._is_listed = True
            self._polls.expect_first()
        self._tell_news()

    def _tell_news(self) -> None:
        """Wake the tasks that wait for something to happen."""
        self._news.set()
        if self._keeper is not None:
            self._keeper.wake()

    async def _next_news(self) -> None:
        self._news.clear()
        await self._news.wait()


class _View(Mapping[str, BucketView]):
    """The watched buckets, each as it is known when it is looked up."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker

    def __getitem__(self, bucket_id: str) -> BucketView:
        return self._tracker.view(bucket_id)

    def __iter__(self) -> Iterator[str]:
        # The buckets may change while a loop over them waits.
        for bucket_id in list(self._tracker.buckets):
            if self._tracker.is_member(bucket_id):
                yield bucket_id

    def __len__(self) -> int:
        return self._tracker.count

    def __repr__(self) -> str:
        return f"<view of {len(self)} buckets>"
