"""The public names, as type checkers and editors see them."""

from flashback_async.bulk.fanout import fan_out
from flashback_async.bulk.report import Failure, Outcome, Report, Success
from flashback_async.cache.facts import Cached, CacheStats
from flashback_async.call.auth import TokenFile
from flashback_async.client import FlashbackClient
from flashback_async.config import CachePolicy, Limits, RetryPolicy, Timeout
from flashback_async.errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    CertificateError,
    ClientClosedError,
    ClusterLostError,
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
from flashback_async.json_form import from_dict, from_json, to_dict, to_json
from flashback_async.models import BucketStats, BucketStatus, DailyNodeStats, NodeState, NodeStatus
from flashback_async.observer import AttemptEnded, CallEnded, Observer, PauseBegan, Snapshot
from flashback_async.resources.cached import Cache
from flashback_async.resources.days import day_range
from flashback_async.resources.node_stats import BucketDay
from flashback_async.values import TokenProvider
from flashback_async.watch.changes import BucketView, Change, ChangeKind, NodeView, WatchStats
from flashback_async.watch.watch import Watch

__version__: str

__all__ = [
    "APIError",
    "AttemptEnded",
    "AuthenticationError",
    "BadRequestError",
    "BucketDay",
    "BucketStats",
    "BucketStatus",
    "BucketView",
    "Cache",
    "CachePolicy",
    "CacheStats",
    "Cached",
    "CallEnded",
    "CertificateError",
    "Change",
    "ChangeKind",
    "ClientClosedError",
    "ClusterLostError",
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
    "NodeView",
    "NotFoundError",
    "Observer",
    "Outcome",
    "PauseBegan",
    "PermissionDeniedError",
    "ProtocolError",
    "RateLimitError",
    "RedirectError",
    "Report",
    "RequestTimeoutError",
    "ResponseTooLargeError",
    "RetryPolicy",
    "ServerError",
    "Snapshot",
    "Success",
    "Timeout",
    "TokenFile",
    "TokenProvider",
    "TokenProviderError",
    "TransportError",
    "Watch",
    "WatchStats",
    "day_range",
    "fan_out",
    "from_dict",
    "from_json",
    "to_dict",
    "to_json",
]
