"""Many calls at once: a fixed set of workers that read from one iterator."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable
from typing import TypeVar

from flashback_async.bulk.flights import Flights
from flashback_async.bulk.keys import Keys
from flashback_async.bulk.report import Outcome
from flashback_async.bulk.workers import Workers
from flashback_async.clock import CallLater, SystemClock
from flashback_async.errors import FlashbackError, InvalidArgumentError, show
from flashback_async.run import Run

K = TypeVar("K")
V = TypeVar("V")

# There may be a million unsent keys: yield to the event loop now and then.
_UNSENT_IN_A_TURN = 20


def fan_out(
    func: Callable[[K], Awaitable[V]],
    keys: Iterable[K] | AsyncIterable[K],
    *,
    concurrency: int = 64,
    deadline: float | None = None,
) -> AsyncGenerator[Outcome[K, V], None]:
    """Call an async function for every key and yield each outcome as it completes.

    Every key has exactly one outcome. A ``FlashbackError`` is an outcome and does not affect the
    other keys. Any other exception of ``func`` is a bug, which stops the run and is raised.
    Memory is in proportion to ``concurrency``, whatever the number of keys.

    Leaving the loop (``break``, an error, cancellation) cancels the calls in flight. If the
    generator has a name, close it: ``async with contextlib.aclosing(fan_out(...)) as outcomes``.

    Args:
        func: Called with one key, at most ``concurrency`` times at once.
        keys: Read lazily. If it raises, the calls in flight finish, and then its exception is
            raised.
        concurrency: Calls at once, at least 1; a worker is started only if there is a key for it.
        deadline: Seconds for the whole run; None sets no limit. When it passes, the calls in
            flight are cancelled. Their keys and those never started get a
            ``DeadlineExceededError``: ``keys`` is read to its end for that, but an async
            iterable is not read further.

    Raises:
        InvalidArgumentError: ``keys`` cannot be iterated, or ``concurrency`` or ``deadline``
            is not a number in its range.
    """
    return fan_out_in(Run(), func, keys, concurrency=concurrency, deadline=deadline)


def fan_out_in(
    run: Run,
    func: Callable[[K], Awaitable[V]],
    keys: Iterable[K] | AsyncIterable[K],
    *,
    concurrency: int,
    deadline: float | None,
    begin: Callable[[], object] | None = None,
    label: Callable[[FlashbackError, K], None] | None = None,
    merge: bool = False,
    call_later: CallLater = SystemClock.call_later,
) -> AsyncGenerator[Outcome[K, V], None]:
    """Fan out as ``fan_out`` does, in a run that ``func`` can halt.

    ``begin`` is called as the run begins, and may raise. ``label`` completes an error that
    the run itself gives to a key. With ``merge``, equal keys in flight at the same time are one
    call. ``call_later`` starts the timer of the deadline; by default, the event loop does.
    """
    check_concurrency(concurrency)
    check_deadline(deadline)
    flights: Flights[Outcome[K, V]] | None = Flights() if merge else None
    workers = Workers(run, func, Keys(keys, run), concurrency, label, flights, call_later)
    return _outcomes(workers, deadline, begin)


def check_concurrency(value: object) -> None:
    """Check a number of calls at once.

    Raises:
        InvalidArgumentError: It is not a whole number of at least 1.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidArgumentError(
            f"concurrency must be a whole number of at least 1, not {show(value)}"
        )


def check_deadline(value: object) -> None:
    """Check the seconds of a deadline; None is none.

    Raises:
        InvalidArgumentError: They are not a finite number above 0.
    """
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidArgumentError(f"deadline must be seconds or None, not {show(value)}")
    if not 0 < value <= sys.float_info.max:
        raise InvalidArgumentError(f"deadline must be finite and above 0, not {show(value)}")


async def _outcomes(
    workers: Workers[K, V], deadline: float | None, begin: Callable[[], object] | None
) -> AsyncGenerator[Outcome[K, V], None]:
    if begin is not None:
        begin()
    try:
        workers.start(deadline)
        goes_on = True
        while goes_on:
            goes_on = await workers.has_news()
            while workers.done:
                yield workers.take()
            for outcome in workers.unsent():
                yield outcome
                if outcome.index % _UNSENT_IN_A_TURN == 0:
                    await asyncio.sleep(0)
        workers.raise_source_error()
    finally:
        await workers.stop()
