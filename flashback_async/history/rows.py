"""The rows of a history, and what is kept about a finished day: values that know no file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from flashback_async import DailyNodeStats


class NodeDay(NamedTuple):
    """One node of a bucket on one day: a row of a history, with its columns in order.

    None is a value that the API did not report.

    Attributes:
        bucket_id: The bucket.
        day: The day, in UTC.
        place: The node's place in the answer, from 0.
        ip: IP address of the node.
        host: Wildcard pattern of the node's host names.
        region: The region in ``host``; None if the host has another form.
        provider: The cloud provider in ``host``; None if the host has another form.
        uptime_percent: Share of the day that the node was online, 0 to 100.
        avg_latency_ms: Mean latency of the day in milliseconds.
        version: Version of the software that it ran.
        state: "ONLINE", "OFFLINE", "DISCONNECTED", or the API's own text for any other state.
        last_updated: Time of the last measurement, in UTC.
        last_latency_ms: Last measured latency in milliseconds.
    """

    bucket_id: str
    day: date
    place: int
    ip: str | None = None
    host: str | None = None
    region: str | None = None
    provider: str | None = None
    uptime_percent: float | None = None
    avg_latency_ms: float | None = None
    version: str | None = None
    state: str | None = None
    last_updated: datetime | None = None
    last_latency_ms: float | None = None


WIDTH = len(NodeDay._fields)

# The values of rows, one row after the other. Many rows that wait to be written are kept as one
# list: as tuples, they would keep the garbage collector busy, which stops the event loop.
Values: TypeAlias = list[object]


class KeptDay(NamedTuple):
    """A finished day of a history.

    Attributes:
        day: The day, in UTC.
        rows: How many rows it has.
        buckets: How many buckets were asked.
        failed: How many of them failed, and have no rows although they may have nodes.
        ids: A hash of the set of ids that were asked.
        kept_at: When the day was finished, in UTC.
    """

    day: date
    rows: int
    buckets: int
    failed: int
    ids: str
    kept_at: datetime


def values_of(bucket_id: str, day: date, nodes: Sequence[DailyNodeStats]) -> Values:
    """Return the rows of a bucket's nodes on a day."""
    values: Values = []
    for place, node in enumerate(nodes):
        region, provider = _place_of(node.host)
        values += (
            bucket_id,
            day,
            place,
            node.ip,
            node.host,
            region,
            provider,
            node.uptime_percent,
            node.avg_latency_ms,
            node.version,
            None if node.state is None else str(node.state),  # no enum, but plain text
            node.last_updated,
            node.last_latency_ms,
        )
    return values


def hash_of(bucket_ids: Iterable[str]) -> str:
    """Return a hash of a set of ids, which does not depend on their order."""
    return hashlib.sha256(json.dumps(sorted(set(bucket_ids))).encode()).hexdigest()


def time_text(moment: datetime) -> str:
    """Return a time as ISO text in UTC, always of the same length, so that it sorts as text."""
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def time_of(text: str) -> datetime:
    """Return the time of a text that `time_text` has made.

    Raises:
        ValueError: It is another one, such as a time without a zone.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"a time without a zone: {text!a}")
    return moment


@lru_cache(maxsize=1024)  # an account has few hosts, and each takes a regular expression
def _place_of(host: str | None) -> tuple[str | None, str | None]:
    """Return the region and the provider that a host names."""
    node = DailyNodeStats(host=host)
    return node.region, node.provider
