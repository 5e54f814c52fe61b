"""The client over real sockets: against the sandbox, and against servers with raw answers."""

import asyncio
import contextlib
import gc
import importlib.util
import logging
import os
import re
import ssl
import subprocess
import sys
import textwrap
import warnings
from datetime import UTC, date, datetime
from functools import partial

import aiohttp
import pytest

from flashback_async import (
    AuthenticationError,
    BucketDay,
    ClientClosedError,
    ConfigurationError,
    ConnectError,
    EventLoopError,
    FlashbackClient,
    Limits,
    NodeState,
    NotFoundError,
    PermissionDeniedError,
    RedirectError,
    RequestTimeoutError,
    ResponseTooLargeError,
    RetryPolicy,
    ServerError,
    Timeout,
    TokenProviderError,
    fan_out,
)
from flashback_async.sandbox import Sandbox
from tests import inside

NO_ID = "00000000-0000-4000-8000-000000000000"
TODAY = datetime.now(UTC).date()


@pytest.fixture
async def sandbox():
    async with Sandbox(buckets=40, nodes=3, seed=7) as running:
        yield running


@pytest.fixture
async def client(sandbox):
    async with FlashbackClient(sandbox.token, base_url=sandbox.base_url) as made:
        yield made


class RawServer:
    """A server that answers every request with the same bytes, and records the requests."""

    def __init__(self, reply):
        self.reply = reply
        self.requests = []
        self.connections = 0

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader, writer):
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
                body = await reader.readexactly(int(length[1])) if length else b""
                self.requests.append((head.decode(), body))
                if self.reply is None:
                    await reader.read()
                    break
                writer.write(self.reply)
                await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    def headers(self, number=0):
        lines = self.requests[number][0].split("\r\n")[1:]
        return {k.lower(): v for k, _, v in (line.partition(": ") for line in lines if line)}


def http(status="200 OK", body=b"{}", *headers):
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(head).encode() + body


def children():
    return asyncio.all_tasks() - {asyncio.current_task()}


def run_apart(code, **environment):
    """Run a program in a process of its own and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout.split()


# The three resources.


async def test_status_is_that_of_the_sandbox(sandbox, client):
    bucket_id = sandbox.bucket_ids[0]
    status = await client.status.get(bucket_id)
    assert status.bucket_id == bucket_id
    assert [node.ip for node in status.nodes] == list(sandbox.node_ips(bucket_id))
    assert all(isinstance(node.state, NodeState) for node in status.nodes)
    assert all(node.last_updated.tzinfo is UTC for node in status.nodes)
    assert all(node.latency_ms is None or node.latency_ms > 0 for node in status.nodes)


async def test_an_incident_shows(sandbox, client):
    bucket_id = sandbox.bucket_ids[3]
    ip = sandbox.node_ips(bucket_id)[1]
    sandbox.set_state(bucket_id, ip, "OFFLINE")
    status = await client.status.get(bucket_id)
    assert status.nodes[1].state is NodeState.OFFLINE
    sandbox.set_state(bucket_id, ip, "ON FIRE")
    assert (await client.status.get(bucket_id)).nodes[1].state == "ON FIRE"


async def test_bucket_stats_are_those_of_the_sandbox(sandbox, client):
    asked = [sandbox.bucket_ids[9], sandbox.bucket_ids[2]]
    found = await client.bucket_stats.list(asked)
    assert [stats.bucket_id for stats in found] == asked
    assert all(type(stats.total_upload_bytes) is int for stats in found)
    assert await client.bucket_stats.get(asked[1]) == found[1]
    everything = await client.bucket_stats.list()
    assert sorted(s.bucket_id for s in everything) == sorted(sandbox.bucket_ids)
    assert await client.bucket_stats.list([]) == []


async def test_a_bucket_that_a_list_does_not_hold_is_not_found(sandbox, client):
    assert await client.bucket_stats.list([NO_ID]) == []
    with pytest.raises(NotFoundError) as caught:
        await client.bucket_stats.get(NO_ID)
    assert caught.value.status == 200


async def test_node_stats_are_those_of_the_sandbox(sandbox, client):
    bucket_id = sandbox.bucket_ids[0]
    stats = await client.node_stats.get(bucket_id, TODAY)
    assert [item.ip for item in stats] == list(sandbox.node_ips(bucket_id))
    assert stats == await client.node_stats.get(bucket_id, TODAY.isoformat())
    assert all(0 <= item.uptime_percent <= 100 for item in stats)


@pytest.mark.parametrize(
    ("which", "kind", "status"),
    [("forbidden", PermissionDeniedError, 403), ("unknown", NotFoundError, 404)],
)
async def test_refusals_carry_what_the_api_said(sandbox, client, which, kind, status):
    bucket_id = sandbox.forbidden_ids[0] if which == "forbidden" else NO_ID
    for ask in (client.status.get, partial(client.node_stats.get, day=TODAY)):
        with pytest.raises(kind) as caught:
            await ask(bucket_id)
        error = caught.value
        assert (error.status, error.bucket_id, error.attempts) == (status, bucket_id, 1)
        assert error.message
        assert error.message in str(error)
        assert error.request_id.startswith("req-")


async def test_a_wrong_token_is_rejected(sandbox):
    async with FlashbackClient("canary-token", base_url=sandbox.base_url) as client:
        with pytest.raises(AuthenticationError) as caught:
            await client.status.get(sandbox.bucket_ids[0])
        assert "canary" not in str(caught.value)
        assert "canary" not in repr(client)
        assert sandbox.requests == 1


async def test_an_outage_is_got_over(sandbox, client):
    bucket_id = sandbox.bucket_ids[0]
    sandbox.fail(bucket_id, status=503, times=2)
    await client.status.get(bucket_id)
    assert sandbox.requests == 3
    sandbox.fail(bucket_id, status=500, times=3)
    with pytest.raises(ServerError) as caught:
        await client.status.get(bucket_id)
    assert caught.value.attempts == 3


async def test_an_odd_id_reaches_the_server_as_one_segment(sandbox, client):
    for odd in ("a?x=1", "a#f", "a%2Fb", "ü ñ", "a&b=c;d"):
        with pytest.raises(NotFoundError) as caught:
            await client.status.get(odd)
        assert caught.value.message == "Bucket or user not found", "it named a bucket"


# Many at once.


async def test_get_many_over_all_three_resources(sandbox, client):
    ids = [*sandbox.bucket_ids[:10], sandbox.forbidden_ids[0], NO_ID, "a/b"]
    status = await client.status.get_many(ids)
    stats = await client.bucket_stats.get_many(ids)
    for report in (status, stats):
        assert [o.key for o in report] == ids
        assert [o.ok for o in report] == [True] * 10 + [False] * 3
        kinds = [type(e).__name__ for e in report.failed.values()]
        assert kinds == ["PermissionDeniedError", "NotFoundError", "InvalidArgumentError"]
        with pytest.raises(ExceptionGroup):
            report.raise_for_errors()
    days = [TODAY, date(2024, 1, 15)]
    daily = await client.node_stats.get_many(ids[:3], days)
    assert [o.key for o in daily] == [BucketDay(i, d) for i in ids[:3] for d in days]
    assert daily.ok


async def test_a_rejected_token_stops_a_run(sandbox):
    limits = Limits(max_concurrency=4)
    async with FlashbackClient("wrong", base_url=sandbox.base_url, limits=limits) as client:
        report = await client.status.get_many(sandbox.bucket_ids)
        assert {type(o.error) for o in report} == {AuthenticationError}
        assert sandbox.requests <= 4


async def test_iter_many_gives_every_outcome(sandbox, client):
    seen = {o.key: o async for o in client.status.iter_many(sandbox.bucket_ids, concurrency=5)}
    assert set(seen) == set(sandbox.bucket_ids)
    assert all(o.unwrap().bucket_id == key for key, o in seen.items())


async def test_break_leaves_no_task_behind_and_the_client_usable():
    async with (
        Sandbox(buckets=200, latency=0.02) as sandbox,
        FlashbackClient(sandbox.token, base_url=sandbox.base_url) as client,
    ):
        known = children()
        async for outcome in client.status.iter_many(sandbox.bucket_ids, concurrency=20):
            assert outcome.ok
            break
        for _ in range(20):
            await asyncio.sleep(0)
        ours = {t for t in children() - known if "flashback_async/sandbox" not in repr(t)}
        assert not {t for t in ours if "_work" in repr(t)}
        assert (await client.status.get(sandbox.bucket_ids[0])).nodes
        assert sandbox.requests < 100


async def test_a_named_generator_is_closed_with_aclosing(sandbox, client):
    source = client.status.iter_many(sandbox.bucket_ids, concurrency=3)
    async with contextlib.aclosing(source) as outcomes:
        async for _ in outcomes:
            break
    assert not {t for t in children() if "_work" in repr(t)}
    assert (await client.status.get(sandbox.bucket_ids[0])).nodes


async def test_a_cancelled_run_leaves_no_task_behind_and_the_client_usable():
    async with (
        Sandbox(buckets=500, latency=30) as sandbox,
        FlashbackClient(sandbox.token, base_url=sandbox.base_url) as client,
    ):
        task = asyncio.create_task(client.status.get_many(sandbox.bucket_ids))
        while sandbox.requests < 64:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not {t for t in children() if "_work" in repr(t)}
        assert inside.active(client) == 0
        assert not inside.connections_in_use(client)


async def test_fan_out_over_calls_of_ones_own(sandbox, client):
    async def count(bucket_id):
        return len((await client.status.get(bucket_id)).nodes)

    outcomes = [o async for o in fan_out(count, [*sandbox.bucket_ids[:5], NO_ID])]
    assert sum(o.value or 0 for o in outcomes) == 15
    assert sum(not o.ok for o in outcomes) == 1


# Options.


async def test_a_view_shares_the_pool_under_other_options(sandbox, client):
    await client.status.get(sandbox.bucket_ids[0])
    once = client.with_options(retry=RetryPolicy.none(), timeout=Timeout(total=5))
    assert repr(once) == repr(client)
    sandbox.fail(sandbox.bucket_ids[0], times=1)
    with pytest.raises(ServerError) as caught:
        await once.status.get(sandbox.bucket_ids[0])
    assert caught.value.attempts == 1
    assert inside.state(once) is inside.state(client)
    async with once:
        pass
    await once.with_options().close()
    assert await client.status.get(sandbox.bucket_ids[0])
    assert await once.status.get(sandbox.bucket_ids[0]), "closing a view closes nothing"


async def test_a_view_keeps_the_pool_alive(sandbox):
    view = FlashbackClient(sandbox.token, base_url=sandbox.base_url).with_options()
    gc.collect()
    await view.status.get(sandbox.bucket_ids[0])
    await inside.owner(view).close()
    with pytest.raises(ClientClosedError):
        await view.status.get(sandbox.bucket_ids[0])


def test_options_are_checked():
    for options in (
        {"timeout": 30},
        {"retry": 3},
        {"limits": 64},
        {"allow_insecure_http": "yes"},
        {"ssl_context": True},
        {"session": object()},
        {"proxy": 5},
        {"transport": "rust"},
        {"transport": None},
        {"transport": ["direct"]},
        {"base_url": "ftp://x"},
    ):
        (name,) = options
        with pytest.raises(ConfigurationError, match=name):
            FlashbackClient("token", **options)
    client = FlashbackClient("token")
    with pytest.raises(ConfigurationError, match="timeout"):
        client.with_options(timeout=5)
    with pytest.raises(ConfigurationError, match="retry"):
        client.with_options(retry=5)


@pytest.mark.parametrize("needs", ["proxy", "session"])
async def test_the_direct_transport_refuses_what_only_aiohttp_can_do(needs):
    async with aiohttp.ClientSession() as session:
        options = {"proxy": {"proxy": "http://proxy.example"}, "session": {"session": session}}
        with pytest.raises(ConfigurationError, match=f"transport='direct' .* {needs}"):
            FlashbackClient("the-token", transport="direct", **options[needs])
        FlashbackClient("the-token", **options[needs])


@pytest.mark.parametrize("wanted", ["auto", "direct", "aiohttp"])
async def test_a_client_says_which_library_sends(wanted, transport):
    libraries = {"direct": "httptools", "aiohttp": "aiohttp"}
    async with RawServer(http(body=b'{"nodeStatus":[]}')) as server:
        async with FlashbackClient("t", base_url=server.url, transport=wanted) as client:
            await client.status.get("b")
        expected = libraries[transport if wanted == "auto" else wanted]
        assert f" {expected}/" in server.headers()["user-agent"]


async def test_a_proxy_of_the_environment_is_aiohttps(monkeypatch):
    async with RawServer(http("407 No", b"")) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        async with FlashbackClient("t", retry=RetryPolicy.none()) as client:
            with pytest.raises(ConnectError, match="proxy"):
                await client.status.get("b")
        assert "aiohttp/" in proxy.headers()["user-agent"]


def test_a_context_must_verify():
    context = ssl.create_default_context()
    assert repr(FlashbackClient("the-token", ssl_context=context)) == (
        "<FlashbackClient https://backend.flashback.tech>"
    )
    context.check_hostname = False
    with pytest.raises(ConfigurationError, match="ssl_context must verify"):
        FlashbackClient("the-token", ssl_context=context)
    context.verify_mode = ssl.CERT_NONE
    with pytest.raises(ConfigurationError, match="ssl_context must verify"):
        FlashbackClient("the-token", ssl_context=context)


async def test_a_large_body_is_not_read(sandbox):
    limits = Limits(max_response_bytes=200)
    async with FlashbackClient(sandbox.token, base_url=sandbox.base_url, limits=limits) as client:
        with pytest.raises(ResponseTooLargeError) as caught:
            await client.status.get(sandbox.bucket_ids[0])
        assert "200 bytes" in str(caught.value)


async def test_a_path_prefix_is_kept():
    async with RawServer(http(body=b'{"nodeStatus":[]}')) as server:
        for prefix in ("/api/v1", "/api/v1/"):
            async with FlashbackClient("the-token", base_url=server.url + prefix) as client:
                await client.status.get("b?")
        lines = [head.split("\r\n")[0] for head, _ in server.requests]
        assert lines == ["GET /api/v1/bucket/b%3F/status HTTP/1.1"] * 2


# Where settings come from.


async def test_the_environment_gives_token_and_base_url(sandbox, monkeypatch, tmp_path):
    monkeypatch.setenv("FLASHBACK_BASE_URL", sandbox.base_url)
    monkeypatch.setenv("FLASHBACK_TOKEN", sandbox.token)
    async with FlashbackClient() as client:
        monkeypatch.setenv("FLASHBACK_TOKEN", "read at construction, not later")
        await client.status.get(sandbox.bucket_ids[0])
    monkeypatch.setenv("FLASHBACK_TOKEN", "")
    (tmp_path / "token").write_text(f"\n{sandbox.token}\n")
    monkeypatch.setenv("FLASHBACK_TOKEN_FILE", str(tmp_path / "token"))
    async with FlashbackClient() as client:
        await client.status.get(sandbox.bucket_ids[0])


def test_what_the_environment_does_not_say_is_missed_or_has_a_default(monkeypatch):
    with pytest.raises(ConfigurationError, match="FLASHBACK_TOKEN"):
        FlashbackClient()
    monkeypatch.setenv("FLASHBACK_BASE_URL", "")
    assert repr(FlashbackClient("the-token")) == "<FlashbackClient https://backend.flashback.tech>"
    monkeypatch.setenv("FLASHBACK_BASE_URL", "http://elsewhere.example")
    with pytest.raises(ConfigurationError, match="https required"):
        FlashbackClient("the-token")
    FlashbackClient("the-token", allow_insecure_http=True)
    FlashbackClient("the-token", base_url="https://elsewhere.example")


async def test_a_provider_is_asked_anew_when_its_token_is_rejected(sandbox):
    tokens = ["stale", sandbox.token, "never"]
    asked = []

    async def provider():
        asked.append(1)
        await asyncio.sleep(0)
        return tokens[len(asked) - 1]

    async with FlashbackClient(provider, base_url=sandbox.base_url) as client:
        report = await client.status.get_many(sandbox.bucket_ids)
        assert report.ok
        assert len(asked) == 2


async def test_a_provider_that_raises_is_the_cause(sandbox):
    async def provider():
        raise LookupError("vault")

    async with FlashbackClient(provider, base_url=sandbox.base_url) as client:
        with pytest.raises(TokenProviderError) as caught:
            await client.status.get(sandbox.bucket_ids[0])
        assert isinstance(caught.value.__cause__, LookupError)
        assert sandbox.requests == 0


async def test_a_proxy_of_the_environment_is_not_used_for_this_machine(sandbox, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with FlashbackClient(sandbox.token, base_url=sandbox.base_url) as client:
        await client.status.get(sandbox.bucket_ids[0])


# On the wire.


async def test_requests_are_the_documented_ones(transport):
    async with RawServer(http(body=b'{"nodeStats":[]}')) as server:
        async with FlashbackClient("the-token", base_url=server.url) as client:
            assert await client.node_stats.get("b", date(2024, 1, 15)) == []
        ((head, body),) = server.requests
        assert head.startswith("POST /bucket/b/stats HTTP/1.1\r\n")
        assert body == b'{"day":"2024-01-15T00:00:00.000Z"}'
        headers = server.headers()
        assert headers["authorization"] == "Bearer the-token"
        assert headers["content-type"] == "application/json"
        assert headers["accept"] == "application/json"
        assert headers["accept-encoding"] == "gzip, deflate"
        library = {"direct": "httptools", "aiohttp": "aiohttp"}[transport]
        ours = r"flashback-async/\d+\.\d+ Python/3\.\d+ "
        assert re.fullmatch(rf"{ours}{library}/\d+\.\d+", headers["user-agent"])
        assert "cookie" not in headers


async def test_cookies_are_not_kept():
    async with RawServer(http("200 OK", b'{"nodeStatus":[]}', "Set-Cookie: a=b; Path=/")) as server:
        async with FlashbackClient("the-token", base_url=server.url) as client:
            await client.status.get("b")
            await client.status.get("b")
        assert len(server.requests) == 2
        assert server.connections == 1
        assert "cookie" not in server.headers(1)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status):
    async with RawServer(http()) as target:
        location = f"Location: {target.url}/secret?x=1"
        async with RawServer(http(f"{status} Moved", b"", location)) as server:
            async with FlashbackClient("the-token", base_url=server.url) as client:
                for ask in (client.status.get, partial(client.node_stats.get, day=TODAY)):
                    with pytest.raises(RedirectError) as caught:
                        await ask("b")
                    assert caught.value.status == status
                    assert "127.0.0.1" in str(caught.value)
                    assert "secret" not in str(caught.value)
            assert len(server.requests) == 2
        assert target.connections == 0


async def test_a_port_without_a_server_is_a_connect_error():
    async with RawServer(None) as server:
        url = server.url
    async with FlashbackClient("the-token", base_url=url, retry=RetryPolicy.none()) as client:
        with pytest.raises(ConnectError, match="refused") as caught:
            await client.status.get("b")
        assert url.removeprefix("http://") in str(caught.value)


async def test_a_server_that_never_answers_is_a_timeout():
    async with RawServer(None) as server:
        options = {"timeout": Timeout(attempt=0.1), "retry": RetryPolicy.none()}
        async with FlashbackClient("the-token", base_url=server.url, **options) as client:
            with pytest.raises(RequestTimeoutError, match="phase headers"):
                await client.status.get("b")
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        ("status.get", ["b"]),
        ("status.get_many", [["b"]]),
        ("status.iter_many", [["b"]]),
        ("bucket_stats.get", ["b"]),
        ("bucket_stats.list", []),
        ("bucket_stats.list", [["b"]]),
        ("bucket_stats.get_many", [["b"]]),
        ("bucket_stats.iter_many", [["b"]]),
        ("node_stats.get", ["b", TODAY]),
        ("node_stats.get_many", [["b"], TODAY]),
        ("node_stats.iter_many", [["b"], TODAY]),
    ],
)
async def test_a_closed_client_says_which_call_it_refuses(operation, arguments):
    client = FlashbackClient("the-token")
    await client.close()
    resource, method = operation.split(".")
    with pytest.raises(ClientClosedError) as caught:
        await getattr(getattr(client, resource), method)(*arguments)
    assert caught.value.operation == operation


# Borrowed sessions.


async def test_a_borrowed_session_is_used_and_left_as_it_was(sandbox):
    traced = []

    async def on_start(session, context, params):
        traced.append(params.url.path)

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(on_start)
    async with aiohttp.ClientSession(trace_configs=[trace], headers={"X-Own": "1"}) as session:
        async with FlashbackClient(
            sandbox.token, base_url=sandbox.base_url, session=session
        ) as client:
            bucket_id = sandbox.bucket_ids[0]
            await client.status.get(bucket_id)
            await client.bucket_stats.list()
        assert not session.closed
        assert traced == [f"/bucket/{bucket_id}/status", "/bucket/stats"]
        assert dict(session.headers) == {"X-Own": "1"}
        async with session.get(sandbox.base_url) as answer:
            assert answer.status == 401


async def test_a_middleware_of_a_borrowed_session_may_make_calls_of_the_same_client(sandbox):
    first, second = sandbox.bucket_ids[:2]

    async def ask_for_another(request, handler):
        if first in str(request.url):
            others.append(await client.status.get(second))
        return await handler(request)

    others = []
    async with aiohttp.ClientSession(middlewares=[ask_for_another]) as session:
        client = FlashbackClient(sandbox.token, base_url=sandbox.base_url, session=session)
        assert (await client.status.get(first)).bucket_id == first
        assert [other.bucket_id for other in others] == [second]
        await client.close()


@pytest.mark.filterwarnings("ignore:.* deprecated and will be removed:DeprecationWarning")
async def test_a_borrowed_session_that_would_change_requests_is_refused():
    async with aiohttp.ClientSession(auth=aiohttp.BasicAuth("u", "p")) as session:
        with pytest.raises(ConfigurationError, match="auth"):
            FlashbackClient("the-token", session=session)
    with pytest.raises(ConfigurationError, match="closed"):
        FlashbackClient("the-token", session=session)


async def test_a_borrowed_session_that_is_closed_meanwhile_ends_calls(sandbox):
    session = aiohttp.ClientSession()
    async with FlashbackClient(sandbox.token, base_url=sandbox.base_url, session=session) as client:
        await client.status.get(sandbox.bucket_ids[0])
        await session.close()
        with pytest.raises(ClientClosedError, match="session"):
            await client.status.get(sandbox.bucket_ids[0])


# Lifetime.


def test_a_second_run_uses_the_same_client_in_silence(recwarn):
    made = []

    async def use():
        async with Sandbox(buckets=3, port=made[0][0] if made else 0) as sandbox:
            if not made:
                port = int(sandbox.base_url.rpartition(":")[2])
                client = FlashbackClient(sandbox.token, base_url=sandbox.base_url)
                made.append((port, client))
            report = await made[0][1].status.get_many(sandbox.bucket_ids)
            assert report.ok

    asyncio.run(use())
    asyncio.run(use())
    asyncio.run(made[0][1].close())
    gc.collect()
    assert list(recwarn) == []


def test_two_live_loops_are_refused_at_once():
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    server = RawServer(http(body=b'{"nodeStatus":[]}'))
    try:
        first.run_until_complete(server.__aenter__())
        client = FlashbackClient("the-token", base_url=server.url)
        first.run_until_complete(client.status.get("b"))
        with pytest.raises(EventLoopError, match="another event loop"):
            second.run_until_complete(client.status.get("b"))
        first.run_until_complete(client.close())
        first.run_until_complete(server.__aexit__())
    finally:
        for loop in (first, second):
            loop.run_until_complete(asyncio.sleep(0.01))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()


async def test_a_session_of_another_loop_is_refused_before_anything_is_sent(sandbox):
    def make():
        async def made():
            return aiohttp.ClientSession()

        loop = asyncio.new_event_loop()
        return loop, loop.run_until_complete(made())

    loop, session = await asyncio.to_thread(make)
    try:
        client = FlashbackClient(sandbox.token, base_url=sandbox.base_url, session=session)
        with pytest.raises(EventLoopError, match="another event loop"):
            await client.status.get(sandbox.bucket_ids[0])
        assert sandbox.requests == 0
        await client.close()
    finally:
        await asyncio.to_thread(loop.run_until_complete, session.close())
        loop.close()


async def test_closing_ends_calls_under_way_and_queued():
    async with Sandbox(buckets=20, latency=30) as sandbox:
        limits = Limits(max_concurrency=5)
        client = FlashbackClient(sandbox.token, base_url=sandbox.base_url, limits=limits)
        calls = [asyncio.create_task(client.status.get(i)) for i in sandbox.bucket_ids]
        while sandbox.requests < 5:
            await asyncio.sleep(0.01)
        await asyncio.gather(client.close(), client.close())
        await client.close()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(result) for result in results} == {ClientClosedError}
        with pytest.raises(ClientClosedError):
            await client.status.get(sandbox.bucket_ids[0])
        with pytest.raises(ClientClosedError):
            async with client:
                pass


async def test_an_error_in_the_body_is_raised_and_the_client_closed(sandbox):
    client = FlashbackClient(sandbox.token, base_url=sandbox.base_url)
    with pytest.raises(ZeroDivisionError):
        async with client:
            await client.status.get(sandbox.bucket_ids[0])
            1 / 0  # noqa: B018
    with pytest.raises(ClientClosedError):
        await client.status.get(sandbox.bucket_ids[0])


async def test_a_client_that_is_never_closed_warns_once_with_its_name(sandbox):
    client = FlashbackClient(sandbox.token, base_url=sandbox.base_url)
    await client.status.get(sandbox.bucket_ids[0])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del client
        gc.collect()
        for _ in range(10):
            await asyncio.sleep(0)
        gc.collect()
    assert [warning.category for warning in caught] == [ResourceWarning]
    text = str(caught[0].message)
    assert f"<FlashbackClient {sandbox.base_url}> was never closed" in text
    assert sandbox.token not in text


async def test_a_client_that_was_never_used_is_let_go_of_in_silence(sandbox):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        FlashbackClient(sandbox.token, base_url=sandbox.base_url)
        with contextlib.suppress(ConfigurationError):
            FlashbackClient("bad token")
        gc.collect()
    assert caught == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_is_refused_and_the_parent_goes_on():
    printed = run_apart(
        """
        import asyncio, os, warnings
        from flashback_async import EventLoopError, FlashbackClient
        from flashback_async.sandbox import Sandbox
        warnings.simplefilter("ignore", DeprecationWarning)  # of os.fork, if there are threads

        async def main():
            async with Sandbox(buckets=2) as sandbox:
                async with FlashbackClient(sandbox.token, base_url=sandbox.base_url) as client:
                    bucket_id = sandbox.bucket_ids[0]
                    await client.status.get(bucket_id)
                    child = os.fork()
                    if not child:
                        try:
                            await client.status.get(bucket_id)
                        except EventLoopError as error:
                            os._exit(7 if str(os.getpid()) in str(error) else 1)
                        os._exit(2)
                    _, status = os.waitpid(child, 0)
                    await client.status.get(bucket_id)
                    print(os.waitstatus_to_exitcode(status), sandbox.requests)

        asyncio.run(main())
        """
    )
    assert printed == ["7", "2"]


ON_ANOTHER_LOOP = """
    import asyncio
    {setup}
    from flashback_async import FlashbackClient, NotFoundError, Timeout
    from flashback_async.sandbox import Sandbox

    async def main():
        # On a busy machine anything may take longer than the 0.1 s at which debug mode complains.
        asyncio.get_running_loop().slow_callback_duration = 1e9
        async with Sandbox(buckets=100) as sandbox:
            async with FlashbackClient(sandbox.token, base_url=sandbox.base_url) as client:
                report = await client.status.get_many([*sandbox.bucket_ids, "unknown"])
                print(len(report.succeeded), len(report.failed))
                async for outcome in client.status.iter_many(sandbox.bucket_ids):
                    break
                sandbox.latency = 60
                hasty = client.with_options(timeout=Timeout(total=0.01))
                try:
                    await hasty.status.get(sandbox.bucket_ids[0])
                except TimeoutError as error:
                    print(type(error).__name__)
        print(len(asyncio.all_tasks()))

    {run}
"""


@pytest.mark.skipif(not importlib.util.find_spec("uvloop"), reason="uvloop is not installed")
def test_uvloop_will_do():
    code = textwrap.dedent(ON_ANOTHER_LOOP)
    printed = run_apart(code.format(setup="import uvloop", run="uvloop.run(main())"))
    assert printed == ["100", "1", "DeadlineExceededError", "1"]


def test_the_debug_mode_of_asyncio_finds_nothing():
    code = textwrap.dedent(ON_ANOTHER_LOOP)
    code = code.format(setup="", run="asyncio.run(main(), debug=True)")
    assert run_apart(code, PYTHONDEVMODE="1")[-3:] == ["1", "DeadlineExceededError", "1"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="needs eager tasks")
def test_eager_tasks_will_do():
    code = textwrap.dedent(ON_ANOTHER_LOOP)
    setup = "async def eager():\n"
    setup += "        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)\n"
    setup += "        await main()"
    printed = run_apart(
        code.format(setup="", run=textwrap.dedent(setup) + "\nasyncio.run(eager())")
    )
    assert printed == ["100", "1", "DeadlineExceededError", "1"]


# The log.


async def test_the_log_tells_of_attempts_and_retries(sandbox, client, caplog):
    caplog.set_level(logging.DEBUG, "flashback_async")
    bucket_id = sandbox.bucket_ids[0]
    sandbox.fail(bucket_id, status=503, times=1)
    await client.status.get(bucket_id)
    records = [r for r in caplog.records if r.name == "flashback_async"]
    assert [r.levelname for r in records] == ["DEBUG", "INFO", "DEBUG", "DEBUG"]
    assert [r.status for r in records] == [503, 503, 200, None]
    assert [r.attempt for r in records] == [1, 1, 2, 2]
    assert {r.operation for r in records} == {"status.get"}
    assert {r.bucket_id for r in records} == {bucket_id}
    assert [r.request_id[:4] for r in records[:3]] == ["req-"] * 3
    assert all(r.elapsed >= 0 for r in records)
    assert all(sandbox.token not in str(vars(r)) for r in records)
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


async def test_the_log_warns_once_of_a_rejected_token(sandbox, caplog):
    caplog.set_level(logging.WARNING)
    async with FlashbackClient("wrong", base_url=sandbox.base_url) as client:
        await client.status.get_many(sandbox.bucket_ids, concurrency=3)
    assert [r.getMessage() for r in caplog.records] == ["status.get: token rejected"]
