"""The pace of one worker process: its share of the rate of a whole run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import TypeVar

K = TypeVar("K")

# Seconds by which a turn may be made up for: timers are a little late, and would slow the pace.
_LATE = 0.02


class Pacer:
    """Turns that come one by one, at the rate that was told last. Belongs to one event loop."""

    def __init__(
        self, now: Callable[[], float], sleep: Callable[[float], Awaitable[object]]
    ) -> None:
        self._now = now
        self._sleep = sleep
        self._share = 1.0  # turns a second
        self._next = float("-inf")  # the moment of the next turn

    async def spread(self, keys: Iterable[K], share: float) -> AsyncIterator[K]:
        """Yield each key at its turn; from now on, the turns of all come at this rate."""
        self._share = share
        for key in keys:
            now = self._now()
            turn = max(self._next, now - _LATE)
            self._next = turn + 1 / self._share
            if turn > now:
                await self._sleep(turn - now)
            yield key
