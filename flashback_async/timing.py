"""How time passes for new clients: as on the machine, unless a test has replaced that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from flashback_async.clock import Clock, SystemClock
from flashback_async.values import Transport


class Timing(NamedTuple):
    """The clock of one client, and a function through which the clock may watch its transport."""

    clock: Clock
    watch: Callable[[Transport], Transport]


def _unwatched(transport: Transport) -> Transport:
    return transport


def _system_timing() -> Timing:
    return Timing(SystemClock(), _unwatched)


# The last one holds. Not a context variable: a test may make its client in another thread.
_sources: list[Callable[[], Timing]] = [_system_timing]


def new_timing() -> Timing:
    """Return the timing of a client that is made now."""
    return _sources[-1]()


@contextmanager
def replaced(source: Callable[[], Timing]) -> Iterator[None]:
    """Replace the timing of clients that are made within the block."""
    _sources.append(source)
    try:
        yield
    finally:
        _sources.remove(source)
