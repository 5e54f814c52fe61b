"""What kept days say: the uptime of buckets by day, of regions, and of nodes.

Rows are added up as they are read. What stays is a number for each bucket and day, and some for
each node, so that months of thousands of buckets need little memory.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, NamedTuple

from attrs import define, field

from flashback_async import InvalidArgumentError

if TYPE_CHECKING:
    from flashback_async.history import NodeDay

_NO_REPORT = -1.0  # in place of an uptime, which is 0 or more
HIGH, LOW = 99.9, 99.0  # percent; days below them are counted


class BucketUptime(NamedTuple):
    """The uptime of a bucket; that of a day is the mean of its nodes.

    Attributes:
        bucket_id: The bucket.
        days: In percent, from the first day to the last; None if nothing was reported.
        mean: Of the days with a report; None if there are none.
        reported: How many days those are.
        below: How many of them are below 99 %.
        worst: The place of the worst of them; None if there are none.
    """

    bucket_id: str
    days: Sequence[float | None]
    mean: float | None
    reported: int
    below: int
    worst: int | None


@define
class Sums:
    """The uptime of many node days, added up.

    Attributes:
        count: How many there are.
        reported: How many of them have an uptime.
        total: The sum of the uptimes.
        below_high: How many are below 99.9 %.
        below_low: How many are below 99 %.
    """

    count: int = 0
    reported: int = 0
    total: float = 0.0
    below_high: int = 0
    below_low: int = 0

    @property
    def mean(self) -> float | None:
        """The mean uptime in percent; None if none was reported."""
        return self.total / self.reported if self.reported else None

    def add(self, uptimes: Sequence[float | None]) -> None:
        """Add node days."""
        found = [uptime for uptime in uptimes if uptime is not None]
        self.count += len(uptimes)
        self.reported += len(found)
        self.total += math.fsum(found)
        self.below_high += sum(uptime < HIGH for uptime in found)
        self.below_low += sum(uptime < LOW for uptime in found)


@define
class NodeUptime(Sums):
    """The uptime of one node; on a day on which several buckets have it, that is their mean.

    Attributes:
        ip: Its address; None if it has none.
        region: Its region; None if that is not known.
        bucket_ids: The buckets that have it.
        worst: Its lowest uptime.
        worst_day: The day of that.
    """

    ip: str | None = None
    region: str | None = None
    bucket_ids: set[str] = field(factory=set)
    worst: float = math.inf
    worst_day: date | None = None

    def add_day(self, day: date, uptime: float | None) -> None:
        """Add a day."""
        self.count += 1
        if uptime is not None:
            self.reported += 1
            self.total += uptime
            self.below_high += uptime < HIGH
            self.below_low += uptime < LOW
            if uptime < self.worst:
                self.worst, self.worst_day = uptime, day


# A node without an address is known by its bucket and its place there.
_NodeKey = tuple[str | None, str | None, str, int]


class Uptime:
    """The uptime of all buckets over some days.

    Attributes:
        first: The first day; None if there is none.
        last: The last one.
        kept: How many days there are, without the gaps between them.
        regions: The node days of each region; None is that of nodes whose region is not known.
    """

    def __init__(self) -> None:
        self.first: date | None = None
        self.last: date | None = None
        self.kept = 0
        self.regions: dict[str | None, Sums] = {}
        self._kept = bytearray()  # 1 for each day from the first that is kept, 0 for the others
        self._buckets: dict[str, array[float]] = {}
        self._nodes: dict[_NodeKey, NodeUptime] = {}

    @property
    def span(self) -> int:
        """How many days there are from the first to the last, gaps included."""
        return len(self._kept)

    @property
    def buckets(self) -> int:
        """How many buckets there are."""
        return len(self._buckets)

    def day(self, place: int) -> date:
        """Return the day at a place, from 0."""
        assert self.first is not None  # noqa: S101 - there are days
        return self.first + timedelta(days=place)

    def is_kept(self, place: int) -> bool:
        """Return whether the day at a place is kept."""
        return bool(self._kept[place])

    def add(self, day: date, rows: Iterable[NodeDay]) -> None:
        """Add a day.

        Raises:
            InvalidArgumentError: It is not later than the day before it.
        """
        if self.last is not None and day <= self.last:
            raise InvalidArgumentError(
                f"history must be in the order of its days: {day} comes after {self.last}"
            )
        if self.first is None:
            self.first = day
        place = (day - self.first).days
        self._kept.extend(bytes(place - len(self._kept)))
        self._kept.append(1)
        self.last = day
        self.kept += 1
        self._add_rows(day, place, rows)

    def worst_buckets(self) -> Iterator[BucketUptime]:
        """Yield every bucket, the worst first; those without a report come last."""
        means = {bucket_id: _mean(_days(values)) for bucket_id, values in self._buckets.items()}
        for bucket_id in sorted(means, key=lambda bucket_id: _order(means[bucket_id], bucket_id)):
            yield self._bucket(bucket_id, means[bucket_id])

    def worst_nodes(self) -> list[NodeUptime]:
        """Return the nodes that have a report, the worst first."""
        found = [node for node in self._nodes.values() if node.reported]
        return sorted(found, key=lambda node: (node.mean, node.ip or "", min(node.bucket_ids)))

    def _add_rows(self, day: date, place: int, rows: Iterable[NodeDay]) -> None:
        buckets: dict[str, list[float | None]] = {}
        regions: dict[str | None, list[float | None]] = {}
        nodes: dict[_NodeKey, list[float | None]] = {}
        known = self._nodes
        # This loop runs for each of millions of rows, so it does nothing but sort them.
        for row in rows:
            bucket_id, ip, region, uptime = row.bucket_id, row.ip, row.region, row.uptime_percent
            if uptime is not None and not 0.0 <= uptime <= 100.0:
                uptime = _bounded(uptime)
            key: _NodeKey = (ip, region, "", 0)
            if ip is None:
                key = (ip, region, bucket_id, row.place)
            buckets.setdefault(bucket_id, []).append(uptime)
            regions.setdefault(region, []).append(uptime)
            nodes.setdefault(key, []).append(uptime)
            node = known.get(key)
            if node is None:
                node = known[key] = NodeUptime(ip=ip, region=region)
            node.bucket_ids.add(bucket_id)
        for region, uptimes in regions.items():
            self.regions.setdefault(region, Sums()).add(uptimes)
        for bucket_id, uptimes in buckets.items():
            self._add_day(bucket_id, place, _mean(uptimes))
        for key, uptimes in nodes.items():
            self._nodes[key].add_day(day, _mean(uptimes))

    def _add_day(self, bucket_id: str, place: int, uptime: float | None) -> None:
        values = self._buckets.setdefault(bucket_id, array("d"))
        values.extend([_NO_REPORT] * (place - len(values)))
        values.append(_NO_REPORT if uptime is None else uptime)

    def _bucket(self, bucket_id: str, mean: float | None) -> BucketUptime:
        days = _days(self._buckets[bucket_id])
        days.extend([None] * (self.span - len(days)))
        reported = [(value, place) for place, value in enumerate(days) if value is not None]
        below = sum(value < LOW for value, _ in reported)
        worst = min(reported)[1] if reported else None
        return BucketUptime(bucket_id, days, mean, len(reported), below, worst)


def _bounded(uptime: float) -> float | None:
    """Return the nearest of 0 and 100; None if it is no number, or infinite."""
    return min(max(uptime, 0.0), 100.0) if math.isfinite(uptime) else None


def _days(values: Iterable[float]) -> list[float | None]:
    return [None if value == _NO_REPORT else value for value in values]


def _mean(uptimes: Sequence[float | None]) -> float | None:
    if len(uptimes) == 1:
        return uptimes[0]
    reported = [uptime for uptime in uptimes if uptime is not None]
    return math.fsum(reported) / len(reported) if reported else None


def _order(mean: float | None, bucket_id: str) -> tuple[float, str]:
    return (math.inf if mean is None else mean), bucket_id
