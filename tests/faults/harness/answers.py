"""Answers of the API, as bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from http import HTTPStatus

Headers = Mapping[str, str] | Iterable[tuple[str, str]]


def response(
    status: int = 200, body: object = b"", headers: Headers = (), *, length: int | None = -1
) -> bytes:
    """Return an HTTP/1.1 answer; a body that is neither bytes nor text is sent as JSON.

    ``length`` is the Content-Length: -1 is the real length, and None leaves the header out. A
    header that is passed replaces the default one.
    """
    if isinstance(body, str):
        body = body.encode()
    elif not isinstance(body, bytes):
        body = json.dumps(body).encode()
    given = list(headers.items() if isinstance(headers, Mapping) else headers)
    names = {name.lower() for name, _ in given}
    if "content-type" not in names:
        given.append(("Content-Type", "application/json"))
    if length is not None and "content-length" not in names:
        given.append(("Content-Length", str(len(body) if length < 0 else length)))
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {status:03d} {phrase}", *(f"{name}: {value}" for name, value in given)]
    return "\r\n".join((*lines, "", "")).encode("latin-1") + body


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """Return a body in chunks; ``end`` may be empty or wrong."""
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + end


def status_body(bucket_id: str) -> dict[str, object]:
    node = {
        "ip": "10.0.0.1",
        "region": "eu",
        "version": "1.0.0",
        "status": "ONLINE",
        "latency_ms": 12.5,
        "lastUpdated": "2026-01-02T03:04:05.000Z",
    }
    return {"success": True, "bucketId": bucket_id, "nodeStatus": [node]}


def stats_body(bucket_ids: Iterable[str]) -> dict[str, object]:
    counts = {
        "totalCount": "3",
        "totalUploadBytes": "100",
        "totalDownloadBytes": "50",
        "totalSizeChange": "-10",
    }
    return {"success": True, "stats": [{"bucketId": name, **counts} for name in bucket_ids]}


def node_stats_body() -> dict[str, object]:
    node = {
        "ip": "10.0.0.1",
        "host": "node-1",
        "perc_uptime": 99.5,
        "avg_latency_ms": 12.5,
        "version": "1.0.0",
        "node_status": "ONLINE",
        "last_updated": "2026-01-02T03:04:05.000Z",
        "last_latency_ms": 11.0,
    }
    return {"success": True, "nodeStats": [node]}


def ok_status(bucket_id: str) -> bytes:
    return response(body=status_body(bucket_id))


def ok_stats(bucket_ids: Iterable[str]) -> bytes:
    return response(body=stats_body(bucket_ids))


def ok_node_stats() -> bytes:
    return response(body=node_stats_body())
