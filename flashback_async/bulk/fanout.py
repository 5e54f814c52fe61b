"""Many calls at once: a fixed set of workers that pull from one iterator."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
)
from typing import Generic, TypeVar

from flashback_async.bulk.report import Failure, Outcome, Success
from flashback_async.errors import (
    DeadlineExceededError,
    FlashbackError,
    InvalidArgumentError,
    show,
)
from flashback_async.frozen import mutable_twin
from flashback_async.run import Run

K = TypeVar("K")
V = TypeVar("V")


def fan_out(
    func: Callable[[K], Awaitable[V]],
    keys: Iterable[K] | AsyncIterable[K],
    *,
    concurrency: int = 64,
    deadline: float | None = None,
) -> AsyncGenerator[Outcome[K, V], None]:
    """Call an async function for every key and give each outcome as it completes.

    Every key has exactly one outcome. A ``FlashbackError`` is an outcome and leaves the other
    keys alone; any other exception of ``func`` is a bug, which stops the run and is raised.
    Memory is in proportion to ``concurrency``, whatever the number of keys.

    Leaving the loop (``break``, an error, cancellation) stops the calls under way. Where the
    generator has a name, close it: ``async with contextlib.aclosing(fan_out(...)) as outcomes``.

    Args:
        func: Called with one key, at most ``concurrency`` times at once.
        keys: Read lazily. An exception of its own ends the run after what is under way, and is
            then raised.
        concurrency: Calls at once, at least 1; a worker is started only where a key waits.
        deadline: Seconds for the whole run; None sets no limit. When it passes, calls under way
            are cancelled; they and the keys that never started come out with
            ``DeadlineExceededError``: ``keys`` is read to its end for that, but an async
            iterable is not read further.

    Raises:
        InvalidArgumentError: ``keys`` cannot be iterated, or ``concurrency`` or ``deadline``
            is not a number in its range.
    """
    return run(func, keys, concurrency=concurrency, deadline=deadline)


def run(
    func: Callable[[K], Awaitable[V]],
    keys: Iterable[K] | AsyncIterable[K],
    *,
    concurrency: int,
    deadline: float | None,
    halt: Run | None = None,
    describe: Callable[[FlashbackError, K], None] | None = None,
    prepare: Callable[[], object] | None = None,
    leftover: Callable[[], Iterable[K]] = tuple,
) -> AsyncGenerator[Outcome[K, V], None]:
    """Fan out as ``fan_out`` does, with hooks for those who know what the keys are.

    ``func`` can stop the run through ``halt``; ``describe`` completes an error that the run
    itself gives to a key; ``prepare`` is called as the run begins, and may refuse it;
    ``leftover`` gives the keys that an async source had read but not given when it was halted.
    """
    check_concurrency(concurrency)
    _check_deadline(deadline)
    halt = Run() if halt is None else halt
    workers = _Workers(func, keys, concurrency, halt, describe, leftover)
    return _outcomes(workers, deadline, prepare)


def check_concurrency(value: object) -> None:
    """Check a number of calls at once.

    Raises:
        InvalidArgumentError: It is not a whole number of at least 1.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidArgumentError(
            f"concurrency must be a whole number of at least 1, not {show(value)}"
        )


def _check_deadline(value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidArgumentError(f"deadline must be seconds or None, not {show(value)}")
    if not 0 < value <= sys.float_info.max:
        raise InvalidArgumentError(f"deadline must be finite and above 0, not {show(value)}")


async def _outcomes(
    workers: _Workers[K, V], deadline: float | None, prepare: Callable[[], object] | None
) -> AsyncGenerator[Outcome[K, V], None]:
    if prepare is not None:
        prepare()
    try:
        workers.start(deadline)
        while await workers.has_news():
            while workers.done:
                yield workers.take()
        for outcome in workers.unsent():
            yield outcome
            if outcome.index % _UNSENT_IN_A_TURN == 0:
                await asyncio.sleep(0)
    finally:
        await workers.stop()


_make_success = mutable_twin(Success)

# There may be a million of them, and the loop is not theirs alone.
_UNSENT_IN_A_TURN = 20


class _Workers(Generic[K, V]):
    """The tasks of one run and what they share. It never refers to the run's generator."""

    def __init__(
        self,
        func: Callable[[K], Awaitable[V]],
        keys: Iterable[K] | AsyncIterable[K],
        concurrency: int,
        halt: Run,
        describe: Callable[[FlashbackError, K], None] | None,
        leftover: Callable[[], Iterable[K]],
    ) -> None:
        self.done: deque[Outcome[K, V]] = deque()
        self._func = func
        self._plain: Iterator[K] | None = None
        self._async: AsyncIterator[K] | None = None
        if isinstance(keys, AsyncIterable):
            self._async = aiter(keys)
        elif isinstance(keys, Iterable):
            self._plain = iter(keys)
        else:
            raise InvalidArgumentError(f"keys must be iterable, not {type(keys).__name__}")
        self._concurrency = concurrency
        self._halt = halt
        self._describe = describe
        self._leftover = leftover
        self._tasks: set[asyncio.Task[None]] = set()
        self._starting: asyncio.Handle | None = None
        self._timer: asyncio.Handle | None = None
        self._reading = asyncio.Lock()
        self._reader: asyncio.Task[None] | None = None
        self._keys_read = 0
        self._exhausted = False
        self._expired = False
        self._stopped = False
        self._source_error: Exception | None = None
        self._bug: BaseException | None = None
        self._news = asyncio.Event()
        self._room = asyncio.Event()

    # What the generator does.

    def start(self, deadline: float | None) -> None:
        if self._plain is None:
            self._start_worker(None)
        else:
            self._start_workers(self._plain)
        if deadline is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(deadline, self._expire_next, deadline)

    async def has_news(self) -> bool:
        """Wait for the next outcomes; False once all are out."""
        while not self.done and self._bug is None and (self._tasks or self._starting):
            self._news.clear()
            await self._news.wait()
        if self._bug is not None:
            raise self._bug
        return bool(self.done)

    def take(self) -> Outcome[K, V]:
        self._room.set()
        return self.done.popleft()

    def unsent(self) -> Iterator[Outcome[K, V]]:
        """Give the keys that a halted run has not started; raise what the source raised."""
        if self._halt.error is not None:
            while self._plain is not None and (item := self._next_key(self._plain)) is not None:
                yield Failure(*item, self._halted(item[1], under_way=False), 0.0)
            for index, key in enumerate(self._leftover(), self._keys_read):
                yield Failure(index, key, self._halted(key, under_way=False), 0.0)
        if self._source_error is not None:
            raise self._source_error

    async def stop(self) -> None:
        """End every worker, and see it end."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        if self._starting is not None:
            self._starting.cancel()
        interruption = None
        for task in self._tasks:
            task.cancel()
        while self._tasks:
            try:
                await asyncio.wait(self._tasks)
            except asyncio.CancelledError as error:
                interruption = error
        if interruption is not None:
            raise interruption

    # What the workers do.

    async def _work(self, item: tuple[int, K] | None) -> None:
        """Call for a key, and then for one after the other until none is left."""
        if item is None:
            item = await self._take_key()
        while item is not None:
            index, key = item
            started = time.monotonic()
            outcome: Outcome[K, V]
            try:
                value = await self._func(key)
            except FlashbackError as error:
                # The frames of a worker tell nobody anything.
                error.with_traceback(None)
                outcome = Failure(index, key, error, time.monotonic() - started)
            except asyncio.CancelledError:
                if self._stopped or not self._expired:
                    raise
                cut_off = self._halted(key, under_way=True)
                outcome = Failure(index, key, cut_off, time.monotonic() - started)
            else:
                outcome = _make_success(index, key, value, time.monotonic() - started)
                outcome.__class__ = Success
            self.done.append(outcome)
            self._news.set()
            # Whoever takes the outcomes sets the pace: a worker goes on once fewer wait than there
            # are workers.
            while len(self.done) >= self._concurrency and not self._stopped:
                self._room.clear()
                await self._room.wait()
            if self._halt.error is not None or self._stopped:
                self._stop_reading()
                return
            item = await self._take_key() if self._plain is None else self._next_key(self._plain)

    def _goes_on(self) -> bool:
        return self._halt.error is None and not self._stopped

    def _next_key(self, source: Iterator[K]) -> tuple[int, K] | None:
        """Take the next key of a plain iterator."""
        if self._exhausted:
            return None
        try:
            key = next(source)
        except StopIteration:
            self._exhausted = True
            return None
        except Exception as error:
            self._exhausted, self._source_error = True, error
            return None
        self._keys_read += 1
        return self._keys_read - 1, key

    async def _take_key(self) -> tuple[int, K] | None:
        """Take the next key of an async iterator, one worker at a time."""
        async with self._reading:
            if self._exhausted or self._async is None or not self._goes_on():
                return None
            self._reader = asyncio.current_task()
            try:
                key = await anext(self._async)
            except StopAsyncIteration:
                self._exhausted = True
                return None
            except Exception as error:
                self._exhausted, self._source_error = True, error
                return None
            finally:
                self._reader = None
        self._start_another()
        self._keys_read += 1
        return self._keys_read - 1, key

    def _start_workers(self, source: Iterator[K]) -> None:
        """Start as many workers as there are keys for, each with its first one."""
        for _ in range(self._concurrency):
            item = self._next_key(source) if self._goes_on() else None
            if item is None:
                return
            self._start_worker(item)

    def _start_another(self) -> None:
        """Start one more worker in the next turn of the loop, where a key may come for it.

        Not in this turn: a worker may begin to run as it is made, and would start the next one
        from inside this one.
        """
        if len(self._tasks) < self._concurrency and self._starting is None:
            self._starting = asyncio.get_running_loop().call_soon(self._start_worker, None)

    def _start_worker(self, item: tuple[int, K] | None) -> None:
        self._starting = None
        task = asyncio.get_running_loop().create_task(self._work(item))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            if not (self._stopped or self._halt.error is not None):
                self._bug = asyncio.CancelledError("a call of the run was cancelled")
        elif (error := task.exception()) is not None:
            self._bug = error
        self._news.set()

    # How a run is halted.

    def _expire_next(self, deadline: float) -> None:
        """End the run once all workers have begun: one cancelled before that loses its first key.

        uvloop runs what is due before the tasks that are ready.
        """
        self._timer = asyncio.get_running_loop().call_soon(self._expire, deadline)

    def _expire(self, deadline: float) -> None:
        """End the run: its time is up."""
        if self._halt.error is None:
            text = f"the deadline of the run, {deadline} s, passed"
            self._halt.error = DeadlineExceededError(text)
        self._expired = True
        for task in self._tasks:
            task.cancel()

    def _stop_reading(self) -> None:
        if self._reader is not None:
            self._reader.cancel()

    def _halted(self, key: K, *, under_way: bool) -> FlashbackError:
        """Make the error of a key that a halted run did not finish."""
        error = self._halt.share("cancelled while under way" if under_way else "never sent")
        error.attempts, error.elapsed = 0, 0.0
        if self._describe is not None:
            self._describe(error, key)
        return error
