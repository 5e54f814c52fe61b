"""The sandbox as its callers meet it: real HTTP on loopback, and other clients than ours."""

import asyncio
import contextlib
import gzip
import json
import logging
import socket
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import aiohttp
import pytest
from yarl import URL

from flashback_async.sandbox import Sandbox

NOW = datetime(2024, 1, 15, 10, 30, tzinfo=UTC)
TODAY = "2024-01-15T00:00:00.000Z"
FORBIDDEN = {"success": False, "message": "Insufficient permissions"}
UNKNOWN = {"success": False, "message": "Bucket or user not found"}
BAD_DAY = {"success": False, "message": "Invalid date format"}
JSON = {"Content-Type": "application/json"}
NO_ID = "00000000-0000-4000-8000-000000000000"


class Caller:
    """A plain HTTP caller that keeps the last answer's status and headers."""

    def __init__(self, sandbox, session):
        self.sandbox = sandbox
        self.session = session

    async def __call__(self, method, target, *, token=None, headers=(), **options):
        headers = {"Authorization": f"Bearer {token or self.sandbox.token}", **dict(headers)}
        url = URL(self.sandbox.base_url + target, encoded=True)
        async with self.session.request(method, url, headers=headers, **options) as answer:
            self.status = answer.status
            self.headers = answer.headers
            text = await answer.text()
            self.body = json.loads(text) if text else None
            return self.body


@contextlib.asynccontextmanager
async def serving(*args, **options):
    options = {"now": lambda: NOW} | options
    timeout = aiohttp.ClientTimeout(total=20)
    async with (
        Sandbox(*args, **options) as sandbox,
        aiohttp.ClientSession(timeout=timeout) as session,
    ):
        yield sandbox, Caller(sandbox, session)


@pytest.fixture
async def served():
    async with serving(buckets=20) as pair:
        yield pair


async def raw(sandbox, request):
    """Send bytes as they are and return everything that comes back."""
    parts = urlsplit(sandbox.base_url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(request)
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


def raw_get(sandbox, target, *lines):
    head = [f"GET {target} HTTP/1.1", "Host: sandbox", "Connection: close", *lines]
    if not any(line.lower().startswith("authorization") for line in lines):
        head.append(f"Authorization: Bearer {sandbox.token}")
    return "\r\n".join([*head, "", ""]).encode()


def raw_post(sandbox, *lines):
    """Return the bytes of a correct request for node statistics, but for the type of its body."""
    body = b'{"day":"2024-01-15"}'
    target = f"/bucket/{sandbox.bucket_ids[0]}/stats"
    head = raw_get(sandbox, target, *lines, f"Content-Length: {len(body)}")
    return head.replace(b"GET", b"POST", 1) + body


# --------------------------------------------------------------------------- the three endpoints


async def test_statistics_have_the_documented_shape(served):
    sandbox, call = served
    body = await call("GET", f"/bucket/stats?bucketId={sandbox.bucket_ids[0]}")
    assert call.status == 200
    assert call.headers["Content-Type"] == "application/json; charset=utf-8"
    assert body == {
        "success": True,
        "stats": [
            {
                "bucketId": sandbox.bucket_ids[0],
                "totalCount": "30983",
                "totalUploadBytes": "37092692685",
                "totalDownloadBytes": "78034162641",
                "totalSizeChange": "-7023468029",
            }
        ],
    }


async def test_node_statistics_have_the_documented_shape(served):
    sandbox, call = served
    body = await call("POST", f"/bucket/{sandbox.bucket_ids[0]}/stats", json={"day": TODAY})
    assert call.status == 200
    assert set(body) == {"success", "nodeStats"}
    assert body["success"] is True
    assert [item["ip"] for item in body["nodeStats"]] == list(
        sandbox.node_ips(sandbox.bucket_ids[0])
    )
    kinds = {
        "ip": str,
        "host": str,
        "perc_uptime": float,
        "avg_latency_ms": float,
        "version": str,
        "node_status": str,
        "last_updated": str,
        "last_latency_ms": int,
    }
    for item in body["nodeStats"]:
        assert {name: type(value) for name, value in item.items()} == kinds
        assert datetime.fromisoformat(item["last_updated"]).date() == NOW.date()


async def test_status_has_the_documented_shape_and_no_success(served):
    sandbox, call = served
    bucket_id = sandbox.bucket_ids[0]
    body = await call("GET", f"/bucket/{bucket_id}/status")
    assert call.status == 200
    assert set(body) == {"bucketId", "nodeStatus"}
    assert body["bucketId"] == bucket_id
    assert [item["ip"] for item in body["nodeStatus"]] == list(sandbox.node_ips(bucket_id))
    kinds = {
        "ip": str,
        "region": str,
        "version": str,
        "status": str,
        "latency_ms": int,
        "lastUpdated": str,
    }
    for item in body["nodeStatus"]:
        assert {name: type(value) for name, value in item.items()} == kinds


async def test_two_sandboxes_of_one_seed_say_the_same():
    answers = []
    for _ in range(2):
        async with serving(buckets=3, seed=11) as (sandbox, call):
            bucket_id = sandbox.bucket_ids[1]
            answers.append(
                [
                    await call("GET", "/bucket/stats"),
                    await call("GET", f"/bucket/{bucket_id}/status"),
                    await call("POST", f"/bucket/{bucket_id}/stats", json={"day": TODAY}),
                    call.headers["x-request-id"],
                ]
            )
    assert answers[0] == answers[1]


async def test_without_a_clock_it_is_now():
    async with serving(buckets=1, nodes=50, now=None) as (sandbox, call):
        began = datetime.now(UTC)
        body = await call("GET", f"/bucket/{sandbox.bucket_ids[0]}/status")
        ended = datetime.now(UTC)
    for item in body["nodeStatus"]:
        updated = datetime.fromisoformat(item["lastUpdated"])
        assert updated <= ended
        longest = timedelta(minutes=1) if item["status"] == "ONLINE" else timedelta(hours=6)
        assert updated > began - longest - timedelta(seconds=1)  # the answer has whole seconds


async def test_a_first_look_finds_online_nodes_updated_within_the_last_minute():
    async with serving(buckets=1, nodes=50) as (sandbox, call):
        path = f"/bucket/{sandbox.bucket_ids[0]}"
        status = await call("GET", f"{path}/status")
        stats = await call("POST", f"{path}/stats", json={"day": TODAY})
    updated = [i["lastUpdated"] for i in status["nodeStatus"] if i["status"] == "ONLINE"]
    assert updated == [
        i["last_updated"] for i in stats["nodeStats"] if i["node_status"] == "ONLINE"
    ]
    assert len(updated) > 40
    for text in updated:
        age = NOW - datetime.fromisoformat(text)
        assert timedelta(0) <= age < timedelta(minutes=1)


async def test_all_but_the_time_of_the_update_is_the_same_the_whole_day_long():
    def timeless(body):
        (nodes,) = (value for value in body.values() if isinstance(value, list))
        return [{k: v for k, v in node.items() if "pdated" not in k} for node in nodes]

    clock = [NOW]
    async with serving(buckets=1, now=lambda: clock[0]) as (sandbox, call):
        path = f"/bucket/{sandbox.bucket_ids[0]}"
        seen = []
        for _ in range(2):
            seen.append(timeless(await call("GET", f"{path}/status")))
            seen.append(timeless(await call("POST", f"{path}/stats", json={"day": TODAY})))
            clock[0] += timedelta(hours=9)
    assert seen[:2] == seen[2:]


async def test_figures_move_on_with_the_clock():
    clock = [NOW]
    async with serving(buckets=1, now=lambda: clock[0]) as (_, call):
        first = await call("GET", "/bucket/stats")
        again = await call("GET", "/bucket/stats")
        clock[0] += timedelta(days=1)
        later = await call("GET", "/bucket/stats")
    assert first == again
    assert int(later["stats"][0]["totalCount"]) > int(first["stats"][0]["totalCount"])


async def test_the_day_is_the_utc_day_of_the_clock():
    east = NOW.replace(hour=1, tzinfo=datetime.fromisoformat("2024-01-15T00:00+05:00").tzinfo)
    async with serving(buckets=1, now=lambda: east) as (sandbox, call):
        target = f"/bucket/{sandbox.bucket_ids[0]}/stats"
        assert (await call("POST", target, json={"day": "2024-01-15"}))["nodeStats"] == []
        assert (await call("POST", target, json={"day": "2024-01-14"}))["nodeStats"] != []


# -------------------------------------------------------------------------------- lists of buckets


async def listed(call, query):
    body = await call("GET", f"/bucket/stats{query}")
    assert call.status == 200
    return [item["bucketId"] for item in body["stats"]]


@pytest.mark.parametrize("query", ["", "?", "?bucketId=", "?bucketId", "?other=1"])
async def test_without_ids_every_bucket_is_listed(served, query):
    sandbox, call = served
    assert await listed(call, query) == list(sandbox.bucket_ids)


@pytest.mark.parametrize("template", ["{},{}", "{}%2C{}", "{}%2c{}", "{}&bucketId={}", "{},,{},"])
async def test_ids_are_taken_in_every_spelling(served, template):
    sandbox, call = served
    ids = sandbox.bucket_ids[3:5]
    assert await listed(call, "?bucketId=" + template.format(*ids)) == list(ids)


async def test_the_order_is_the_accounts_and_each_bucket_comes_once(served):
    sandbox, call = served
    first, second = sandbox.bucket_ids[:2]
    assert await listed(call, f"?bucketId={second},{first},{second}") == [first, second]


async def test_ids_compare_without_regard_to_case(served):
    sandbox, call = served
    bucket_id = sandbox.bucket_ids[0]
    assert await listed(call, f"?bucketId={bucket_id.upper()}") == [bucket_id]
    body = await call("GET", f"/bucket/{bucket_id.upper()}/status")
    assert body["bucketId"] == bucket_id


async def test_unknown_ids_are_absent(served):
    sandbox, call = served
    known = sandbox.bucket_ids[0]
    assert await listed(call, f"?bucketId={NO_ID},{known},%20{known}") == [known]
    assert await listed(call, f"?bucketId={NO_ID}") == []
    assert await listed(call, "?bucketId=,") == []


async def test_one_forbidden_id_spoils_the_list(served):
    sandbox, call = served
    ids = f"{sandbox.bucket_ids[0]},{sandbox.forbidden_ids[0].upper()}"
    assert await call("GET", f"/bucket/stats?bucketId={ids}") == FORBIDDEN
    assert call.status == 403


async def test_a_list_of_many_is_complete():
    async with serving(buckets=1_201) as (sandbox, call):
        assert await listed(call, "") == list(sandbox.bucket_ids)
        late, early = sandbox.bucket_ids[1_000], sandbox.bucket_ids[5]
        assert await listed(call, f"?bucketId={late},{early}") == [early, late]


async def test_an_empty_account_is_a_list_of_none():
    async with serving(buckets=0) as (_, call):
        assert await call("GET", "/bucket/stats") == {"success": True, "stats": []}


# --------------------------------------------------------------------------------------- the day


@pytest.mark.parametrize(
    "day",
    [
        "2024-01-14",
        "2024-01-14T00:00:00.000Z",
        "2024-01-14T23:59:59Z",
        "2024-01-14T12:00",
        "2024-01-15T01:30:00+02:00",
        "2024-01-13T23:30:00.5-01:00",
    ],
)
async def test_every_way_to_write_a_day_is_the_same_utc_day(served, day):
    sandbox, call = served
    target = f"/bucket/{sandbox.bucket_ids[0]}/stats"
    plain = await call("POST", target, json={"day": "2024-01-14"})
    assert await call("POST", target, json={"day": day}) == plain
    assert call.status == 200
    assert plain["nodeStats"] != (await call("POST", target, json={"day": TODAY}))["nodeStats"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"2024-01-15"',
        b"{}",
        b'{"day":null}',
        b'{"day":20240115}',
        b'{"day":["2024-01-15"]}',
        b'{"day":""}',
        b'{"day":"yesterday"}',
        b'{"day":"2024-02-30"}',
        b'{"day":"20240115"}',
        b'{"day":"2024-01-15x10:00"}',
        b'{"day":" 2024-01-15"}',
        b'{"day":"0001-01-01T00:00:00+05:00"}',
        b'{"Day":"2024-01-15"}',
        b"\xff\xfe",
        b"[" * 50_000,
    ],
)
async def test_whatever_is_no_day_is_a_bad_request(served, body):
    sandbox, call = served
    target = f"/bucket/{sandbox.bucket_ids[0]}/stats"
    answer = await call("POST", target, data=body, headers=JSON)
    assert (call.status, answer) == (400, BAD_DAY)


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["Content-Type:"],
        ["Content-Type: text/plain"],
        ["Content-Type: text/plain; charset=utf-8"],
        ["Content-Type: application/octet-stream"],
        ["Content-Type: application/x-www-form-urlencoded"],
        ["Content-Type: application/json-patch+json"],
        ["Content-Type: application"],
        ["Content-Type: text/plain; application/json"],
    ],
)
async def test_a_day_that_is_not_declared_as_json_is_a_bad_request(served, lines):
    sandbox, _ = served
    answer = await raw(sandbox, raw_post(sandbox, *lines))
    assert answer.startswith(b"HTTP/1.1 400 ")
    body = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert body == {"success": False, "message": "Content-Type must be application/json"}


@pytest.mark.parametrize(
    "media_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        'Application/JSON ; charset="utf-8"; x=y',
    ],
)
async def test_json_may_be_declared_in_any_case_and_with_parameters(served, media_type):
    sandbox, _ = served
    answer = await raw(sandbox, raw_post(sandbox, f"content-type: {media_type}"))
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_a_day_to_come_has_no_figures(served):
    sandbox, call = served
    target = f"/bucket/{sandbox.bucket_ids[0]}/stats"
    body = await call("POST", target, json={"day": "2024-01-16"})
    assert (call.status, body) == (200, {"success": True, "nodeStats": []})


async def test_a_compressed_body_is_read_and_a_broken_one_is_refused(served):
    sandbox, call = served
    target = f"/bucket/{sandbox.bucket_ids[0]}/stats"
    headers = JSON | {"Content-Encoding": "gzip"}
    body = gzip.compress(json.dumps({"day": TODAY}).encode())
    await call("POST", target, data=body, headers=headers)
    assert call.status == 200
    body = await call("POST", target, data=b"not gzip at all", headers=headers)
    assert (call.status, body) == (400, {"success": False, "message": "Malformed request body"})


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_large_body_is_refused(served, chunked):
    sandbox, call = served

    async def chunks():
        for _ in range(70):
            yield b" " * 1_000

    data = chunks() if chunked else b" " * 70_000
    target = f"/bucket/{sandbox.bucket_ids[0]}/stats"
    body = await call("POST", target, data=data, headers=JSON)
    assert (call.status, body["success"]) == (413, False)


# -------------------------------------------------------------------------------- who may ask what


@pytest.mark.parametrize(
    "lines",
    [
        ["Authorization: Bearer wrong"],
        ["Authorization: Bearer"],
        ["Authorization: Basic {token}"],
        ["Authorization: {token}"],
        ["Authorization: Bearer {token}x"],
        ["Authorization: Bearer {token}", "Authorization: Bearer {token}"],
    ],
)
async def test_a_wrong_token_is_rejected(served, lines):
    sandbox, _ = served
    lines = [line.format(token=sandbox.token) for line in lines]
    answer = await raw(sandbox, raw_get(sandbox, "/bucket/stats", *lines))
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b'{"success":false,"message":"Unauthorized"}' in answer


async def test_a_missing_token_is_rejected(served):
    sandbox, call = served
    async with call.session.get(f"{sandbox.base_url}/bucket/stats") as answer:
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_the_scheme_may_be_written_in_any_case(served):
    sandbox, _ = served
    line = f"Authorization: bearer {sandbox.token}"
    answer = await raw(sandbox, raw_get(sandbox, "/bucket/stats", line))
    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(("method", "action"), [("GET", "status"), ("POST", "stats")])
async def test_buckets_outside_the_workspace_and_unknown_ones(served, method, action):
    sandbox, call = served
    for bucket_id in sandbox.forbidden_ids:
        assert await call(method, f"/bucket/{bucket_id}/{action}") == FORBIDDEN
        assert call.status == 403
    assert await call(method, f"/bucket/{NO_ID}/{action}") == UNKNOWN
    assert call.status == 404


async def test_ids_in_paths_are_decoded_once(served):
    sandbox, call = served
    bucket_id = sandbox.bucket_ids[0]
    once = "".join(f"%{ord(char):02X}" for char in bucket_id)
    assert (await call("GET", f"/bucket/{once}/status"))["bucketId"] == bucket_id
    assert await call("GET", f"/bucket/{once.replace('%', '%25')}/status") == UNKNOWN
    # An encoded slash or dot is part of an id, not of the path.
    assert await call("GET", f"/bucket/x%2F..%2F{bucket_id}/status") == UNKNOWN
    assert await call("GET", "/bucket/%2E%2E/status") == UNKNOWN


async def test_a_target_with_scheme_and_host_is_taken(served):
    sandbox, _ = served
    target = f"http://sandbox/bucket/{sandbox.bucket_ids[0]}/status"
    assert (await raw(sandbox, raw_get(sandbox, target))).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "target", ["/", "/bucket", "/bucket/", "/bucket//status", "/bucket/stats/", "/v2/bucket/stats"]
)
async def test_other_paths_are_unknown_routes(served, target):
    _, call = served
    body = await call("GET", target)
    assert (call.status, body) == (404, {"success": False, "message": "Route not found"})


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [
        ("POST", "/bucket/stats", "GET"),
        ("PUT", "/bucket/{}/stats", "POST"),
        ("GET", "/bucket/{}/stats", "POST"),
        ("DELETE", "/bucket/{}/status", "GET"),
        ("OPTIONS", "/bucket/{}/status", "GET"),
    ],
)
async def test_other_methods_are_not_allowed(served, method, target, allowed):
    sandbox, call = served
    body = await call(method, target.format(sandbox.bucket_ids[0]))
    assert (call.status, body["success"]) == (405, False)
    assert call.headers["Allow"] == allowed


async def test_a_request_target_may_be_eight_kib_long(served):
    sandbox, call = served
    target = "/bucket/stats?bucketId=" + sandbox.bucket_ids[0] + ","
    body = await call("GET", target.ljust(8_192, "x"))
    assert [item["bucketId"] for item in body["stats"]] == [sandbox.bucket_ids[0]]
    body = await call("GET", target.ljust(8_193, "x"))
    assert (call.status, body["success"]) == (414, False)


async def test_every_answer_has_a_request_id_and_is_counted(served):
    sandbox, call = served
    ids = []
    for target in ("/bucket/stats", "/nowhere", f"/bucket/{NO_ID}/status"):
        await call("GET", target)
        ids.append(call.headers["x-request-id"])
    await call("GET", "/bucket/stats", token="wrong")
    ids.append(call.headers["x-request-id"])
    assert ids == [f"req-0000000{n}" for n in (1, 2, 3, 4)]
    assert sandbox.requests == 4


# ------------------------------------------------------------------------------ wrong on purpose


async def test_a_state_that_was_set_shows_until_it_is_set_anew(served):
    sandbox, call = served
    bucket_id = sandbox.bucket_ids[0]
    target = f"/bucket/{bucket_id}"
    ip = sandbox.node_ips(bucket_id)[1]
    before = await call("GET", f"{target}/status")
    past = await call("POST", f"{target}/stats", json={"day": "2024-01-14"})

    sandbox.set_state(bucket_id.upper(), ip, "OFFLINE")
    node = (await call("GET", f"{target}/status"))["nodeStatus"][1]
    assert (node["ip"], node["status"], "latency_ms" in node) == (ip, "OFFLINE", False)
    today = (await call("POST", f"{target}/stats", json={"day": TODAY}))["nodeStats"][1]
    assert (today["ip"], today["node_status"]) == (ip, "OFFLINE")
    assert await call("POST", f"{target}/stats", json={"day": "2024-01-14"}) == past

    sandbox.set_state(bucket_id, ip, before["nodeStatus"][1]["status"])
    assert await call("GET", f"{target}/status") == before


async def test_planned_failures_concern_every_call_that_names_the_bucket(served):
    sandbox, call = served
    bucket_id, other = sandbox.bucket_ids[:2]
    sandbox.fail(bucket_id.upper(), status=502, times=3, retry_after=9)
    calls = [
        ("GET", f"/bucket/{other}/status", 200),
        ("GET", "/bucket/stats", 200),
        ("GET", f"/bucket/{bucket_id}/status", 502),
        ("POST", f"/bucket/{bucket_id}/stats", 502),
        ("GET", f"/bucket/stats?bucketId={other},{bucket_id}", 502),
        ("GET", f"/bucket/stats?bucketId={other},{bucket_id}", 200),
    ]
    for method, target, status in calls:
        body = await call(method, target)
        assert call.status == status
        assert call.headers.get("Retry-After") == ("9" if status == 502 else None)
        assert body.get("success", True) is (status == 200)


@pytest.mark.parametrize(("status", "message"), [(503, "Service Unavailable"), (599, "Error")])
async def test_a_failure_has_a_body_like_any_other(served, status, message):
    sandbox, call = served
    sandbox.fail(sandbox.forbidden_ids[0], status)
    body = await call("GET", f"/bucket/{sandbox.forbidden_ids[0]}/status")
    assert (call.status, body) == (status, {"success": False, "message": message})
    assert "Retry-After" not in call.headers


async def test_outages_strike_the_same_requests_again():
    runs = []
    for _ in range(2):
        async with serving(buckets=1, error_rate=0.4, seed=2) as (_, call):
            statuses = []
            for _ in range(30):
                await call("GET", "/bucket/stats")
                statuses.append(call.status)
            runs.append(statuses)
    assert runs[0] == runs[1]
    assert set(runs[0]) == {200, 503}


async def test_too_many_requests_are_told_when_to_come_again():
    async with serving(buckets=1, rate_limit=0.001) as (_, call):
        await call("GET", "/bucket/stats")
        assert call.status == 200
        body = await call("GET", "/bucket/stats")
        assert (call.status, body["success"]) == (429, False)
        assert 1 <= int(call.headers["Retry-After"]) <= 1_000
        # A wrong token is told so, however many ask.
        await call("GET", "/bucket/stats", token="wrong")
        assert call.status == 401


async def test_latency_delays_the_answer_but_does_not_change_it():
    async with serving(buckets=1) as (_, call):
        prompt = await call("GET", "/bucket/stats")
    async with serving(buckets=1, latency=0.001) as (_, call):
        assert await call("GET", "/bucket/stats") == prompt


# ------------------------------------------------------------------------------- start and close


async def open_idle(sandbox):
    parts = urlsplit(sandbox.base_url)
    return await asyncio.open_connection(parts.hostname, parts.port)


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


async def test_it_can_be_closed_twice_and_started_again():
    sandbox = Sandbox(buckets=1)
    await sandbox.close()
    await sandbox.start()
    first = sandbox.base_url
    assert first.startswith("http://127.0.0.1:")
    await sandbox.close()
    await sandbox.close()
    assert sandbox.base_url == first
    with pytest.raises(ConnectionRefusedError):
        await raw(sandbox, b"")
    async with sandbox:
        assert (await raw(sandbox, raw_get(sandbox, "/bucket/stats"))).startswith(b"HTTP/1.1 200 ")


async def test_it_is_started_once_at_a_time():
    async with Sandbox(buckets=1) as sandbox:
        url = sandbox.base_url
        with pytest.raises(RuntimeError, match="already running"):
            await sandbox.start()
        assert sandbox.base_url == url


async def is_listening(sandbox):
    parts = urlsplit(sandbox.base_url)
    try:
        _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    except ConnectionRefusedError:
        return False
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return True


@pytest.fixture
def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@pytest.mark.parametrize("turns", range(6))
async def test_close_during_start_leaves_nothing_listening(turns, free_port):
    sandbox = Sandbox(buckets=1, port=free_port)
    starting = asyncio.create_task(sandbox.start())
    for _ in range(turns):
        await asyncio.sleep(0)
    if not turns:
        await sandbox.close()  # it has not begun to start, so there is nothing to close
    await asyncio.sleep(0)
    await sandbox.close()
    await starting
    assert not await is_listening(sandbox)
    async with sandbox:
        assert await is_listening(sandbox)


@pytest.mark.parametrize("turns", range(6))
async def test_a_start_that_is_cancelled_leaves_nothing_listening(turns, free_port):
    sandbox = Sandbox(buckets=1, port=free_port)
    starting = asyncio.create_task(sandbox.start())
    for _ in range(turns):
        await asyncio.sleep(0)
    if not starting.cancel():
        await sandbox.close()  # it was started by then
    with contextlib.suppress(asyncio.CancelledError):
        await starting
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", free_port)
    async with sandbox:
        assert await is_listening(sandbox)


async def test_of_two_starts_at_once_the_second_is_refused():
    sandbox = Sandbox(buckets=1)
    first, second = await asyncio.gather(sandbox.start(), sandbox.start(), return_exceptions=True)
    assert first is None
    assert isinstance(second, RuntimeError)
    assert await is_listening(sandbox)
    await sandbox.close()
    assert not await is_listening(sandbox)


async def test_each_of_two_closes_at_once_returns_when_everything_is_closed():
    others = asyncio.all_tasks()
    sandbox = Sandbox(buckets=1, latency=3_600)
    await sandbox.start()
    _, writer = await open_idle(sandbox)
    writer.write(raw_get(sandbox, "/bucket/stats"))
    await until(lambda: sandbox.requests == 1)
    ours = asyncio.current_task()

    async def close():
        await sandbox.close()
        return asyncio.all_tasks() - others - {ours, *closing}

    closing = [asyncio.create_task(close()) for _ in range(2)]
    assert await asyncio.gather(*closing) == [set(), set()]
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


@pytest.mark.parametrize("turns", range(6))
async def test_a_close_that_is_cancelled_has_closed_all_the_same(turns):
    others = asyncio.all_tasks()
    sandbox = Sandbox(buckets=1, latency=3_600)
    await sandbox.start()
    _, writer = await open_idle(sandbox)
    writer.write(raw_get(sandbox, "/bucket/stats"))
    await until(lambda: sandbox.requests == 1)
    closing = asyncio.create_task(sandbox.close())
    await asyncio.sleep(0)
    for _ in range(turns):
        await asyncio.sleep(0)
    closing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await closing
    assert not await is_listening(sandbox)
    await until(lambda: asyncio.all_tasks() == others)
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    async with sandbox:
        assert await is_listening(sandbox)


def test_one_event_loop_after_another_may_start_and_close_it():
    sandbox = Sandbox(buckets=1)

    async def race():
        await asyncio.gather(sandbox.start(), sandbox.close())
        assert not await is_listening(sandbox)

    for _ in range(2):
        asyncio.run(race())


async def test_a_port_of_ones_own_choice_must_be_free():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        sandbox = Sandbox(buckets=1, port=port)
        with pytest.raises(OSError, match=str(port)):
            await sandbox.start()
    async with sandbox:
        assert sandbox.base_url == f"http://127.0.0.1:{port}"


async def test_closing_cuts_every_connection_and_leaves_no_task():
    others = asyncio.all_tasks()
    # An answer of some megabytes that nobody reads fills every buffer on its way.
    sandbox = Sandbox(buckets=60_000)
    await sandbox.start()
    connections = [await open_idle(sandbox) for _ in range(4)]
    (_, _), (idle, keep_alive), (_, body_to_come), (_, deaf) = connections
    get = raw_get(sandbox, f"/bucket/{NO_ID}/status").replace(b"Connection: close\r\n", b"")
    keep_alive.write(get)
    assert (await idle.readline()).startswith(b"HTTP/1.1 404 ")
    post = get.replace(b"GET", b"POST").replace(b"status", b"stats")
    post = post.replace(NO_ID.encode(), sandbox.bucket_ids[0].encode())
    head = b"\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n"
    body_to_come.write(post.replace(b"\r\n\r\n", head + b"{"))
    deaf.transport.pause_reading()
    deaf.write(raw_get(sandbox, "/bucket/stats"))
    await until(lambda: sandbox.requests == 3)

    async with asyncio.timeout(10):
        await sandbox.close()
    assert asyncio.all_tasks() == others

    deaf.transport.resume_reading()
    for reader, writer in connections:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_closing_does_not_wait_for_the_answers_under_way():
    others = asyncio.all_tasks()
    async with serving(buckets=1, latency=3_600) as (sandbox, call):
        under_way = asyncio.create_task(call("GET", "/bucket/stats"))
        await until(lambda: sandbox.requests == 1)
        await sandbox.close()
        assert asyncio.all_tasks() - others == {under_way}
        with pytest.raises(aiohttp.ClientConnectionError):
            await under_way


@pytest.mark.parametrize("turns", range(5))
async def test_a_connection_that_arrives_while_it_closes_is_cut(turns):
    others = asyncio.all_tasks()
    sandbox = Sandbox(buckets=1)
    await sandbox.start()
    parts = urlsplit(sandbox.base_url)
    with socket.create_connection((parts.hostname, parts.port)) as peer:
        peer.settimeout(10)
        # In the kernel's queue by now, and yet unknown to the loop, which takes it step by step.
        for _ in range(turns):
            await asyncio.sleep(0)
        await sandbox.close()
        assert asyncio.all_tasks() == others
        with contextlib.suppress(ConnectionError):
            assert peer.recv(1) == b""


async def test_a_caller_that_leaves_ends_its_call():
    others = asyncio.all_tasks()
    async with Sandbox(buckets=1, latency=3_600) as sandbox:
        _, writer = await open_idle(sandbox)
        writer.write(raw_get(sandbox, "/bucket/stats"))
        await until(lambda: sandbox.requests == 1)
        writer.close()
        await writer.wait_closed()
        await until(lambda: asyncio.all_tasks() == others)


async def test_it_is_silent_even_about_malformed_requests(served, caplog, capfd):
    sandbox, call = served
    caplog.set_level(logging.INFO)
    logging.getLogger("flashback_async.sandbox").propagate = False
    try:
        malformed = b"GET / HTTP/1.1\r\nno colon in this line\r\n\r\n"
        assert (await raw(sandbox, malformed)).startswith(b"HTTP/1.0 400 ")
        await call("GET", "/bucket/stats")
    finally:
        logging.getLogger("flashback_async.sandbox").propagate = True
    assert call.status == 200
    assert not caplog.records
    assert capfd.readouterr() == ("", "")
