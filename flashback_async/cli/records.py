"""The keys and CSV lines of each resource: exact and complete."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar

import attrs
from attrs import frozen

from flashback_async import (
    BucketDay,
    BucketStats,
    BucketStatus,
    DailyNodeStats,
    FlashbackError,
    NodeStatus,
    Outcome,
    to_dict,
    to_json,
)
from flashback_async.cli import text

K = TypeVar("K")
V = TypeVar("V")


@frozen
class View(Generic[K, V]):
    """The form of one resource's keys and values in the output."""

    noun: str
    key_names: tuple[str, ...]
    key: Callable[[K], tuple[str, ...]]
    item: type  # the attrs class of what one CSV line or table row holds
    items: Callable[[V], Sequence[Any]]
    is_timed: bool = False  # whether its records say when they were asked for

    def label(self, key: K) -> str:
        return text.printable(" ".join(self.key(key)))

    def csv_header(self) -> list[str]:
        return [*self.key_names, *self._csv_fields(), *["asked_at"] * self.is_timed, "error"]

    def csv_lines(self, outcome: Outcome[K, V], asked_at: datetime) -> list[list[object]]:
        """Return the CSV lines of an outcome: one for each item, and at least one."""
        asked = [text.utc(asked_at)] * self.is_timed
        key = [text.printable(part) for part in self.key(outcome.key)]
        fields = self._csv_fields()
        blank = [None] * len(fields)
        if outcome.error is not None:
            return [[*key, *blank, *asked, reason(outcome.error)]]
        lines = [
            [*key, *(_csv_value(record[name]) for name in fields), *asked, None]
            for record in to_dict(self.items(outcome.unwrap()))
        ]
        return lines or [[*key, *blank, *asked, None]]

    def json_record(self, outcome: Outcome[K, V], asked_at: datetime) -> str:
        """Return the JSON of an outcome."""
        record = to_json(outcome)
        if not self.is_timed:
            return record
        return f'{record.removesuffix("}")}, "asked_at": {json.dumps(text.utc(asked_at))}}}'

    def _csv_fields(self) -> list[str]:
        return [f.name for f in attrs.fields(self.item) if f.name != "bucket_id"]


def reason(error: FlashbackError) -> str:
    """Return on one line why a call failed, without its operation and bucket."""
    after = f", after {error.attempts} requests" if error.attempts > 1 else ""
    return f"{type(error).__name__}: {words(error)}{after}"


def words(error: FlashbackError) -> str:
    """Return the message of an error without its operation, bucket and effort."""
    return text.printable(str(error.args[0]) if error.args else type(error).__name__)


def _csv_value(value: object) -> object:
    return text.printable(value) if isinstance(value, str) else value


STATUS: View[str, BucketStatus] = View(
    noun="bucket",
    key_names=("bucket_id",),
    key=lambda bucket_id: (bucket_id,),
    item=NodeStatus,
    items=lambda status: status.nodes,
    is_timed=True,
)

STATS: View[str, BucketStats] = View(
    noun="bucket",
    key_names=("bucket_id",),
    key=lambda bucket_id: (bucket_id,),
    item=BucketStats,
    items=lambda stats: [stats],
)

NODE_STATS: View[BucketDay, list[DailyNodeStats]] = View(
    noun="bucket day",
    key_names=("bucket_id", "day"),
    key=lambda key: (key.bucket_id, key.day.isoformat()),
    item=DailyNodeStats,
    items=lambda nodes: nodes,
)
