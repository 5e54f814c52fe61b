"""One bucket in full: its nodes as a watch knows them, and its last changes."""

from __future__ import annotations

import json
from collections import deque
from datetime import UTC, datetime

from flashback_async import BucketView, Change, to_dict
from flashback_async.pages.dashboard.picture import condition_of, reason
from flashback_async.pages.estate import Trouble

_KEPT = 20  # changes of a bucket


class Histories:
    """The last changes of each bucket, as JSON texts, the newest first."""

    def __init__(self) -> None:
        self._changes: dict[str, deque[str]] = {}

    def add(self, change: Change) -> None:
        """Record a change of a bucket."""
        changes = self._changes.setdefault(change.bucket_id, deque(maxlen=_KEPT))
        changes.appendleft(json.dumps(_record(change), separators=(",", ":")))

    def drop(self, bucket_id: str) -> None:
        """Forget the changes of a bucket that is not watched any more."""
        self._changes.pop(bucket_id, None)

    def of(self, bucket_id: str) -> list[object]:
        """Return the changes of a bucket."""
        return [json.loads(change) for change in self._changes.get(bucket_id, ())]


def details(view: BucketView, trouble: Trouble | None, changes: list[object]) -> dict[str, object]:
    """Return a bucket as an object for JSON."""
    return {
        "bucket_id": view.bucket_id,
        "condition": condition_of(view, trouble).name,
        "since": _time(trouble and trouble.since),
        "error": reason(trouble.error if trouble else view.error),
        "asked_at": _time(view.asked_at),
        "nodes": [
            # Its name tells a node without an address, and its confirmed state is what counts.
            {**to_dict(node.node), "ip": node.ip, "state": node.state, "since": _time(node.since)}
            for node in view.nodes
        ],
        "changes": changes,
    }


def _record(change: Change) -> dict[str, object]:
    record: dict[str, object] = {**to_dict(change)}
    del record["node"], record["bucket_id"]
    record["error"] = reason(change.error)
    return record


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
