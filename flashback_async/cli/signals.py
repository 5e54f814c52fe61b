"""SIGTERM, which ends some commands as Ctrl-C does."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType


@contextmanager
def heeding_sigterm() -> Iterator[None]:
    """End at SIGTERM as at Ctrl-C, also before the event loop runs."""
    before = None
    with suppress(ValueError):  # not in the main thread
        before = signal.signal(signal.SIGTERM, _as_ctrl_c)
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _as_ctrl_c(number: int, frame: FrameType | None) -> None:
    """Do what Ctrl-C does now: an event loop that runs cancels its task, so that it can clean up.

    A shell lets its background jobs ignore Ctrl-C, but not SIGTERM.
    """
    handler = signal.getsignal(signal.SIGINT)
    (handler if callable(handler) else signal.default_int_handler)(number, frame)
