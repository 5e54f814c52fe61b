"""Scripts of faults over real sockets: what a client gets, and what the sandbox saw of it."""

import asyncio
import contextlib
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest

from flashback_async import (
    APIError,
    AuthenticationError,
    ConnectError,
    ConnectionLostError,
    DecodeError,
    FlashbackClient,
    NotFoundError,
    RateLimitError,
    RedirectError,
    RequestTimeoutError,
    RetryPolicy,
    ServerError,
    Timeout,
)
from flashback_async.sandbox import Fault, Sandbox, Seen
from flashback_async.testing import skip_waits

SHORT = Timeout(total=5, attempt=0.3, connect=0.2)


@contextlib.asynccontextmanager
async def client_of(sandbox, **options):
    options = {"timeout": SHORT} | options
    with skip_waits():
        client = FlashbackClient(sandbox.token, base_url=sandbox.base_url, **options)
    async with client:
        yield client


@pytest.fixture
async def sandbox():
    async with Sandbox(buckets=6, nodes=3, healthy=True) as sandbox:
        yield sandbox


@pytest.fixture
async def client(sandbox):
    async with client_of(sandbox) as client:
        yield client


def is_listening(sandbox):
    port = urlsplit(sandbox.base_url).port
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


# Each fault ends in the error that the documentation names.


@pytest.mark.parametrize(
    ("fault", "kind", "requests"),
    [
        (Fault.status(400), APIError, 1),
        (Fault.status(302), RedirectError, 1),
        (Fault.status(404), NotFoundError, 1),
        (Fault.status(429), RateLimitError, 3),
        (Fault.status(500), ServerError, 3),
        (Fault.status(503, retry_after=61), ServerError, 1),
        (Fault.status(501), ServerError, 1),
        (Fault.status(200), APIError, 1),  # "success": false
        (Fault.status(204), DecodeError, 1),
        (Fault.body(b"<html>"), DecodeError, 1),
        (Fault.body(b"<html>", content_type="text/html"), DecodeError, 1),
        (Fault.body(b"no", status=502), ServerError, 3),
        pytest.param(Fault.slow(2.0), RequestTimeoutError, 3, marks=pytest.mark.slow),
        (Fault.hang(), RequestTimeoutError, 3),
        (Fault.reset(), ConnectionLostError, 3),
        (Fault.cut(40), ConnectionLostError, 3),
        (Fault.cut(10**9), ConnectionLostError, 3),
        (Fault.cut(0), ConnectionLostError, 3),
        pytest.param(Fault.drip(10), RequestTimeoutError, 3, marks=pytest.mark.slow),
        (Fault.token_expired(), AuthenticationError, 1),
        (Fault.down(), ConnectError, 0),
    ],
    ids=repr,
)
async def test_a_fault_ends_in_its_error(sandbox, client, fault, kind, requests):
    bucket_id = sandbox.bucket_ids[0]
    with sandbox.script(fault) as script:
        with pytest.raises(kind) as caught:
            await client.status.get(bucket_id)
        script.check()
    assert isinstance(caught.value, kind)
    if kind is APIError:
        assert type(caught.value).__base__ in (APIError, APIError.__base__)
    assert len(sandbox.log) == len(script.struck) == requests
    async with client_of(sandbox) as later:  # with the token that holds now
        assert (await later.status.get(bucket_id)).nodes[0].state == "ONLINE"


async def test_a_fault_that_is_over_is_retried_away(sandbox, client):
    faults = Fault.reset().first(1), Fault.cut(40).first(1)
    with sandbox.script(*faults) as script:
        assert (await client.status.get(sandbox.bucket_ids[0])).nodes
        script.check()
    assert [seen.status for seen in sandbox.log] == [None, 200, 200]


async def test_a_pause_is_obeyed_and_a_date_is_one_too(sandbox, client):
    soon = datetime.now(UTC) + timedelta(seconds=20)
    with sandbox.script(
        Fault.status(429, retry_after=3.5).first(1), Fault.status(503, retry_after=soon).first(1)
    ) as script:
        report = await client.status.get_many(sandbox.bucket_ids, concurrency=1)
        script.check()
    assert report.ok
    assert sum(outcome.elapsed for outcome in report) > 20 or len(sandbox.log) == 8


async def test_an_answer_that_drips_in_time_is_whole(sandbox):
    async with client_of(sandbox, timeout=Timeout(attempt=10)) as client:
        with sandbox.script(Fault.drip(20_000)):
            assert len((await client.status.get(sandbox.bucket_ids[0])).nodes) == 3


async def test_a_slow_answer_is_the_apis_own(sandbox, client):
    with sandbox.script(Fault.slow(0.05)):
        assert (await client.status.get(sandbox.bucket_ids[0])).nodes
        with pytest.raises(NotFoundError):
            await client.status.get("00000000-0000-4000-8000-000000000000")


async def test_a_fault_of_one_bucket_fails_its_status_its_days_and_lists_that_name_it(
    sandbox, client
):
    first, second, *_ = sandbox.bucket_ids
    with sandbox.script(Fault.status(404).for_bucket(first.upper())):
        assert set((await client.status.get_many([first, second])).failed) == {first}
        assert set((await client.bucket_stats.get_many([first, second])).failed) == {first}
        report = await client.node_stats.get_many([first, second], ["2024-01-15"])
        assert {key.bucket_id for key in report.failed} == {first}
        assert len(await client.bucket_stats.list()) == 6, "it is not named there"


async def test_a_fault_of_one_operation_leaves_the_others_alone(sandbox, client):
    with sandbox.script(Fault.status(500).for_operation("bucket_stats.list").after(1)):
        assert len(await client.bucket_stats.list()) == 6
        assert (await client.status.get(sandbox.bucket_ids[0])).nodes
        with pytest.raises(ServerError):
            await client.bucket_stats.list()


async def test_scripts_come_before_what_the_sandbox_does_by_itself(sandbox):
    sandbox.fail(sandbox.bucket_ids[0], status=500)
    sandbox.error_rate = 1.0
    async with client_of(sandbox, retry=RetryPolicy.none()) as client:
        stranger = FlashbackClient("another", base_url=sandbox.base_url)
        async with stranger:
            with sandbox.script(Fault.status(404)):
                for asking in (client, stranger):
                    with pytest.raises(NotFoundError):
                        await asking.status.get(sandbox.bucket_ids[0])
            with pytest.raises(AuthenticationError):
                await stranger.status.get(sandbox.bucket_ids[0])


async def test_a_token_that_expires_is_renewed_by_a_provider(sandbox):
    async def token():
        return sandbox.token

    old = sandbox.token
    async with client_of(sandbox) as fixed, FlashbackClient(token, base_url=sandbox.base_url) as c:
        with sandbox.script(Fault.token_expired().after(2)) as script:
            for bucket_id in sandbox.bucket_ids:
                await c.status.get(bucket_id)
            script.check()
        assert sandbox.token != old
        assert [seen.status for seen in sandbox.log].count(401) == 1
        with pytest.raises(AuthenticationError):
            await fixed.status.get(sandbox.bucket_ids[0])


# Outages.


async def test_an_outage_cuts_what_is_open_and_the_same_port_answers_afterwards(sandbox, client):
    bucket_id = sandbox.bucket_ids[0]
    await client.status.get(bucket_id)
    base_url = sandbox.base_url
    sandbox.latency = 20.0
    waiting = asyncio.create_task(client.status.get(bucket_id))
    while len(sandbox.log) < 2:
        await asyncio.sleep(0)
    with sandbox.script(Fault.down()) as script:
        assert not is_listening(sandbox)
        with pytest.raises(ConnectError):
            await waiting
        with pytest.raises(ConnectError):
            await client.status.get(bucket_id)
        assert script.struck == ()
        assert not is_listening(sandbox)
    assert is_listening(sandbox)
    sandbox.latency = 0.0
    assert sandbox.base_url == base_url
    assert (await client.status.get(bucket_id)).nodes
    assert [seen.status for seen in sandbox.log] == [200, None, 200]


async def test_nobody_else_can_take_the_port_during_an_outage(sandbox):
    port = urlsplit(sandbox.base_url).port
    with (
        sandbox.script(Fault.down()),
        socket.socket() as other,
        pytest.raises(OSError, match="in use"),
    ):
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))


async def test_outages_within_each_other_end_with_the_last(sandbox):
    with sandbox.script(Fault.down()):
        with sandbox.script(Fault.down()):
            assert not is_listening(sandbox)
        assert not is_listening(sandbox)
    assert is_listening(sandbox)


async def test_an_outage_may_begin_after_some_requests(sandbox, client):
    with sandbox.script(Fault.down().after(2)) as script:
        for bucket_id in sandbox.bucket_ids[:2]:
            await client.status.get(bucket_id)
        with pytest.raises(ConnectError):
            await client.status.get(sandbox.bucket_ids[2])
        assert not is_listening(sandbox)
        script.check()
    assert is_listening(sandbox)


async def test_an_outage_may_last_for_some_seconds_of_its_script(sandbox):
    with sandbox.script(Fault.down().between(0.05, 0.15)):
        assert is_listening(sandbox)
        while is_listening(sandbox):
            await asyncio.sleep(0.005)
        while not is_listening(sandbox):
            await asyncio.sleep(0.005)


async def test_a_script_that_is_left_early_takes_nothing_down_later(sandbox):
    with sandbox.script(Fault.down().between(0.02, 10)):
        pass
    await asyncio.sleep(0.05)
    assert is_listening(sandbox)


async def test_an_outage_needs_a_sandbox_that_runs():
    sandbox = Sandbox(buckets=1)
    with pytest.raises(RuntimeError, match="running"), sandbox.script(Fault.down()):
        pass
    with sandbox.script(Fault.hang()):  # anything else can wait for the start
        pass


def test_an_outage_needs_a_loop_that_runs():
    with asyncio.Runner() as runner:
        sandbox = Sandbox(buckets=1)
        runner.run(sandbox.start())
        with pytest.raises(RuntimeError, match="running"), sandbox.script(Fault.down()):
            pass
        runner.run(sandbox.close())


async def test_a_sandbox_may_be_closed_during_an_outage():
    sandbox = Sandbox(buckets=1)
    await sandbox.start()
    with sandbox.script(Fault.down().between(0.0, 0.5)):
        await sandbox.close()
        assert not is_listening(sandbox)
    await sandbox.start()
    assert is_listening(sandbox)
    await sandbox.close()


async def test_a_sandbox_that_starts_again_during_an_outage_is_down():
    sandbox = Sandbox(buckets=1)
    await sandbox.start()
    with sandbox.script(Fault.down()):
        await sandbox.close()
        await sandbox.start()
        assert not is_listening(sandbox)
    assert is_listening(sandbox)
    await sandbox.close()


async def test_a_sandbox_of_a_thread_is_not_closed_from_elsewhere():
    with Sandbox.in_thread(buckets=1) as sandbox:
        with pytest.raises(RuntimeError, match="another event loop"):
            await sandbox.close()
        with pytest.raises(RuntimeError, match="another event loop"):
            await sandbox.start()
        assert is_listening(sandbox)


async def test_close_and_start_keep_the_port(sandbox, client):
    base_url = sandbox.base_url
    await sandbox.close()
    with pytest.raises(ConnectError):
        await client.status.get(sandbox.bucket_ids[0])
    await sandbox.start()
    assert sandbox.base_url == base_url
    assert (await client.status.get(sandbox.bucket_ids[0])).nodes


# The log.


async def test_the_log_tells_each_request_without_the_token(sandbox, client):
    bucket_id = sandbox.bucket_ids[0]
    began = time.monotonic()
    await client.status.get(bucket_id)
    await client.bucket_stats.list([bucket_id])
    await client.node_stats.get(bucket_id, "2024-01-15")
    first, second, third = sandbox.log
    assert first == Seen(
        "GET", f"/bucket/{bucket_id}/status", "status.get", bucket_id, 200, first.at, None
    )
    assert (second.path, second.operation) == (
        f"/bucket/stats?bucketId={bucket_id}",
        "bucket_stats.list",
    )
    assert second.bucket_id is None
    assert (third.method, third.operation) == ("POST", "node_stats.get")
    assert began <= first.at <= second.at <= third.at <= time.monotonic()
    assert sandbox.token not in repr(list(sandbox.log))
    assert sandbox.log[-1] == third
    assert sandbox.log[:2] == (first, second)
    sandbox.log.clear()
    assert list(sandbox.log) == []
    assert sandbox.requests == 3


async def test_the_log_hides_a_token_that_a_client_sends_in_a_url(sandbox):
    port = urlsplit(sandbox.base_url).port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    target = f"/bucket/stats?token={sandbox.token}"
    writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    await reader.read()
    writer.close()
    await writer.wait_closed()
    assert sandbox.log[0].path == "/bucket/stats?token=***"


async def test_a_request_is_in_the_log_before_its_answer(sandbox, client):
    sandbox.latency = 20.0
    call = asyncio.create_task(client.status.get(sandbox.bucket_ids[0]))
    while not sandbox.log:
        await asyncio.sleep(0)
    assert sandbox.log[0].status is None
    call.cancel()
    await asyncio.wait([call])


async def test_what_is_no_operation_is_logged_too(sandbox):
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(sandbox.base_url).port)
    writer.write(b"GET /nothing?x=1 HTTP/1.1\r\nHost: sandbox\r\nConnection: close\r\n\r\n")
    await reader.read()
    writer.close()
    await writer.wait_closed()
    (seen,) = sandbox.log
    assert (seen.path, seen.operation, seen.bucket_id, seen.status) == (
        "/nothing?x=1",
        None,
        None,
        401,
    )


# Threads.


def test_without_asyncio_it_runs_on_a_thread_that_ends_with_the_block():
    before = threading.active_count()
    with Sandbox.in_thread(buckets=2, healthy=True) as sandbox:
        assert threading.active_count() == before + 1
        assert is_listening(sandbox)

        async def ask():
            async with client_of(sandbox) as client:
                return await client.status.get_many(sandbox.bucket_ids)

        assert asyncio.run(ask()).ok
        with sandbox.script(Fault.down()):
            assert not is_listening(sandbox)
        assert is_listening(sandbox)
    assert not is_listening(sandbox)
    assert threading.active_count() == before


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_the_thread_ends_however_the_block_ends(error):
    before = threading.active_count()
    with pytest.raises(error), Sandbox.in_thread(buckets=1) as sandbox:
        raise error
    assert threading.active_count() == before
    assert not is_listening(sandbox)


def test_what_the_thread_cannot_start_is_raised_here():
    before = threading.active_count()
    with Sandbox.in_thread(buckets=1) as sandbox:
        port = urlsplit(sandbox.base_url).port
        with pytest.raises(OSError, match=str(port)), Sandbox.in_thread(port=port):
            pass
    with pytest.raises(ValueError, match="buckets"), Sandbox.in_thread(buckets=-1):
        pass
    assert threading.active_count() == before


async def test_every_method_may_be_called_from_other_threads_while_it_serves():
    def meddle(number):
        for n in range(60):
            mine = sandbox.add_bucket(f"mine-{number}-{n}")
            for ip in sandbox.node_ips(mine):
                sandbox.set_state(mine, ip, "OFFLINE")
                sandbox.set_node(mine, ip, version=f"{n}")
            sandbox.set_totals(mine, count=n)
            with sandbox.script(Fault.status(503).for_bucket(mine)):
                list(sandbox.log)
            sandbox.fail(mine)
            sandbox.latency = 0.0
            sandbox.remove_bucket(mine)

    with Sandbox.in_thread(buckets=300) as sandbox:
        async with client_of(sandbox, timeout=Timeout()) as client:
            threads = [asyncio.create_task(asyncio.to_thread(meddle, n)) for n in range(4)]
            while not all(thread.done() for thread in threads):
                assert len(await client.bucket_stats.list()) >= 300
                assert (await client.status.get_many(sandbox.bucket_ids[:20])).ok
            await asyncio.gather(*threads)
        assert len(sandbox.bucket_ids) == 300


async def test_an_outage_may_be_made_from_another_thread(sandbox):
    def outage():
        with sandbox.script(Fault.down()):
            return is_listening(sandbox)

    assert not await asyncio.to_thread(outage)
    assert is_listening(sandbox)
