"""Bugs that must not return, as a user of the package meets them over real sockets."""

import asyncio
import contextlib
import copy
import gzip
import itertools
import json
import logging
import os
import random
import string
import sys
import time
import traceback
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from flashback_async import (
    AuthenticationError,
    ClientClosedError,
    ConfigurationError,
    ConnectError,
    DeadlineExceededError,
    DecodeError,
    EventLoopError,
    FlashbackClient,
    FlashbackError,
    InvalidArgumentError,
    Limits,
    Observer,
    ProtocolError,
    ResponseTooLargeError,
    RetryPolicy,
    Timeout,
    TokenProviderError,
    fan_out,
)
from flashback_async.call.admission import Admission
from flashback_async.call.auth import TokenSource
from flashback_async.sandbox import Sandbox
from tests import inside
from tests.faults.harness.answers import chunked, response, stats_body, status_body
from tests.faults.harness.server import ScriptedServer, hang, healthy, pause, together

DAY = "2026-01-02"
RESOURCES = ("bucket_stats", "node_stats", "status")


def client_of(server, token="a-token-of-the-tests", **options):
    return FlashbackClient(token, base_url=server.url, **options)


def bulk(client, resource, method, keys, **options):
    days = (DAY,) if resource == "node_stats" else ()
    return getattr(getattr(client, resource), method)(keys, *days, **options)


def bucket_of(outcome):
    return getattr(outcome.key, "bucket_id", outcome.key)


async def error_of(call, kind=FlashbackError):
    with pytest.raises(kind) as caught:
        await call
    return caught.value


# Errors say which call they ended, and how it went.


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        pytest.param(response(body=b"x" * 5001), ResponseTooLargeError, id="too long"),
        pytest.param(
            response(
                body=chunked(b"x" * 3000, b"x" * 3000),
                headers={"Transfer-Encoding": "chunked"},
                length=None,
            ),
            ResponseTooLargeError,
            id="too many chunks",
        ),
        pytest.param(
            response(body=b"zzz", headers={"Content-Encoding": "gzip"}), DecodeError, id="no gzip"
        ),
        pytest.param(response(body=b"{"), DecodeError, id="no JSON"),
        pytest.param(
            response(body=b"<html>", headers={"Content-Type": "text/html"}), DecodeError, id="HTML"
        ),
    ],
)
async def test_an_answer_of_no_use_is_named_by_status_and_request_id(reply, kind):
    reply = reply.replace(b"\r\n", b"\r\nX-Request-Id: q1\r\n", 1)
    async with (
        ScriptedServer(then=reply) as server,
        client_of(server, limits=Limits(max_response_bytes=5000)) as client,
    ):
        error = await error_of(client.status.get("b"), kind)
        outcomes = await client.status.get_many(["b"])
    for found in (error, outcomes[0].error):
        assert type(found) is kind
        assert (found.status, found.request_id) == (200, "q1")
        assert "q1" in str(found)


@pytest.mark.parametrize(
    ("method", "arguments", "operation", "bucket_id"),
    [
        ("status.get", ("a/b",), "status.get", "a/b"),
        ("status.get", (5,), "status.get", None),
        ("status.get_many", ("text",), "status.get_many", None),
        ("status.iter_many", ("text",), "status.iter_many", None),
        ("bucket_stats.get", ("a,b",), "bucket_stats.get", "a,b"),
        ("bucket_stats.list", (["good", ""],), "bucket_stats.list", ""),
        ("bucket_stats.list", ("text",), "bucket_stats.list", None),
        ("bucket_stats.get_many", (5,), "bucket_stats.get_many", None),
        ("bucket_stats.iter_many", (5,), "bucket_stats.iter_many", None),
        ("node_stats.get", ("good", "someday"), "node_stats.get", "good"),
        ("node_stats.get", ("a/b", DAY), "node_stats.get", "a/b"),
        ("node_stats.get_many", (["good"], "someday"), "node_stats.get_many", None),
        ("node_stats.iter_many", (["good"], "someday"), "node_stats.iter_many", None),
    ],
)
async def test_a_wrong_argument_tells_whose_it_is(method, arguments, operation, bucket_id):
    resource, name = method.split(".")
    async with ScriptedServer() as server, client_of(server) as client:
        with pytest.raises(InvalidArgumentError) as caught:
            await getattr(getattr(client, resource), name)(*arguments)
        assert server.requests == []
    assert (caught.value.operation, caught.value.bucket_id) == (operation, bucket_id)


@pytest.mark.parametrize("resource", RESOURCES)
async def test_a_wrong_id_among_many_tells_whose_it_is(resource):
    async with ScriptedServer() as server, client_of(server) as client:
        wrong, right = await bulk(client, resource, "get_many", ["", "good"])
    assert right.error is None
    assert type(wrong.error) is InvalidArgumentError
    operation = "bucket_stats.list" if resource == "bucket_stats" else f"{resource}.get"
    assert (wrong.error.operation, wrong.error.bucket_id) == (operation, "")


async def raising():
    await asyncio.sleep(0.01)
    raise ValueError("no token today")


@pytest.mark.parametrize("resource", RESOURCES)
async def test_every_key_has_its_own_error_of_a_token_provider(resource):
    async with ScriptedServer() as server, client_of(server, raising) as client:
        report = await bulk(client, resource, "get_many", [f"b{n}" for n in range(64)])
        assert server.requests == []
    errors = [outcome.error for outcome in report]
    assert {type(error) for error in errors} == {TokenProviderError}
    assert len({id(error) for error in errors}) == 64
    assert [error.bucket_id for error in errors] == [bucket_of(outcome) for outcome in report]
    assert {str(error.__cause__) for error in errors} == {"no token today"}


async def test_every_caller_has_its_own_error_of_a_token_provider():
    async with ScriptedServer() as server, client_of(server, raising) as client:
        calls = [error_of(client.status.get(f"b{n}"), TokenProviderError) for n in range(64)]
        errors = await asyncio.gather(*calls)
    assert [error.bucket_id for error in errors] == [f"b{n}" for n in range(64)]
    assert {str(error.__cause__) for error in errors} == {"no token today"}


async def test_a_copy_of_an_error_keeps_its_cause():
    async with ScriptedServer() as server, client_of(server, raising) as client:
        error = await error_of(client.status.get("b"), TokenProviderError)
    copied = copy.copy(error)
    assert copied is not error
    assert isinstance(copied.__cause__, ValueError)
    assert (type(copied), str(copied), vars(copied)) == (type(error), str(error), vars(error))


async def test_the_request_id_of_a_log_record_is_escaped(caplog):
    caplog.set_level(logging.DEBUG, "flashback_async")
    reply = response(500, {"message": "x"}, {"X-Request-Id": "r\x9b1m"})
    async with (
        ScriptedServer(then=reply) as server,
        client_of(server, retry=RetryPolicy(max_attempts=2, backoff_base=0.0)) as client,
    ):
        await error_of(client.status.get("b"))
    ids = {record.request_id for record in caplog.records if hasattr(record, "request_id")}
    assert ids - {None} == {r"r\udc9b1m"}


# Runs account for every key, and are refused as a whole.


def sync_then_raise():
    yield from ("a", "b")
    raise OSError("the source is gone")


async def async_then_raise():
    for key in sync_then_raise():
        yield key


@pytest.mark.parametrize("source", [sync_then_raise, async_then_raise])
@pytest.mark.parametrize("resource", RESOURCES)
async def test_keys_read_before_the_source_raises_have_their_outcomes(resource, source):
    seen = {}
    async with ScriptedServer() as server, client_of(server) as client:
        with pytest.raises(OSError, match="the source is gone"):
            async for outcome in bulk(client, resource, "iter_many", source()):
                seen[bucket_of(outcome)] = outcome.ok
    assert seen == {"a": True, "b": True}


@pytest.mark.parametrize(
    ("reply", "options", "pause", "kind"),
    [
        (response(401, {"message": "no"}), {}, 0.0, AuthenticationError),
        (hang, {"deadline": 0.1}, 0.0, DeadlineExceededError),
        (hang, {"deadline": 0.1}, 0.001, DeadlineExceededError),
    ],
    ids=["rejected token", "deadline", "deadline, slow source"],
)
@pytest.mark.parametrize("resource", RESOURCES)
async def test_a_run_that_is_stopped_loses_no_key_that_was_read(
    resource, reply, options, pause, kind
):
    read = []

    async def source():
        for n in itertools.count():
            read.append(f"b{n}")
            yield read[-1]
            await asyncio.sleep(pause)

    async with ScriptedServer(then=reply) as server, client_of(server) as client:
        run = bulk(client, resource, "iter_many", source(), concurrency=3, **options)
        outcomes = [outcome async for outcome in run]
    assert sorted(o.index for o in outcomes) == list(range(len(read)))
    assert {bucket_of(o) for o in outcomes} == set(read)
    assert {type(o.error) for o in outcomes} == {kind}
    assert all(o.error.bucket_id == bucket_of(o) for o in outcomes)


@pytest.mark.parametrize(
    ("reply", "options", "kind"),
    [
        (response(401, {"message": "no"}), {}, AuthenticationError),
        (hang, {"deadline": 0.1}, DeadlineExceededError),
    ],
    ids=["rejected token", "deadline"],
)
async def test_a_run_that_is_stopped_loses_no_day_of_an_id_that_was_read(reply, options, kind):
    days = [f"2026-01-{day:02}" for day in range(1, 20)]
    read = []

    async def source():
        for bucket_id in ("a", "b", "c"):
            read.append(bucket_id)
            yield bucket_id
            await asyncio.sleep(0.2)

    async with ScriptedServer(then=reply) as server, client_of(server) as client:
        run = client.node_stats.iter_many(source(), days, concurrency=4, **options)
        outcomes = [outcome async for outcome in run]
    pairs = [(outcome.key.bucket_id, str(outcome.key.day)) for outcome in outcomes]
    assert sorted(pairs) == [(bucket_id, day) for bucket_id in read for day in days]
    assert {type(outcome.error) for outcome in outcomes} == {kind}


@pytest.mark.parametrize("resource", RESOURCES)
async def test_a_run_in_a_second_living_loop_is_refused_as_a_whole(resource):
    async def elsewhere():
        endless = (f"b{n}" for n in itertools.count())
        await error_of(bulk(client, resource, "get_many", ["a"]), EventLoopError)
        await error_of(anext(bulk(client, resource, "iter_many", endless)), EventLoopError)
        assert next(endless) == "b0"  # not even read

    async with ScriptedServer() as server, client_of(server) as client:
        await client.status.get("a")
        await asyncio.to_thread(asyncio.run, elsewhere())
        assert (await client.status.get("b")).bucket_id == "b"
        assert len(server.requests) == 2


async def test_a_closed_client_refuses_a_list_of_nothing_too():
    async with ScriptedServer() as server:
        client = client_of(server)
        await client.close()
        for ids in ([], ["a"], None):
            await error_of(client.bucket_stats.list(ids), ClientClosedError)


# Ids that differ in case only are ids of their own.


def figures(spell):
    """Answer a list request; the size shows which spelling of the id was asked for."""

    async def step(conn, request):
        asked = parse_qs(urlsplit(request.target).query)["bucketId"][0].split(",")
        body = stats_body([spell(bucket_id) for bucket_id in asked])
        for item, bucket_id in zip(body["stats"], asked, strict=True):
            item["totalCount"] = str(ord(bucket_id[0]) + len(bucket_id))
        await conn.send(response(body=body))

    return step


@pytest.mark.parametrize("ids", [["b", "B"], ["B", "b", "a"], ["straße", "strasse"]])
async def test_ids_that_differ_in_case_have_their_own_figures(ids):
    right = {bucket_id: ord(bucket_id[0]) + len(bucket_id) for bucket_id in ids}
    async with ScriptedServer(then=figures(str)) as server, client_of(server) as client:
        report = await client.bucket_stats.get_many(ids)
        run = client.bucket_stats.iter_many(ids)
        outcomes = [*report, *[outcome async for outcome in run]]
        listed = await client.bucket_stats.list(ids)
        assert len(server.requests) == 3
    assert [(o.key, o.unwrap().total_count) for o in outcomes] == [*right.items()] * 2
    assert [(s.bucket_id, s.total_count) for s in listed] == [*right.items()]


@pytest.mark.parametrize("others", [["b", "B"], ["B", "b"]])
async def test_the_same_spelling_goes_before_another_case(others):
    async with (
        ScriptedServer(then=response(body=stats_body(others))) as server,
        client_of(server) as client,
    ):
        assert (await client.bucket_stats.get("b")).bucket_id == "b"


async def test_a_server_that_changes_the_case_answers_every_spelling():
    async with ScriptedServer(then=figures(str.upper)) as server, client_of(server) as client:
        report = await client.bucket_stats.get_many(["a", "A", "b"])
        listed = await client.bucket_stats.list(["b", "a", "B"])
    assert [outcome.unwrap().bucket_id for outcome in report] == ["A", "A", "B"]
    assert list(dict.fromkeys(item.bucket_id for item in listed)) == ["B", "A"]


# A server that asks for no pause to speak of.


@pytest.mark.parametrize("seconds", ["0.000000001", "0.001"])
@pytest.mark.parametrize("many", [False, True])
async def test_a_tiny_retry_after_makes_no_hot_loop(seconds, many):
    reply = response(429, {"message": "slow down"}, {"Retry-After": seconds})
    async with (
        ScriptedServer(then=reply) as server,
        client_of(server, timeout=Timeout(total=0.3)) as client,
    ):
        if many:
            report = await client.status.get_many(["a"] * 8, deadline=0.3)
            assert not any(outcome.ok for outcome in report)
        else:
            await error_of(client.status.get("a"))
        assert 1 <= len(server.requests) <= (64 if many else 8)


# Secrets stay out of sight.

_RANDOM = random.Random(1)
SHORT = "".join(_RANDOM.choices(string.ascii_lowercase + string.digits, k=36))
LONG = "".join(_RANDOM.choices(string.ascii_letters + string.digits + "-_", k=2603))


def must_not_show(token, text):
    pieces = {token[n : n + 16].lower() for n in range(len(token) - 15)}
    text = text.lower()
    shown = [n for n in range(len(text) - 15) if text[n : n + 16] in pieces]
    assert not shown, f"shows at {shown[0]} of {text[: shown[0]]}"


ECHOES = [
    ("media type", SHORT, lambda t: response(200, "zz", {"Content-Type": t}), DecodeError),
    (
        "subtype",
        SHORT,
        lambda t: response(200, "zz", {"Content-Type": f"application/{t}"}),
        DecodeError,
    ),
    (
        "bad header",
        SHORT,
        lambda t: b"HTTP/1.1 200 OK\r\nX: \x00%s\r\n\r\n" % t.encode(),
        ProtocolError,
    ),
    ("long token", LONG, lambda t: response(200, '{"a":"' + t), DecodeError),
    ("three times", LONG[:900], lambda t: response(200, '{"a":"' + t * 3), DecodeError),
]


@pytest.mark.parametrize(
    ("token", "answer", "kind"), [e[1:] for e in ECHOES], ids=[e[0] for e in ECHOES]
)
async def test_a_token_that_the_server_sends_back_does_not_show(token, answer, kind, caplog):
    caplog.set_level(logging.DEBUG, "flashback_async")
    async with ScriptedServer(then=answer(token)) as server:
        async with client_of(server, token, retry=RetryPolicy.none()) as client:
            error = await error_of(client.status.get("b"), kind)
        assert token in server.requests[0].headers["authorization"]
    must_not_show(token, f"{error} {error!r} {vars(error)}")
    logged = [f"{r.getMessage()} {vars(r)}" for r in caplog.records]
    assert logged
    must_not_show(token, "\n".join(logged))


@pytest.mark.parametrize(
    ("options", "environment"),
    [
        ({"proxy": f"http://u:{SHORT}@h:99999"}, {}),
        ({"proxy": f"http://u:{SHORT}@/x"}, {}),
        ({"proxy": f"ftp://u:{SHORT}@h"}, {}),
        ({}, {"HTTPS_PROXY": f"http://u:{SHORT}@h:99999"}),
        ({"token": None}, {"FLASHBACK_TOKEN_FILE": f"{SHORT}/there"}),
    ],
    ids=["port", "host", "scheme", "environment", "token file"],
)
def test_a_refused_setting_does_not_show_in_a_traceback_with_locals(
    options, environment, monkeypatch
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        FlashbackClient(**{"token": "another-token", **options})
    frames = caught.value.__traceback__.tb_next  # without this test's own
    error = caught.value.with_traceback(frames)
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    must_not_show(SHORT, "".join(report.format()) + repr(vars(error)))


# Borrowed sessions.


async def test_the_proxy_of_a_borrowed_session_stays_in_force():
    async with ScriptedServer() as proxy, aiohttp.ClientSession(proxy=proxy.url) as session:
        async with FlashbackClient("t", base_url="http://127.0.0.1:9", session=session) as client:
            assert (await client.status.get("b")).bucket_id == "b"
        assert proxy.targets == ["http://127.0.0.1:9/bucket/b/status"]


async def test_the_proxy_of_a_borrowed_session_is_named_where_it_fails():
    refusing = ScriptedServer()  # not started: its port refuses connections
    try:
        async with (
            aiohttp.ClientSession(proxy=refusing.url) as session,
            FlashbackClient("t", session=session, retry=RetryPolicy.none()) as client,
        ):
            error = await error_of(client.status.get("b"), ConnectError)
    finally:
        await refusing.stop()
    assert f"proxy 127.0.0.1:{refusing.port}" in str(error)

    async with (
        ScriptedServer(then=response(407)) as proxy,
        aiohttp.ClientSession(proxy=proxy.url) as session,
        FlashbackClient("t", session=session, retry=RetryPolicy.none()) as client,
    ):
        error = await error_of(client.status.get("b"), ConnectError)
    assert f"the proxy 127.0.0.1:{proxy.port} answered 407" in str(error)


async def test_a_netrc_entry_that_hides_the_token_is_told(tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password a-password\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with (
        ScriptedServer() as server,
        aiohttp.ClientSession(trust_env=True) as session,
        client_of(server, session=session) as client,
    ):
        errors = [await error_of(client.status.get("b"), ConfigurationError)]
        for resource in RESOURCES:
            report = await bulk(client, resource, "get_many", ["a", "b"])
            errors += [outcome.error for outcome in report]
        assert server.requests == []
    assert len(errors) == 7
    for error in errors:
        assert type(error) is ConfigurationError
        assert error.attempts == 0
        assert "trust_env" in str(error)
        assert ".netrc" in str(error)
        assert "a-password" not in str(error)


async def test_what_a_middleware_raises_is_not_blamed_on_netrc():
    async def broken(request, handler):
        raise ValueError("a mistake of the middleware")

    async with (
        ScriptedServer() as server,
        aiohttp.ClientSession(trust_env=True, middlewares=(broken,)) as session,
        client_of(server, session=session) as client,
    ):
        with pytest.raises(ValueError, match="a mistake of the middleware"):
            await client.status.get("b")


@pytest.mark.parametrize("resource", RESOURCES)
async def test_nothing_counts_as_sent_through_a_session_that_its_owner_closed(resource):
    async with ScriptedServer() as server, aiohttp.ClientSession() as session:
        async with client_of(server, session=session) as client:
            await client.status.get("a")
            await session.close()
            errors = [await error_of(client.status.get("b"), ClientClosedError)]
            report = await bulk(client, resource, "get_many", ["b"])
            errors.append(report[0].error)
        assert len(server.requests) == 1
    for error in errors:
        assert type(error) is ClientClosedError
        assert error.attempts == 0
        assert "1 request" not in str(error)


async def test_a_borrowed_session_that_leaves_bodies_packed_will_do():
    packed = gzip.compress(json.dumps(status_body("b")).encode())
    async with (
        ScriptedServer(then=response(body=packed, headers={"Content-Encoding": "gzip"})) as server,
        aiohttp.ClientSession(auto_decompress=False) as session,
        client_of(server, session=session) as client,
    ):
        assert (await client.status.get("b")).bucket_id == "b"


@pytest.mark.parametrize("limits", [{"limit": 1}, {"limit_per_host": 1}])
async def test_waiting_for_a_connection_of_a_borrowed_session_is_no_timeout(limits):
    async with (
        ScriptedServer(then=[pause(0.05), healthy]) as server,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(**limits)) as session,
        client_of(
            server, session=session, timeout=Timeout(connect=0.25), retry=RetryPolicy.none()
        ) as client,
    ):
        report = await client.status.get_many([f"b{n}" for n in range(8)])
        assert server.connections[1:] == []
    report.raise_for_errors()


_FIRST_CALL = """
import asyncio, os, resource
from flashback_async import FlashbackClient

async def main():
    client = FlashbackClient("token", base_url="http://127.0.0.1:9")
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    taken = []
    try:
        while True:
            taken.append(os.dup(0))
    except OSError:
        pass
    try:
        await client.status.get("b")
    except Exception as error:
        print(type(error).__name__, error)
    finally:
        for descriptor in taken:
            os.close(descriptor)
    await client.close()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors have no limit there")
async def test_the_first_call_of_a_process_out_of_descriptors_has_an_error_of_ours():
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-c", _FIRST_CALL],
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 20)
    assert output.startswith(b"ConnectError no connection to 127.0.0.1:9")


async def test_a_request_that_is_called_back_as_it_is_connected_leaves_its_connection_to_the_next(
    monkeypatch,
):
    connected, go_on = asyncio.Event(), asyncio.Event()
    inside.hold_new_connections(monkeypatch, connected, go_on)
    async with ScriptedServer(then=healthy) as server, client_of(server) as client:
        asked = asyncio.create_task(client.node_stats.get("bucket-1", DAY))
        await connected.wait()
        inside.loop_state(client).transport.recall()
        go_on.set()
        assert await asked
        assert [(r.number, r.conn.number) for r in server.requests] == [(1, 1)]


# Bulk runs.


@pytest.mark.parametrize("borrowed", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("status", "headers"), [(429, {"Retry-After": "0.1"}), (401, {})], ids=["pause", "token"]
)
async def test_no_request_leaves_once_a_pause_or_a_rejected_token_is_known(
    monkeypatch, status, headers, borrowed
):
    at_once = 16
    known, sent, late = [], [], []
    pause, reject = Admission.pause, TokenSource.reject

    def note_pause(self, seconds):
        begins = pause(self, seconds)
        known.append(time.monotonic() + self.pause_left())
        return begins

    def note_rejection(self, secret):
        known.append(float("inf"))
        return reject(self, secret)

    def note_request():
        sent.append(time.monotonic())
        late.extend(until for until in known if sent[-1] < until)

    async def answer(conn, request):
        refusal = response(status, {"message": "no"}, headers)
        await (conn.send(refusal) if "bucket-7/" in request.target else healthy(conn, request))

    monkeypatch.setattr(Admission, "pause", note_pause)
    monkeypatch.setattr(TokenSource, "reject", note_rejection)
    inside.watch_requests(monkeypatch, note_request)
    ids = [f"bucket-{n}" for n in range(4 * at_once)]
    # What comes back in one go is answered in one go, by requests that wait for each other.
    script = [*[together(at_once, answer)] * at_once, healthy]
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(ScriptedServer(*script))
        session = aiohttp.ClientSession() if borrowed else None
        if session is not None:
            await stack.enter_async_context(session)
        client = await stack.enter_async_context(client_of(server, session=session))
        await client.status.get_many(ids, concurrency=at_once)
    assert known
    assert len(sent) == len(server.requests)
    assert late == []


def test_a_deadline_that_passes_before_the_workers_begin_loses_no_key():
    # uvloop runs timers that are due before tasks that are ready.
    uvloop = pytest.importorskip("uvloop")

    async def work(key):
        await asyncio.sleep(0)

    async def poll():
        return [o.key async for o in fan_out(work, range(100), concurrency=8, deadline=0.001)]

    async def keep_the_loop_busy():
        until = time.perf_counter() + 0.005
        while time.perf_counter() < until:
            pass

    async def main():
        polling = asyncio.create_task(poll())
        await asyncio.create_task(keep_the_loop_busy())
        return await polling

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert sorted(runner.run(main())) == list(range(100))


# The command line.


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
@pytest.mark.parametrize(
    "command",
    ["status", *[pytest.param(name, marks=pytest.mark.slow) for name in ("stats", "node-stats")]],
)
async def test_data_can_be_piped_while_the_terminal_shows_progress(command):
    import pty

    days = ["--day", DAY] if command == "node-stats" else []
    controller, terminal = pty.openpty()
    try:
        async with Sandbox(buckets=3, nodes=1, seed=7) as sandbox:
            access = {"FLASHBACK_TOKEN": sandbox.token, "FLASHBACK_BASE_URL": sandbox.base_url}
            process = await asyncio.create_subprocess_exec(
                *[sys.executable, "-m", "flashback_async", command, *sandbox.bucket_ids, *days],
                stdout=asyncio.subprocess.PIPE,
                stderr=terminal,
                env=os.environ | access | {"TERM": "xterm"},
            )
            try:
                output, _ = await asyncio.wait_for(process.communicate(), 20)
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            ids = {json.loads(line)["bucket_id"] for line in output.splitlines()}
            assert ids == set(sandbox.bucket_ids), os.read(controller, 2**16).decode()
    finally:
        os.close(controller)
        os.close(terminal)


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the time zone cannot be set here")
async def test_a_time_without_an_offset_is_utc_wherever_the_machine_is(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        node = {"ip": "10.0.0.1", "lastUpdated": "2026-01-02T23:30:00"}
        daily = {"ip": "10.0.0.1", "last_updated": "2026-01-02T23:30:00"}
        async with ScriptedServer(
            response(body={"bucketId": "b", "nodeStatus": [node]}),
            response(body={"success": True, "nodeStats": [daily]}),
        ) as server:
            async with FlashbackClient("any-token", base_url=server.url) as client:
                (now,) = (await client.status.get("b")).nodes
                (then,) = await client.node_stats.get("b", "2026-01-02T23:30:00")
            moment = datetime(2026, 1, 2, 23, 30, tzinfo=UTC)
            assert now.last_updated == then.last_updated == moment
            assert now.last_updated.tzinfo is UTC
            assert b"2026-01-02T00:00:00.000Z" in server.requests[1].body
    finally:
        monkeypatch.undo()
        time.tzset()


async def test_the_log_and_the_observer_tell_the_same_seconds_of_a_call(caplog):
    told = []

    class Witness(Observer):
        def call_ended(self, fact):
            told.append(fact.elapsed)

    caplog.set_level(logging.DEBUG, "flashback_async")
    async with (
        ScriptedServer(response(body=status_body("b"))) as server,
        client_of(server, observer=Witness()) as client,
    ):
        for _ in range(3):
            await client.status.get("b")
    logged = [r.flashback["elapsed"] for r in caplog.records if "attempts: " in r.getMessage()]
    assert len(told) == 3
    assert logged == told
