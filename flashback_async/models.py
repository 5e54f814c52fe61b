"""Models of the API's answers: immutable values, independent of the wire format."""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum

from attrs import frozen

from flashback_async.pydantic_schema import pydantic_hook

_HOST = re.compile(r"\*-([a-z0-9]+(?:-[a-z0-9]+)*)-([a-z0-9]+)\..+", re.IGNORECASE)


class NodeState(StrEnum):
    """The node states that the API is known to report."""

    ONLINE = "ONLINE"
    OFFLINE = "OFFLINE"
    DISCONNECTED = "DISCONNECTED"


@frozen(slots=True, weakref_slot=False)
class BucketStats:
    """Traffic counters of one bucket (``GET /bucket/stats``).

    All counters are exact; None is a counter that the API did not report.

    Attributes:
        bucket_id: The bucket (``bucketId``).
        total_count: Objects in the bucket (``totalCount``).
        total_upload_bytes: Bytes uploaded to it (``totalUploadBytes``).
        total_download_bytes: Bytes downloaded from it (``totalDownloadBytes``).
        total_size_change: Net change of its size in bytes; may be negative
            (``totalSizeChange``).
    """

    bucket_id: str
    total_count: int | None = None
    total_upload_bytes: int | None = None
    total_download_bytes: int | None = None
    total_size_change: int | None = None

    __get_pydantic_core_schema__ = pydantic_hook


@frozen(slots=True, weakref_slot=False)
class NodeStatus:
    """Current status of one node (``nodeStatus[]`` of ``GET /bucket/{bucketId}/status``).

    None is a value that the API did not report.

    Attributes:
        ip: IP address of the node (``ip``).
        region: Geographic region of the node (``region``).
        version: Version of the software that it runs (``version``).
        state: A ``NodeState``, or the API's own text for any other state (``status``).
        latency_ms: Latency of the node in milliseconds (``latency_ms`` or ``latencyMs``).
        last_updated: Time of the measurement, in UTC (``lastUpdated``).
    """

    ip: str | None = None
    region: str | None = None
    version: str | None = None
    state: NodeState | str | None = None
    latency_ms: float | None = None
    last_updated: datetime | None = None

    __get_pydantic_core_schema__ = pydantic_hook


@frozen(slots=True, weakref_slot=False)
class BucketStatus:
    """Current node status of one bucket (``GET /bucket/{bucketId}/status``).

    Attributes:
        bucket_id: The bucket (``bucketId``); the id asked for if the answer names none.
        nodes: The bucket's nodes in the order of the answer (``nodeStatus``); may be empty.
    """

    bucket_id: str
    nodes: tuple[NodeStatus, ...]

    __get_pydantic_core_schema__ = pydantic_hook


@frozen(slots=True, weakref_slot=False)
class DailyNodeStats:
    """Statistics of one node on one day (``nodeStats[]`` of ``POST /bucket/{bucketId}/stats``).

    None is a value that the API did not report.

    Attributes:
        ip: IP address of the node (``ip``).
        host: Wildcard pattern of the node's host names (``host``).
        uptime_percent: Share of the day that the node was online, 0 to 100 (``perc_uptime``).
        avg_latency_ms: Mean latency of the day in milliseconds (``avg_latency_ms``).
        version: Version of the software that it ran (``version``).
        state: A ``NodeState``, or the API's own text for any other state (``node_status``).
        last_updated: Time of the last measurement, in UTC (``last_updated``).
        last_latency_ms: Last measured latency in milliseconds (``last_latency_ms``).
    """

    ip: str | None = None
    host: str | None = None
    uptime_percent: float | None = None
    avg_latency_ms: float | None = None
    version: str | None = None
    state: NodeState | str | None = None
    last_updated: datetime | None = None
    last_latency_ms: float | None = None

    __get_pydantic_core_schema__ = pydantic_hook

    @property
    def region(self) -> str | None:
        """The region in ``host``: "us-east-1" of ``*-us-east-1-aws.flashback.tech``.

        None if the host has another form.
        """
        host = _HOST.fullmatch(self.host or "")
        return host and host[1]

    @property
    def provider(self) -> str | None:
        """The cloud provider in ``host``: "aws" of ``*-us-east-1-aws.flashback.tech``.

        None if the host has another form.
        """
        host = _HOST.fullmatch(self.host or "")
        return host and host[2]
