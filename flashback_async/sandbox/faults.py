"""What goes wrong on purpose: outages, failures of one bucket, and too many requests."""

from __future__ import annotations

import math
from collections.abc import Iterable

from attrs import define

from flashback_async.sandbox.data import draws

# Without it, sums of fractions would now and then refuse who waited exactly as long as told.
_ROUNDING = 1e-9


@define
class Failure:
    """A bucket's next answers: an error instead of the figures."""

    status: int
    retry_after: int | None
    left: int


class FailureBook:
    """Keeps which buckets are to fail, and how often still."""

    def __init__(self) -> None:
        """Start with no failure planned."""
        self._planned: dict[str, Failure] = {}

    def plan(self, bucket_id: str, failure: Failure) -> None:
        """Plan a bucket's next failures, in place of those still planned for it."""
        self._planned[bucket_id.lower()] = failure

    def take(self, bucket_ids: Iterable[str]) -> Failure | None:
        """Use up one failure of the first of these buckets that has one; None if none has."""
        for bucket_id in map(str.lower, bucket_ids):
            failure = self._planned.get(bucket_id)
            if failure is not None:
                failure.left -= 1
                if not failure.left:
                    del self._planned[bucket_id]
                return failure
        return None


class Throttle:
    """Allows a steady rate of requests, with bursts of up to one second's worth."""

    def __init__(self, rate: float) -> None:
        """Start with a full allowance.

        Args:
            rate: Requests per second, above 0.
        """
        self._rate = rate
        self._capacity = max(1.0, rate)
        self._allowance = self._capacity
        self._updated: float | None = None

    def wait(self, now: float) -> int:
        """Return 0 and count the request, or the whole seconds after which to come again.

        Args:
            now: The time in seconds, on a clock that never goes back.
        """
        elapsed = 0.0 if self._updated is None else now - self._updated
        self._updated = now
        self._allowance = min(self._capacity, self._allowance + elapsed * self._rate)
        if self._allowance >= 1 - _ROUNDING:
            self._allowance -= 1
            return 0
        # Header and limit agree: who waits that long finds at least one request allowed.
        return max(1, math.ceil((1 - self._allowance) / self._rate))


def strikes(seed: int, request: int, error_rate: float) -> bool:
    """Tell whether the n-th request meets an outage: always the same ones for the same seed."""
    return draws(1, seed, "outage", request)[0] < error_rate
