"""What the dashboard draws, in a compact JSON form: the whole of it, and what has changed since.

A bucket is a record:
``[condition, [state, region, ...], [[place, name, since], ...], since, why]``.
States and regions are numbers of names that are sent once. The third item has the nodes that are
not ONLINE. The last two are there if something is wrong with the bucket as a whole. Whatever is
empty at the end of a record is left out. Times are whole seconds since 1970.
"""

from __future__ import annotations

import json
from collections import deque
from datetime import datetime
from enum import IntEnum

from flashback_async import BucketView, Change, FlashbackError, NodeState
from flashback_async.pages.estate import Trouble

_MOST_NEWS = 30  # changes in a snapshot
_MOST_NAMES = 500  # the API may make up a new state each time
_OTHERS = "(other)"


class Condition(IntEnum):
    """What is known of a bucket as a whole."""

    ANSWERED = 0
    NOT_ASKED = 1
    UNKNOWN = 2
    GONE = 3


class Picture:
    """The records of all buckets, ordered by id, and the last changes.

    Each record is encoded once, when it changes. So the whole is made by joining texts.

    Attributes:
        version: How often the picture has changed; a delta leads to it from the version before.
    """

    def __init__(self) -> None:
        self.version = 0
        self._states = _Names(None, *NodeState)
        self._regions = _Names(None)
        self._records: dict[str, str] = {}
        self._order: list[str] = []
        self._ids = ""  # the order as JSON
        self._places: dict[str, int] | None = {}  # in the order; None if that is an old one
        self._changed: set[str] = set()
        self._news: deque[str] = deque(maxlen=_MOST_NEWS)
        self._fresh = 0  # changes since the last version

    def __len__(self) -> int:
        """Return the number of buckets."""
        return len(self._records)

    def put(self, view: BucketView, trouble: Trouble | None) -> None:
        """Set a bucket to what is known of it now."""
        bucket_id = view.bucket_id
        record = self._record(view, trouble)
        before = self._records.get(bucket_id)
        if record == before:
            return
        self._records[bucket_id] = record
        self._changed.add(bucket_id)
        if before is None:
            self._places = None

    def drop(self, bucket_id: str) -> None:
        """Leave out a bucket that is not watched any more."""
        if self._records.pop(bucket_id, None) is not None:
            self._changed.discard(bucket_id)
            self._places = None

    def tell(self, change: Change) -> None:
        """Add a change to the last ones."""
        about = [change.kind, change.bucket_id, change.ip, change.before, change.after]
        self._news.appendleft(_dumps([_seconds(change.at), *about]))
        self._fresh += 1

    @property
    def has_changed(self) -> bool:
        """Whether there is a new version to make."""
        return self._places is None or bool(self._changed or self._fresh)

    def delta(self) -> str | None:
        """Make a new version; return what leads to it, or None if only a snapshot does.

        A snapshot is due after buckets have come or gone, and if it is hardly longer.
        """
        self.version += 1
        changed, self._changed = self._changed, set()
        fresh, self._fresh = min(self._fresh, _MOST_NEWS), 0
        grown = self._states.take_growth(), self._regions.take_growth()
        if self._places is None:
            self._order = sorted(self._records)
            self._ids = ",".join(map(_dumps, self._order))
            self._places = {bucket_id: place for place, bucket_id in enumerate(self._order)}
            return None
        if 2 * len(changed) > len(self._records) > 100:
            return None
        places = sorted((self._places[bucket_id], bucket_id) for bucket_id in changed)
        buckets = ",".join(f"[{place},{self._records[name]}]" for place, name in places)
        names = self._names() if any(grown) else ""
        news = ",".join(list(self._news)[:fresh])
        return f'{{"v":{self.version},{names}"buckets":[{buckets}],"news":[{news}]}}'

    def snapshot(self) -> str:
        """Return the whole picture of this version.

        Of what has changed since, it may hold a part. The next delta holds all of that.
        """
        unasked = f"[{Condition.NOT_ASKED:d},[]]"
        # A bucket of this version may have left since.
        buckets = ",".join([self._records.get(bucket_id, unasked) for bucket_id in self._order])
        news = ",".join(list(self._news)[self._fresh :])  # the rest comes with the next delta
        return (
            f'{{"v":{self.version},{self._names()}"ids":[{self._ids}],'
            f'"buckets":[{buckets}],"news":[{news}]}}'
        )

    def _names(self) -> str:
        return f'"states":{_dumps(self._states.all)},"regions":{_dumps(self._regions.all)},'

    def _record(self, view: BucketView, trouble: Trouble | None) -> str:
        nodes: list[int] = []
        problems = []
        for place, node in enumerate(view.nodes):
            nodes += (self._states.number(node.state), self._regions.number(node.node.region))
            if node.state != NodeState.ONLINE:
                problems.append([place, node.ip, _seconds(node.since)])
        record: list[object] = [int(condition_of(view, trouble)), nodes]
        if problems or trouble is not None:
            record.append(problems)
        if trouble is not None:
            record += [_seconds(trouble.since), reason(trouble.error)]
        return _dumps(record)


class _Names:
    """Names, each with a number; those beyond a limit share one."""

    def __init__(self, *first: str | None) -> None:
        self.all: list[str | None] = list(first)
        self._numbers = {name: number for number, name in enumerate(first)}
        self._told = len(first)

    def number(self, name: str | None) -> int:
        number = self._numbers.get(name)
        if number is None:
            if len(self.all) >= _MOST_NAMES:
                return self._numbers.get(_OTHERS) or self._add(_OTHERS)
            number = self._add(name)
        return number

    def take_growth(self) -> bool:
        """Return whether there are names that the last call did not know of."""
        has_grown, self._told = len(self.all) > self._told, len(self.all)
        return has_grown

    def _add(self, name: str | None) -> int:
        number = self._numbers[name] = len(self.all)
        self.all.append(name)
        return number


def condition_of(view: BucketView, trouble: Trouble | None) -> Condition:
    """Return what is known of a bucket as a whole."""
    if trouble is not None:
        return Condition[trouble.state]
    return Condition.NOT_ASKED if view.asked_at is None else Condition.ANSWERED


def reason(error: FlashbackError | None) -> str | None:
    """Return why a call failed, without its operation and bucket."""
    if error is None:
        return None
    return f"{type(error).__name__}: {error.args[0]}" if error.args else type(error).__name__


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


_dumps = json.JSONEncoder(separators=(",", ":")).encode
