"""The workers of a run: each makes the calls for one key after the other."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Generic, TypeVar

from flashback_async.bulk.flights import Flights
from flashback_async.bulk.keys import Keys
from flashback_async.bulk.report import Failure, Outcome, Success, repeated
from flashback_async.clock import CallLater, Timer
from flashback_async.endings import all_ended
from flashback_async.errors import FlashbackError
from flashback_async.frozen import fast_maker
from flashback_async.run import Run

K = TypeVar("K")
V = TypeVar("V")

_make_success = fast_maker(Success)

_LONGEST = 1e9  # seconds, some thirty years: more than that overflows some timers


class Workers(Generic[K, V]):
    """The tasks of one run and what they share. They never refer to the run's generator.

    ``label`` completes an error that the run itself gives to a key. With ``flights``, a key that
    equals one in flight gets the same result.
    """

    def __init__(
        self,
        run: Run,
        func: Callable[[K], Awaitable[V]],
        keys: Keys[K],
        concurrency: int,
        label: Callable[[FlashbackError, K], None] | None,
        flights: Flights[Outcome[K, V]] | None,
        call_later: CallLater,
    ) -> None:
        self.done: deque[Outcome[K, V]] = deque()
        self._run = run
        self._func = func
        self._keys = keys
        self._concurrency = concurrency
        self._label = label
        self._flights = flights
        self._call_later = call_later
        self._tasks: set[asyncio.Task[None]] = set()
        self._starting: asyncio.Handle | None = None
        self._timer: Timer | None = None
        self._stopped = False
        self._bug: BaseException | None = None
        self._news = asyncio.Event()
        self._room = asyncio.Event()

    # Called by the generator.

    def start(self, deadline: float | None) -> None:
        """Start the first workers, and the timer of the deadline."""
        if self._keys.plain is None:
            self._start_worker(None)
        else:
            self._start_workers(self._keys.plain)
        if deadline is not None:
            expire_next = partial(self._expire_next, deadline)
            self._timer = self._call_later(min(deadline, _LONGEST), expire_next)

    async def has_news(self) -> bool:
        """Wait for the next outcomes; return False once all have been taken."""
        while not self.done and self._bug is None and (self._tasks or self._starting):
            self._news.clear()
            await self._news.wait()
        if self._bug is not None:
            raise self._bug
        return bool(self.done)

    def take(self) -> Outcome[K, V]:
        """Return the oldest outcome, and make room for another."""
        self._room.set()
        return self.done.popleft()

    def unsent(self) -> Iterator[Failure[K]]:
        """Yield a failure for each key that a halted run does not send.

        A plain source can be read to its end while calls are in flight, an async one cannot.
        """
        if self._run.error is None or (self._tasks and self._keys.plain is None):
            return
        for index, key in self._keys.rest():
            yield Failure(index, key, self._unfinished(key, self._run.unsent()), 0.0)

    def raise_source_error(self) -> None:
        """Raise the exception that ended the source, if one did."""
        if self._keys.error is not None:
            raise self._keys.error

    async def stop(self) -> None:
        """Cancel every worker, and wait until all have ended."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        if self._starting is not None:
            self._starting.cancel()
        for task in self._tasks:
            task.cancel()
        await all_ended(self._tasks)

    # What the workers do.

    async def _work(self, item: tuple[int, K] | None) -> None:
        """Make the call for a key, then for one key after the other until none is left."""
        keys, run, flights = self._keys, self._run, self._flights
        if item is None:
            item = await self._take_key()
        while item is not None:
            index, key = item
            if flights is not None and (flight := flights.join(key)) is not None:
                outcome = repeated(await flight.result(run), index, key)
            else:
                started = time.monotonic()
                try:
                    value = await self._func(key)
                except FlashbackError as error:
                    # The frames of a worker would not help the caller.
                    failure = error.with_traceback(None)
                    outcome = Failure(index, key, failure, time.monotonic() - started)
                except asyncio.CancelledError:
                    if self._stopped or run.expired is None:
                        raise
                    failure = self._unfinished(key, run.cancelled())
                    outcome = Failure(index, key, failure, time.monotonic() - started)
                else:
                    outcome = _make_success(index, key, value, time.monotonic() - started)
                if flights is not None:
                    flights.land(key, outcome)
            self.done.append(outcome)
            self._news.set()
            # The consumer sets the pace: a worker continues once fewer outcomes are waiting
            # than ``concurrency``.
            while len(self.done) >= self._concurrency and not self._stopped:
                self._room.clear()
                await self._room.wait()
            if run.error is not None or self._stopped:
                keys.stop()
                return
            item = await self._take_key() if keys.plain is None else keys.next(keys.plain)

    async def _take_key(self) -> tuple[int, K] | None:
        """Take the next key of an async source, and start another worker for the one after it."""
        item = await self._keys.read()
        if item is not None:
            self._start_another()
        return item

    def _start_workers(self, source: Iterator[K]) -> None:
        """Start as many workers as there are keys for, each with its first one."""
        for _ in range(self._concurrency):
            halted = self._run.error is not None or self._stopped
            item = None if halted else self._keys.next(source)
            if item is None:
                return
            self._start_worker(item)

    def _start_another(self) -> None:
        """Start one more worker in the next iteration of the event loop.

        An eager task runs as it is created: in this iteration, it would start the next one from
        inside this worker.
        """
        if len(self._tasks) < self._concurrency and self._starting is None:
            self._starting = asyncio.get_running_loop().call_soon(self._start_worker, None)

    def _start_worker(self, item: tuple[int, K] | None) -> None:
        self._starting = None
        task = asyncio.get_running_loop().create_task(self._work(item))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Record why a worker ended; a cancellation that the run did not ask for is a bug."""
        self._tasks.discard(task)
        if task.cancelled():
            if not self._stopped and self._run.expired is None:
                self._bug = asyncio.CancelledError("a call of the run was cancelled")
        elif (error := task.exception()) is not None:
            self._bug = error
        self._news.set()

    # The deadline.

    def _expire_next(self, deadline: float) -> None:
        """Expire the run once all workers have begun: one cancelled earlier loses its first key.

        uvloop runs timers that are due before the tasks that are ready.
        """
        self._timer = asyncio.get_running_loop().call_soon(self._expire, deadline)

    def _expire(self, deadline: float) -> None:
        """Halt the run and cancel its calls in flight, because its deadline has passed."""
        self._run.expire(deadline)
        for task in self._tasks:
            task.cancel()

    def _unfinished(self, key: K, error: FlashbackError) -> FlashbackError:
        """Return the error of the run as that of one key which it did not finish."""
        error.attempts, error.elapsed = 0, 0.0
        if self._label is not None:
            self._label(error, key)
        return error
