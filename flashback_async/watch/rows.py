"""The form of buckets and changes in a state file: lists of plain values, as JSON."""

from __future__ import annotations

import json
from datetime import datetime
from types import NoneType
from typing import Any, TypeAlias

from flashback_async import errors
from flashback_async.errors import FlashbackError
from flashback_async.models import NodeState, NodeStatus
from flashback_async.watch.buckets import ABSENT, Bucket, Chain, Node, Seen
from flashback_async.watch.changes import Change, ChangeKind

# A snapshot: nothing in it changes any more, so that a thread can encode it.
Row: TypeAlias = tuple[Any, ...]
_PLAIN = (str, int, float, tuple, NoneType)


def encode(row: Row) -> str:
    """Return a row as JSON."""
    return json.dumps(row, separators=(",", ":"), default=_plain)


def row_of(bucket: Bucket, is_leaving: bool) -> Row:
    """Return a bucket as a row."""
    nodes = tuple(
        (name, node.status, _link(node), node.against, node.missing)
        for name, node in bucket.nodes.items()
    )
    counts = (bucket.missing, bucket.unlisted, bucket.failures)
    chains = (_link(bucket.there), _link(bucket.known))
    return (bucket.bucket_id, is_leaving, chains, counts, bucket.error, nodes)


def bucket_from(text: str) -> tuple[Bucket, bool]:
    """Return a bucket, and whether it is leaving, from its encoded row."""
    bucket_id, is_leaving, (there, known), counts, error, nodes = json.loads(text)
    missing, unlisted, failures = counts
    bucket = Bucket(
        bucket_id,
        _chain(there),
        _chain(known),
        {name: _node(*values) for name, *values in nodes},
        missing,
        unlisted,
        failures,
        _error(error),
    )
    return bucket, is_leaving


def change_row(change: Change) -> Row:
    """Return a change as a row."""
    states = (change.before, change.after)
    times = (change.at, change.since)
    about = (change.kind, change.bucket_id, change.ip)
    return (*about, *states, change.node, *times, change.merged, change.error)


def change_from(text: str) -> Change:
    """Return a change from its encoded row."""
    kind, bucket_id, ip, before, after, node, at, since, merged, error = json.loads(text)
    return Change(
        ChangeKind(kind),
        bucket_id,
        ip,
        _state(before),
        _state(after),
        None if node is None else _status(*node),
        _time(at),
        None if since is None else _time(since),
        merged,
        _error(error),
    )


def _link(chain: Chain[Any]) -> Row:
    return (chain.now, chain.since, chain.told, chain.told_since, chain.changes)


def _plain(value: object) -> object:
    """Return a value that JSON does not know as one that it does."""
    if value is ABSENT:
        return False  # no state is a boolean
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, NodeStatus):
        place, age = (value.ip, value.region, value.version), value.last_updated
        return (*place, value.state, value.latency_ms, age)
    if isinstance(value, FlashbackError):
        kept = {name: item for name, item in vars(value).items() if isinstance(item, _PLAIN)}
        return (type(value).__name__, str(value.args[0]) if value.args else "", kept)
    raise TypeError(f"{type(value).__name__} has no form in a state file")


def _chain(link: list[Any]) -> Chain[bool]:
    now, since, told, told_since, changes = link
    return Chain(now, _time(since), told, _time(told_since), changes)


def _node(status: list[Any], link: list[Any], against: int, missing: int) -> Node:
    now, since, told, told_since, changes = link
    return Node(
        _seen(now),
        _time(since),
        _seen(told),
        _time(told_since),
        changes,
        status=_status(*status),
        against=against,
        missing=missing,
    )


def _status(
    ip: str | None,
    region: str | None,
    version: str | None,
    state: str | None,
    latency_ms: float | None,
    last_updated: str | None,
) -> NodeStatus:
    moment = None if last_updated is None else _time(last_updated)
    return NodeStatus(ip, region, version, _state(state), latency_ms, moment)


def _seen(value: str | bool | None) -> Seen:
    return ABSENT if isinstance(value, bool) else _state(value)


def _state(text: str | None) -> NodeState | str | None:
    return NodeState(text) if text is not None and text in NodeState.__members__ else text


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _error(row: list[Any] | None) -> FlashbackError | None:
    """Return an error of its class with what it says of itself; its cause is not kept."""
    if row is None:
        return None
    name, text, attributes = row
    kind = getattr(errors, name, FlashbackError)
    error: FlashbackError = kind(text)
    vars(error).update(attributes)
    error._remarks = tuple(error._remarks)
    return error
