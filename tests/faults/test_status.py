"""Well-formed answers that are not data: their errors, and when the request is sent again."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from flashback_async import (
    APIError,
    AuthenticationError,
    BadRequestError,
    BucketStatus,
    DeadlineExceededError,
    DecodeError,
    FlashbackClient,
    Limits,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    RedirectError,
    Report,
    RetryPolicy,
    ServerError,
    Timeout,
)
from tests import inside
from tests.faults.harness import server, tls
from tests.faults.harness.answers import (
    chunked,
    node_stats_body,
    ok_stats,
    response,
    stats_body,
    status_body,
)
from tests.faults.harness.clock import FakeClock
from tests.faults.harness.fault import GUARD, Fault

KIB = 2**10

Call = Callable[[FlashbackClient], Awaitable[object]]


def status(client: FlashbackClient) -> Awaitable[object]:
    return client.status.get("bucket-1")


def stats(client: FlashbackClient) -> Awaitable[object]:
    return client.bucket_stats.list(["bucket-1"])


def node_stats(client: FlashbackClient) -> Awaitable[object]:
    return client.node_stats.get("bucket-1", "2026-01-02")


CALLS = pytest.mark.parametrize("call", [status, stats, node_stats])
OPERATIONS = {status: "status.get", stats: "bucket_stats.list", node_stats: "node_stats.get"}
GOOD_BODIES = {
    status: status_body("bucket-1"),
    stats: stats_body(["bucket-1"]),
    node_stats: node_stats_body(),
}


def throttled(retry_after: str | None = None, code: int = 429) -> bytes:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return response(code, {"message": "slow down"}, headers)


def ids(count: int) -> list[str]:
    return [f"bucket-{n}" for n in range(1, count + 1)]


class LoopClock(FakeClock):
    """The loop's own time, which jumps ahead when there is nothing to do but wait.

    All waiting of the process uses it, in order, and takes next to no real time. An iteration of
    the loop takes a microsecond of it, because even the shortest wait must see time pass.
    """

    def __init__(self) -> None:
        super().__init__()
        loop = asyncio.get_running_loop()
        self._now = loop.time()
        self._select = loop._selector.select
        loop._selector.select = self._wait
        loop.time = self.monotonic

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        await asyncio.sleep(seconds)

    def _wait(self, timeout: float | None = None) -> list[object]:
        self._now += 1e-6
        happened = self._select(0)
        if not happened and (timeout is None or timeout > 0):
            # A moment for what the system has yet to deliver, longer before a longer jump.
            happened = self._select(timeout and min(0.05, 0.001 + timeout / 100))
            if not happened and timeout is not None:
                self._now += timeout
        return happened


class Slow:
    """A step that answers after ``latency``, and records how many requests were in flight."""

    def __init__(self, answer: Callable[[server.Request], bytes], latency: float) -> None:
        self.answer = answer
        self.latency = latency
        self.under_way = 0
        self.most: list[tuple[float, int]] = []

    async def __call__(self, conn: server.Conn, request: server.Request) -> None:
        self.under_way += 1
        self.most.append((request.at, self.under_way))
        await asyncio.sleep(self.latency)
        self.under_way -= 1
        await conn.send(self.answer(request))

    def most_between(self, begin: float, end: float = math.inf) -> int:
        return max((most for at, most in self.most if begin <= at < end), default=0)


# Redirects.


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@CALLS
async def test_S01_redirect_to_another_host(fault: Fault, call: Call, code: int):
    await fault.serve()
    target = await fault.serve()
    location = f"http://localhost:{target.port}/hidden/{fault.token}?to={fault.token}"
    fault.server.then = response(code, b"over there", {"Location": location})
    error = await fault.error(
        call(fault.client()),
        RedirectError,
        attempts=1,
        says=(str(code), "'localhost'", "not followed"),
        never=("hidden", "to=", str(target.port)),
    )
    assert error.status == code
    assert target.connections == []
    fault.retried()
    fault.wire(1, connections=1, after="reused")


async def test_S01_token_is_in_the_name_of_the_other_host(fault: Fault):
    location = f"https://{fault.token}.example/"
    await fault.serve(then=response(302, b"", {"Location": location}))
    error = await fault.error(status(fault.client()), RedirectError, says="'***.example'")
    assert error.status == 302
    fault.retried()
    fault.wire(1, after="reused")


@pytest.mark.parametrize(
    ("location", "host", "never"),
    [
        pytest.param("/secret/elsewhere", "no host", "secret", id="same_origin"),
        pytest.param("", "no host", "secret", id="empty"),
        pytest.param("file:///etc/secret", "no host", "secret", id="file"),
        pytest.param("//other.example/secret", "'other.example'", "secret", id="no_scheme"),
        pytest.param("http://me:secret@other.example", "'other.example'", "secret", id="user_info"),
        pytest.param("http://[secret", "no host", "secret", id="no_url"),
        pytest.param("http://b\xfccher.example/", r"'b\udcfccher.example'", "/", id="no_utf_8"),
        pytest.param(None, "no host", "secret", id="none"),
    ],
)
async def test_S02_redirect_anywhere(fault: Fault, location: str | None, host: str, never: str):
    headers = {} if location is None else {"Location": location}
    await fault.serve(then=response(302, b"", headers))
    says = ("302", host, "not followed")
    error = await fault.error(
        status(fault.client()), RedirectError, attempts=1, says=says, never=never
    )
    assert error.status == 302
    assert str(error).isascii()
    fault.retried()
    fault.wire(1, connections=1, after="reused")


async def test_S02_redirect_to_the_same_url(fault: Fault):
    await fault.serve()
    location = f"{fault.server.url}/bucket/bucket-1/status"
    fault.server.then = response(302, b"", {"Location": location})
    says = ("302", "'127.0.0.1'")
    await fault.error(status(fault.client()), RedirectError, attempts=1, says=says)
    fault.retried()
    fault.wire(1, after="reused")


async def test_S02_redirect_to_clear_text(fault: Fault):
    await fault.serve(tls=tls.server())
    target = await fault.serve()
    fault.server.then = response(302, b"", {"Location": f"{target.url}/bucket/bucket-1/status"})
    says = ("302", "'127.0.0.1'")
    await fault.error(status(fault.client()), RedirectError, attempts=1, says=says)
    assert target.connections == []
    fault.retried()
    fault.wire(1, after="reused")


# Nothing in the answer.


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(response(204, length=None), id="S03_204"),
        pytest.param(response(200), id="S05_no_bytes"),
        pytest.param(response(200, b" \r\n\t"), id="S05_white_space"),
        pytest.param(
            response(200, chunked(), {"Transfer-Encoding": "chunked"}, length=None),
            id="S05_no_chunk",
        ),
        pytest.param(response(202), id="S05_202"),
    ],
)
@CALLS
async def test_S03_S05_empty_body(fault: Fault, call: Call, answer: bytes):
    await fault.serve(then=answer)
    says = ("empty body", OPERATIONS[call])
    error = await fault.error(call(fault.client()), DecodeError, attempts=1, says=says)
    assert error.operation == OPERATIONS[call]
    assert error.status == int(answer[9:12])
    fault.retried()
    fault.wire(1, connections=1, after="reused")


@pytest.mark.parametrize("answer", [response(204, length=None), response(200)], ids=["S03", "S05"])
async def test_S03_S05_empty_body_in_bulk(fault: Fault, answer: bytes):
    await fault.serve(then=answer)
    client = fault.client()
    reports = [
        await fault.result(client.status.get_many(["a"])),
        await fault.result(client.bucket_stats.get_many(["a"])),
        await fault.result(client.node_stats.get_many(["a"], "2026-01-02")),
    ]
    for [outcome] in reports:
        assert outcome.value is None
        fault.check(outcome.error, DecodeError, says="empty body", attempts=1)
    fault.wire(3, connections=1, after="reused")


@CALLS
async def test_S04_not_modified_unasked(fault: Fault, call: Call):
    await fault.serve(then=response(304, length=None))
    error = await fault.error(call(fault.client()), RedirectError, attempts=1, says="304")
    assert error.status == 304
    fault.retried()
    fault.wire(1, connections=1, after="reused")


# What the API refuses.


def echo(code: int, size: int = 0) -> server.Step:
    """Refuse, and echo the whole request; the body is longer than ``size``."""

    async def step(conn: server.Conn, request: server.Request) -> None:
        said = {
            "success": False,
            "message": "m" * 190 + "; you sent " + json.dumps(request.headers),
            "error_code": "E42",
            "x": "x" * size,
        }
        await conn.send(response(code, said, {"X-Request-Id": "id-7"}))

    return step


@pytest.mark.parametrize("size", [0, 60 * KIB])
@pytest.mark.parametrize("code", [400, 402, 405, 409, 410, 413, 414, 415, 422, 499])
async def test_S06_refused(fault: Fault, code: int, size: int):
    await fault.serve(then=echo(code, size))
    error = await fault.error(
        status(fault.client()),
        BadRequestError if code == 400 else APIError,
        attempts=1,
        says=(str(code), "m" * 190, "code 'E42'", "request id 'id-7'"),
        never=("authorization", "Bearer", "user-agent"),
    )
    assert (error.status, error.code, error.request_id) == (code, "E42", "id-7")
    assert error.message.startswith("m" * 190 + "; you sent")
    assert len(error.message) <= 500
    assert len(error.body) <= 500
    assert error.retry_after is None
    fault.retried()
    fault.wire(1, connections=1, after="reused")


async def test_S06_body_over_64_kib_is_not_drained(fault: Fault):
    await fault.serve(then=echo(400, 200 * KIB))
    error = await fault.error(status(fault.client()), BadRequestError, attempts=1, says="400")
    assert len(error.body) <= 500
    fault.retried()
    fault.wire(1, connections=1, after="closed")


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        ({"message": "no", "code": 7}, "no", "7"),
        ({"error": "no"}, "no", "no"),
        ({"error_message": "no", "errorCode": "E1"}, "no", "E1"),
        ({"errorMessage": "no", "error": "E1"}, "no", "E1"),
        ({"message": None, "error": "no"}, "no", "no"),
    ],
)
async def test_S06_every_name_of_message_and_code(
    fault: Fault, body: object, message: str, code: str
):
    await fault.serve(then=response(409, body))
    error = await fault.error(status(fault.client()), APIError, attempts=1, says="'no'")
    assert (error.message, error.code) == (message, code)
    fault.wire(1)


# A token that is rejected.


class Tokens:
    """Return a new token for each call; all of them begin with the canary."""

    def __init__(self, fault: Fault) -> None:
        self.calls = 0
        self._fault = fault

    async def __call__(self) -> str:
        self.calls += 1
        await asyncio.sleep(0.005)
        return f"{self._fault.token}-{self.calls}"


def accepts(number: int) -> Callable[[server.Request], bool]:
    return lambda request: request.headers["authorization"].endswith(f"-{number}")


REJECTED = response(401, {"message": "who is this?"}, {"X-Request-Id": "id-7"})


@CALLS
async def test_S07_token_is_rejected(fault: Fault, call: Call):
    await fault.serve(then=REJECTED)
    error = await fault.error(
        call(fault.client()),
        AuthenticationError,
        attempts=1,
        says=("401", "token rejected", "who is this?", "id-7"),
        never=fault.token[:4],
    )
    assert (error.status, error.request_id) == (401, "id-7")
    fault.retried()
    fault.wire(1, connections=1, after="reused")


async def test_S07_token_of_a_provider_is_refreshed_once(fault: Fault):
    await fault.serve(REJECTED)
    tokens = Tokens(fault)
    await fault.result(status(fault.client(token=tokens)))
    assert tokens.calls == 2
    assert [accepts(n)(r) for n, r in enumerate(fault.server.requests, 1)] == [True, True]
    fault.retried()
    fault.wire(2, connections=1, after="reused")


@pytest.mark.parametrize("policy", [RetryPolicy(), RetryPolicy.none()], ids=["retries", "none"])
async def test_S07_token_of_a_provider_is_rejected_twice(fault: Fault, policy: RetryPolicy):
    await fault.serve(then=REJECTED)
    tokens = Tokens(fault)
    client = fault.client(token=tokens, retry=policy)
    says = ("401", "token rejected")
    await fault.error(status(client), AuthenticationError, attempts=2, says=says)
    assert tokens.calls == 2
    fault.retried()
    fault.wire(2, connections=1, after="reused")


async def test_S07_token_of_a_provider_is_refreshed_once_in_all_attempts_of_a_call(fault: Fault):
    await fault.serve(REJECTED, response(500), REJECTED)
    tokens = Tokens(fault)
    await fault.error(status(fault.client(token=tokens)), AuthenticationError, attempts=3)
    assert tokens.calls == 2
    fault.retried(transient=1)
    fault.wire(3, connections=1, after="reused")


@pytest.mark.parametrize("lazily", [False, True], ids=["list", "async_iterable"])
async def test_S08_rejected_token_ends_the_run(fault: Fault, lazily: bool):
    answer = Slow(lambda r: REJECTED if r.number > 20 else server.good_answer(r), 0.005)
    await fault.serve(then=answer)
    client = fault.client()
    read: list[str] = []

    async def source() -> AsyncIterator[str]:
        for bucket_id in ids(200):
            read.append(bucket_id)
            yield bucket_id

    keys = source() if lazily else ids(200)
    async with asyncio.timeout(GUARD):
        outcomes = [o async for o in client.status.iter_many(keys, concurrency=8)]
    sent = len(fault.server.requests)
    assert 20 < sent <= 21 + 8
    assert sorted(outcome.key for outcome in outcomes) == sorted(read if lazily else ids(200))
    assert len(outcomes) <= sent + 8 if lazily else len(outcomes) == 200
    for outcome in outcomes:
        if outcome.ok:
            continue
        error = fault.check(outcome.error, AuthenticationError, says=("401", "token rejected"))
        assert (error.status, error.bucket_id) == (401, outcome.key)
        assert error.attempts == (outcome.key in ids(sent))
        assert ("never sent" in str(error)) == (error.attempts == 0)
    assert sum(outcome.ok for outcome in outcomes) == 20
    fault.retried()
    fault.wire(sent, connections=8)  # and the harness sees the next call try again


async def test_S08_rejected_token_ends_a_run_of_lists_and_of_days(fault: Fault):
    await fault.serve(then=REJECTED)
    client = fault.client()
    report = await client.bucket_stats.get_many([f"{n:0200}" for n in range(100)], concurrency=2)
    lists = len(fault.server.requests)
    assert 1 <= lists <= 3
    assert len(report.failed) == 100
    days = [f"2026-01-{n:02}" for n in range(1, 29)]
    other = await client.node_stats.get_many(ids(5), days, concurrency=2)
    assert 1 <= len(fault.server.requests) - lists <= 3
    assert len(other.failed) == 5 * 28
    for error in [*report.failed.values(), *other.failed.values()]:
        assert type(error) is AuthenticationError
    fault.wire(len(fault.server.requests))


async def test_S08_run_goes_on_with_a_refreshed_token(fault: Fault):
    tokens = Tokens(fault)
    is_new = accepts(2)

    def answer(request: server.Request) -> bytes:
        good = request.number <= 20 or is_new(request)
        return server.good_answer(request) if good else REJECTED

    await fault.serve(then=Slow(answer, 0.005))
    client = fault.client(token=tokens)
    report = await fault.result(client.status.get_many(ids(200), concurrency=8))
    assert report.ok
    assert tokens.calls == 2
    sent = len(fault.server.requests)
    assert 200 < sent <= 200 + 8
    fault.retried()
    fault.wire(sent, connections=8)


async def test_S08_refreshed_token_is_rejected_too(fault: Fault):
    await fault.serve(then=Slow(lambda _: REJECTED, 0.005))
    tokens = Tokens(fault)
    report = await fault.result(fault.client(token=tokens).status.get_many(ids(200), concurrency=8))
    sent = len(fault.server.requests)
    assert sent <= 2 * 8
    # Whoever sent the old token before the new one was there may be refused with it later.
    assert tokens.calls == 2
    assert len(report.failed) == 200
    for error in report.failed.values():
        fault.check(error, AuthenticationError, says="token rejected")
    fault.retried()
    fault.wire(sent)


UNREADABLE = {
    "cut_short": gzip.compress(b'{"message": "no"}' * 9)[:-8],
    "no_gzip": b'{"message": "no"}',
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize(
    ("code", "kind", "requests"),
    [(401, AuthenticationError, 1), (404, NotFoundError, 1), (503, ServerError, 3)],
)
async def test_S25_status_counts_although_the_body_cannot_be_inflated(
    fault: Fault, code: int, kind: type[APIError], requests: int, body: bytes
):
    await fault.serve(then=response(code, body, {"Content-Encoding": "gzip"}))
    error = await fault.error(status(fault.client()), kind, attempts=requests, says=str(code))
    assert error.status == code
    fault.retried(transient=requests - 1)
    fault.wire(requests)


async def test_S08_rejected_token_ends_the_run_whatever_the_body_is(fault: Fault):
    rejected = response(401, UNREADABLE["cut_short"], {"Content-Encoding": "gzip"})
    answer = Slow(lambda r: rejected if r.number > 20 else server.good_answer(r), 0.005)
    await fault.serve(then=answer)
    report = await fault.result(fault.client().status.get_many(ids(200), concurrency=8))
    sent = len(fault.server.requests)
    assert sent <= 21 + 8
    assert {type(error) for error in report.failed.values()} == {AuthenticationError}
    fault.wire(sent)


# One bucket among many.


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        pytest.param(403, PermissionDeniedError, id="S09_403"),
        pytest.param(404, NotFoundError, id="S10_404"),
    ],
)
async def test_S09_S10_one_bucket_is_refused(fault: Fault, code: int, kind: type[APIError]):
    refusal = response(code, {"success": False, "message": "not this one"})

    async def step(conn: server.Conn, request: server.Request) -> None:
        refused = "/bucket-7/" in request.target
        await conn.send(refusal if refused else server.good_answer(request))

    await fault.serve(then=step)
    client = fault.client()
    reports = [
        await fault.result(client.status.get_many(ids(20))),
        await fault.result(client.node_stats.get_many(ids(20), "2026-01-02")),
    ]
    for report in reports:
        assert [o.ok for o in report] == [n != 7 for n in range(1, 21)]
        says = (str(code), "bucket-7", "not this one")
        error = fault.check(report[6].error, kind, says=says, attempts=1)
        assert (error.status, error.bucket_id) == (code, "bucket-7")
        assert error.message == "not this one"
    says = (str(code), "bucket-7")
    await fault.error(client.status.get("bucket-7"), kind, says=says, attempts=1)
    fault.retried()
    fault.wire(41, after="reused")


def refuses_lists_with(culprits: Iterable[str], code: int) -> server.Step:
    refusal = response(code, {"success": False, "message": "not these"})

    async def step(conn: server.Conn, request: server.Request) -> None:
        asked = request.target.partition("bucketId=")[2].split("%2C")
        await conn.send(ok_stats(asked) if set(asked).isdisjoint(culprits) else refusal)

    return step


@pytest.mark.parametrize(
    ("count", "culprits"), [(64, [1]), (64, [64]), (100, [37]), (100, [1, 100]), (100, [50, 51])]
)
@pytest.mark.parametrize("code", [400, 403, 404, 414])
async def test_S11_list_is_halved_until_the_culprit_is_alone(
    fault: Fault, code: int, count: int, culprits: list[int]
):
    bad = [f"bucket-{n}" for n in culprits]
    await fault.serve(then=refuses_lists_with(bad, code))
    report = await fault.result(fault.client().bucket_stats.get_many(ids(count)))
    assert [o.key for o in report] == ids(count)
    assert list(report.failed) == bad
    for bucket_id, error in report.failed.items():
        assert (error.status, error.bucket_id) == (code, bucket_id)
        fault.check(error, type(error), says=(str(code), bucket_id, "not these"))
    requests = len(fault.server.requests)
    assert requests <= 1 + len(bad) * 2 * math.ceil(math.log2(count))
    fault.retried()
    fault.wire(requests, connections=1, after="reused")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, BadRequestError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (414, APIError),
    ],
)
async def test_S11_list_gives_the_error(fault: Fault, code: int, kind: type[APIError]):
    await fault.serve(then=refuses_lists_with(["bucket-3"], code))
    call = fault.client().bucket_stats.list(ids(20))
    error = await fault.error(call, kind, attempts=1, says=(str(code), "bucket_stats.list"))
    assert (error.status, error.operation) == (code, "bucket_stats.list")
    fault.retried()
    fault.wire(1, after="reused")


@pytest.mark.parametrize(("code", "requests"), [(500, 3), (409, 1), (302, 1)])
async def test_S11_list_is_not_halved_for_other_errors(fault: Fault, code: int, requests: int):
    await fault.serve(then=refuses_lists_with(["bucket-3"], code))
    report = await fault.result(fault.client().bucket_stats.get_many(ids(20)))
    assert {error.status for error in report.failed.values()} == {code}
    assert list(report.failed) == ids(20)
    assert [error.bucket_id for error in report.failed.values()] == ids(20)
    fault.wire(requests, after="reused")


# What may go away by itself.


@pytest.mark.parametrize(
    ("code", "connections"), [pytest.param(408, 3, id="S12"), pytest.param(425, 1, id="S13")]
)
@CALLS
async def test_S12_S13_request_comes_at_a_bad_time(
    fault: Fault, call: Call, code: int, connections: int
):
    leaves = code == 408
    answer = response(code, {"message": "again"}, {"Connection": "close"} if leaves else {})
    await fault.serve(then=[answer, server.close] if leaves else answer)
    says = (str(code), "3 requests")
    error = await fault.error(call(fault.client()), APIError, attempts=3, says=says)
    assert error.status == code
    fault.retried(transient=2)
    fault.wire(3, connections=connections, after="closed" if leaves else "reused")


@pytest.mark.parametrize("code", [408, 425])
async def test_S12_S13_succeeds_the_second_time(fault: Fault, code: int):
    await fault.serve(response(code))
    await fault.result(status(fault.client()))
    fault.retried(transient=1, refunded=True)
    fault.wire(2, connections=1, after="reused")


@CALLS
async def test_S14_throttled_without_a_time_to_wait(fault: Fault, call: Call):
    await fault.serve(then=throttled())
    says = ("429", "slow down", "3 requests")
    error = await fault.error(call(fault.client()), RateLimitError, attempts=3, says=says)
    assert (error.status, error.retry_after, error.message) == (429, None, "slow down")
    fault.retried(throttled=2)
    assert fault.clock.draws[:2] == [(0.0, 1.0), (0.0, 2.0)]
    fault.wire(3, connections=1, after="reused")


# A time to wait.


def seen_at(fault: Fault) -> list[float]:
    """Return when requests arrived, in seconds after the first."""
    return [request.at - fault.server.requests[0].at for request in fault.server.requests]


def tokens_spent(client: FlashbackClient) -> int:
    return 500 - inside.budget(client)


@pytest.mark.parametrize("code", [429, 503])
@CALLS
async def test_S15_waits_as_long_as_told(fault: Fault, call: Call, code: int):
    await fault.serve(*[throttled("2", code)] * 5)
    client = fault.client()
    await fault.result(call(client))
    assert seen_at(fault) == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    assert fault.clock.sleeps == [2.0] * 5
    assert tokens_spent(client) == 0
    fault.wire(6, connections=1, after="reused")


@pytest.mark.parametrize("seconds", ["2.5", "1", "60"])
async def test_S15_every_usable_number(fault: Fault, seconds: str):
    await fault.serve(throttled(seconds))
    client = fault.client(timeout=Timeout(total=100.0))
    await fault.result(status(client))
    assert fault.clock.sleeps == [float(seconds)]
    assert tokens_spent(client) == 0
    fault.wire(2, connections=1, after="reused")


@pytest.mark.parametrize(("code", "kind"), [(429, RateLimitError), (503, ServerError)])
async def test_S15_time_of_a_single_call_runs_out(fault: Fault, code: int, kind: type[APIError]):
    await fault.serve(then=throttled("2", code))
    client = fault.client(timeout=Timeout(total=5.0))
    error = await fault.error(status(client), kind, attempts=3, says=str(code))
    assert (error.status, error.retry_after) == (code, 2.0)
    assert seen_at(fault) == [0.0, 2.0, 4.0]
    assert fault.clock.sleeps == [2.0, 2.0]  # not a third that no request would follow
    assert tokens_spent(client) == 0
    fault.wire(3, connections=1, after="reused")


async def test_S15_single_call_with_less_time_than_the_pause_ends_at_once(fault: Fault):
    await fault.serve(throttled("20"))
    client = fault.client(timeout=Timeout(total=10.0))
    error = await fault.error(status(client), RateLimitError, attempts=1, says="429")
    assert (error.status, error.retry_after) == (429, 20.0)
    fault.retried()  # nothing slept, nothing spent
    # The gate is closed all the same, for every call of the client.
    for left in (20.0, 15.0):
        error = await fault.error(
            status(client), RateLimitError, attempts=0, says=(f"{left:.2f} s", "0 requests")
        )
        assert (error.status, error.retry_after) == (429, pytest.approx(left))
        assert error.elapsed == 0.0
        assert (error.operation, error.bucket_id) == ("status.get", "bucket-1")
        fault.retried()
        fault.clock.advance(5.0)
    fault.wire(1)
    assert len(fault.server.requests) == 1
    await fault.result(status(client))  # 10 s of the pause are left, and this call has them
    assert fault.clock.sleeps == [pytest.approx(10.0)]
    assert seen_at(fault) == [0.0, pytest.approx(20.0)]
    assert seen_at(fault)[1] >= 20.0
    fault.wire(2, connections=1, after="reused")


async def test_S15_policy_that_sends_once_closes_the_gate_for_the_others(fault: Fault):
    await fault.serve(throttled("2"))
    client = fault.client()
    once = client.with_options(retry=RetryPolicy.none())
    error = await fault.error(status(once), RateLimitError, attempts=1)
    assert error.retry_after == 2.0
    assert fault.clock.sleeps == []
    await fault.result(status(client))
    assert seen_at(fault) == [0.0, 2.0]
    fault.wire(2, connections=1, after="reused")


@pytest.mark.parametrize("code", [429, 503])
async def test_S15_key_of_a_run_waits_for_any_pause(fault: Fault, code: int):
    await fault.serve(*[throttled("50", code)] * 4)
    client = fault.client(timeout=Timeout(total=5.0))
    report = await fault.result(client.status.get_many(["a", "b"], concurrency=1))
    assert report.ok
    # The second key leaves at its turn, and turns are slow after so many pauses.
    assert seen_at(fault)[:5] == [0.0, 50.0, 100.0, 150.0, 200.0]
    assert 200.0 < seen_at(fault)[5] < 201.0
    assert tokens_spent(client) == 0
    fault.wire(6, connections=1, after="reused")


async def test_S15_run_finds_the_gate_closed(fault: Fault):
    await fault.serve(throttled("50"))
    client = fault.client(timeout=Timeout(total=5.0))
    await fault.error(status(client), RateLimitError, attempts=1)
    assert (await fault.result(client.status.get_many(ids(3), concurrency=1))).ok
    assert seen_at(fault) == pytest.approx([0.0, 50.0, 50.1, 50.2])
    fault.wire(4)


@pytest.mark.parametrize("code", [429, 503])
async def test_S15_pause_that_outlasts_the_run_ends_it_at_once(fault: Fault, code: int):
    await fault.serve(then=throttled("50", code))
    client = fault.client()
    for attempts, pause in ((1, 50.0), (0, 50.0)):
        report = await fault.result(client.status.get_many(ids(20), concurrency=4, deadline=10.0))
        for n, outcome in enumerate(report):
            sent = attempts if n < 4 else 0
            error = fault.check(outcome.error, RateLimitError, attempts=sent, says=outcome.key)
            assert error.retry_after == pytest.approx(pause)
            assert error.elapsed == 0.0
        assert fault.clock.sleeps == []
    fault.wire(4)
    fault.clock.advance(45.0)
    fault.server.then = server.healthy
    assert (await fault.result(client.status.get_many(ids(3), deadline=10.0))).ok
    assert 50.0 - 1e-9 <= seen_at(fault)[4] <= 50.2
    fault.wire(7)


@pytest.mark.parametrize("code", [429, 503])
async def test_S15_pause_that_is_too_long_to_obey_is_told_as_it_was_asked_for(
    fault: Fault, code: int
):
    await fault.serve(then=throttled("3600", code))
    client = fault.client()
    report = await fault.result(client.status.get_many(ids(20), concurrency=4, deadline=10.0))
    for n, outcome in enumerate(report):
        error = fault.check(outcome.error, RateLimitError, attempts=1 if n < 4 else 0)
        assert error.retry_after == pytest.approx(3600)
    fault.wire(4)


async def test_S15_keys_in_flight_when_the_deadline_of_a_paused_run_passes(fault: Fault):
    fault.clock = LoopClock()

    async def step(conn: server.Conn, request: server.Request) -> None:
        if "/0/" in request.target:
            await conn.send(throttled("50"))
        else:
            await conn.gone()

    await fault.serve(then=step)
    client = fault.client()
    keys = [str(n) for n in range(8)]
    ended = {o.key: o async for o in client.status.iter_many(keys, concurrency=3, deadline=5.0)}
    for key, outcome in ended.items():
        kind = DeadlineExceededError if key in "12" else RateLimitError
        error = fault.check(outcome.error, kind, attempts=1 if key in "012" else 0)
        assert "before that" not in str(error)
    assert list(ended)[-2:] in (["1", "2"], ["2", "1"])
    fault.wire(3)


async def test_S15_pause_that_outlasts_the_run_leaves_an_async_source_unread(fault: Fault):
    await fault.serve(then=throttled("50"))
    read = []

    async def source() -> AsyncIterator[str]:
        for key in ids(20):
            read.append(key)
            yield key

    client = fault.client()
    outcomes = [o async for o in client.status.iter_many(source(), concurrency=2, deadline=10.0)]
    assert [outcome.key for outcome in outcomes] == read
    assert len(read) < 5
    for outcome in outcomes:
        assert fault.check(outcome.error, RateLimitError).retry_after == pytest.approx(50.0)
    fault.wire(len([o for o in outcomes if o.error.attempts]))


async def test_S15_pause_that_begins_under_a_run_ends_the_keys_that_wait_for_a_slot(fault: Fault):
    await fault.serve(server.healthy, then=throttled("50"))
    client = fault.client(limits=Limits(max_concurrency=2))
    report = await fault.result(client.status.get_many(ids(8), deadline=10.0))
    assert [outcome.ok for outcome in report].count(True) == 1
    for outcome in report:
        if not outcome.ok:
            fault.check(outcome.error, RateLimitError, says=outcome.key)
    assert fault.clock.sleeps == []
    fault.wire(len(fault.server.requests))
    assert len(fault.server.requests) <= 4


async def test_S15_no_call_of_the_client_sends_earlier_than_told(fault: Fault):
    fault.clock = LoopClock()
    slow = Slow(lambda r: throttled("2") if r.number == 5 else server.good_answer(r), 0.02)
    await fault.serve(then=slow)
    client = fault.client(limits=Limits(max_concurrency=16))
    patient = client.with_options(timeout=Timeout(total=3.0))
    hasty = client.with_options(timeout=Timeout(total=1.0))
    calls = [patient.status.get(i) for i in ids(40)] + [hasty.status.get(i) for i in ids(10)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    times = seen_at(fault)
    # 16 went out at once; the answer came 0.02 s later.
    assert times[15] < 0.02
    assert times[16] >= 2.02
    assert times[16] == pytest.approx(2.02, abs=0.01)
    assert [result.bucket_id for result in results[:40]] == ids(40)
    for error in results[40:]:
        fault.check(error, RateLimitError, attempts=0)
        assert 1.0 < error.retry_after <= 2.0
    # Then one after the other, not all that waited at once.
    assert slow.most_between(fault.server.requests[16].at) <= 2
    assert tokens_spent(client) == 0
    fault.wire(41)


@pytest.mark.parametrize(
    "answer",
    [throttled("1"), throttled("1", 503), throttled()],
    ids=["429", "503", "429_without"],
)
async def test_S15_after_a_burst_that_was_refused_requests_leave_one_by_one(
    fault: Fault, answer: bytes
):
    fault.clock = LoopClock()
    slow = Slow(lambda r: answer if r.number <= 64 else server.good_answer(r), 0.05)
    await fault.serve(then=slow)
    client = fault.client()
    assert (await client.status.get_many(ids(64))).ok
    first, second = (fault.server.requests[n].at for n in (0, 64))
    assert slow.most_between(first, second) == 64
    assert slow.most_between(second, second + 0.25) <= 2
    assert tokens_spent(client) == 0
    fault.wire(64 + 64)


@pytest.fixture
def far_from_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set the time zone of this process to one that differs from that of the dates."""
    if not hasattr(time, "tzset"):
        yield
        return
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "XYZ-05:30")
        time.tzset()
        yield
    time.tzset()


def moment(fault: Fault, seconds: float) -> datetime:
    return datetime.fromtimestamp(fault.clock.wall() + seconds, UTC)


FORMATS = {
    "imf": lambda when: format_datetime(when, usegmt=True),
    "rfc850": lambda when: when.strftime("%A, %d-%b-%y %H:%M:%S GMT"),
    "asctime": lambda when: when.strftime("%a %b %e %H:%M:%S %Y"),
    "no_zone": lambda when: when.strftime("%a, %d %b %Y %H:%M:%S -0000"),
}


def dates(test: Callable[..., object]) -> Callable[..., object]:
    """Run a test with a date in each form."""
    test = pytest.mark.usefixtures("far_from_greenwich")(test)
    return pytest.mark.parametrize("shown", FORMATS.values(), ids=FORMATS)(test)


@dates
async def test_S16_waits_until_a_date(fault: Fault, shown: Callable[[datetime], str]):
    await fault.serve(throttled(shown(moment(fault, 2.0))))
    client = fault.client()
    await fault.result(status(client))
    assert fault.clock.sleeps == [2.0]
    assert tokens_spent(client) == 0
    fault.wire(2, connections=1, after="reused")


@dates
async def test_S16_date_is_relative_to_the_servers_own_time(
    fault: Fault, shown: Callable[[datetime], str]
):
    fault.clock.wall_offset += 90_000.0  # our time of day is wrong by more than a day
    there = datetime(2026, 3, 1, 23, 59, 59, tzinfo=UTC)
    headers = {"Retry-After": shown(there.replace(month=3, day=2, hour=0, minute=0, second=1))}
    await fault.serve(response(429, b"", headers | {"Date": FORMATS["imf"](there)}))
    await fault.result(status(fault.client()))
    assert fault.clock.sleeps == [2.0]
    fault.wire(2, connections=1, after="reused")


@pytest.mark.parametrize("seconds", [0.0, -2.0, -1e6])
@dates
async def test_S16_date_has_passed(fault: Fault, shown: Callable[[datetime], str], seconds: float):
    await fault.serve(then=throttled(shown(moment(fault, seconds))))
    error = await fault.error(status(fault.client()), RateLimitError, attempts=3)
    assert error.retry_after is None
    fault.retried(throttled=2)
    fault.wire(3, connections=1, after="reused")


UNUSABLE = {
    "zero": "0",
    "zeros": "0.000",
    "past": "Sun, 06 Nov 1994 08:49:37 GMT",
    "words": "in a while",
    "empty": "",
    "negative": "-5",
    "signed": "+5",
    "nan": "nan",
    "inf": "inf",
    "exponent": "1e999",
    "underscore": "1_000",
    "hexadecimal": "0x10",
    "arabic_digit": "٣".encode().decode("latin-1"),
    "superscript": "²".encode().decode("latin-1"),
    "two_values": "5,6",
    "unit": "5s",
    "no_utf_8": "\xff",
    "long": "9" * 8000,
    "year_100000": "Wed, 21 Oct 100000 07:28:00 GMT",
    "no_such_day": "Wed, 31 Feb 2027 07:28:00 GMT",
    "huge_zone": "Wed, 21 Oct 2027 07:28:00 +999999999999",
}


@pytest.mark.parametrize("value", UNUSABLE.values(), ids=UNUSABLE)
async def test_S17_unusable_time_to_wait(fault: Fault, value: str):
    await fault.serve(then=throttled(value))
    error = await fault.error(status(fault.client()), RateLimitError, attempts=3, says="429")
    assert error.retry_after is None
    fault.retried(throttled=2)
    fault.wire(3, connections=1, after="reused")


@pytest.mark.parametrize("value", UNUSABLE.values(), ids=UNUSABLE)
async def test_S17_unusable_time_to_wait_of_an_outage(fault: Fault, value: str):
    await fault.serve(then=throttled(value, 503))
    error = await fault.error(status(fault.client()), ServerError, attempts=3, says="503")
    assert error.retry_after is None
    fault.retried(transient=2)
    fault.wire(3, connections=1, after="reused")


async def test_S17_two_times_to_wait(fault: Fault):
    await fault.serve(then=response(429, b"", [("Retry-After", "5"), ("retry-after", "5")]))
    error = await fault.error(status(fault.client()), RateLimitError, attempts=3)
    assert error.retry_after is None
    fault.retried(throttled=2)
    fault.wire(3, connections=1, after="reused")


async def test_S17_header_of_10_kb_is_no_http(fault: Fault):
    await fault.serve(then=throttled("9" * 10_000))
    await fault.error(status(fault.client()), ProtocolError, attempts=1, never="9999")
    fault.retried()
    fault.wire(1, after="closed")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("61", 61.0),
        ("60.001", 60.001),
        ("3600", 3600.0),
        ("9" * 12, 999_999_999_999.0),
        ("Wed, 18 Jun 2025 00:00:00 GMT", 1_750_204_800.0 - 1_750_001_000.0),
    ],
)
@pytest.mark.parametrize(("code", "kind"), [(429, RateLimitError), (503, ServerError)])
async def test_S18_asked_to_wait_too_long(
    fault: Fault, code: int, kind: type[APIError], value: str, seconds: float
):
    assert fault.clock.wall() == 1_750_001_000.0
    await fault.serve(throttled(value, code))
    client = fault.client(timeout=Timeout(total=1e6))
    error = await fault.error(status(client), kind, attempts=1, says=str(code))
    assert (error.status, error.retry_after) == (code, seconds)
    fault.retried()
    await fault.result(status(client))  # no gate is closed by it
    fault.retried()
    fault.wire(2, connections=1, after="reused")


async def test_S18_longest_wait_is_a_setting(fault: Fault):
    await fault.serve(throttled("3"), throttled("3.1"))
    client = fault.client(retry=RetryPolicy(max_retry_after=3.0))
    error = await fault.error(status(client), RateLimitError, attempts=2)
    assert error.retry_after == 3.1
    assert fault.clock.sleeps == [3.0]
    fault.wire(2, connections=1, after="reused")


async def test_S18_key_of_a_run_does_not_wait_so_long_either(fault: Fault):
    await fault.serve(throttled("61"))
    [outcome] = await fault.result(fault.client().status.get_many(["bucket-1"]))
    error = fault.check(outcome.error, RateLimitError, attempts=1)
    assert error.retry_after == 61.0
    fault.retried()
    fault.wire(1, connections=1, after="reused")


# Failures of the server.


@pytest.mark.parametrize("code", [500, 502, 503, 504])
@CALLS
async def test_S19_one_failure_then_success(fault: Fault, call: Call, code: int):
    await fault.serve(response(code, b"oops"))
    await fault.result(call(fault.client()))
    fault.retried(transient=1, refunded=True)
    assert fault.clock.draws == [(0.0, 0.05)]
    fault.wire(2, connections=1, after="reused")


@CALLS
async def test_S20_failures_to_exhaustion(fault: Fault, call: Call):
    script = [
        response(code, {"message": f"failure {n}"}, {"X-Request-Id": f"id-{n}"})
        for n, code in enumerate([500, 502, 504], 1)
    ]
    await fault.serve(*script, then=b"not reached")
    says = ("504", "failure 3", "id-1", "id-2", "id-3", "3 requests")
    never = ("RetryError", "Future")
    error = await fault.error(call(fault.client()), ServerError, attempts=3, says=says, never=never)
    assert (error.status, error.request_id, error.message) == (504, "id-3", "failure 3")
    fault.retried(transient=2)
    assert fault.clock.draws[:2] == [(0.0, 0.05), (0.0, 0.1)]
    fault.wire(3, connections=1, after="reused")


async def test_S20_policy_that_sends_once(fault: Fault):
    await fault.serve(then=response(500))
    client = fault.client(retry=RetryPolicy.none())
    await fault.error(status(client), ServerError, attempts=1, says=("500", "1 request "))
    fault.retried()
    fault.wire(1, connections=1, after="reused")


@pytest.mark.parametrize(
    "code",
    [
        *(pytest.param(code, id=f"S21_{code}") for code in (501, 505, 506, 507, 508, 510, 511)),
        pytest.param(599, id="S26_599"),
    ],
)
async def test_S21_S26_failure_that_stays(fault: Fault, code: int):
    await fault.serve(then=response(code, {"message": "never"}))
    says = (str(code), "'never'")
    error = await fault.error(status(fault.client()), ServerError, attempts=1, says=says)
    assert error.status == code
    fault.retried()
    fault.wire(1, connections=1, after="reused")


PAGE = (
    "<html>\r\n<head><TITLE lang=en>\n502 Bad\x1b[31m &amp; Gateway "
    + "t" * 100
    + "</title></head><body>"
    + "<p>secret of the proxy</p>" * 400
    + "</body></html>"
).encode()
HTML = {"Content-Type": "text/html; charset=utf-8"}


async def test_S22_page_of_a_proxy(fault: Fault):
    assert len(PAGE) > 10_000
    await fault.serve(then=response(502, PAGE, HTML))
    error = await fault.error(
        status(fault.client()),
        ServerError,
        attempts=3,
        says=("502", "text/html", r"'502 Bad\x1b[31m & Gateway ttt"),
        never=("secret of the proxy", "<html>", "t" * 60),
    )
    assert error.status == 502
    assert error.message is None
    assert len(error.body) <= 500
    fault.retried(transient=2)
    fault.wire(3, connections=1, after="reused")


async def test_S22_page_without_a_title(fault: Fault):
    await fault.serve(then=response(502, b"<p>bad</p>", HTML))
    says = ("502", "text/html", "no title")
    await fault.error(status(fault.client()), ServerError, attempts=3, says=says)
    fault.retried(transient=2)
    fault.wire(3, connections=1, after="reused")


@pytest.mark.parametrize(
    ("size", "after"), [(0, "reused"), (60 * KIB, "reused"), (KIB**2, "closed")]
)
@CALLS
async def test_S23_page_in_place_of_data(fault: Fault, call: Call, size: int, after: str):
    page = b"<html>\x1b[31m<body>Log in\r\nfirst" + b"." * 60 + b"beyond" + b"." * size
    await fault.serve(then=response(200, page, HTML | {"X-Request-Id": "id-7"}))
    error = await fault.error(
        call(fault.client()),
        DecodeError,
        attempts=1,
        says=("text/html", "status 200", "id-7", r"'<html>\x1b[31m<body>Log in\r\nfirst..."),
        never=("beyond", "." * 60),
    )
    assert (error.status, error.path, error.request_id) == (200, "$", "id-7")
    fault.retried()
    fault.wire(1, connections=1, after=after)


@pytest.mark.parametrize("declared", [True, False])
async def test_S24_huge_body_of_an_error(fault: Fault, bytes_read: list[int], declared: bool):
    async def step(conn: server.Conn, _: server.Request) -> None:
        head = {} if declared else {"Connection": "close"}
        await conn.send(response(500, b"oops ", head, length=2**30 if declared else None))
        while not conn.closed:
            await conn.send(b"x" * 2**16)

    await fault.serve(then=step)
    says = ("500", "'oops xxx")
    error = await fault.error(status(fault.client()), ServerError, attempts=3, says=says)
    assert len(error.body) == 500
    assert len(str(error)) < 500
    assert sum(bytes_read) < 3 * (64 + 256) * KIB  # asyncio hands over up to 256 KiB at once
    fault.retried(transient=2)
    fault.wire(3, connections=3, after="closed")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        pytest.param(b"{not json\r\n\x1b[31m", r"'{not json\r\n\x1b[31m'", id="no_json"),
        pytest.param(b"\xff\xfe\x00", r"'\ufffd\ufffd\x00'", id="no_text"),
        pytest.param(b'["oops"]', "'[\"oops\"]'", id="list"),
        pytest.param(b"null", "'null'", id="null"),
        pytest.param(b"5", "'5'", id="number"),
        pytest.param(b'{"error":null}', '{"error":null}', id="error_null"),
        pytest.param(b'{"error":true,"code":[]}', '{"error":true', id="error_true"),
        pytest.param(b'{"message":{"text":"oops"}}', '{"message":{', id="message_object"),
        pytest.param(b'{"message":""}', '{"message":""}', id="message_empty"),
        pytest.param(b'{"message":NaN}', '{"message":NaN}', id="message_nan"),
        pytest.param(b'{"message":' + b"9" * 5000 + b"}", '{"message":999', id="message_huge"),
        pytest.param(b'{"a":' * 10_000, '{"a":', id="nested"),
        pytest.param(b'{"message":"\\ud800"}', r"\ud800", id="surrogate"),
        pytest.param(b"", "", id="nothing"),
    ],
)
@pytest.mark.parametrize(
    ("code", "kind", "transient"),
    [
        (500, ServerError, 2),
        (404, NotFoundError, 0),
        (422, APIError, 0),
        (401, AuthenticationError, 0),
    ],
)
async def test_S25_body_of_an_error_is_odd(
    fault: Fault, code: int, kind: type[APIError], transient: int, body: bytes, says: str
):
    await fault.serve(then=response(code, body))
    error = await fault.error(
        status(fault.client()), kind, attempts=1 + transient, says=(str(code), says)
    )
    assert error.status == code
    assert str(error).isascii()
    assert len(error.body) <= 500
    fault.retried(transient=transient)
    fault.wire(1 + transient, connections=1, after="reused")


@pytest.mark.parametrize("code", [600, 601, 999, 0, 99])
async def test_S26_status_out_of_range(fault: Fault, code: int):
    await fault.serve(then=[response(code, b"what?"), server.pause(0.0)])
    error = await fault.error(status(fault.client()), ProtocolError, attempts=1)
    assert code == 199 or f"{code:03d}" in str(error) or f" {code}" in str(error)
    fault.retried()
    fault.wire(1, connections=1)


@pytest.mark.parametrize(
    ("said", "message", "code"),
    [
        ({"message": "not today", "error_code": "E42"}, "not today", "E42"),
        ({"error": "not today"}, "not today", "not today"),
        ({"message": "not today", "stats": 5, "nodeStatus": 5, "nodeStats": 5}, "not today", None),
        ({}, None, None),
    ],
)
@pytest.mark.parametrize("with_data", [True, False])
@CALLS
async def test_S27_success_is_false(
    fault: Fault,
    call: Call,
    with_data: bool,
    said: dict[str, object],
    message: str | None,
    code: str | None,
):
    body = (GOOD_BODIES[call] if with_data else {}) | {"success": False} | said
    await fault.serve(then=response(200, body, {"X-Request-Id": "id-7"}))
    says = ("200", message or "", code or "", "id-7")
    error = await fault.error(call(fault.client()), APIError, attempts=1, says=says)
    assert (error.status, error.message, error.code) == (200, message, code)
    assert error.request_id == "id-7"
    fault.retried()
    fault.wire(1, connections=1, after="reused")


@pytest.mark.parametrize("value", [None, ...], ids=["null", "missing"])
@CALLS
async def test_S28_success_is_not_said(fault: Fault, call: Call, value: object):
    body = {k: v for k, v in (GOOD_BODIES[call] | {"success": value}).items() if v is not ...}
    await fault.serve(then=response(200, body))
    await fault.result(call(fault.client()))
    fault.retried()
    fault.wire(1, connections=1, after="reused")


@pytest.mark.parametrize("value", ["false", "true", "", 0, 1, 0.0, [], {}])
@pytest.mark.parametrize("with_data", [True, False])
@CALLS
async def test_S28_success_is_no_truth_value(
    fault: Fault, call: Call, with_data: bool, value: object
):
    body = (GOOD_BODIES[call] if with_data else {}) | {"success": value}
    await fault.serve(then=response(200, body))
    says = "$.success: expected bool"
    error = await fault.error(call(fault.client()), DecodeError, attempts=1, says=says)
    assert error.path == "$.success"
    fault.retried()
    fault.wire(1, connections=1, after="reused")


# A server with a limit.


class Limit:
    """A server that allows 50 requests a second and answers 429 to the others."""

    rate = 50
    refusal = throttled("1")

    def __init__(self, clock: FakeClock) -> None:
        self.lifted = False
        self.allowed: list[float] = []
        self.refused = 0
        self.clock = clock
        self.began = clock.monotonic()

    def answer(self, request: server.Request) -> bytes:
        now = self.clock.monotonic()
        if not self.lifted and not self.has_room(now):
            self.refused += 1
            return self.refusal
        self.allowed.append(now)
        return server.good_answer(request)

    def has_room(self, now: float) -> bool:
        """Return whether fewer arrived in the last second than are allowed."""
        return len(self.allowed) < self.rate or self.allowed[-self.rate] <= now - 1.0


class FixedWindows(Limit):
    seconds = 1.0

    def has_room(self, now: float) -> bool:
        """Return whether fewer arrived since the window began than it has room for."""
        window = self.began + (now - self.began) // self.seconds * self.seconds
        return sum(at >= window for at in self.allowed[-self.rate :]) < self.rate


class TokenBucket(Limit):
    room = float(Limit.rate)

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self._left = self.room
        self._looked = self.began

    def has_room(self, now: float) -> bool:
        """Take a token, if there is one; they are added one by one, as far as there is room."""
        self._left = min(self.room, self._left + (now - self._looked) * self.rate)
        self._looked = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


@pytest.mark.parametrize(
    ("kind", "latency"),
    [
        pytest.param(Limit, 0.02, marks=pytest.mark.slow),
        pytest.param(FixedWindows, 0.02, marks=pytest.mark.slow),
        pytest.param(TokenBucket, 0.0, marks=pytest.mark.slow),
        pytest.param(TokenBucket, 0.02, marks=pytest.mark.slow),
        pytest.param(TokenBucket, 0.2, marks=pytest.mark.slow),
    ],
)
async def test_S29_server_allows_50_requests_a_second(
    fault: Fault, kind: type[Limit], latency: float
):
    fault.clock = LoopClock()
    limit = kind(fault.clock)
    report = await poll(fault, limit, 600, latency)
    assert report.ok
    assert [outcome.key for outcome in report] == ids(600)
    assert {outcome.value.bucket_id for outcome in report} == set(ids(600))
    assert limit.refused <= 120
    assert fault.clock.monotonic() - limit.began <= 1.6 * 600 / 50
    # And never a long silence: the pauses it asks for are of one second.
    gaps = [later - at for at, later in itertools.pairwise(limit.allowed)]
    assert max(gaps) <= 1.3 + 2 * latency


async def poll(
    fault: Fault, limit: Limit, keys: int, latency: float = 0.02, deadline: float | None = None
) -> Report[str, BucketStatus]:
    """Poll buckets of a server with a limit; no key costs the retry budget anything."""
    await fault.serve(then=Slow(limit.answer, latency))
    client = fault.client()
    report = await client.status.get_many(ids(keys), deadline=deadline)
    assert tokens_spent(client) == 0
    limit.lifted = True  # for the healthy call that ends every test
    fault.wire(len(fault.server.requests))
    return report


class OneToken(TokenBucket):
    """A bucket that never holds more than one token, and names no time."""

    room = 1.0
    refusal = throttled()


class ClosedWindows(FixedWindows):
    """100 requests in each 10 seconds; the server names no time."""

    rate = 100
    seconds = 10.0
    refusal = throttled()


class Chance(Limit):
    """No limit, but every fiftieth request is refused."""

    refusal = throttled()

    def has_room(self, now: float) -> bool:
        return (len(self.allowed) + self.refused) % 50 != 7


class Never(Limit):
    """A server that refuses everything, and names no time."""

    refusal = throttled()

    def has_room(self, now: float) -> bool:
        return False


@pytest.mark.parametrize(
    "latency",
    [0.0, *[pytest.param(latency, marks=pytest.mark.slow) for latency in (0.02, 0.2)]],
)
async def test_S30_bucket_that_holds_one_token(fault: Fault, latency: float):
    fault.clock = LoopClock()
    limit = OneToken(fault.clock)
    assert (await poll(fault, limit, 500, latency)).ok
    assert fault.clock.monotonic() - limit.began <= 1.7 * 500 / 50
    assert limit.refused <= 0.35 * 500


@pytest.mark.slow
async def test_S31_window_that_is_closed_for_long(fault: Fault):
    fault.clock = LoopClock()
    limit = ClosedWindows(fault.clock)
    assert (await poll(fault, limit, 300)).ok
    assert fault.clock.monotonic() - limit.began <= 1.3 * 20
    assert limit.refused <= 300


@pytest.mark.slow
async def test_S32_refusals_by_chance(fault: Fault, caplog: pytest.LogCaptureFixture):
    fault.clock = LoopClock()
    limit = Chance(fault.clock)
    assert (await poll(fault, limit, 1000)).ok
    assert limit.refused == 21
    # As soon as without them, but for the second at most that each of them waits.
    assert fault.clock.monotonic() - limit.began <= 2.5
    assert "paced" not in caplog.text


async def test_S33_server_that_refuses_everything_under_a_deadline(fault: Fault):
    fault.clock = LoopClock()
    limit = Never(fault.clock)
    report = await poll(fault, limit, 300, deadline=30.0)
    assert fault.clock.monotonic() - limit.began == pytest.approx(30.0, abs=0.1)
    assert len(report) == 300
    for outcome in report:
        fault.check(outcome.error, DeadlineExceededError, attempts=None, says="30 s")
    assert limit.refused <= 64 + 60


@pytest.mark.slow
async def test_S33_server_that_refuses_everything_without_a_deadline(fault: Fault):
    fault.clock = LoopClock()
    limit = Never(fault.clock)
    report = await poll(fault, limit, 4)
    for outcome in report:
        fault.check(outcome.error, RateLimitError, attempts=30, says="throttled 30 times")
    assert limit.refused == 4 * 30


@pytest.mark.parametrize(
    ("rate", "calls"),
    [
        (0.5, 4),
        (10, 40),
        *[pytest.param(*p, marks=pytest.mark.slow) for p in ((3, 12), (100, 250), (300, 450))],
    ],
)
async def test_S29_own_pace_is_kept_in_every_second(fault: Fault, rate: float, calls: int):
    fault.clock = LoopClock()
    await fault.serve()
    # What waits for its turn has all its time when that comes.
    client = fault.client(limits=Limits(max_rate=rate), timeout=Timeout(total=0.5))
    began = fault.clock.monotonic()
    assert (await client.status.get_many(ids(calls))).ok
    took = fault.clock.monotonic() - began
    times = [request.at for request in fault.server.requests]
    allowed = max(1, math.floor(1.2 * rate))
    for first, later in zip(times, times[allowed:], strict=False):
        assert later - first > 1.0 - 1e-6
    assert took <= calls / rate * 1.05 + 0.1
    fault.wire(calls)
