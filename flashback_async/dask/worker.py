"""What happens on a worker: a plugin with one client, on the event loop of one thread."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import threading
from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from contextlib import aclosing
from importlib import import_module
from typing import Any, TypeVar

from distributed import Worker, WorkerPlugin, get_worker, secede

import flashback_async
from flashback_async import (
    AuthenticationError,
    ConfigurationError,
    DeadlineExceededError,
    FlashbackClient,
    FlashbackError,
    RateLimitError,
)
from flashback_async.dask.pacer import Pacer
from flashback_async.dask.settings import WorkerSettings
from flashback_async.dask.wire import Answer, Order, order_from, to_bytes

K = TypeVar("K")

# Seconds within which a thread ends once its polls are cancelled; a daemon needs no more care.
_ENDS_WITHIN = 3.0

NOTHING = b""  # the answer of a worker that cannot poll, or not any more


def poll(name: str, order: bytes) -> bytes:
    """Return the answer to an order; this is the task that Dask runs."""
    # The thread only waits. Others of the cluster's users get its slot, and so does the next shard,
    # so that the client is busy while this one's last answers are awaited.
    secede()
    plugin = get_worker().plugins.get(name)
    return plugin.poll(order) if isinstance(plugin, Polls) else NOTHING


class Polls(WorkerPlugin):
    """The polls of one run in one worker; it travels by pickle before it is set up."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._version = flashback_async.__version__
        self._thread: ClientThread | None = None

    async def setup(self, worker: Worker) -> None:
        """Start the thread with the client.

        Raises:
            ConfigurationError: The client cannot be made here, or versions differ.
        """
        if flashback_async.__version__ != self._version:
            raise ConfigurationError(
                f"a worker has flashback_async {flashback_async.__version__}, and the process that"
                f" starts the run has {self._version}: install the same version everywhere"
            )
        thread = ClientThread(self._settings)
        await thread.start()
        self._thread = thread

    async def teardown(self, worker: Worker) -> None:
        """Cancel the polls, close the client and end the thread."""
        thread, self._thread = self._thread, None
        if thread is not None:
            await thread.stop()

    def poll(self, order: bytes) -> bytes:
        """Return the answer to an order, in a thread of Dask's."""
        thread = self._thread
        return NOTHING if thread is None else thread.poll(order)


class ClientThread:
    """A thread with an event loop, in which a client polls."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._thread = threading.Thread(target=self._main, name="flashback-polls", daemon=True)
        self._ready: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        # Neither can be cancelled by the one who waits for it.
        self._ready.set_running_or_notify_cancel()
        self._ended.set_running_or_notify_cancel()
        # Held while an order enters the loop, so that none enters a loop that stops.
        self._gate = threading.Lock()
        self._is_open = False
        self._is_shut = False
        self._polls: set[asyncio.Task[Answer]] = set()

    # Called from other threads.

    async def start(self) -> None:
        """Start the thread, and wait until its client is made.

        Raises:
            ConfigurationError: It cannot be made.
        """
        self._thread.start()
        try:
            await asyncio.wrap_future(self._ready)
        except asyncio.CancelledError:
            self._shut()
            raise
        except BaseException:
            await self.stop()  # the client could not be made, so the thread ends at once
            raise

    async def stop(self) -> None:
        """End the thread, and wait for that."""
        self._shut()
        await asyncio.wait({asyncio.wrap_future(self._ended)}, timeout=_ENDS_WITHIN)
        if self._ended.done():
            self._thread.join()  # it has nothing left to do

    def poll(self, data: bytes) -> bytes:
        """Return the answer to an order."""
        order = order_from(data)
        with self._gate:
            if not self._is_open:
                return NOTHING
            answer = asyncio.run_coroutine_threadsafe(self._poll(order), self._loop)
        try:
            return to_bytes(answer.result())
        except concurrent.futures.CancelledError:
            return NOTHING

    def _shut(self) -> None:
        with self._gate:
            self._is_shut = True
            if self._is_open:
                self._is_open = False
                self._loop.call_soon_threadsafe(self._stop.set)

    # In the thread.

    def _main(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            # What a user's module raises may be anything, and nobody would see it in this thread.
            if self._ready.done():
                raise
            self._ready.set_exception(error)
        finally:
            self._ended.set_result(None)

    async def _serve(self) -> None:
        async with _make_client(self._settings) as self._client:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            self._pacer = Pacer(self._loop.time, asyncio.sleep)
            self._begun = asyncio.Event()
            self._begun.set()  # there is no order yet
            self._rejection: AuthenticationError | None = None
            with self._gate:
                self._is_open = not self._is_shut
            self._ready.set_result(None)
            if not self._is_open:
                return
            try:
                await self._stop.wait()
            finally:
                await asyncio.sleep(0)  # orders that entered just before begin now
                for task in self._polls:
                    task.cancel()
                if self._polls:
                    await asyncio.wait(self._polls)

    async def _poll(self, order: Order) -> Answer:
        task: asyncio.Task[Any] | None = asyncio.current_task()
        assert task is not None  # noqa: S101 - this is one
        self._polls.add(task)
        task.add_done_callback(self._polls.discard)
        if order.share is not None:
            return await self._ask(order, self._pacer.spread(order.keys, order.share))
        # Two orders at once would compete for the client's slots at each of their keys.
        before, begun = self._begun, asyncio.Event()
        self._begun = begun
        arrived = self._loop.time()
        try:
            await before.wait()
            if order.left is not None:
                order = order._replace(left=order.left - (self._loop.time() - arrived))
            return await self._ask(order, _reported(order.keys, begun.set))
        finally:
            begun.set()  # also if it ended before it had asked for every key

    async def _ask(self, order: Order, keys: Iterable[Any] | AsyncIterable[Any]) -> Answer:
        """Return the answer to an order, whose keys come in time."""
        answer = Answer([], [])
        if self._rejection is not None:
            return answer._replace(rest=self._rejection)
        if order.left is not None and order.left <= 0:
            return answer._replace(rest=_why_cut_off(order, answer))
        resource = getattr(self._client, order.resource)
        async with aclosing(resource.iter_many(keys, deadline=order.left)) as outcomes:
            async for outcome in outcomes:
                if outcome.error is None:
                    answer.successes.append((outcome.index, outcome.value, outcome.elapsed))
                else:
                    answer.failures.append((outcome.index, outcome.error, outcome.elapsed))
                    if isinstance(outcome.error, AuthenticationError):
                        self._rejection = self._rejection or outcome.error
        return answer._replace(rest=self._rejection or _why_cut_off(order, answer))


def _reported(keys: Iterable[K], all_taken: Callable[[], object]) -> Iterator[K]:
    """Yield the keys, and report when someone asks for one more."""
    yield from keys
    all_taken()


def _why_cut_off(order: Order, answer: Answer) -> FlashbackError | None:
    """Return why keys have no outcome: a run that ends early does not read a paced input on."""
    if len(answer.successes) + len(answer.failures) == len(order.keys):
        return None
    if answer.failures and isinstance(answer.failures[-1][1], RateLimitError):
        return answer.failures[-1][1]
    return DeadlineExceededError("the deadline of the run passed")


def _make_client(settings: WorkerSettings) -> FlashbackClient:
    """Return the client of this worker.

    Raises:
        ConfigurationError: There is no token here, or its function cannot be imported.
    """
    return FlashbackClient(
        None if settings.token_from is None else _imported(settings.token_from),
        base_url=settings.base_url,
        timeout=settings.timeout,
        retry=settings.retry,
        limits=settings.limits,
    )


def _imported(name: str) -> Any:
    """Return the function that a name means here.

    The messages do not show the name, which may be a token by mistake.
    """
    module, _, function = name.partition(":")
    try:
        provider = getattr(import_module(module), function)
    except Exception as error:
        problem = f"cannot be imported on a worker: {type(error).__name__}"
    else:
        call = getattr(provider, "__call__", None)  # noqa: B004 - that of an object may be async
        if inspect.iscoroutinefunction(provider) or inspect.iscoroutinefunction(call):
            return provider
        problem = f"must name an async function, not a value of type {type(provider).__name__}"
    raise ConfigurationError(f"WorkerSettings.token_from {problem}")
