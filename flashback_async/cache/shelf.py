"""The values that a cache keeps: how fresh each is, and when it may be asked for anew."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from enum import Enum
from typing import Any, TypeAlias

from attrs import define

from flashback_async.config import CachePolicy
from flashback_async.errors import (
    DeadlineExceededError,
    DecodeError,
    FlashbackError,
    NotFoundError,
    RateLimitError,
    ServerError,
    TokenProviderError,
    TransportError,
)

# A resource's name, and a key of it.
Place: TypeAlias = tuple[str, Hashable]

_FIRST_REST, _LONGEST_REST = 5.0, 60.0  # seconds without a request, after failed ones


# Failures after which an old value is better than none.
_SOFT = (
    TransportError,
    ServerError,
    RateLimitError,
    DeadlineExceededError,
    DecodeError,
    TokenProviderError,
)


class Verdict(Enum):
    """What to do with a kept value."""

    HIT = "serve it"
    REFRESH = "serve it, and ask for a newer one behind it"
    REST = "serve it, and ask for nothing yet"
    ASK = "wait for a newer one"


@define(slots=True, weakref_slot=False)
class Entry:
    """A value, or a 404, with the moment of its arrival.

    ``error`` is the failure of the last try for a newer value. ``rest`` is how long no other try
    is made after that, until ``rests_until``.
    """

    value: Any
    arrived_at: float
    is_final: bool = False
    error: FlashbackError | None = None
    rest: float = 0.0
    rests_until: float = 0.0


class Shelf:
    """The entries of a cache, the one that was used last at the end. It does no waiting."""

    def __init__(self, policy: CachePolicy) -> None:
        self.entries: OrderedDict[Place, Entry] = OrderedDict()
        self.evicted = 0
        self._policy = policy

    def judge(self, entry: Entry, now: float) -> Verdict:
        """Return what to do with an entry."""
        policy, age = self._policy, now - entry.arrived_at
        if isinstance(entry.value, NotFoundError):
            return Verdict.HIT if age < policy.not_found else Verdict.ASK
        if entry.is_final or age < policy.fresh:
            return Verdict.HIT
        rests = now < entry.rests_until
        if age < policy.fresh + policy.stale:
            return Verdict.REST if rests else Verdict.REFRESH
        rests = rests and is_soft(entry.error) and self.survives_errors(entry, now)
        return Verdict.REST if rests else Verdict.ASK

    def survives_errors(self, entry: Entry, now: float) -> bool:
        """Return whether a value may still be served because there is no newer one."""
        if isinstance(entry.value, NotFoundError):
            return False
        return now - entry.arrived_at < self._policy.fresh + self._policy.stale_if_error

    def put(self, place: Place, value: object, now: float, *, is_final: bool = False) -> None:
        """Keep a value, and drop what was used least if there are too many."""
        self.entries[place] = Entry(value, now, is_final)
        self.entries.move_to_end(place)
        while len(self.entries) > self._policy.max_entries:
            self.entries.popitem(last=False)
            self.evicted += 1

    def put_missing(self, place: Place, error: NotFoundError, now: float) -> None:
        """Keep for a while that there is no such bucket."""
        self.entries.pop(place, None)
        if self._policy.not_found:
            self.put(place, error, now)

    def record_failure(self, place: Place, error: FlashbackError, now: float) -> None:
        """Record that a try for a newer value failed, and let the key rest."""
        entry = self.entries.get(place)
        if entry is None or isinstance(entry.value, NotFoundError):
            return
        entry.error = error
        entry.rest = min(_LONGEST_REST, 2 * entry.rest or min(_FIRST_REST, self._policy.fresh))
        entry.rests_until = now + entry.rest

    def forget(self, is_about: Callable[[Place], bool]) -> None:
        """Drop the entries of some places."""
        for place in [place for place in self.entries if is_about(place)]:
            del self.entries[place]


def is_soft(error: FlashbackError | None) -> bool:
    """Return whether an old value is better than this error."""
    return isinstance(error, _SOFT)
