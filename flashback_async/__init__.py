"""Async client for the Flashback API: statistics and node status of storage buckets."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flashback_async.bulk.fanout import fan_out
    from flashback_async.bulk.report import Failure, Outcome, Report, Success
    from flashback_async.client import FlashbackClient
    from flashback_async.config import Limits, RetryPolicy, Timeout
    from flashback_async.errors import (
        APIError,
        AuthenticationError,
        BadRequestError,
        CertificateError,
        ClientClosedError,
        ConfigurationError,
        ConnectError,
        ConnectionLostError,
        DeadlineExceededError,
        DecodeError,
        EventLoopError,
        FlashbackError,
        InvalidArgumentError,
        NotFoundError,
        PermissionDeniedError,
        ProtocolError,
        RateLimitError,
        RedirectError,
        RequestTimeoutError,
        ResponseTooLargeError,
        ServerError,
        TokenProviderError,
        TransportError,
    )
    from flashback_async.models import (
        BucketStats,
        BucketStatus,
        DailyNodeStats,
        NodeState,
        NodeStatus,
    )
    from flashback_async.resources.days import day_range
    from flashback_async.resources.node_stats import BucketDay
    from flashback_async.values import TokenProvider

# Whoever wants to see the log adds a handler of their own.
logging.getLogger(__name__).addHandler(logging.NullHandler())

# Loaded on first use, so that a program which needs only part of it starts fast.
_HOMES = {
    "flashback_async.bulk.fanout": ("fan_out",),
    "flashback_async.bulk.report": ("Failure", "Outcome", "Report", "Success"),
    "flashback_async.client": ("FlashbackClient",),
    "flashback_async.config": ("Limits", "RetryPolicy", "Timeout"),
    "flashback_async.errors": (
        "APIError",
        "AuthenticationError",
        "BadRequestError",
        "CertificateError",
        "ClientClosedError",
        "ConfigurationError",
        "ConnectError",
        "ConnectionLostError",
        "DeadlineExceededError",
        "DecodeError",
        "EventLoopError",
        "FlashbackError",
        "InvalidArgumentError",
        "NotFoundError",
        "PermissionDeniedError",
        "ProtocolError",
        "RateLimitError",
        "RedirectError",
        "RequestTimeoutError",
        "ResponseTooLargeError",
        "ServerError",
        "TokenProviderError",
        "TransportError",
    ),
    "flashback_async.values": ("TokenProvider",),
    "flashback_async.models": (
        "BucketStats",
        "BucketStatus",
        "DailyNodeStats",
        "NodeState",
        "NodeStatus",
    ),
    "flashback_async.resources.days": ("day_range",),
    "flashback_async.resources.node_stats": ("BucketDay",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "APIError",
    "AuthenticationError",
    "BadRequestError",
    "BucketDay",
    "BucketStats",
    "BucketStatus",
    "CertificateError",
    "ClientClosedError",
    "ConfigurationError",
    "ConnectError",
    "ConnectionLostError",
    "DailyNodeStats",
    "DeadlineExceededError",
    "DecodeError",
    "EventLoopError",
    "Failure",
    "FlashbackClient",
    "FlashbackError",
    "InvalidArgumentError",
    "Limits",
    "NodeState",
    "NodeStatus",
    "NotFoundError",
    "Outcome",
    "PermissionDeniedError",
    "ProtocolError",
    "RateLimitError",
    "RedirectError",
    "Report",
    "RequestTimeoutError",
    "ResponseTooLargeError",
    "RetryPolicy",
    "ServerError",
    "Success",
    "Timeout",
    "TokenProvider",
    "TokenProviderError",
    "TransportError",
    "day_range",
    "fan_out",
]


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
