"""What answers become: immutable values that know nothing of the wire."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from attrs import frozen


class NodeState(StrEnum):
    """Name the node states that the API is known to report."""

    ONLINE = "ONLINE"
    OFFLINE = "OFFLINE"
    DISCONNECTED = "DISCONNECTED"


@frozen(slots=True, weakref_slot=False)
class BucketStats:
    """Hold the traffic counters of one bucket (``GET /bucket/stats``).

    A counter that the API did not give is None. All counters are exact.

    Attributes:
        bucket_id: The bucket (``bucketId``).
        total_count: Objects in the bucket (``totalCount``).
        total_upload_bytes: Bytes uploaded to it (``totalUploadBytes``).
        total_download_bytes: Bytes downloaded from it (``totalDownloadBytes``).
        total_size_change: Net change of its size in bytes; may be negative
            (``totalSizeChange``).
    """

    bucket_id: str
    total_count: int | None
    total_upload_bytes: int | None
    total_download_bytes: int | None
    total_size_change: int | None


@frozen(slots=True, weakref_slot=False)
class NodeStatus:
    """Hold the state of one node now (``nodeStatus[]`` of ``GET /bucket/{bucketId}/status``).

    What the API did not give is None.

    Attributes:
        ip: The node's IP address (``ip``).
        region: Its geographic region (``region``).
        version: The software it runs (``version``).
        state: A ``NodeState``, or the text as it came where the API names another (``status``).
        latency_ms: Milliseconds to the node (``latency_ms`` or ``latencyMs``).
        last_updated: When this was measured, in UTC (``lastUpdated``).
    """

    ip: str | None
    region: str | None
    version: str | None
    state: NodeState | str | None
    latency_ms: float | None
    last_updated: datetime | None


@frozen(slots=True, weakref_slot=False)
class BucketStatus:
    """Hold the state of a bucket's nodes (``GET /bucket/{bucketId}/status``).

    Attributes:
        bucket_id: The bucket (``bucketId``); the id asked for where the answer names none.
        nodes: Its nodes in the order of the answer (``nodeStatus``); may be empty.
    """

    bucket_id: str
    nodes: tuple[NodeStatus, ...]


@frozen(slots=True, weakref_slot=False)
class DailyNodeStats:
    """Hold how one node did on one day (``nodeStats[]`` of ``POST /bucket/{bucketId}/stats``).

    What the API did not give is None.

    Attributes:
        ip: The node's IP address (``ip``).
        host: A wildcard pattern of its host names (``host``).
        uptime_percent: Share of the day it was online, 0 to 100 (``perc_uptime``).
        avg_latency_ms: Mean latency of the day in milliseconds (``avg_latency_ms``).
        version: The software it ran (``version``).
        state: A ``NodeState``, or the text as it came where the API names another
            (``node_status``).
        last_updated: When this was last measured, in UTC (``last_updated``).
        last_latency_ms: The last latency measured, in milliseconds (``last_latency_ms``).
    """

    ip: str | None
    host: str | None
    uptime_percent: float | None
    avg_latency_ms: float | None
    version: str | None
    state: NodeState | str | None
    last_updated: datetime | None
    last_latency_ms: float | None
