"""Settings: validated when they are made, without behaviour."""

from __future__ import annotations

import sys
from typing import Any

import attrs
from attrs import field, frozen

from flashback_async.errors import ConfigurationError, show

_MOST = sys.float_info.max


def _named(instance: object, attribute: attrs.Attribute[Any]) -> str:
    return f"{type(instance).__name__}.{attribute.name}"


def _positive(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if _number(_named(instance, attribute), value) <= 0:
        raise ConfigurationError(
            f"{_named(instance, attribute)} must be above 0, not {show(value)}"
        )


def _not_negative(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if _number(_named(instance, attribute), value) < 0:
        raise ConfigurationError(
            f"{_named(instance, attribute)} must not be below 0, not {show(value)}"
        )


def _whole(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    name = _named(instance, attribute)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigurationError(f"{name} must be a whole number, not {type(value).__name__}")
    if value < 1:
        raise ConfigurationError(f"{name} must be at least 1, not {show(value)}")


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigurationError(f"{name} must be a number, not {type(value).__name__}")
    if not -_MOST <= value <= _MOST:
        raise ConfigurationError(f"{name} must be finite, not {show(value)}")
    return value


@frozen(slots=True)
class Timeout:
    """Say how long things may take, in seconds; each finite and above 0, and the smallest rules.

    Args:
        total: A whole call up to the last byte of its answer: the wait for a slot, the token,
            every attempt and the sleeps between them. In a bulk run it starts when the key is
            admitted.
        attempt: One request and its answer; starts once the slot is held.
        connect: DNS, TCP and TLS of a new connection.

    Raises:
        ConfigurationError: A value is not a finite number above 0.
    """

    total: float = field(default=30.0, validator=_positive)
    attempt: float = field(default=10.0, validator=_positive)
    connect: float = field(default=5.0, validator=_positive)


@frozen(slots=True)
class RetryPolicy:
    """Say when and how patiently a failed request is sent again.

    Args:
        max_attempts: Attempts of one call, the first included; 1 sends one request, whatever
            the answer (a token refresh excepted).
        backoff_base: Seconds; the first back-off is drawn from 0 to this, the next from 0 to
            twice this, and so on.
        throttle_base: The same after a 429 without a usable ``Retry-After``.
        backoff_max: Seconds that no back-off exceeds.
        max_retry_after: Seconds; a ``Retry-After`` above this ends the call at once.

    Raises:
        ConfigurationError: A value is not a number, not finite, or below its least value.
    """

    max_attempts: int = field(default=3, validator=_whole)
    backoff_base: float = field(default=0.05, validator=_not_negative)
    throttle_base: float = field(default=1.0, validator=_not_negative)
    backoff_max: float = field(default=8.0, validator=_not_negative)
    max_retry_after: float = field(default=60.0, validator=_not_negative)

    @classmethod
    def none(cls) -> RetryPolicy:
        """Give the policy that sends one request; only a token refresh sends it again."""
        return cls(max_attempts=1)


@frozen(slots=True)
class Limits:
    """Say how much a client may ask for at once.

    Args:
        max_concurrency: Requests under way at once, over all calls of the client.
        max_rate: Requests a second, over all calls of the client; None sets no pace.
        max_response_bytes: The largest body that is read, after decompression.

    Raises:
        ConfigurationError: A value is not a number, not finite, or below its least value.
    """

    max_concurrency: int = field(default=64, validator=_whole)
    max_rate: float | None = field(default=None, validator=attrs.validators.optional(_positive))
    max_response_bytes: int = field(default=32 * 2**20, validator=_whole)
