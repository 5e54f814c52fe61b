"""The contenders of the benchmark send the same requests and get the same answers."""

import json
import socket
import sys
from datetime import datetime

import attrs
import pytest

from benchmarks.answers import bucket_ids, node_stats_body, stats_body, status_parts
from benchmarks.contenders import CONTENDERS, SdkReport
from benchmarks.models import Stats
from benchmarks.processes import server
from flashback_async import BucketStats, BucketStatus, DailyNodeStats

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the benchmarks need POSIX")

IDS = list(bucket_ids(100))


@pytest.fixture(scope="module")
def ports():
    with server("benchmarks.server") as canned:
        yield canned.told


@pytest.fixture(params=CONTENDERS, ids=lambda kind: kind.name)
async def contender(request, ports):
    async with request.param(f"http://127.0.0.1:{ports['3']}", concurrency=4) as contender:
        yield contender


def plain(result):
    """Return a contender's result in one form: dicts as on the wire, with times and numbers."""
    if isinstance(result, bytes):
        result = json.loads(result)
    if isinstance(result, BucketStatus):
        return {"bucketId": result.bucket_id, "nodeStatus": [plain(n) for n in result.nodes]}
    if isinstance(result, list):
        name = "stats" if isinstance(result[0], BucketStats) else "nodeStats"
        return {name: [plain(item) for item in result]}
    if isinstance(result, DailyNodeStats | BucketStats) or attrs.has(type(result)):
        result = attrs.asdict(result)
    names = {
        "bucket_id": "bucketId",
        "total_count": "totalCount",
        "total_upload_bytes": "totalUploadBytes",
        "total_download_bytes": "totalDownloadBytes",
        "total_size_change": "totalSizeChange",
        "uptime_percent": "perc_uptime",
        "state": "status" if "region" in result else "node_status",
    }
    if "region" in result:
        names["last_updated"] = "lastUpdated"
    return {
        names.get(name, name): value(names.get(name, name), what)
        for name, what in result.items()
        if name != "success"
    }


def value(name, what):
    if isinstance(what, list):
        return [plain(item) for item in what]
    if name in ("lastUpdated", "last_updated") and isinstance(what, str):
        return datetime.fromisoformat(what)
    if name.startswith("total"):
        return int(what)
    return what


def by_id(results):
    return sorted(results, key=lambda result: result["bucketId"])


async def test_every_contender_reads_statuses(contender):
    before, after = status_parts(3)
    results = []
    await contender.statuses(IDS, results.append)
    expected = [plain(before + bucket_id.encode() + after) for bucket_id in IDS]
    assert by_id(map(plain, results)) == expected
    assert plain(await contender.status(IDS[7])) == expected[7]


async def test_every_contender_reads_node_stats(contender):
    results = []
    await contender.node_stats(IDS, results.append)
    assert [plain(result) for result in results] == [plain(node_stats_body(3))] * len(IDS)


async def test_every_contender_reads_stats(contender):
    results = []
    await contender.stats([IDS, IDS[:40]], results.append)
    sizes = (40, 100)
    expected = [plain(stats_body(i.encode() for i in IDS[:size])) for size in sizes]
    assert sorted(map(plain, results), key=lambda result: len(result["stats"])) == expected


def test_models_hold_what_the_wire_does():
    assert attrs.fields_dict(Stats).keys() == json.loads(stats_body([b"b"]))["stats"][0].keys()
    assert SdkReport in CONTENDERS


def test_server_takes_requests_as_they_come(ports):
    get = f"GET /bucket/{IDS[0]}/status HTTP/1.1\r\nHost: h\r\n\r\n".encode()
    post = (
        f"POST /bucket/{IDS[0]}/stats HTTP/1.1\r\nContent-Length: 4\r\n\r\n".encode() + b"\r\n\r\n"
    )
    wire = get + post + get
    with socket.create_connection(("127.0.0.1", ports["3"]), timeout=10) as sock:
        answers = []
        for cut in (0, 10, len(get), len(get) + len(post) - 2):
            sock.sendall(wire[:cut])
            sock.sendall(wire[cut:])
            answers.append(read(sock, bodies=3))
    assert all(answer == answers[0] for answer in answers)
    assert IDS[0].encode() in answers[0][0] == answers[0][2]
    assert answers[0][1] == node_stats_body(3)


def read(sock, bodies):
    data, found = b"", []
    while len(found) < bodies:
        data += sock.recv(2**16)
        while b"\r\n\r\n" in data:
            head, _, rest = data.partition(b"\r\n\r\n")
            length = int(head.rpartition(b" ")[2])
            if len(rest) < length:
                break
            found.append(rest[:length])
            data = rest[length:]
    return found
