"""Settings: values that are checked when they are made, without behaviour."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Literal

import attrs
from attrs import field, frozen

from flashback_async.errors import ConfigurationError, show

# What carries the requests of a client.
TransportName = Literal["auto", "aiohttp", "direct"]

# These bounds suit the timers and counters of every machine and event loop.
_LONGEST = 1e9  # seconds, some thirty years
_SHORTEST = 1e-6
_MOST = 10**12
_SLOWEST = 1e-6  # requests a second


def _named(instance: object, attribute: attrs.Attribute[Any]) -> str:
    return f"{type(instance).__name__}.{attribute.name}"


def _number(low: float, high: float) -> Callable[..., None]:
    """Return a validator of numbers from ``low`` to ``high``."""

    def check(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        name = _named(instance, attribute)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigurationError(f"{name} must be a number, not {type(value).__name__}")
        if not low <= value <= high:
            raise ConfigurationError(f"{name} must be from {low:g} to {high:g}, not {show(value)}")

    return check


def _whole(high: int) -> Callable[..., None]:
    """Return a validator of whole numbers from 1 to ``high``."""

    def check(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        name = _named(instance, attribute)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ConfigurationError(f"{name} must be a whole number, not {type(value).__name__}")
        if not 1 <= value <= high:
            raise ConfigurationError(f"{name} must be from 1 to {high:,}, not {show(value)}")

    return check


_duration = _number(_SHORTEST, _LONGEST)
_wait = _number(0.0, _LONGEST)
_rate = _number(_SLOWEST, _MOST)


@frozen(slots=True)
class Timeout:
    """Time limits in seconds, each from 0.000001 to 1e9; whichever expires first applies.

    Args:
        total: A whole call up to the last byte of its answer. It includes the wait for a slot,
            the token, every attempt and the sleeps between them. In a bulk run, the waits for
            admission do not count.
        attempt: One request and its answer; starts once the slot is held.
        connect: DNS lookup, TCP and TLS of a new connection.

    Raises:
        ConfigurationError: A value is not a number, or outside the range.
    """

    total: float = field(default=30.0, validator=_duration)
    attempt: float = field(default=10.0, validator=_duration)
    connect: float = field(default=5.0, validator=_duration)


@frozen(slots=True)
class RetryPolicy:
    """The rules by which a failed request is retried.

    Args:
        max_attempts: Attempts of one call, from 1 to 1e12, the first included. 1 sends one
            request, whatever the answer (a token refresh excepted).
        backoff_base: Seconds, from 0 to 1e9. The first back-off is drawn from 0 to this, the
            next from 0 to twice this, and so on.
        throttle_base: The same after a 429 without a usable ``Retry-After``. A throttled key of a
            bulk run is sent again after a time from 0 to this, at no cost, as often as it takes.
        backoff_max: Seconds, from 0 to 1e9, that no back-off exceeds.
        max_retry_after: Seconds, from 0 to 1e9. A longer ``Retry-After`` ends the call at once.

    Raises:
        ConfigurationError: A value is not a number, or outside of its range.
    """

    max_attempts: int = field(default=3, validator=_whole(_MOST))
    backoff_base: float = field(default=0.05, validator=_wait)
    throttle_base: float = field(default=1.0, validator=_wait)
    backoff_max: float = field(default=8.0, validator=_wait)
    max_retry_after: float = field(default=60.0, validator=_wait)

    @classmethod
    def none(cls) -> RetryPolicy:
        """Return the policy that sends one request; only a token refresh sends it again."""
        return cls(max_attempts=1)


@frozen(slots=True)
class Limits:
    """Limits over all calls of a client.

    Args:
        max_concurrency: Requests in flight at once, from 1 to 1e12.
        max_rate: Requests a second, from 0.000001 to 1e12; None sets no limit.
        max_response_bytes: The largest body that is read, in bytes after decompression, at
            least 1.

    Raises:
        ConfigurationError: A value is not a number, or outside of its range.
    """

    max_concurrency: int = field(default=64, validator=_whole(_MOST))
    max_rate: float | None = field(
        default=None, validator=attrs.validators.optional(_number(_SLOWEST, _MOST))
    )
    max_response_bytes: int = field(default=32 * 2**20, validator=_whole(sys.maxsize))


@frozen(slots=True)
class CachePolicy:
    """How long a cache keeps what it has read. Times are seconds from 0 to 1e9.

    Args:
        fresh: Up to this age, above 0, a value is served without a request.
        stale: So much longer, it is served at once while a newer one is asked for behind it.
        stale_if_error: So much longer than ``fresh``, it is served if a newer one cannot be had.
        not_found: How long it is remembered that there is no such bucket.
        max_entries: The most values that are kept, from 1 to 1e12; those used least recently go.

    Raises:
        ConfigurationError: A value is not a number, or outside of its range.
    """

    fresh: float = field(default=10.0, validator=_duration)
    stale: float = field(default=60.0, validator=_wait)
    stale_if_error: float = field(default=300.0, validator=_wait)
    not_found: float = field(default=5.0, validator=_wait)
    max_entries: int = field(default=10_000, validator=_whole(_MOST))
