"""The answers as models, the way users of cattrs write them."""

from __future__ import annotations

from datetime import datetime

import attrs
import cattrs


@attrs.define
class Node:
    ip: str
    region: str
    version: str
    status: str
    latency_ms: float
    lastUpdated: datetime


@attrs.define
class Status:
    bucketId: str
    nodeStatus: list[Node]


@attrs.define
class DailyNode:
    ip: str
    host: str
    perc_uptime: float
    avg_latency_ms: float
    version: str
    node_status: str
    last_updated: datetime
    last_latency_ms: float


@attrs.define
class Daily:
    nodeStats: list[DailyNode]


@attrs.define
class Stats:
    bucketId: str
    totalCount: int
    totalUploadBytes: int
    totalDownloadBytes: int
    totalSizeChange: int


@attrs.define
class StatsList:
    stats: list[Stats]


converter = cattrs.Converter()
converter.register_structure_hook(datetime, lambda text, _: datetime.fromisoformat(text))
