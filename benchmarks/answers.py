"""The servers' answers, and the ids that the contenders request."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import count, islice

TOKEN = "a-token-of-the-usual-length-0123456789"
DAY = date(2024, 1, 15)
DAY_ASKED = {"day": f"{DAY.isoformat()}T00:00:00.000Z"}  # the body of a request
SIZES = (3, 50)  # nodes in an answer
LATENCY = 0.03  # seconds until the late server answers
LISTED = 100  # ids in a list request
BUCKET_ID = "{:08x}-6147-41f8-a0a1-b65534fbbb2e"

_STATES = ("ONLINE", "ONLINE", "ONLINE", "ONLINE", "OFFLINE", "ONLINE", "DISCONNECTED")
_REGIONS = ("us-east-1", "europe-west1", "ap-southeast-2", "eu-north-1")
_FIRST = datetime(2024, 1, 15, 10, 30, tzinfo=UTC)


class Ids:
    """A source of bucket ids of one length, all of them distinct."""

    def __init__(self) -> None:
        self._numbers = count()

    def take(self, how_many: int) -> list[str]:
        return [bucket_id(n) for n in islice(self._numbers, how_many)]


def bucket_id(number: int) -> str:
    return BUCKET_ID.format(number)


def bucket_ids(how_many: int) -> Iterator[str]:
    return map(bucket_id, range(how_many))


def status_parts(nodes: int) -> tuple[bytes, bytes]:
    """Return the parts before and after the bucket's id in the answer to a status request."""
    listed = [
        {
            "ip": f"10.{n // 250}.{n % 250}.7",
            "region": _REGIONS[n % len(_REGIONS)],
            "version": f"1.4.{n % 10}",
            "status": _STATES[n % len(_STATES)],
            "latency_ms": 20 + n * 7 % 180,
            "lastUpdated": _time(n),
        }
        for n in range(nodes)
    ]
    return b'{"bucketId":"', b'","nodeStatus":' + _dump(listed) + b"}"


def node_stats_body(nodes: int) -> bytes:
    listed = [
        {
            "ip": f"10.{n // 250}.{n % 250}.7",
            "host": f"*-{_REGIONS[n % len(_REGIONS)]}-aws.flashback.tech",
            "perc_uptime": round(99.99 - n % 30 / 7, 2),
            "avg_latency_ms": round(20 + n * 7 % 180 + n / 100, 2),
            "version": f"1.4.{n % 10}",
            "node_status": _STATES[n % len(_STATES)],
            "last_updated": _time(n),
            "last_latency_ms": 20 + n * 11 % 180,
        }
        for n in range(nodes)
    ]
    return b'{"success":true,"nodeStats":' + _dump(listed) + b"}"


def stats_body(ids: Iterable[bytes]) -> bytes:
    """Return the answer to a list request, with totals that differ from bucket to bucket."""
    items = [
        b'{"bucketId":"%b","totalCount":"%d","totalUploadBytes":"%d",'
        b'"totalDownloadBytes":"%d","totalSizeChange":"%d"}'
        % (bucket, 1250 + n, 5_368_709_120 + n * 4096, 2_147_483_648 + n * 512, -n * 1024)
        for n, bucket in enumerate(ids)
    ]
    return b'{"success":true,"stats":[' + b",".join(items) + b"]}"


def _time(n: int) -> str:
    return (_FIRST + timedelta(seconds=n)).isoformat().replace("+00:00", "Z")


def _dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
