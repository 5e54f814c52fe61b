"""The link of a run to its cluster: the workers that there are, and the orders that they have."""

from __future__ import annotations

import asyncio
import concurrent.futures
import uuid
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from enum import Enum
from typing import Any

import dask
from dask.utils import parse_timedelta
from distributed import Client, Future, KilledWorker

import flashback_async
from flashback_async import ConfigurationError
from flashback_async.dask.settings import WorkerSettings
from flashback_async.dask.worker import NOTHING, Polls, poll

_TICK = 0.2  # seconds between two looks at the client's status
_BETWEEN = 0.25  # seconds between two looks at the workers
_SET_UPS = 3  # a worker may die while it is set up
# Leaving takes this long at most, in seconds: for the workers, and then for what hangs.
_FOR_WORKERS = 4.0
_FOR_THE_REST = 0.5

_RUNNING = "running"  # a status of a Dask client
_UNREADABLE = "deserialization of the task graph"  # in what a scheduler without this package says
_SCHEDULER_UNFIT = (
    "the scheduler cannot load flashback_async.dask, and the process that starts the run has"
    f" flashback_async {flashback_async.__version__}: install the same version everywhere, with"
    " the extra dask"
)
_GONE = "the connection to the scheduler was lost"


class Silence(Enum):
    """Why there is no answer to an order."""

    LOST = "lost"  # the worker, or the task, is gone
    UNFIT = "unfit"  # the worker cannot poll


class LostError(Exception):
    """The scheduler is lost; the message says how."""


class Link:
    """The link of one run. The Dask client is borrowed: it is neither made nor closed here.

    Everything that waits for the cluster is a task of its own. So whoever waits here can be
    cancelled at any time, which Dask's own calls do not always allow.

    Attributes:
        workers: The addresses of all workers, as seen last.
        lost: How the scheduler was lost; None while it is there.
    """

    def __init__(
        self, cluster: Client, settings: WorkerSettings, news: Callable[[], object]
    ) -> None:
        self.workers: Collection[str] = ()
        self.lost: str | None = None
        self._cluster = cluster
        self._settings = settings
        self._news = news
        self._name = f"flashback-{uuid.uuid4().hex}"
        self._number = 0
        self._is_registered = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._futures: dict[asyncio.Task[Any], Future[Any]] = {}
        self._connects_within = parse_timedelta(
            dask.config.get("distributed.comm.timeouts.connect")
        )

    async def open(self, patience: float) -> None:
        """Set up a client on every worker.

        Raises:
            ConfigurationError: A worker cannot make its client.
            LostError: The scheduler is gone, or the workers are not ready in time.
        """
        self._is_registered = True
        setting_up = self._start(self._set_up())
        await self._answered(setting_up, self._connects_within + patience)
        looking = self._start(self._cluster.nthreads())
        await self._answered(looking, self._connects_within)
        try:
            setting_up.result()
            self.workers = set(looking.result())
        except OSError as error:
            raise LostError(f"the workers cannot be reached: {type(error).__name__}") from None
        self._watching = self._start(self._watch())

    def send(self, worker: str, order: bytes) -> asyncio.Task[bytes | Silence]:
        """Send an order to a worker; the task returns its answer, or why there is none."""
        self._number += 1
        future = self._cluster.submit(
            poll,
            self._name,
            order,
            key=f"{self._name}-{self._number}",
            workers=[worker],
            pure=False,
            retries=0,
        )
        task = self._start(self._answer(future))
        self._futures[task] = future
        task.add_done_callback(self._forget)
        return task

    def drop(self, task: asyncio.Task[Any]) -> None:
        """Forget an order whose worker is gone; its task ends soon."""
        if (future := self._futures.get(task)) is not None:
            future.release()

    async def close(self) -> None:
        """Take back every order and the clients of the workers, within 5 seconds.

        Raises:
            asyncio.CancelledError: The waiting task was cancelled; raised when all is done.
        """
        for future in self._futures.values():
            if future.status == "pending":  # others are on their way here
                future.release()
        for task in self._tasks - self._futures.keys():
            task.cancel()
        if self._is_registered and self._cluster.status == _RUNNING:
            self._tearing_down = self._start(self._tear_down())
        try:
            await end(self._tasks, _FOR_WORKERS)
        finally:
            for task in self._tasks:
                task.cancel()
            await end(self._tasks, _FOR_THE_REST)

    def _start(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # or asyncio logs one that nobody waits for any more

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._futures.pop(task, None)

    async def _set_up(self) -> None:
        plugin = Polls(self._settings)
        for left in reversed(range(_SET_UPS)):
            problem: str | None = None
            try:
                await self._cluster.register_plugin(plugin, name=self._name)
            except ConfigurationError as error:
                problem = error.args[0]  # its frames are those of a worker
            except (ImportError, AttributeError) as error:
                ours = flashback_async.__version__
                problem = (
                    f"a worker cannot load flashback_async.dask ({type(error).__name__}), and the"
                    f" process that starts the run has flashback_async {ours}: install the same"
                    " version everywhere, with the extra dask"
                )
            except OSError:
                if not left or self._cluster.status != _RUNNING:
                    raise
                continue
            if problem is not None:
                raise ConfigurationError(problem)
            return

    async def _tear_down(self) -> None:
        with suppress(OSError, ValueError):  # a worker, or the scheduler, is gone meanwhile
            await self._cluster.unregister_worker_plugin(self._name)

    async def _answer(self, future: Future[Any]) -> bytes | Silence:
        """Return the answer to an order.

        Raises:
            ConfigurationError: The scheduler cannot load this package.
            Exception: A bug on the worker, as it was raised there.
        """
        task = asyncio.current_task()
        while True:
            answer: bytes | None = None
            try:
                answer = await future.result()
            except (OSError, concurrent.futures.CancelledError) as error:
                if getattr(error, "reason", None) == "scheduler-connection-lost":
                    self._lose(_GONE)
                return Silence.LOST
            except KilledWorker:
                return Silence.LOST
            except RuntimeError as error:
                if _UNREADABLE not in str(error):
                    raise
            except asyncio.CancelledError:
                # Dask gathers for several tasks at once. If one of them is cancelled, all are.
                if task is None or task.cancelling():
                    raise
                continue
            if answer is None:
                raise ConfigurationError(_SCHEDULER_UNFIT)
            future.release()
            return Silence.UNFIT if answer == NOTHING else answer

    async def _watch(self) -> None:
        """Look after the workers and the scheduler, until it is lost."""
        loop = asyncio.get_running_loop()
        answered = loop.time()
        while self.lost is None:
            looking = self._start(self._cluster.nthreads())
            try:
                await self._answered(looking, self._connects_within)
                seen = set(looking.result())
            except LostError as error:
                self._lose(str(error))
            except OSError as error:  # one connection was lost, and the next may do
                if loop.time() >= answered + self._connects_within:
                    self._lose(f"the scheduler does not answer: {type(error).__name__}")
            else:
                answered = loop.time()
                if seen != self.workers:
                    self.workers = seen
                    self._news()
            await asyncio.sleep(_BETWEEN)
            if self._cluster.status != _RUNNING:
                self._lose(_GONE)

    async def _answered(self, asking: asyncio.Task[Any], within: float) -> None:
        """Wait for a task that asks the scheduler.

        Raises:
            LostError: The connection is lost, or the task takes longer.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + within
        while not asking.done():
            await asyncio.wait({asking}, timeout=_TICK)
            if not asking.done():
                if self._cluster.status != _RUNNING:
                    raise LostError(_GONE)
                if loop.time() >= end:
                    raise LostError(f"the scheduler did not answer within {within:g} s")

    def _lose(self, how: str) -> None:
        if self.lost is None:
            self.lost = how
            self._news()


async def end(tasks: Iterable[asyncio.Task[Any]], seconds: float) -> None:
    """Wait until tasks have ended, no longer than this, even if cancelled meanwhile.

    Raises:
        asyncio.CancelledError: The waiting task was cancelled.
    """
    loop, interruption = asyncio.get_running_loop(), None
    end = loop.time() + seconds
    waiting = list(tasks)
    while (waiting := [t for t in waiting if not t.done()]) and (left := end - loop.time()) > 0:
        try:
            await asyncio.wait(waiting, timeout=left)
        except asyncio.CancelledError as error:
            interruption = error
    if interruption is not None:
        raise interruption
