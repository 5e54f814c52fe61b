"""The schedule of polls: each bucket once an interval, spread evenly over it."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable
from hashlib import blake2b

# Seconds between two steps. Polls in small groups cost a third of what lone ones do.
STEP = 0.1
# Seconds of lag beyond which the schedule moves instead of catching up.
_MOST_LAG = 0.5


class Schedule:
    """The due times of buckets: multiples of the interval, which never drift.

    All times are moments of one monotonic clock. Bucket i of n is due i/n of an interval after
    the begin. The order is that of a hash of the ids, so a changed list moves the others little.
    """

    def __init__(self, interval: float) -> None:
        self.shifted = 0.0  # seconds by which the schedule was moved in all
        self._interval = interval
        self._begin = 0.0  # set with the first buckets
        self._next = 0  # the number of the next due time, counted from the begin
        self._catches_up = False  # whether the last step took more than its share
        self._order: list[str] = []
        self._last: list[float] = []  # when each bucket was last taken, in the same order
        self._removed: dict[str, float] = {}  # the same of those removed since, which may return

    def __len__(self) -> int:
        return len(self._order)

    def set_buckets(self, bucket_ids: Iterable[str], now: float) -> None:
        """Replace the buckets; what is due from now on is due at its new place."""
        was_empty = not self._order
        reached = now if was_empty else min(now, self._due())
        last = self._removed | dict(zip(self._order, self._last, strict=True))
        self._order = sorted(bucket_ids, key=_hash)
        self._last = [last.pop(bucket_id, -math.inf) for bucket_id in self._order]
        self._removed = {i: at for i, at in last.items() if self._is_recent(at, now)}
        if not self._order:
            return
        if was_empty:
            self._begin = now
        self._next = math.ceil((reached - self._begin) / self._space - 1e-9)

    def take(self, now: float, room: int, busy: Container[str] = ()) -> list[str]:
        """Return the buckets to ask now: at most ``room``, and at most twice a step's share.

        A bucket that is ``busy``, because it is being asked, is passed over. So is a bucket that
        was taken less than half an interval ago, whose place has moved.
        """
        taken: list[str] = []
        if not self._order:
            return taken
        most = min(room, max(1, int(2 * STEP / self._space)))
        while len(taken) < most and self._due() <= now:
            place = self._next % len(self._order)
            bucket_id = self._order[place]
            self._next += 1
            if bucket_id not in busy and not self._is_recent(self._last[place], now):
                self._last[place] = now
                taken.append(bucket_id)
        self._catches_up = len(taken) > STEP / self._space + 1
        return taken

    def shift(self, now: float) -> float:
        """Move the schedule by its lag if that is too much; return by how much."""
        lag = self._overdue(now)
        if lag <= _MOST_LAG:
            return 0.0
        self._begin += lag
        self.shifted += lag
        return lag

    def lag(self, now: float) -> float:
        """Return the seconds by which polling is behind; what the next step can take is not."""
        return max(0.0, self._overdue(now) - STEP)

    def next_step(self, now: float) -> float:
        """Return the seconds until the next step that has something to take."""
        if not self._order:
            return math.inf
        if self._catches_up:
            return STEP  # no sooner, although the next step on time may be near
        steps = math.floor((now - self._begin) / STEP + 1e-6) + 1
        due = math.ceil((self._due() - self._begin) / STEP - 1e-6)
        return max(steps, due) * STEP + self._begin - now

    def _is_recent(self, taken_at: float, now: float) -> bool:
        return now - taken_at < self._interval / 2

    @property
    def _space(self) -> float:
        """The seconds from one due time to the next."""
        return self._interval / len(self._order)

    def _due(self) -> float:
        """Return the next due time, computed from the begin so that no rounding adds up."""
        return self._begin + self._next * self._space

    def _overdue(self, now: float) -> float:
        return now - self._due() if self._order else 0.0


def _hash(bucket_id: str) -> bytes:
    return blake2b(bucket_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
