"""The pace of a client: the rate that a throttling server allows, learned from its answers."""

from __future__ import annotations

import math

# Requests a second. A pace begins at no less than the first, and never falls below the second.
_FIRST_RATE = 10.0
_LEAST_RATE = 0.5

# Throttled answers that are no more than this say nothing about a limit: they are chance.
_CHANCE = 0.05
_FEWEST = 3

# Seconds. A search doubles the rate in short windows; near the limit, longer ones are exact.
_SEARCH = 0.25
_WINDOW = 1.0
# Seconds after the last throttled answer in which a pace is kept, whether or not it is needed.
_MEMORY = 60.0
# Seconds by which late timers may lag and still be made up for. More would become a burst.
_LATE = 0.02
# Seconds by which requests may leave early above so many a second: timers are hardly finer.
_EARLY = 0.002
_GROUPED = 1_000.0


class Pace:
    """The rate at which requests leave, from the first throttling until long after the last.

    Every time is a moment on one monotonic clock, and every rate is in requests a second. While
    the pace is on, answers are judged in windows. A window without throttled answers lets the rate
    climb, one with some of them cuts it below what was served, and one with nothing else halves
    it. A window counts only requests that began in it, so the latency of answers does not matter.
    """

    def __init__(self, max_rate: float | None = None) -> None:
        self.on = False
        self.rate = math.inf
        self._most = math.inf if max_rate is None else max_rate
        # While off: what the server answers.
        self._lately = _LastSecond()
        # While on: the search for the limit.
        self._window = _Window(0.0, _SEARCH)
        self._step = self._ceiling = math.inf
        self._good = 0.0  # the rate of the last clean window since a cut
        self._is_closed = False  # whether nothing is served
        self._throttled_at = self._last_turn = 0.0

    # What the server answers.

    def count(self, began: float) -> None:
        """Count an answer that does not throttle, while the pace is off."""
        self._lately.add_served(began)

    def answered(self, began: float, now: float) -> None:
        """Record an answer that does not throttle, to a request that began then."""
        if began < self._window.since:
            return
        if self._is_closed:
            self._is_closed = False
            self.rate = max(self.rate, self._ceiling / 2)
            self._open_window(now)
        elif self._window.is_over(began):
            self._judge(now)
        else:
            self._window.count(began, throttled=False)

    def throttled(self, began: float, now: float, opens_at: float | None = None) -> None:
        """Record a throttled answer; ``opens_at`` is when the pause that it asked for ends."""
        self._throttled_at = now
        if not self.on:
            self._lately.add_refused(began)
            served, refused = self._lately.totals(began)
            is_limit = refused >= _FEWEST and refused > _CHANCE * (served + refused)
            if opens_at is not None or is_limit:
                self._start(served, now, opens_at)
        elif began < self._window.since:
            return
        elif opens_at is not None:
            self._cut(self._good or 0.7 * self.rate)
            self._open_window(opens_at)
            self._last_turn = opens_at - 1 / self.rate
        elif self._window.is_over(began):
            self._judge(now)
        else:
            self._window.count(began, throttled=True)

    # When requests leave.

    def turn(self) -> float:
        """Return the moment at which the next request may leave, while the pace is on."""
        # At high rates, a few leave together, because a timer for each would cost more than they.
        return self._due() - (_EARLY if self.rate > _GROUPED else 0.0)

    def take_turn(self, now: float, *, waited: bool) -> None:
        """Record that a request leaves now, and whether it had to wait for its turn."""
        self._last_turn = max(self._due(), now - _LATE)
        self._window.is_needed |= waited

    def _due(self) -> float:
        return self._last_turn + 1 / self.rate

    # How the pace begins and ends.

    def _start(self, served: float, now: float, opens_at: float | None) -> None:
        self.on = True
        self.rate = min(self._most, max(_FIRST_RATE, served))
        self._step = self._ceiling = math.inf
        self._good = 0.0
        self._is_closed = False
        since = max(now + 1 / self.rate, opens_at or 0.0)
        self._open_window(since)
        self._last_turn = since - 1 / self.rate

    def _forget(self) -> None:
        self.on = False
        self.rate = math.inf
        self._lately = _LastSecond()

    # How the rate follows the server's limit.

    def _open_window(self, since: float) -> None:
        self._window = _Window(since, _SEARCH if self._step == math.inf else _WINDOW)

    def _judge(self, now: float) -> None:
        """Adapt the rate to a window that is over, and open the next one."""
        window, measured = self._window, self._window.rate()
        if not window.served:
            self._close()
        elif window.throttled > max(1, _CHANCE * (window.served + window.throttled)):
            # A bucket that holds one token serves only half at 1.1 times its limit.
            self._cut(measured if window.span == _SEARCH else max(self._good, measured))
        elif window.is_needed:
            self._good = measured
            self._climb()
        elif now > self._throttled_at + _MEMORY:
            self._forget()
        else:
            self._good = measured
        self._open_window(now)

    def _climb(self) -> None:
        # Equal absolute steps make two clients fair; proportional ones would starve the smaller.
        if self._step == math.inf and 2 * self.rate > self._ceiling:
            self._step = 1.0
        self.rate = min(self._most, self.rate + min(self._step, self.rate))
        self._step *= 2

    def _cut(self, served: float) -> None:
        """Cut the rate below the one that the server served."""
        self.rate = max(self.rate / 4, 0.9 * min(self.rate, served), _LEAST_RATE)
        self._good = 0.0
        self._step = 1.0

    def _close(self) -> None:
        """Slow down until anything is served, because nothing was."""
        if not self._is_closed:
            self._is_closed = True
            self._ceiling = self.rate
        self.rate = max(self.rate / 2, _LEAST_RATE)
        self._good = 0.0
        self._step = math.inf


class _Window:
    """The answers to requests that began at or after a moment, for at least ``span`` seconds."""

    def __init__(self, since: float, span: float) -> None:
        self.since = since
        self.span = span
        self.served = 0
        self.throttled = 0
        self.is_needed = False  # whether a request had to wait for its turn
        self._latest = since

    def count(self, began: float, *, throttled: bool) -> None:
        self._latest = max(self._latest, began)
        if throttled:
            self.throttled += 1
        else:
            self.served += 1

    def is_over(self, began: float) -> bool:
        """Return whether a request that began then came after it; a few answers end no window."""
        answers = self.served + self.throttled
        return began > self.since + self.span and answers >= (_FEWEST if self.throttled else 1)

    def rate(self) -> float:
        """Return the requests a second that were served."""
        return self.served / max(self.span, self._latest - self.since)


class _LastSecond:
    """About how many answers the last second had, from counts of this second and the one before."""

    def __init__(self) -> None:
        self._began = -math.inf
        self._served = self._refused = 0
        self._served_before = self._refused_before = 0

    def add_served(self, at: float) -> None:
        if at >= self._began + 1.0:
            self._turn(at)
        self._served += 1

    def add_refused(self, at: float) -> None:
        if at >= self._began + 1.0:
            self._turn(at)
        self._refused += 1

    def totals(self, at: float) -> tuple[float, float]:
        """Return how many answers did not throttle, and how many did."""
        share = min(1.0, self._began + 1.0 - at)  # of the second before
        served = self._served + self._served_before * share
        return served, self._refused + self._refused_before * share

    def _turn(self, at: float) -> None:
        if at < self._began + 2.0:
            self._began += 1.0
            self._served_before, self._refused_before = self._served, self._refused
        else:
            self._began = at
            self._served_before = self._refused_before = 0
        self._served = self._refused = 0
