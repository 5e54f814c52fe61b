"""The contenders of the benchmark send the same requests and get the same answers."""

import json
import socket
import ssl
import subprocess
import sys
import time
from datetime import datetime

import attrs
import pytest

from benchmarks.answers import LATENCY, bucket_ids, node_stats_body, stats_body, status_parts
from benchmarks.contenders import CONTENDERS, Aiohttp, Pyreqwest, Sdk, SdkAiohttp, SdkReport
from benchmarks.floor import Floor
from benchmarks.models import Stats
from benchmarks.processes import ROOT, server
from benchmarks.sections import Run
from benchmarks.transports import SETTINGS, Flood, Sizes, TransportSection
from flashback_async import BucketStats, BucketStatus, DailyNodeStats

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the benchmarks need POSIX")

IDS = list(bucket_ids(100))


@pytest.fixture(scope="module")
def ports():
    with server("benchmarks.server") as canned:
        yield canned.told


@pytest.fixture(scope="module")
def variants():
    with server("benchmarks.variants") as running:
        yield running.told


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


@pytest.mark.parametrize("where", ["fields", "tls-3", "late"])
@pytest.mark.parametrize("kind", CONTENDERS, ids=lambda kind: kind.name)
@pytest.mark.slow
async def test_every_contender_reads_what_the_other_servers_send(kind, where, variants):
    await check_statuses(kind, where, variants)


@pytest.mark.parametrize(
    "kind", [kind for kind in CONTENDERS if kind is not Floor], ids=lambda kind: kind.name
)
async def test_every_contender_but_the_floor_connects_again(kind, variants):
    await check_statuses(kind, "closing", variants)


async def check_statuses(kind, where, variants):
    before, after = status_parts(3)
    results = []
    url, authority = address(variants, where)
    async with kind(url, 4, authority) as contender:
        await contender.statuses(IDS[:12], results.append)
    expected = [plain(before + bucket_id.encode() + after) for bucket_id in IDS[:12]]
    assert by_id(map(plain, results)) == expected


@pytest.mark.parametrize("kind", [Aiohttp, Pyreqwest, Sdk, SdkAiohttp], ids=lambda kind: kind.name)
async def test_no_contender_trusts_an_unknown_authority(kind, variants):
    url, _ = address(variants, "tls-3")
    async with kind(url, 1) as contender:
        with pytest.raises(Exception, match=r"(?i)certificate|request"):
            await contender.status(IDS[0])


def address(variants, where):
    """Return the URL of a server, and its authority if it has TLS."""
    encrypted = where.startswith("tls") or where == "closing"
    url = f"{'https' if encrypted else 'http'}://127.0.0.1:{variants[where]}"
    return url, variants["authority"] if encrypted else ""


def test_the_servers_differ_as_they_say(variants):
    get = f"GET /bucket/{IDS[0]}/status HTTP/1.1\r\nHost: h\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", variants["fields"]), timeout=10) as sock:
        sock.sendall(get)
        head = sock.recv(2**16).partition(b"\r\n\r\n")[0]
    assert len(head.split(b"\r\n")) == 1 + 11
    with socket.create_connection(("127.0.0.1", variants["late"]), timeout=10) as sock:
        began = time.monotonic()
        sock.sendall(get)
        assert IDS[0].encode() in sock.recv(2**16)
        assert time.monotonic() - began > LATENCY - 0.002  # the two clocks
    context = ssl.create_default_context(cadata=variants["authority"])
    with (
        socket.create_connection(("127.0.0.1", variants["closing"]), timeout=10) as sock,
        context.wrap_socket(sock, server_hostname="127.0.0.1") as encrypted,
    ):
        assert encrypted.version() == "TLSv1.3"
        encrypted.sendall(get + get)
        assert b"Connection: close" in encrypted.recv(2**16)
        while encrypted.recv(2**16):
            pass


@pytest.mark.slow
def test_the_headline_figures_come_without_other_libraries():
    code = "import benchmarks.worker, sys; print({'httpx', 'pyreqwest'} & sys.modules.keys())"
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, stdout=-1, text=True)
    assert told.stdout == "set()\n"


@pytest.mark.slow
def test_the_section_on_transports_prints_its_tables(ports, variants):
    run = Run(ports, quick=False, only=[])
    sizes = Sizes((SETTINGS[0], SETTINGS[3]), 2, 64, 2, (Flood(64, 128, 9.0),), 16)
    tables = list(TransportSection(run, variants, sizes).tables())
    assert [text.count("\n| ") for text in tables] == [4, 4, 3, 4]
    assert all(Pyreqwest.name in text and SdkAiohttp.name in text for text in tables)
    assert len({row.name for row in run.results.rows}) == len(run.results.rows) == 14 + 4 + 7
    assert all(row.value > 0 for row in run.results.rows)
    assert [row.value >= 1 for row in run.results.rows if "ideal" in row.name] == [True] * 4


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
