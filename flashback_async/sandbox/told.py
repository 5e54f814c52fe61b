"""What a sandbox can be told about its world."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

from flashback_async.sandbox import checks
from flashback_async.sandbox.world import World


class _Unset:
    """The default of an argument for which None has a meaning."""

    def __repr__(self) -> str:
        return "..."


_UNSET = _Unset()


class Told:
    """The part of ``Sandbox`` that changes its world; any thread may call it."""

    __slots__ = ("_lock", "_world")

    def __init__(self, world: World) -> None:
        self._world = world
        self._lock = threading.RLock()

    @property
    def token(self) -> str:
        """The only bearer token that is accepted now."""
        return self._world.token

    @property
    def bucket_ids(self) -> tuple[str, ...]:
        """The ids of all buckets in the workspace."""
        with self._lock:
            return self._world.bucket_ids

    @property
    def forbidden_ids(self) -> tuple[str, ...]:
        """The ids of some buckets outside the workspace; requests for them get a 403."""
        return self._world.account.forbidden_ids

    def node_ips(self, bucket_id: str) -> tuple[str, ...]:
        """Return the addresses of a bucket's nodes, for use with `set_state` and `set_node`.

        Raises:
            ValueError: The workspace has no such bucket.
        """
        with self._lock:
            return self._world.account.node_ips(self._find(bucket_id))

    def set_state(self, bucket_id: str, ip: str, state: str) -> None:
        """Set the state of a node, as reported for this bucket from now on.

        It appears in the bucket's status and in today's node statistics until it is set again.

        Args:
            bucket_id: A bucket of the workspace.
            ip: The address of one of its nodes.
            state: Any text; the real API sends ONLINE, OFFLINE or DISCONNECTED.

        Raises:
            ValueError: There is no such bucket or node, or the state is not text.
        """
        checks.text("state", state)
        with self._lock:
            self._world.set_state(self._find_node(bucket_id, ip), ip, state)

    def set_node(
        self,
        bucket_id: str,
        ip: str,
        *,
        latency_ms: float | _Unset | None = _UNSET,
        version: str | _Unset | None = _UNSET,
        region: str | _Unset | None = _UNSET,
        last_updated: datetime | _Unset | None = _UNSET,
    ) -> None:
        """Set what a bucket's status says of a node from now on; None leaves the field out.

        Args:
            bucket_id: A bucket of the workspace.
            ip: The address of one of its nodes.
            latency_ms: Milliseconds, 0 or more.
            version: Any text.
            region: Any text.
            last_updated: A time with a time zone.

        Raises:
            ValueError: There is no such bucket or node, or a value is not of its kind.
        """
        fields = _given(
            latency_ms=("latency_ms", latency_ms, checks.duration),
            version=("version", version, checks.text),
            region=("region", region, checks.text),
            lastUpdated=("last_updated", last_updated, checks.moment),
        )
        with self._lock:
            self._world.set_node(self._find_node(bucket_id, ip), ip, fields)

    def set_day(
        self,
        bucket_id: str,
        day: date,
        ip: str,
        *,
        uptime_percent: float | _Unset | None = _UNSET,
        avg_latency_ms: float | _Unset | None = _UNSET,
        state: str | _Unset | None = _UNSET,
    ) -> None:
        """Set what a bucket's node statistics say of a node on one day; None leaves it out.

        Args:
            bucket_id: A bucket of the workspace.
            day: The UTC day, from 2020-01-01 on; before that, the account has no figures.
            ip: The address of one of its nodes.
            uptime_percent: 0 to 100.
            avg_latency_ms: Milliseconds, 0 or more.
            state: Any text.

        Raises:
            ValueError: There is no such bucket or node, or a value is not of its kind.
        """
        checks.day("day", day)
        fields = _given(
            perc_uptime=("uptime_percent", uptime_percent, checks.percent),
            avg_latency_ms=("avg_latency_ms", avg_latency_ms, checks.duration),
            node_status=("state", state, checks.text),
        )
        with self._lock:
            self._world.set_day(self._find_node(bucket_id, ip), day, ip, fields)

    def set_totals(
        self,
        bucket_id: str,
        *,
        count: int | _Unset | None = _UNSET,
        upload_bytes: int | _Unset | None = _UNSET,
        download_bytes: int | _Unset | None = _UNSET,
        size_change: int | _Unset | None = _UNSET,
    ) -> None:
        """Set the counters of a bucket's statistics from now on; None leaves one out.

        Args:
            bucket_id: A bucket of the workspace.
            count: Objects, 0 or more; every counter has at most 1,000 digits.
            upload_bytes: Bytes, 0 or more.
            download_bytes: Bytes, 0 or more.
            size_change: Bytes; may be negative.

        Raises:
            ValueError: There is no such bucket, or a value is not a whole number in its range.
        """
        fields = _given(
            totalCount=("count", count, checks.count),
            totalUploadBytes=("upload_bytes", upload_bytes, checks.count),
            totalDownloadBytes=("download_bytes", download_bytes, checks.count),
            totalSizeChange=("size_change", size_change, checks.whole_text),
        )
        with self._lock:
            self._world.set_totals(self._find(bucket_id), fields)

    def add_bucket(self, bucket_id: str | None = None) -> str:
        """Add a bucket to the workspace, and return its id.

        Args:
            bucket_id: 1 to 256 characters that can stand in a path; None makes one up.

        Raises:
            ValueError: The id breaks that rule, or there is such a bucket already.
        """
        with self._lock:
            if bucket_id is not None:
                checks.bucket_id("bucket_id", bucket_id)
                if self._is_known(bucket_id):
                    raise ValueError(f"bucket_id must be new, but there is {bucket_id!r} already")
            return self._world.add(bucket_id)

    def remove_bucket(self, bucket_id: str) -> None:
        """Remove a bucket from the workspace; requests for it get a 404.

        Raises:
            ValueError: The workspace has no such bucket.
        """
        with self._lock:
            self._world.remove(self._find(bucket_id))

    def rotate_token(self) -> str:
        """Replace the token and return the new one; the old one is refused from now on."""
        with self._lock:
            return self._world.rotate_token()

    def _is_known(self, bucket_id: str) -> bool:
        world = self._world
        return world.account.is_forbidden(bucket_id) or world.find(bucket_id) is not None

    def _check_known(self, bucket_id: str) -> None:
        checks.text("bucket_id", bucket_id)
        with self._lock:
            if not self._is_known(bucket_id):
                raise ValueError(
                    "bucket_id must be a bucket of the workspace or one of forbidden_ids, "
                    f"not {bucket_id!r}"
                )

    def _find(self, bucket_id: str) -> int:
        checks.text("bucket_id", bucket_id)
        number = self._world.find(bucket_id)
        if number is None:
            raise ValueError(f"bucket_id must be a bucket of the workspace, not {bucket_id!r}")
        return number

    def _find_node(self, bucket_id: str, ip: str) -> int:
        number = self._find(bucket_id)
        if ip not in self._world.account.node_ips(number):
            raise ValueError(f"ip must be a node of bucket {bucket_id}, not {ip!r}")
        return number


def _given(**fields: tuple[str, object, Callable[[str, Any], object]]) -> dict[str, object]:
    """Return the values that were given, as they are sent, by their names on the wire.

    Each field is the argument's name, its value, and the function that checks and converts it.
    """
    return {
        wire: None if value is None else convert(name, value)
        for wire, (name, value, convert) in fields.items()
        if not isinstance(value, _Unset)
    }
