"""Faults between the request and the last byte of its answer."""

from __future__ import annotations

import asyncio
import random
import zlib
from collections.abc import Awaitable, Callable

import psutil
import pytest

from flashback_async import (
    BucketStatus,
    ConnectError,
    ConnectionLostError,
    DeadlineExceededError,
    DecodeError,
    FlashbackClient,
    Limits,
    ProtocolError,
    RequestTimeoutError,
    RetryPolicy,
    Timeout,
)
from tests.faults.harness import network, server
from tests.faults.harness.answers import chunked, ok_status, response, status_body
from tests.faults.harness.fault import Fault

IMPATIENT = Timeout(attempt=0.2)
GOOD = ok_status("bucket-1")
CUT_SHORT = response(body=b'{"suc', length=100)


def get(client: FlashbackClient) -> Awaitable[object]:
    return client.status.get("bucket-1")


def post(client: FlashbackClient) -> Awaitable[object]:
    return client.node_stats.get("bucket-1", "2026-01-02")


READS = [pytest.param(get, id="W01_get"), pytest.param(post, id="W02_post")]


@pytest.mark.parametrize("read", READS)
async def test_W01_W02_closed_before_any_answer(
    fault: Fault, read: Callable[[FlashbackClient], Awaitable[object]]
):
    await fault.serve(then=server.close)
    client = fault.client()
    await fault.error(read(client), ConnectionLostError, attempts=3, says="closed before response")
    fault.retried(transient=2)
    fault.wire(3, connections=3)


async def test_W03_stale_connection_under_a_get(fault: Fault):
    await fault.serve(server.healthy, server.close)
    client = fault.client()
    await fault.result(get(client))
    await fault.result(get(client))
    fault.retried()
    fault.wire(3, connections=2, after="reused")


async def close_old_connections(conn: server.Conn, request: server.Request) -> None:
    """Answer only the first request on each connection."""
    await (server.close if conn.requests > 1 else server.healthy)(conn, request)


async def fill_pool(client: FlashbackClient, count: int) -> None:
    """Open so many connections and leave them idle; the server answers ``together(count)``."""
    await asyncio.gather(*(post(client) for _ in range(count)))


async def test_W04_64_stale_connections_under_posts(fault: Fault):
    await fault.serve(*[server.together(64)] * 64, then=close_old_connections)
    client = fault.client()
    await fault.result(fill_pool(client, 64))
    assert fault.idle() == 64
    await fault.result(fill_pool(client, 64))
    fault.retried()
    fault.wire(64 + 64 + 64, connections=128)
    assert fault.idle() == fault.server.open_connections


@pytest.mark.parametrize("reset", [False, True])
async def test_W04_server_restarts_under_64_idle_connections(fault: Fault, reset: bool):
    await fault.serve(*[server.together(64)] * 64)
    client = fault.client()
    await fault.result(fill_pool(client, 64))
    await fault.server.restart(reset=reset)
    await fault.result(fill_pool(client, 64))
    fault.retried()
    fault.wire(64 + 64)
    assert fault.idle() == fault.server.open_connections


async def test_W03_resend_takes_none_of_the_other_stale_connections(fault: Fault):
    await fault.serve(*[server.together(4)] * 4, then=close_old_connections)
    client = fault.client()
    await fault.result(fill_pool(client, 4))
    assert fault.idle() == 4
    await fault.result(get(client))
    fault.retried()
    fault.wire(4 + 2, connections=5)


@pytest.mark.parametrize("read", READS)
async def test_W03_after_a_dead_connection_the_other_idle_ones_are_not_tried(
    fault: Fault, read: Callable[[FlashbackClient], Awaitable[object]]
):
    async def step(conn: server.Conn, request: server.Request) -> None:
        # The connections of before are dead, and the first new one is lost too.
        is_lost = conn.requests > 1 or conn.number == 4 + 1
        await (server.close if is_lost else server.healthy)(conn, request)

    await fault.serve(*[server.together(4)] * 4, then=step)
    client = fault.client()
    await fault.result(fill_pool(client, 4))
    await fault.result(read(client))
    fault.retried(transient=1, refunded=True)
    fault.wire(4 + 3, connections=4 + 2, after="reused")


async def test_W05_idle_connection_is_seen_to_close(fault: Fault):
    await fault.serve([server.healthy, server.close])
    client = fault.client()
    await fault.result(get(client))
    await fault.until(lambda: fault.idle() == 0)
    await fault.result(get(client))
    fault.retried()
    fault.wire(2, connections=2, after="reused")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(
            [response(body=status_body("bucket-1"), headers={"Connection": "close"}), server.close],
            id="announced",
        ),
        pytest.param([GOOD, server.close], id="silent"),
    ],
)
async def test_W06_server_closes_after_each_answer(fault: Fault, answer: server.Step):
    await fault.serve(then=answer)
    client = fault.client()
    for _ in range(5):
        await fault.result(get(client))
    await fault.until(lambda: fault.idle() == 0)
    fault.retried()
    fault.wire(5, connections=5, after="closed")


SLOW = {
    "W07_slow_headers": (server.trickle(GOOD, 0.02), "phase headers"),
    "W08_no_answer": (server.hang, "phase headers"),
    "W09_slow_body": ([GOOD[:-40], server.trickle(GOOD[-40:], 0.02)], "bytes received"),
    "W10_stalled_body": ([CUT_SHORT, server.hang], "phase body, 5 of 100 bytes received"),
}


@pytest.mark.parametrize(
    ("step", "phase"),
    [
        pytest.param(*case, marks=[pytest.mark.slow] if name < "W10" else [], id=name)
        for name, case in SLOW.items()
    ],
)
async def test_W07_to_W10_attempt_takes_too_long(fault: Fault, step: server.Step, phase: str):
    fault.clock.run()
    await fault.serve(then=step)
    client = fault.client(timeout=IMPATIENT)
    await fault.error(get(client), RequestTimeoutError, attempts=3, says=("0.2 s", phase))
    fault.retried(transient=2)
    fault.wire(3, connections=3, after="closed")


@pytest.mark.parametrize(("step", "phase"), SLOW.values(), ids=SLOW)
async def test_W07_to_W10_total_time_is_used_up(fault: Fault, step: server.Step, phase: str):
    fault.clock.run()
    await fault.serve(then=step)
    client = fault.client(timeout=Timeout(total=0.2))
    await fault.error(
        get(client), DeadlineExceededError, attempts=1, says=("0.2 s", "attempt 1", phase)
    )
    fault.retried()
    fault.wire(1, connections=1, after="closed")


LOST = {
    "W11_reset_in_headers": ([b"HTTP/1.1 200 OK\r\nContent-", server.reset], "reset before"),
    "W11_reset_at_once": (server.reset, "reset before response"),
    "W12_reset_in_body": ([CUT_SHORT, server.reset], "after 5 of 100 bytes"),
    "W13_body_cut_short": ([CUT_SHORT, server.close], "closed after 5 of 100 bytes"),
    "W14_no_last_chunk": (
        [
            response(
                body=chunked(b'{"success": true, "nodeStatus": []}', end=b""),
                headers={"Transfer-Encoding": "chunked"},
                length=None,
            ),
            server.close,
        ],
        "closed after 35 bytes",
    ),
}


@pytest.mark.parametrize(("step", "says"), LOST.values(), ids=LOST)
async def test_W11_to_W14_connection_is_lost_under_the_answer(
    fault: Fault, step: server.Step, says: str
):
    await fault.serve(then=step)
    client = fault.client()
    await fault.error(get(client), ConnectionLostError, attempts=3, says=says)
    fault.retried(transient=2)
    fault.wire(3, connections=3, after="closed")


@pytest.mark.parametrize(("step", "says"), LOST.values(), ids=LOST)
async def test_W11_to_W14_lost_once_is_survived(fault: Fault, step: server.Step, says: str):
    await fault.serve(step)
    client = fault.client()
    assert await fault.result(get(client)) == await fault.result(get(client))
    fault.retried(transient=1, refunded=True)
    fault.wire(3, connections=2, after="reused")


async def test_W15_json_without_length_is_cut_short(fault: Fault):
    await fault.serve([response(body=b'{"success": true, "nodeSt', length=None), server.close])
    client = fault.client()
    await fault.error(
        get(client), DecodeError, attempts=1, says=("ended early", "25 bytes", "status 200")
    )
    fault.retried()
    fault.wire(1, after="closed")


def head(*lines: str) -> bytes:
    return "\r\n".join(("HTTP/1.1 200 OK", *lines, "", "")).encode()


CHUNKED = head("Content-Type: application/json", "Transfer-Encoding: chunked")
BODY = GOOD.partition(b"\r\n\r\n")[2]
LENGTH = f"Content-Length: {len(BODY)}"
LONG = "SECRETISH" * 1000

MALFORMED = {
    "W16_bad_chunk_size": (
        CHUNKED + b"zz" * 200 + b"\r\n{}\r\n0\r\n\r\n",
        "malformed HTTP",
        "z" * 81,
    ),
    "W17_other_protocol": (
        b"SSH-2.0-OpenSSH_9.6p1\x1b[31m Debian-1 and more than is shown\r\n\r\n",
        r"SSH-2.0-OpenSSH_9.6p1\x1b[31m",
        "and more",
    ),
    "W17_binary": (b"\x00\x01\x02\xff\r\n\r\n", r"\x00\x01\x02\xff", "\x00"),
    "W18_long_header": (head(f"X-Long: {LONG}", LENGTH) + BODY, "8190", "SECRETISH"),
    "W18_many_headers": (
        head(*(f"X-{n}: SECRETISH" for n in range(200)), LENGTH) + BODY,
        "Too many headers",
        "SECRETISH",
    ),
    "W19_two_lengths": (head(LENGTH, "Content-Length: 5") + BODY, "malformed HTTP", "\n"),
    "W19_same_length_twice": (head(LENGTH, LENGTH) + BODY, "malformed HTTP", "\n"),
    "W19_length_and_chunked": (
        head(LENGTH, "Transfer-Encoding: chunked") + chunked(BODY),
        "malformed HTTP",
        "\n",
    ),
}


@pytest.mark.parametrize(("answer", "says", "never"), MALFORMED.values(), ids=MALFORMED)
async def test_W16_to_W19_answer_is_no_http(fault: Fault, answer: bytes, says: str, never: str):
    await fault.serve(answer)
    client = fault.client()
    await fault.error(get(client), ProtocolError, attempts=1, says=says, never=never)
    fault.retried()
    fault.wire(1, after="closed")


async def test_W16_bad_chunk_size_in_a_later_packet(fault: Fault):
    fault.clock.run()
    step = [CHUNKED + b'5\r\n{"suc\r\n', server.pause(0.02), b"zz\r\n", server.hang]
    await fault.serve(step)
    client = fault.client(timeout=IMPATIENT, retry=RetryPolicy.none())
    # aiohttp closes the connection, but may not notify the reader of the body.
    kinds = (ProtocolError, RequestTimeoutError)
    error = await fault.error(get(client), kinds, attempts=1, never="zz")
    assert "malformed HTTP" in str(error) or "5 bytes received" in str(error)
    fault.wire(1, after="closed")


async def test_W20_garbage_behind_the_answer(fault: Fault):
    await fault.serve(GOOD + b"stray bytes\r\n\r\n")
    client = fault.client()
    await fault.error(get(client), ProtocolError, attempts=1)
    fault.retried()
    fault.wire(1, after="closed")


async def test_W20_second_answer_in_the_same_packet(fault: Fault):
    await fault.serve(GOOD + ok_status("bucket-2"))
    client = fault.client()
    await fault.result(get(client))
    assert (await fault.result(client.status.get("bucket-3"))).bucket_id == "bucket-3"
    fault.retried()
    fault.wire(2, connections=2)


async def test_W20_second_answer_on_the_idle_connection(fault: Fault):
    go_on, sent = asyncio.Event(), asyncio.Event()

    async def say_more(conn: server.Conn, _: server.Request) -> None:
        await go_on.wait()
        await conn.send(ok_status("bucket-2"))
        sent.set()

    await fault.serve([GOOD, say_more])
    client = fault.client()
    await fault.result(get(client))
    go_on.set()
    await sent.wait()
    for _ in range(10):  # the client reads it
        await asyncio.sleep(0)
    assert (await fault.result(client.status.get("bucket-3"))).bucket_id == "bucket-3"
    fault.retried()
    fault.wire(2, connections=2)


async def test_W21_informational_answers_first(fault: Fault):
    informational = (
        b"HTTP/1.1 100 Continue\r\n\r\n"
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
    )
    await fault.serve(informational + GOOD, [informational, server.pause(0.02), GOOD])
    client = fault.client()
    for _ in range(2):
        await fault.result(get(client))
    fault.retried()
    fault.wire(2, connections=1, after="reused")


async def test_W22_ten_thousand_informational_answers_first(fault: Fault):
    await fault.serve(server.healthy, b"HTTP/1.1 103 Early Hints\r\n\r\n" * 10_000 + GOOD)
    client = fault.client()
    await fault.result(get(client))
    before = psutil.Process().memory_info().rss
    await fault.result(get(client))
    assert psutil.Process().memory_info().rss - before < 5 * 2**20
    fault.retried()
    fault.wire(2, connections=1, after="reused")


async def test_W22_informational_answers_without_end(fault: Fault):
    async def endless(conn: server.Conn, _: server.Request) -> None:
        while True:
            await conn.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100)
            await asyncio.sleep(0)

    fault.clock.run()
    await fault.serve(then=endless)
    client = fault.client(timeout=IMPATIENT)
    before = psutil.Process().memory_info().rss
    await fault.error(get(client), RequestTimeoutError, attempts=3, says="phase headers")
    assert psutil.Process().memory_info().rss - before < 5 * 2**20
    fault.retried(transient=2)
    fault.wire(3, connections=3, after="closed")


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        pytest.param("gzip", b"this is no gzip", id="W23_no_gzip"),
        pytest.param("deflate", b"\xff\xff\xff this is no deflate", id="W23_no_deflate"),
        pytest.param("br", b"\x0b\x02\x80{}\x03", id="W24_br"),
    ],
)
async def test_W23_W24_encoding_cannot_be_undone(fault: Fault, encoding: str, body: bytes):
    await fault.serve(response(body=body, headers={"Content-Encoding": encoding}))
    client = fault.client()
    await fault.error(get(client), DecodeError, attempts=1, says=("encoding", encoding))
    assert fault.server.requests[0].headers["accept-encoding"] == "gzip, deflate"
    fault.retried()
    fault.wire(1, after="closed")


async def test_W24_offered_encodings_are_understood(fault: Fault):
    packed = zlib.compress(BODY)
    await fault.serve(response(body=packed, headers={"Content-Encoding": "deflate"}))
    client = fault.client()
    await fault.result(get(client))
    fault.wire(1, after="reused")


async def test_W25_peer_vanishes_under_a_kept_connection(fault: Fault):
    fault.clock.run()
    await fault.serve([server.healthy, server.vanish])
    client = fault.client(timeout=IMPATIENT)
    await fault.result(get(client))
    await fault.result(get(client))
    fault.retried(transient=1, refunded=True)
    fault.wire(2, connections=2, after="reused")


async def test_W25_the_dead_connection_is_not_used_again(fault: Fault):
    fault.clock.run()
    await fault.serve([server.healthy, server.vanish])
    client = fault.client(timeout=IMPATIENT, retry=RetryPolicy.none())
    await fault.result(get(client))
    await fault.error(get(client), RequestTimeoutError, attempts=1, says=("0.2 s", "headers"))
    assert fault.idle() == 0
    await fault.result(get(client))
    fault.wire(2, connections=2, after="reused")


@pytest.mark.parametrize("read", READS)
async def test_W25_all_idle_connections_have_vanished(
    fault: Fault, read: Callable[[FlashbackClient], Awaitable[object]]
):
    async def step(conn: server.Conn, request: server.Request) -> None:
        await (server.vanish if conn.requests > 1 else server.healthy)(conn, request)

    fault.clock.run()
    await fault.serve(*[server.together(10)] * 10, then=step)
    client = fault.client(timeout=IMPATIENT)
    await fault.result(fill_pool(client, 10))
    await fault.result(read(client))
    fault.retried(transient=1, refunded=True)
    fault.wire(10 + 2, connections=11, after="reused")


async def test_W26_server_restarts_under_1000_requests(fault: Fault):
    network.need_descriptors(2200)
    await fault.serve(*[server.together(1001)] * 1000)  # none of the first thousand is answered
    client = fault.client(limits=Limits(max_concurrency=1000))
    run = asyncio.ensure_future(client.status.get_many([f"bucket-{n}" for n in range(1000)]))
    await fault.until(lambda: len(fault.server.requests) == 1000)
    await fault.server.restart(reset=True)
    report = await fault.result(run)
    assert [outcome.key for outcome in report] == [f"bucket-{n}" for n in range(1000)]
    for key, status in report.succeeded.items():
        assert isinstance(status, BucketStatus)
        assert status.bucket_id == key
    for error in report.failed.values():
        assert type(error) in {ConnectionLostError, ConnectError}
    for error in list(report.failed.values())[:20]:
        fault.check(error, (ConnectionLostError, ConnectError), says="retry budget empty")
    # 500 tokens pay for 35 retries, and each that succeeds for one more: the outage is not
    # answered with another thousand requests.
    assert 35 <= len(report.succeeded) <= 100
    fault.wire(1000 + len(report.succeeded))


@pytest.mark.parametrize("other", ["bucket-2", "", "bucket-1 "])
async def test_W27_answer_about_another_bucket(fault: Fault, other: str):
    await fault.serve(ok_status(other))
    client = fault.client()
    error = await fault.error(
        get(client), DecodeError, attempts=1, says=("'bucket-1'", f"'{other}'", "$.bucketId")
    )
    assert error.path == "$.bucketId"
    fault.retried()
    fault.wire(1, after="closed")


async def test_W27_other_case_is_the_same_bucket(fault: Fault):
    await fault.serve(ok_status("BUCKET-1"))
    client = fault.client()
    await fault.result(get(client))
    fault.wire(1, after="reused")


async def test_W28_jitter_and_packets_of_one_byte(fault: Fault):
    chance = random.Random(28)

    async def slow(conn: server.Conn, request: server.Request) -> None:
        await asyncio.sleep(chance.uniform(0.0, 0.1))
        await conn.trickle(server.good_answer(request))

    await fault.serve(then=slow)
    client = fault.client(limits=Limits(max_concurrency=8))
    ids = [f"bucket-{n}" for n in range(24)]
    report = await fault.result(client.status.get_many(ids))
    assert [status.bucket_id for status in report.succeeded.values()] == ids
    fault.retried()
    fault.wire(24, connections=8, after="reused")
