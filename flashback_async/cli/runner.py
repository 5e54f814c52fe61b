"""Runs a command's work: the event loop, and every way in which the work can end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from flashback_async import FlashbackError
from flashback_async.cli.exits import Deadline, Exit, exit_of
from flashback_async.cli.messages import say

T = TypeVar("T")


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, on uvloop where that is installed."""
    with asyncio.Runner(loop_factory=_fast_loop()) as runner:
        return runner.run(main)


def guarded(work: Callable[[], int], deadline: Deadline) -> int:
    """Do the work and give its exit code; what ends it early becomes one line."""
    try:
        return work()
    except KeyboardInterrupt:
        say("interrupted")
        return Exit.INTERRUPTED
    except FlashbackError as error:
        say(f"error: {error}")
        return exit_of(error, deadline)
    except BrokenPipeError:
        _drop_output()
        return Exit.OK  # whoever read the output has seen enough
    except OSError as error:
        say(f"error: {error.strerror or error}")
        _flush_output()
        return Exit.USAGE


def _fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _flush_output() -> None:
    """Write what is left in the buffer; the error may be that it cannot be written."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        _drop_output()


def _drop_output() -> None:
    """Let what is left in the buffer go nowhere, or Python complains of it as it ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
