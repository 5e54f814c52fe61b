"""Async client for the Flashback API: statistics and node status of storage buckets."""

import logging
from importlib import import_module

# Applications that want to see the log add a handler of their own.
logging.getLogger(__name__).addHandler(logging.NullHandler())

# Modules are loaded when one of their names is first used, so that a program starts fast if it
# needs only a part. ``__init__.pyi`` lists the same names for type checkers and editors.
_NAMES = {
    "_version": "__version__",
    "bulk.fanout": "fan_out",
    "bulk.report": "Failure Outcome Report Success",
    "call.auth": "TokenFile",
    "client": "FlashbackClient",
    "cache.facts": "CacheStats Cached",
    "config": "CachePolicy Limits RetryPolicy Timeout",
    "errors": """APIError AuthenticationError BadRequestError CertificateError ClientClosedError
        ClusterLostError ConfigurationError ConnectError ConnectionLostError DeadlineExceededError
        DecodeError EventLoopError FlashbackError InvalidArgumentError NotFoundError
        PermissionDeniedError ProtocolError RateLimitError RedirectError RequestTimeoutError
        ResponseTooLargeError ServerError TokenProviderError TransportError""",
    "json_form": "from_dict from_json to_dict to_json",
    "models": "BucketStats BucketStatus DailyNodeStats NodeState NodeStatus",
    "observer": "AttemptEnded CallEnded Observer PauseBegan Snapshot",
    "resources.cached": "Cache",
    "resources.days": "day_range",
    "resources.node_stats": "BucketDay",
    "values": "TokenProvider",
    "watch.changes": "BucketView Change ChangeKind NodeView WatchStats",
    "watch.watch": "Watch",
}
_HOMES = {name: home for home, names in _NAMES.items() for name in names.split()}

__all__ = [*sorted(_HOMES.keys() - {"__version__"})]  # noqa: PLE0604 - strings, see the table


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
