"""Buckets and changes as a watch reports them, made by hand."""

from datetime import UTC, datetime, timedelta

from flashback_async import (
    BucketView,
    Change,
    ChangeKind,
    NodeState,
    NodeStatus,
    NodeView,
    ServerError,
)

NOW = datetime(2025, 6, 30, 12, 0, tzinfo=UTC)
ERROR = ServerError("503 Service Unavailable")


def node(ip="10.0.0.1", state="ONLINE", region="eastus", age=60):
    known = NodeState(state) if state in NodeState.__members__ else state
    status = NodeStatus(ip, region, "1.0", known, 10.0, NOW)
    return NodeView(status, ip, known, NOW - timedelta(seconds=age))


def bucket(bucket_id, *nodes, error=None, asked=True):
    return BucketView(bucket_id, nodes, asked and error is None, error, NOW if asked else None)


def change(kind, bucket_id, ip=None, before=None, after=None, at=NOW, error=None):
    status = None if ip is None else node(ip).node
    since = None if kind == "APPEARED" else NOW - timedelta(seconds=90)
    return Change(ChangeKind(kind), bucket_id, ip, before, after, status, at, since, 0, error)


def view_of(*buckets):
    return {view.bucket_id: view for view in buckets}
