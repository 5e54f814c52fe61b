"""The world that the sandbox serves: an account, and what it was told to be otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime

from flashback_async.sandbox.data import Account, JsonObject

Fields = Mapping[str, object]  # by their names on the wire; None leaves a field out


class World:
    """The buckets of the workspace, the state of their nodes, and the token.

    Buckets are known by number, which they keep: removing one changes no other.
    """

    def __init__(self, account: Account, buckets: int) -> None:
        """Begin with so many buckets."""
        self.account = account
        self._first = buckets
        self.reset()

    def reset(self) -> None:
        """Be as in the beginning."""
        account = self.account
        self._ids = {number: account.bucket_id(number) for number in range(self._first)}
        self._numbers = {bucket_id: number for number, bucket_id in self._ids.items()}
        self._next = self._first
        self._tokens = 0
        self.token = account.token(0)
        self._states: dict[int, dict[str, str]] = {}
        self._nodes: dict[int, dict[str, Fields]] = {}
        self._days: dict[tuple[int, date], dict[str, Fields]] = {}
        self._totals: dict[int, Fields] = {}

    def rotate_token(self) -> str:
        """Replace the token, and return the new one."""
        self._tokens += 1
        self.token = self.account.token(self._tokens)
        return self.token

    # Buckets.

    @property
    def bucket_ids(self) -> tuple[str, ...]:
        """The ids of all buckets."""
        return tuple(self._ids.values())

    def find(self, bucket_id: str) -> int | None:
        """Return the number of a bucket, or None if it is not in the workspace."""
        return self._numbers.get(bucket_id.lower())

    def holds(self, number: int) -> bool:
        """Return whether a bucket is still in the workspace."""
        return number in self._ids

    def add(self, bucket_id: str | None) -> str:
        """Add a bucket that is not there yet, and return its id; None makes one up."""
        number, self._next = self._next, self._next + 1
        bucket_id = bucket_id or self.account.bucket_id(number)
        self._ids[number] = bucket_id
        self._numbers[bucket_id.lower()] = number
        return bucket_id

    def remove(self, number: int) -> None:
        """Remove a bucket."""
        del self._numbers[self._ids.pop(number).lower()]

    def select(self, bucket_ids: Iterable[str]) -> list[int]:
        """Return the numbers of those that are in the workspace, in its order, each once."""
        return sorted({n for n in map(self.find, bucket_ids) if n is not None})

    def numbers(self) -> list[int]:
        """Return the numbers of all buckets."""
        return list(self._ids)

    # What it was told.

    def set_state(self, number: int, ip: str, state: str) -> None:
        """Set the state of a node."""
        self._states.setdefault(number, {})[ip] = state

    def set_node(self, number: int, ip: str, fields: Fields) -> None:
        """Set fields of a node's status."""
        nodes = self._nodes.setdefault(number, {})
        nodes[ip] = {**nodes.get(ip, {}), **fields}

    def set_day(self, number: int, day: date, ip: str, fields: Fields) -> None:
        """Set fields of a node's figures of a day."""
        nodes = self._days.setdefault((number, day), {})
        nodes[ip] = {**nodes.get(ip, {}), **fields}

    def set_totals(self, number: int, fields: Fields) -> None:
        """Set counters of a bucket."""
        self._totals[number] = {**self._totals.get(number, {}), **fields}

    # What it answers.

    def stats(self, number: int, day: date) -> JsonObject:
        """Return a bucket's totals, as sent over HTTP."""
        totals = {"bucketId": self._ids[number], **self.account.stats(number, day)}
        return _told(totals, self._totals.get(number, {}))

    def status(self, number: int, now: datetime) -> JsonObject:
        """Return the current state of a bucket's nodes, as sent over HTTP."""
        nodes = self.account.status(number, now, self._states.get(number, {}))
        told = self._nodes.get(number, {})
        listed = [_told(node, told.get(str(node["ip"]), {})) for node in nodes]
        return {"bucketId": self._ids[number], "nodeStatus": listed}

    def daily(self, number: int, day: date, now: datetime) -> list[JsonObject]:
        """Return the figures of a bucket's nodes for a day, as sent over HTTP."""
        nodes = self.account.daily(number, day, now, self._states.get(number, {}))
        told = self._days.get((number, day), {})
        return [_told(node, told.get(str(node["ip"]), {})) for node in nodes]


def _told(drawn: JsonObject, told: Fields) -> JsonObject:
    """Return an object with the values that it was told to have."""
    merged = {**drawn, **told}
    return {name: value for name, value in merged.items() if value is not None}
