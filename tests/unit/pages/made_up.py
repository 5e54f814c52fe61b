"""Made-up buckets, as a watch would show them, and the facts of an exporter about them."""

from datetime import UTC, datetime
from types import SimpleNamespace

from flashback_async import (
    BucketView,
    Change,
    ChangeKind,
    NodeState,
    NodeStatus,
    NodeView,
    ServerError,
)
from flashback_async.pages.exporter.conditions import Conditions

NOW = datetime(2025, 6, 30, 12, tzinfo=UTC)
ERROR = ServerError("503 Service Unavailable")


def node(ip="10.0.0.1", state="ONLINE", region="eastus", latency_ms=10.0):
    known = NodeState(state) if state in NodeState.__members__ else state
    return NodeView(NodeStatus(ip, region, "1.0", known, latency_ms, NOW), ip, known, NOW)


def bucket(bucket_id, *nodes, error=None, asked=True):
    return BucketView(bucket_id, nodes, asked and error is None, error, NOW if asked else None)


def change(kind, bucket_id, ip=None):
    return Change(ChangeKind(kind), bucket_id, ip, None, None, None, NOW, NOW)


def facts(*buckets, totals=None, requests=None, answered=None):
    view = {one.bucket_id: one for one in buckets}
    answers = dict.fromkeys(view, 1000.5) if answered is None else answered
    return SimpleNamespace(
        view=view,
        conditions=Conditions(view, answers),
        totals=totals or {},
        last_answers=answers,
        requests=requests or {},
        lag=0.25,
    )
