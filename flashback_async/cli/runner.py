"""The run of a command's work: its event loop, and every way in which it can end."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from flashback_async import FlashbackError
from flashback_async.cli.exits import Deadline, Exit, exit_of
from flashback_async.cli.messages import say
from flashback_async.cli.signals import heeding_sigterm
from flashback_async.cli.streams import drop_output, flush_output

T = TypeVar("T")


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, on uvloop if that is installed."""
    with asyncio.Runner(loop_factory=_fast_loop()) as runner:
        return runner.run(main)


def guarded(work: Callable[[], int], deadline: Deadline) -> int:
    """Do the work and return its exit code; an error that ends it early becomes one line.

    SIGTERM ends it as Ctrl-C does, so that a bar is not left on the terminal.
    """
    try:
        with heeding_sigterm():
            return work()
    except KeyboardInterrupt:
        drop_output()  # or Python would wait at exit for a reader that does not read
        say("interrupted")
        return Exit.INTERRUPTED
    except FlashbackError as error:
        code = exit_of(error, deadline)
        say(f"error: {deadline.message(error) if code is Exit.DEADLINE else error}")
        return code
    except BrokenPipeError:
        drop_output()
        return Exit.OK  # the reader has seen enough
    except OSError as error:
        say(f"error: {error.strerror or error}")
        flush_output()
        return Exit.USAGE


def _fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
