"""The faults of the whole API: its rate limit, and outages by chance."""

from __future__ import annotations

import math

from flashback_async.sandbox.data import draws

# Without this tolerance, sums of fractions would sometimes refuse a caller that waited as told.
_ROUNDING = 1e-9


class Throttle:
    """A rate limit that allows bursts of up to one second's worth."""

    def __init__(self, rate: float) -> None:
        """Start with a full allowance.

        Args:
            rate: Requests per second, above 0.
        """
        self.rate = rate
        self._capacity = max(1.0, rate)
        self._allowance = self._capacity
        self._updated: float | None = None

    def wait(self, now: float) -> int:
        """Return 0 and count the request, or return the whole seconds to wait before a retry.

        Args:
            now: The time in seconds, on a monotonic clock.
        """
        elapsed = 0.0 if self._updated is None else now - self._updated
        self._updated = now
        self._allowance = min(self._capacity, self._allowance + elapsed * self.rate)
        if self._allowance >= 1 - _ROUNDING:
            self._allowance -= 1
            return 0
        # The wait is rounded up, so a caller that waits that long is allowed one request.
        return max(1, math.ceil((1 - self._allowance) / self.rate))


def strikes(seed: int, request: int, error_rate: float) -> bool:
    """Return whether the n-th request meets an outage, which seed and number alone decide."""
    return draws(1, seed, "outage", request)[0] < error_rate
