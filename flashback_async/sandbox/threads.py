"""An asynchronous context manager served by a thread with an event loop of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import partial
from threading import Thread

Stop = Callable[[], object]


@contextmanager
def served_by_thread(server: AbstractAsyncContextManager[object]) -> Iterator[None]:
    """Serve for as long as the block lasts; the thread and its loop end with it.

    An error of the start is raised here.
    """
    started: Future[Stop] = Future()
    # A daemon, so that an interpreter that is torn down does not wait for it.
    thread = Thread(
        target=asyncio.run, args=[_serve(server, started)], name="flashback-sandbox", daemon=True
    )
    thread.start()
    try:
        started.result()
        yield
    finally:
        if started.exception() is None:
            started.result()()
        thread.join()


async def _serve(server: AbstractAsyncContextManager[object], started: Future[Stop]) -> None:
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    try:
        async with server:
            started.set_result(partial(loop.call_soon_threadsafe, stopped.set))
            await stopped.wait()
    except BaseException as error:
        if started.done():
            raise
        started.set_exception(error)


def call_in_loop(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    """Call a function in the thread of a loop that runs, and wait until it has returned."""
    try:
        is_here = asyncio.get_running_loop() is loop
    except RuntimeError:
        is_here = False
    if is_here:  # waiting would stop the loop
        function()
        return
    done: Future[None] = Future()

    def call() -> None:
        try:
            function()
        except BaseException as error:
            done.set_exception(error)
        else:
            done.set_result(None)

    loop.call_soon_threadsafe(call)
    done.result()
