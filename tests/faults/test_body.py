"""Faults in the body of an answer that is otherwise valid."""

from __future__ import annotations

import asyncio
import copy
import gzip
import json
import logging
import re
import zlib
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import attrs
import psutil
import pytest

from flashback_async import (
    APIError,
    DecodeError,
    FlashbackClient,
    Limits,
    NodeState,
    NotFoundError,
    ResponseTooLargeError,
    RetryPolicy,
)
from tests.faults.harness import server
from tests.faults.harness.answers import node_stats_body, response, stats_body, status_body
from tests.faults.harness.fault import GUARD, Fault

MIB = 2**20
DEFAULT_LIMIT = 32 * MIB

Call = Callable[[FlashbackClient], Awaitable[object]]


def status(client: FlashbackClient) -> Awaitable[object]:
    return client.status.get("bucket-1")


def stats(client: FlashbackClient) -> Awaitable[object]:
    return client.bucket_stats.list(["bucket-1"])


def node_stats(client: FlashbackClient) -> Awaitable[object]:
    return client.node_stats.get("bucket-1", "2026-01-02")


CALLS = pytest.mark.parametrize("call", [status, stats, node_stats])

# Where an answer has its list of items.
LISTS = {status: "nodeStatus", stats: "stats", node_stats: "nodeStats"}


def good_body(call: Call) -> dict[str, object]:
    if call is status:
        return status_body("bucket-1")
    return stats_body(["bucket-1"]) if call is stats else node_stats_body()


def body_with(call: Call, **fields: object) -> dict[str, object]:
    """Return a good answer with changed fields in its one item; ``...`` removes a field."""
    body = good_body(call)
    [item] = body[LISTS[call]]
    body[LISTS[call]] = [{k: v for k, v in (item | fields).items() if v is not ...}]
    return body


def raw_body_with(call: Call, field: str, text: bytes) -> bytes:
    """Return a body with text in a field of its one item, whether or not it is JSON."""
    return json.dumps(body_with(call, **{field: "HERE"})).encode().replace(b'"HERE"', text)


def item_of(call: Call, result: object) -> object:
    return result.nodes[0] if call is status else result[0]


async def refused(
    fault: Fault, call: Call, body: object, says: str | Iterable[str], path: str = "$", **more: str
) -> DecodeError:
    """Check that an answer with this body is a ``DecodeError`` after one request."""
    await fault.serve(then=response(body=body, headers={"x-request-id": "id-7"}))
    says = [says] if isinstance(says, str) else says
    says = ["status 200, application/json", "request id 'id-7'", *says]
    error = await fault.error(call(fault.client()), DecodeError, attempts=1, says=says, **more)
    assert (error.path, error.status, error.request_id) == (path, 200, "id-7")
    fault.retried()
    fault.wire(1, connections=1, after="reused")
    return error


def offset_in(error: DecodeError) -> int:
    """Return the place in the body that an error names."""
    [offset] = re.findall(r"\(byte ([0-9]+)\)", str(error))
    return int(offset)


async def taken(fault: Fault, call: Call, body: object) -> object:
    """Check that an answer with this body is a success after one request."""
    await fault.serve(then=response(body=body))
    result = await fault.result(call(fault.client()))
    fault.retried()
    fault.wire(1, connections=1, after="reused")
    return result


# What is no JSON, or none that can be read.


@pytest.mark.parametrize(
    ("body", "says"),
    [
        pytest.param(b'{"nodeStatus": [}', "(byte 16)", id="misplaced"),
        pytest.param(b"{'nodeStatus': []}", "(byte 1)", id="quotes"),
        pytest.param(b'{"nodeStatus": []', "ended early, after 17 bytes", id="early"),
        pytest.param(b"<?xml version='1.0'?>", "(byte 0)", id="xml"),
        pytest.param(b'{"nodeStatus": [] /* none */}', "(byte 18)", id="comment"),
        pytest.param(b'{"nodeStatus": [] ' + b"x" * 5000, "(byte 18)", id="long"),
    ],
)
async def test_B01_invalid_json(fault: Fault, body: bytes, says: str):
    error = await refused(fault, status, body, (says, "the body starts with"))
    assert body[:20].decode() in str(error)
    assert "x" * 70 not in str(error)  # with the 18 characters before them these were more than 80


async def test_B01_content_type_is_missing(fault: Fault):
    await fault.serve(then=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{]")
    says = ("(byte 1)", "no content type")
    await fault.error(status(fault.client()), DecodeError, attempts=1, says=says)
    fault.retried()
    fault.wire(1, after="reused")


async def test_B01_content_type_is_another(fault: Fault):
    await fault.serve(then=response(body=b"{]", headers={"Content-Type": "text/plain; x=y"}))
    says = ("(byte 1)", "status 200, text/plain")
    await fault.error(status(fault.client()), DecodeError, attempts=1, says=says, never="x=y")
    fault.retried()
    fault.wire(1, after="reused")


@CALLS
@pytest.mark.parametrize("garbage", [b"x", b"{}", b"\0", b" \n]"])
async def test_B02_garbage_after_the_json(fault: Fault, call: Call, garbage: bytes):
    body = json.dumps(good_body(call)).encode()
    error = await refused(fault, call, body + garbage, "trailing characters")
    assert 0 <= offset_in(error) - len(body) <= len(garbage)


@pytest.mark.parametrize(
    ("body", "offset"),
    [
        pytest.param(b'{"nodeStatus": [{"region": "\xc3("}]}', 28, id="invalid"),
        pytest.param(b'{"nodeStatus": [], "unknown": "\xff"}', 31, id="ignored_field"),
        pytest.param(b'{"nodeStatus": [{"region": "\xed\xa0\x80"}]}', 28, id="surrogate"),
        pytest.param(b'{"nodeStatus": [{"region": "\xc0\xaf"}]}', 28, id="overlong"),
        pytest.param('{"nodeStatus": [{"region": "Zürich"}]}'.encode("latin-1"), 29, id="latin_1"),
        pytest.param('{"nodeStatus": []}'.encode("utf-16"), 0, id="utf_16"),
        pytest.param('{"nodeStatus": []}'.encode("utf-32"), 0, id="utf_32"),
    ],
)
async def test_B03_body_is_not_utf_8(fault: Fault, body: bytes, offset: int):
    await refused(fault, status, body, ("UTF-8", f"byte {offset} "))


async def test_B03_utf_16_without_a_mark(fault: Fault):
    # These bytes are UTF-8 as well, with a NUL after every letter.
    await refused(fault, status, '{"nodeStatus": []}'.encode("utf-16-le"), "(byte 1)")


@CALLS
async def test_B04_byte_order_mark(fault: Fault, call: Call):
    body = b"\xef\xbb\xbf" + json.dumps(good_body(call)).encode()
    await refused(fault, call, body, "(byte 0)")


# How deep is too deep is the interpreter's own: 1,000 levels in Python 3.11, 10,000 and more later.
DEPTHS = pytest.mark.parametrize(
    ("depth", "says"), [(3_000, "JSON"), (100_000, "nesting"), (2_000_000, "nesting")]
)


@DEPTHS
@pytest.mark.parametrize(
    ("start", "opening"),
    [
        pytest.param(b"", b'{"a":', id="objects"),
        pytest.param(b'{"nodeStatus": [{"a":', b"[", id="in_an_item"),
        pytest.param(b'{"nodeStatus": [], "x": ', b"[", id="in_an_ignored_field"),
    ],
)
async def test_B05_nested_too_deep(
    fault: Fault, start: bytes, opening: bytes, depth: int, says: str
):
    await refused(fault, status, start + opening * depth, says)


@pytest.mark.parametrize("depth", [1_000, 100_000, 2_000_000])
@pytest.mark.parametrize(
    ("start", "path"),
    [
        pytest.param(b"", "$", id="top"),
        pytest.param(b'{"nodeStatus":', "$.nodeStatus[0]", id="item"),
    ],
)
async def test_B05_nested_lists_in_place_of_an_object(
    fault: Fault, start: bytes, path: str, depth: int
):
    # The first list is already wrong: how deep they go on is not looked at.
    await refused(fault, status, start + b"[" * depth, f"{path}: expected object", path)


@pytest.mark.parametrize("depth", [900, 1_000])
@CALLS
async def test_B06_deep_but_ignored(fault: Fault, call: Call, depth: int):
    body = raw_body_with(call, "unknown", b"[" * depth + b"]" * depth)
    await fault.serve(then=response(body=body))
    try:
        await fault.result(call(fault.client()))
    except DecodeError as error:  # how deep a parser goes differs between versions of Python
        fault.check(error, DecodeError, says="nesting", attempts=1)
    fault.retried()
    fault.wire(1, after="reused")


@CALLS
async def test_B06_far_too_deep_and_ignored(fault: Fault, call: Call):
    body = raw_body_with(call, "unknown", b"[" * 100_000 + b"]" * 100_000)
    await refused(fault, call, body, "nesting")


# What is too large.


class Memory:
    """The most that this process, with client and server, grows while a block runs."""

    def __enter__(self) -> Memory:
        with suppress(OSError):  # Linux can forget an earlier peak
            Path("/proc/self/clear_refs").write_text("5")
        self._before = psutil.Process().memory_info().rss
        self.growth = 0
        return self

    def look(self) -> None:
        self.growth = max(self.growth, psutil.Process().memory_info().rss - self._before)

    def __exit__(self, *_: object) -> None:
        self.look()
        with suppress(OSError):
            peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
            self.growth = max(self.growth, int(peak[1]) * 1024 - self._before if peak else 0)


async def is_too_large(
    fault: Fault, step: server.Step, *says: str, limits: Limits | None = None
) -> int:
    """Check that an answer ends its call and its connection; return the growth of memory."""
    await fault.serve(then=step)
    client = fault.client(limits=limits or Limits())
    with Memory() as memory:
        says = ("larger than Limits.max_response_bytes", *says)
        await fault.error(status(client), ResponseTooLargeError, attempts=1, says=says)
    fault.retried()
    fault.wire(1, after="closed")
    return memory.growth


def blocks(head: bytes, block: bytes, times: int) -> server.Step:
    async def step(conn: server.Conn, _: server.Request) -> None:
        await conn.send(head)
        for _ in range(times):
            await conn.send(block)

    return step


async def test_B07_declared_size_is_over_the_limit(fault: Fault, bytes_read: list[int]):
    step = blocks(response(length=200 * MIB), b" " * 2**16, 3200)
    growth = await is_too_large(fault, step, f"{DEFAULT_LIMIT} bytes", f"{200 * MIB} bytes")
    assert growth < 16 * MIB
    assert sum(bytes_read) < MIB  # what came in the same packets as the head


async def test_B08_chunks_without_end(fault: Fault, bytes_read: list[int]):
    limit = 4 * MIB
    head = response(headers={"Transfer-Encoding": "chunked"}, length=None)
    step = blocks(head, b"10000\r\n" + b" " * 2**16 + b"\r\n", 3200)
    limits = Limits(max_response_bytes=limit)
    growth = await is_too_large(fault, step, f"{limit} bytes", limits=limits)
    framing = 2**12
    assert limit < sum(bytes_read) <= limit + 2**18 + framing
    assert growth < limit + 16 * MIB


def bomb(kind: str) -> bytes:
    if kind == "deflate":
        packer = zlib.compressobj()
    elif kind == "gzip":
        packer = zlib.compressobj(wbits=31)
    else:
        return gzip.compress(bytes(200 * MIB // 1000)) * 1000
    return b"".join(packer.compress(bytes(MIB)) for _ in range(200)) + packer.flush()


@pytest.mark.parametrize(
    "kind", ["gzip", *[pytest.param(k, marks=pytest.mark.slow) for k in ("members", "deflate")]]
)
async def test_B09_decompression_bomb(fault: Fault, kind: str):
    data = bomb(kind)
    assert len(data) < 300_000
    headers = {"Content-Encoding": "deflate" if kind == "deflate" else "gzip"}
    limits = Limits(max_response_bytes=MIB)
    answer = response(body=data, headers=headers)
    growth = await is_too_large(fault, answer, f"{MIB} bytes", limits=limits)
    assert growth < MIB + 16 * MIB


async def test_B09_small_compressed_body_is_read(fault: Fault):
    body = gzip.compress(json.dumps(good_body(status)).encode())
    await fault.serve(then=response(body=body, headers={"Content-Encoding": "gzip"}))
    await fault.result(status(fault.client()))
    fault.retried()
    fault.wire(1, after="reused")


async def test_B10_absurd_content_length(fault: Fault, bytes_read: list[int]):
    step = [response(length=10**18), server.hang]
    growth = await is_too_large(fault, step, f"{DEFAULT_LIMIT} bytes", str(10**18))
    assert growth < 4 * MIB
    assert sum(bytes_read) < 2**10


# Numbers.


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"nan", b"0x10"])
@pytest.mark.parametrize("field", ["latency_ms", "unknown"])
async def test_B11_number_that_json_does_not_know(fault: Fault, field: str, number: bytes):
    body = raw_body_with(status, field, number)
    at = body.index(number)
    error = await refused(fault, status, body, "JSON is malformed")
    assert 0 <= offset_in(error) - at <= len(number) + 1


@pytest.mark.parametrize("number", [b"1e400", b"-1e400", b"1" + b"0" * 400 + b".5"])
@pytest.mark.parametrize(
    ("call", "field"),
    [
        (status, "latency_ms"),
        (stats, "totalCount"),
        (node_stats, "perc_uptime"),
        (node_stats, "avg_latency_ms"),
        (node_stats, "last_latency_ms"),
    ],
)
async def test_B11_number_beyond_a_float(fault: Fault, call: Call, field: str, number: bytes):
    path = f"$.{LISTS[call]}[0].{field}"
    await refused(fault, call, raw_body_with(call, field, number), path, path)


COUNTS = {
    "totalCount": "total_count",
    "totalUploadBytes": "total_upload_bytes",
    "totalDownloadBytes": "total_download_bytes",
    "totalSizeChange": "total_size_change",
}
EXACT = [2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1]


@pytest.mark.parametrize("field", COUNTS)
@pytest.mark.parametrize(
    "text", [*map(str, EXACT), "9" * 100, "-" + "9" * 100], ids=lambda text: f"{len(text)}_signs"
)
async def test_B12_count_as_text_is_exact(fault: Fault, field: str, text: str):
    [item] = await taken(fault, stats, body_with(stats, **{field: text}))
    got = getattr(item, COUNTS[field])
    assert type(got) is int
    assert str(got) == text


@pytest.mark.parametrize("field", COUNTS)
@pytest.mark.parametrize("number", EXACT)
async def test_B12_count_as_an_integer_is_exact(fault: Fault, field: str, number: int):
    [item] = await taken(fault, stats, body_with(stats, **{field: number}))
    got = getattr(item, COUNTS[field])
    assert (type(got), got) == (int, number)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b'"' + b"9" * 101 + b'"', id="101_digits_of_text"),
        pytest.param(b'"-' + b"9" * 101 + b'"', id="101_digits_of_negative_text"),
        pytest.param(b'"' + b"9" * 5000 + b'"', id="5000_digits_of_text"),
        pytest.param(str(2**64).encode(), id="past_64_bits"),
        pytest.param(str(-(2**63) - 1).encode(), id="past_64_bits_negative"),
        pytest.param(b"9" * 101, id="101_digits"),
        pytest.param(b"9" * 5000, id="5000_digits"),
        pytest.param(b"-" + b"9" * 5000, id="5000_digits_negative"),
    ],
)
@pytest.mark.parametrize("field", COUNTS)
async def test_B12_count_is_too_long(fault: Fault, field: str, value: bytes):
    path = f"$.stats[0].{field}"
    body = raw_body_with(stats, field, value)
    await refused(fault, stats, body, path, path, never="99999999")


@pytest.mark.parametrize("value", [-10, "-10", -(2**63), "-9999999999999999999999"])
@pytest.mark.parametrize("field", COUNTS)
async def test_B13_negative_count_is_passed_through(fault: Fault, field: str, value: object):
    [item] = await taken(fault, stats, body_with(stats, **{field: value}))
    assert getattr(item, COUNTS[field]) == int(value)


@pytest.mark.parametrize(
    ("call", "field", "value", "expected", "got"),
    [
        (status, "latency_ms", "12.5", "float", "str"),
        (status, "latency_ms", True, "float", "bool"),
        (status, "latencyMs", "12.5", "float", "str"),
        (status, "ip", 5, "str", "int"),
        (status, "region", False, "str", "bool"),
        (status, "version", 1.2, "str", "float"),
        (status, "status", 3, "str", "int"),
        (status, "status", {"is": "ONLINE"}, "str", "object"),
        (status, "lastUpdated", True, "datetime", "bool"),
        (stats, "bucketId", 5, "str", "int"),
        (stats, "totalCount", 1.9, "int", "float"),
        (stats, "totalCount", 2.0, "int", "float"),
        (stats, "totalUploadBytes", True, "int", "bool"),
        (stats, "totalDownloadBytes", [], "int", "array"),
        (stats, "totalSizeChange", {}, "int", "object"),
        (node_stats, "perc_uptime", "99", "float", "str"),
        (node_stats, "avg_latency_ms", False, "float", "bool"),
        (node_stats, "last_latency_ms", "12", "float", "str"),
        (node_stats, "host", 1, "str", "int"),
        (node_stats, "node_status", True, "str", "bool"),
    ],
)
async def test_B14_scalar_of_another_type(
    fault: Fault, call: Call, field: str, value: object, expected: str, got: str
):
    path = f"$.{LISTS[call]}[0].{field}"
    says = (f"{path}: expected {expected}", f"got {got}")
    await refused(fault, call, body_with(call, **{field: value}), says, path)


@pytest.mark.parametrize(
    "text", ["", " ", " 5", "5 ", "+5", "--5", "1.9", "5.0", "1e3", "1_000", "0x10", "٣", "false"]
)
async def test_B14_text_that_is_no_count(fault: Fault, text: str):
    path = "$.stats[0].totalCount"
    says = (f"{path}: expected decimal text", "got other text")
    await refused(fault, stats, body_with(stats, totalCount=text), says, path)


@pytest.mark.parametrize("value", ["true", "false", "", 0, 1, 0.0, [], {}])
@CALLS
async def test_B14_success_is_no_bool(fault: Fault, call: Call, value: object):
    body = good_body(call) | {"success": value}
    await refused(fault, call, body, ("$.success: expected bool", "got"), "$.success")


# Shapes.


@pytest.mark.parametrize("value", [None, ...], ids=["null", "missing"])
async def test_B15_required_field(fault: Fault, value: object):
    body = stats_body(["bucket-1", "bucket-2", "bucket-3"])
    third = body["stats"][2]
    third |= {"totalCount": "123123123", "bucketId": value}
    if value is ...:
        del third["bucketId"]
    await refused(
        fault,
        stats,
        body,
        "$.stats[2].bucketId",
        "$.stats[2]" + ".bucketId",
        never="123123123",
    )


@pytest.mark.parametrize("value", [None, ...], ids=["null", "missing"])
@CALLS
async def test_B15_required_list(fault: Fault, call: Call, value: object):
    path = f"$.{LISTS[call]}"
    body = {k: v for k, v in (good_body(call) | {LISTS[call]: value}).items() if v is not ...}
    body["region"] = "somewhere"
    says = "missing" if value is ... else "got null"
    await refused(fault, call, body, (path, says), path, never="somewhere")


@CALLS
async def test_B15_item_is_null(fault: Fault, call: Call):
    body = good_body(call)
    body[LISTS[call]] *= 2
    body[LISTS[call]].append(None)
    path = f"$.{LISTS[call]}[2]"
    says = f"{path}: expected object, got null"
    await refused(fault, call, body, says, path, never="10.0.0.1")


@pytest.mark.parametrize("value", [None, ...], ids=["null", "missing"])
@CALLS
async def test_B16_optional_fields(fault: Fault, call: Call, value: object):
    [item] = good_body(call)[LISTS[call]]
    optional = dict.fromkeys([name for name in item if name != "bucketId"], value)
    result = await taken(fault, call, body_with(call, **optional))
    fields = attrs.asdict(item_of(call, result), recurse=False)
    assert fields.pop("bucket_id", "bucket-1") == "bucket-1"
    assert set(fields.values()) == {None}


@pytest.mark.parametrize("name", ["", None])
async def test_B16_answer_does_not_name_its_bucket(fault: Fault, name: object):
    body = good_body(status)
    body.pop("bucketId")
    if name is None:
        body["bucketId"] = None
    result = await taken(fault, status, body)
    assert result.bucket_id == "bucket-1"


@CALLS
async def test_B17_fields_that_nobody_knows(fault: Fault, call: Call):
    more = {"new": 1, "more": {"a": [None, 1e5, "x"]}, "": [], "__class__": "x", "ünïcode": None}
    with_more = response(body=body_with(call, **more) | more)
    await fault.serve(with_more, response(body=good_body(call)))
    client = fault.client()
    assert await fault.result(call(client)) == await fault.result(call(client))
    fault.retried()
    fault.wire(2, connections=1, after="reused")


@pytest.mark.parametrize("state", ["REBOOTING", "online", "ONLINE ", "", "state", "None"])
@pytest.mark.parametrize(("call", "field"), [(status, "status"), (node_stats, "node_status")])
async def test_B18_unknown_state_stays_as_it_came(fault: Fault, call: Call, field: str, state: str):
    result = await taken(fault, call, body_with(call, **{field: state}))
    got = item_of(call, result).state
    assert (type(got), got) == (str, state)


@pytest.mark.parametrize("state", NodeState)
@pytest.mark.parametrize(("call", "field"), [(status, "status"), (node_stats, "node_status")])
async def test_B18_known_state(fault: Fault, call: Call, field: str, state: NodeState):
    result = await taken(fault, call, body_with(call, **{field: state.value}))
    assert item_of(call, result).state is state


@pytest.mark.parametrize(
    ("body", "got"),
    [
        (b"null", "null"),
        (b"[]", "array"),
        (b'"text"', "str"),
        (b"5", "int"),
        (b"1.5", "float"),
        (b"true", "bool"),
        (b"false", "bool"),
    ],
)
@CALLS
async def test_B19_top_is_no_object(fault: Fault, call: Call, body: bytes, got: str):
    await refused(fault, call, body, f"$: expected object, got {got}")


@pytest.mark.parametrize(
    ("call", "change", "path", "says"),
    [
        (status, {"nodeStatus": {}}, "$.nodeStatus", "expected array, got object"),
        (status, {"nodeStatus": "[]"}, "$.nodeStatus", "expected array, got str"),
        (status, {"nodeStatus": [{}, []]}, "$.nodeStatus[1]", "expected object, got array"),
        (status, {"nodeStatus": [{"ip": {}}]}, "$.nodeStatus[0].ip", "got object"),
        (status, {"nodeStatus": [{"ip": ["10.0.0.1"]}]}, "$.nodeStatus[0].ip", "got array"),
        (status, {"bucketId": ["bucket-1"]}, "$.bucketId", "got array"),
        (stats, {"stats": {}}, "$.stats", "expected array, got object"),
        (stats, {"stats": {"bucketId": "bucket-1"}}, "$.stats", "expected array, got object"),
        (stats, {"stats": [[]]}, "$.stats[0]", "expected object, got array"),
        (stats, {"stats": ["bucket-1"]}, "$.stats[0]", "expected object, got str"),
        (node_stats, {"nodeStats": {}}, "$.nodeStats", "expected array, got object"),
        (node_stats, {"nodeStats": [[{}]]}, "$.nodeStats[0]", "expected object, got array"),
        (node_stats, {"nodeStats": False}, "$.nodeStats", "expected array, got bool"),
    ],
)
async def test_B20_list_and_object_mixed_up(
    fault: Fault, call: Call, change: dict[str, object], path: str, says: str
):
    await refused(fault, call, good_body(call) | change, (f"{path}: ", says), path)


TIMES = pytest.mark.parametrize(
    ("call", "field"), [(status, "lastUpdated"), (node_stats, "last_updated")]
)


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02t03:04:05.25z", datetime(2026, 1, 2, 3, 4, 5, 250_000, tzinfo=UTC)),
        ("2026-01-02T03:04:05+05:30", datetime(2026, 1, 1, 21, 34, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05-00:00", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.123456", datetime(2026, 1, 2, 3, 4, 5, 123_456, tzinfo=UTC)),
        ("2024-02-29T23:59:59-23:59", datetime(2024, 3, 1, 23, 58, 59, tzinfo=UTC)),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
@TIMES
async def test_B21_time_is_aware_and_utc(
    fault: Fault, call: Call, field: str, text: str, when: datetime
):
    result = await taken(fault, call, body_with(call, **{field: text}))
    got = item_of(call, result).last_updated
    assert got == when
    assert got.tzinfo is UTC


@pytest.mark.parametrize(
    "value",
    [
        1_767_323_045,
        1_767_323_045.5,
        "1767323045",
        "yesterday",
        "",
        "2026-01-02",
        "2026-13-02T03:04:05Z",
        "2026-02-30T03:04:05Z",
        "2026-01-02T24:00:00Z",
        "2026-06-30T23:59:60Z",
        "10000-01-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59-05:00",
        "0001-01-01T00:00:00+05:00",
        "2026-01-02T03:04:05+24:00",
        "２026-01-02T03:04:05Z",
    ],
)
@TIMES
async def test_B21_no_time(fault: Fault, call: Call, field: str, value: object):
    path = f"$.{LISTS[call]}[0].{field}"
    await refused(fault, call, body_with(call, **{field: value}), f"{path}: ", path)


async def test_B22_last_of_duplicate_keys_wins(fault: Fault):
    body = (
        b'{"success": false, "bucketId": "bucket-2", "nodeStatus": [{"ip": "a"}],'
        b' "success": true, "bucketId": "bucket-1", "nodeStatus": [{"ip": "b", "ip": "c"}]}'
    )
    result = await taken(fault, status, body)
    assert result.bucket_id == "bucket-1"
    assert [node.ip for node in result.nodes] == ["c"]


async def test_B22_last_of_duplicate_keys_says_no(fault: Fault):
    body = b'{"success": true, "nodeStatus": [], "success": false, "message": "no", "message": "x"}'
    await fault.serve(then=response(body=body))
    error = await fault.error(status(fault.client()), APIError, attempts=1)
    assert error.message == "x"
    fault.retried()
    fault.wire(1, after="reused")


@pytest.mark.slow
async def test_B23_a_million_items(fault: Fault):
    turns = 0
    turns_before = 0

    async def sends_them(conn: server.Conn, _: server.Request) -> None:
        nonlocal turns_before
        items = b",".join([b'{"ip":"10.0.0.1"}'] * 1_000_000)
        await conn.send(response(body=b'{"nodeStatus":[' + items + b"]}"))
        turns_before = turns

    async def goes_on() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.001)
            turns += 1

    await fault.serve(then=sends_them)
    other = asyncio.create_task(goes_on())
    client = fault.client(limits=Limits(max_response_bytes=64 * MIB))
    async with asyncio.timeout(GUARD):
        result = await status(client)
    other.cancel()
    assert len(result.nodes) == 1_000_000
    assert {node.ip for node in result.nodes[::1000]} == {"10.0.0.1"}
    assert turns - turns_before >= 10  # while the body was decoded
    fault.retried()
    fault.wire(1, after="reused")


# Lists and what was asked for.


async def test_B24_list_answer_misses_an_id(fault: Fault):
    await fault.serve(then=response(body=stats_body(["a", "c"])))
    client = fault.client()
    assert [s.bucket_id for s in await client.bucket_stats.list(["c", "b", "a"])] == ["c", "a"]
    report = await fault.result(client.bucket_stats.get_many(["a", "b", "c", "b"]))
    assert [o.key for o in report] == ["a", "b", "c", "b"]
    assert [o.ok for o in report] == [True, False, True, False]
    error = fault.check(report[1].error, NotFoundError, says="'b'", attempts=1)
    assert (error.status, error.bucket_id) == (200, "b")
    error = await fault.error(client.bucket_stats.get("b"), NotFoundError, says="'b'", attempts=1)
    assert (error.status, error.bucket_id) == (200, "b")
    fault.retried()
    fault.wire(3, connections=1, after="reused")


async def test_B25_list_answer_has_ids_unasked_for_and_twice_and_in_other_case(fault: Fault):
    body = stats_body(["other", "A", "b", "Straße", "b"])
    for n, item in enumerate(body["stats"]):
        item["totalCount"] = n
    await fault.serve(then=response(body=body))
    client = fault.client()
    asked = ["B", "STRASSE", "STRAßE", "a", "c"]
    expected = {"B": 4, "STRAßE": 3, "a": 1}  # only ASCII letters have two cases
    listed = await fault.result(client.bucket_stats.list(asked))
    assert [s.total_count for s in listed] == [4, 3, 1]
    report = await fault.result(client.bucket_stats.get_many(asked))
    assert {key: value.total_count for key, value in report.succeeded.items()} == expected
    assert set(report.failed) == {"STRASSE", "c"}
    for key, count in expected.items():
        assert (await fault.result(client.bucket_stats.get(key))).total_count == count
    fault.retried()
    fault.wire(5, connections=1, after="reused")


ODD = "nul \0 bidi \u202e\u2066 line \r\n\u2028 escape \x1b[31m end"


@CALLS
async def test_B26_odd_characters_are_data(fault: Fault, call: Call):
    fields = {status: "region", stats: "bucketId", node_stats: "host"}
    text = ODD if call is not stats else "bucket-1"
    body = body_with(call, **{fields[call]: text, "version": ODD})
    result = await taken(fault, call, body)
    if call is not stats:
        item = item_of(call, result)
        assert {getattr(item, "region", None) or item.host, item.version} == {ODD}


def is_clean(text: str) -> bool:
    return text.isascii() and text.isprintable()


async def test_B26_odd_characters_are_escaped_in_messages_and_logs(
    fault: Fault, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG, "flashback_async")
    answers = [
        response(404, {"message": ODD, "error_code": ODD}),
        response(500, ODD.encode()),
        response(502, f"<title>{ODD}</title>", {"Content-Type": "text/html"}),
        response(200, f"{{{ODD}"),
        response(200, f"<p>{ODD}", {"Content-Type": "text/html"}),
        response(200, {"success": False, "message": ODD}),
        response(200, status_body(ODD)),
    ]
    await fault.serve(*answers)
    client = fault.client(retry=RetryPolicy.none())
    for _ in answers:
        with pytest.raises((APIError, DecodeError)) as caught:
            await fault.result(status(client))
        text = str(caught.value)
        assert is_clean(text), text
        assert r"nul \x00 bidi \u202e\u2066" in text
        fault.must_be_safe(caught.value)
    messages = [r.getMessage() for r in caplog.records if r.name == "flashback_async"]
    assert sum(r"nul \x00" in message for message in messages) >= 4
    assert [message for message in messages if not is_clean(message)] == []
    fault.wire(len(answers))


@pytest.mark.parametrize("text", [rb"\ud800", rb"\udc00", rb"a\ud800\u0041", rb"\ud83d"])
@pytest.mark.parametrize("field", ["region", "unknown"])
async def test_B26_lone_surrogate(fault: Fault, field: str, text: bytes):
    await refused(fault, status, raw_body_with(status, field, b'"' + text + b'"'), "JSON")


async def test_B26_pair_of_surrogates_is_one_character(fault: Fault):
    body = raw_body_with(status, "region", rb'"\ud83d\ude00"')
    result = await taken(fault, status, body)
    assert result.nodes[0].region == "\U0001f600"


FIVE_HUNDRED = [f"b{n:03d}" for n in range(500)]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        pytest.param({"totalCount": "many"}, "$.stats[250].totalCount", id="no_count"),
        pytest.param({"totalCount": 1.5}, "$.stats[250].totalCount", id="fraction"),
        pytest.param({"totalUploadBytes": []}, "$.stats[250].totalUploadBytes", id="list"),
        pytest.param({"bucketId": None}, "$.stats[250].bucketId", id="no_id"),
        pytest.param({"bucketId": 250}, "$.stats[250].bucketId", id="id_is_number"),
    ],
)
async def test_B27_one_corrupt_item_among_500(fault: Fault, change: dict[str, object], path: str):
    body = copy.deepcopy(stats_body(FIVE_HUNDRED))
    body["stats"][250] |= change
    await fault.serve(then=response(body=body))
    client = fault.client()
    report = await fault.result(client.bucket_stats.get_many(FIVE_HUNDRED))
    assert [o.key for o in report] == FIVE_HUNDRED
    assert len(report.succeeded) == 499
    assert all(value.bucket_id == key for key, value in report.succeeded.items())
    error = fault.check(report.failed["b250"], DecodeError, says=(path, "b250"), attempts=1)
    assert (error.path, error.bucket_id) == (path, "b250")
    with pytest.raises(DecodeError) as caught:
        await fault.result(client.bucket_stats.list(FIVE_HUNDRED))
    error = fault.check(caught.value, DecodeError, says=path, attempts=1)
    assert error.path == path
    fault.retried()
    fault.wire(2, connections=1, after="reused")
