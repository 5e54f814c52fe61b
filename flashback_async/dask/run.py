"""A run over a cluster: shards go out, and outcomes come in."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from enum import Enum
from types import TracebackType
from typing import Any, Generic, NamedTuple, Self, TypeVar

from attrs import frozen

from flashback_async import (
    AuthenticationError,
    ClusterLostError,
    DeadlineExceededError,
    FlashbackError,
    Outcome,
)
from flashback_async.dask.keys import Input, Shard, Unfinished
from flashback_async.dask.link import Link, LostError, Silence, end
from flashback_async.dask.outcomes import Outcomes
from flashback_async.dask.placement import Placement
from flashback_async.dask.wire import Order, Resource, answer_from, to_bytes

K = TypeVar("K")
V = TypeVar("V")

# Seconds after the deadline in which workers can still deliver what they had by then.
_GRACE = 0.5
# With a rate, a shard lasts about this long, so that a change of the rate soon takes effect.
_SECONDS_OF_A_SHARD = 1.0
_FOR_READER = 0.5


@frozen
class ClusterStats:
    """How a run over a cluster is doing.

    Attributes:
        keys: Outcomes so far.
        failed: How many of them are failures.
        shards_again: Shards that had to be sent again.
        workers_lost: Workers that ended during the run.
        workers: Workers that take part now.
    """

    keys: int
    failed: int
    shards_again: int
    workers_lost: int
    workers: int


class Plan(NamedTuple):
    """The arguments of a run that hold for all of its shards; times are in seconds."""

    resource: Resource
    shard_size: int
    deadline: float | None
    patience: float


class _Phase(Enum):
    NEW = "new"
    OPEN = "open"
    OVER = "over"
    LEFT = "left"


class _Sent(NamedTuple):
    shard: Shard[Any]
    worker: str


class ClusterRun(Generic[K, V]):
    """A run over a cluster: enter it with ``async with``, and iterate over it for the outcomes.

    Leaving the block ends all that works for the run, here and on the workers, within 5 seconds.
    """

    def __init__(
        self,
        plan: Plan,
        keys: Input[K],
        placement: Placement,
        make_link: Callable[[Callable[[], None]], Link],
    ) -> None:
        self._plan = plan
        self._input = keys
        self._placement = placement
        self._news = asyncio.Event()
        self._link = make_link(self._news.set)
        self._phase = _Phase.NEW
        self._ready: Outcomes[K, V] = Outcomes(plan.resource)
        self._sent: dict[asyncio.Task[Any], _Sent] = {}
        self._answered: deque[asyncio.Task[Any]] = deque()
        self._reader: asyncio.Task[None] | None = None
        self._timers: set[asyncio.TimerHandle] = set()
        self._ends = math.inf
        self._alone_since: float | None = None  # since when there has been no worker
        self._halted: FlashbackError | None = None  # the error of all keys that are not sent

    @property
    def stats(self) -> ClusterStats:
        """How the run is doing; also after it was left."""
        placement = self._placement
        return ClusterStats(
            keys=self._ready.taken,
            failed=self._ready.failed,
            shards_again=placement.again,
            workers_lost=placement.workers_lost,
            workers=placement.workers,
        )

    # From the begin to the end.

    async def __aenter__(self) -> Self:
        """Set up a client on every worker.

        Raises:
            ConfigurationError: A worker cannot make its client, or has another version of this
                package.
            ClusterLostError: The scheduler is lost, or the workers are not ready in time.
            RuntimeError: The run was entered before.
        """
        if self._phase is not _Phase.NEW:
            raise RuntimeError("a run can be entered only once")
        self._phase = _Phase.OPEN
        if self._plan.deadline is not None:
            self._ends = self._now() + self._plan.deadline
        lost: str | None = None
        try:
            await self._link.open(self._plan.patience)
        except LostError as error:
            lost = str(error)
        except BaseException:
            await self._leave()
            raise
        if lost is not None:
            await self._leave()
            raise self._lost(lost)
        if self._plan.deadline is not None:
            self._wake_at(self._ends)
            self._wake_at(self._ends + _GRACE)
        reading = self._input.read(self._plan.shard_size, self._news.set)
        self._reader = asyncio.get_running_loop().create_task(reading)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take back what is out, and the clients of the workers."""
        await self._leave()

    async def _leave(self) -> None:
        self._phase = _Phase.LEFT
        self._input.stop()
        for timer in self._timers:
            timer.cancel()
        self._news.set()
        if self._reader is not None:
            self._reader.cancel()
        try:
            await self._link.close()
        finally:
            if self._reader is not None:
                await end([self._reader], _FOR_READER)

    # Outcomes.

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Outcome[K, V]:
        """Wait for the next outcome.

        Raises:
            ClusterLostError: The scheduler is lost, or no worker was there for ``patience``
                seconds; after the outcomes that had arrived.
            ConfigurationError: The scheduler cannot load this package.
            RuntimeError: The run was never entered.
            StopAsyncIteration: Every place has had its outcome, or the run was left.
        """
        if self._phase is _Phase.NEW:
            raise RuntimeError("the run is not open: enter it with 'async with'")
        while not self._ready and self._phase is _Phase.OPEN:
            self._news.clear()
            self._advance()
            if self._ready:
                await asyncio.sleep(0)  # there may be a million keys that are not sent
            elif not self._is_over():
                await self._news.wait()
        if not self._ready:
            raise StopAsyncIteration
        return self._ready.take()

    def _is_over(self) -> bool:
        """Return whether every place has had its outcome, or raise what ended the run."""
        error: BaseException | None = None
        if self._placement.is_idle and self._input.is_exhausted:
            error = self._input.error
        elif self._link.lost is not None:
            error = self._lost(self._link.lost)
        elif self._alone_since is not None and not self._is_patient(self._alone_since):
            error = self._lost(f"there was no worker for {self._plan.patience:g} s")
        else:
            return False
        self._phase = _Phase.OVER
        if error is not None:
            raise error
        return True

    def _lost(self, how: str) -> ClusterLostError:
        sent = [place for shard in self._placement.take_all() for place in shard.places]
        return ClusterLostError(how, unfinished=Unfinished(sent, self._input.rest()))

    def _is_patient(self, since: float) -> bool:
        waits = self._placement.waits or self._input.has_waiting
        return not waits or self._now() < since + self._plan.patience

    def _advance(self) -> None:
        """Take what has arrived, and send what may go."""
        if self._halted is None and self._now() >= self._ends:
            text = f"the deadline of the run, {self._plan.deadline:g} s, passed"
            self._halt(DeadlineExceededError(text))
        self._take_workers()
        while self._answered and not self._ready:
            self._take_answer(self._answered.popleft())
        for shard in self._placement.take_condemned():
            self._ready.add_condemned(shard)
        if self._halted is None:
            self._send()
        elif not self._ready:
            self._fail_unsent(self._halted)

    def _take_workers(self) -> None:
        lost = self._placement.workers_lost
        self._placement.saw(self._link.workers)
        if self._placement.workers_lost > lost and self._link.lost is None:
            self._raise_rates()
        for task, sent in list(self._sent.items()):
            if not self._placement.has(sent.worker, sent.shard):
                del self._sent[task]
                self._link.drop(task)
        if self._placement.workers:
            self._alone_since = None
            return
        self._input.look_ahead()
        if self._alone_since is None:
            self._alone_since = self._now()
            self._wake_at(self._alone_since + self._plan.patience)

    def _take_answer(self, task: asyncio.Task[Any]) -> None:
        sent = self._sent.pop(task, None)
        if sent is None:
            return  # the shard was sent again, because its worker was gone
        shard, worker = sent
        reply = Silence.LOST if task.cancelled() else task.result()
        if reply is Silence.LOST:
            self._placement.failed(worker, shard)
        elif reply is Silence.UNFIT:
            self._placement.refused(worker, shard)
        else:
            self._placement.done(worker, shard)
            answer = answer_from(reply)
            self._ready.add_answer(shard, answer)
            if isinstance(answer.rest, AuthenticationError):
                self._halt(answer.rest)

    def _halt(self, error: FlashbackError) -> None:
        """Send nothing more; all keys that are not sent get this error."""
        if self._halted is None:
            self._halted = error
            self._input.stop()
            if self._reader is not None:
                self._reader.cancel()

    def _fail_unsent(self, error: FlashbackError) -> None:
        """Add the outcomes of keys that a halted run does not send, some at a time."""
        gone = self._link.lost is not None or self._now() >= self._ends + _GRACE
        shards = self._placement.take_all() if gone else self._placement.take_waiting()
        for place in [place for shard in shards for place in shard.places]:
            self._ready.add_unsent(place, error)
        for place in self._input.take(self._plan.shard_size):
            self._ready.add_unsent(place, error)

    def _send(self) -> None:
        """Send shards for as long as there are workers for them, and keys."""
        while self._link.lost is None and (place := self._placement.next_place()) is not None:
            shard = place.shard or self._next_shard(place.share)
            if shard is None:
                return
            left = None
            if self._plan.deadline is not None:
                left = max(self._ends - self._now(), 0.001)
            keys = [key for _, key in shard.places]
            order = to_bytes(Order(self._plan.resource, keys, place.share, left))
            task = self._link.send(place.worker, order)
            self._sent[task] = _Sent(shard, place.worker)
            self._placement.sent(place.worker, shard, place.share)
            task.add_done_callback(self._take_note)

    def _take_note(self, task: asyncio.Task[Any]) -> None:
        self._answered.append(task)
        self._news.set()

    def _raise_rates(self) -> None:
        """Send busy workers the rate that a lost one leaves to them, in orders without keys."""
        for worker, share in self._placement.take_raises():
            # The link ends the task, whose answer has nothing in it.
            _ = self._link.send(worker, to_bytes(Order(self._plan.resource, [], share, None)))

    def _next_shard(self, share: float | None) -> Shard[K] | None:
        """Return the next keys; None if there are none now, or only some that cannot be sent."""
        most = self._plan.shard_size
        if share is not None:
            most = min(most, max(1, int(share * _SECONDS_OF_A_SHARD)))
        while taken := self._input.take(most):
            if places := self._ready.without_bad(taken):
                return Shard(places)
        return None

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _wake_at(self, moment: float) -> None:
        self._timers.add(asyncio.get_running_loop().call_at(moment, self._news.set))
