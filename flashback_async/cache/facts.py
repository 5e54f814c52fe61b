"""What a cache tells: a value with its age, and how the cache is doing."""

from __future__ import annotations

from typing import Generic, TypeVar

from attrs import frozen

from flashback_async.errors import FlashbackError

V = TypeVar("V", covariant=True)


@frozen(slots=True, weakref_slot=False)
class Cached(Generic[V]):
    """A value, and how old it is.

    Attributes:
        value: The value.
        age: Seconds since its answer arrived, as the call returned.
        stale: Whether it is older than ``CachePolicy.fresh``.
        error: Why the last try for a newer value failed; None if it did not.
    """

    value: V
    age: float
    stale: bool
    error: FlashbackError | None = None


@frozen(slots=True, weakref_slot=False)
class CacheStats:
    """How a cache is doing. Each look-up of a key is one of the first four.

    Attributes:
        hits: Look-ups that found a fresh value, or a kept 404.
        stale_hits: Look-ups that got an older value at once.
        misses: Look-ups that began a request and waited for it.
        joined: Look-ups that waited for a request already under way.
        refreshes: Requests that were begun behind an older value.
        refresh_failures: How many of those failed.
        evicted: Values that were dropped because there were more than ``max_entries``.
        entries: Values that are kept now.
        in_flight: Requests under way now.
    """

    hits: int
    stale_hits: int
    misses: int
    joined: int
    refreshes: int
    refresh_failures: int
    evicted: int
    entries: int
    in_flight: int
