"""Deadlines, closing, event loops, processes, clocks, and many calls at once."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import random
import re
import subprocess
import sys
import textwrap
import threading
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import aiohttp
import pytest

from flashback_async import (
    ClientClosedError,
    ConnectError,
    ConnectionLostError,
    DeadlineExceededError,
    EventLoopError,
    FlashbackClient,
    FlashbackError,
    Limits,
    NotFoundError,
    RateLimitError,
    RequestTimeoutError,
    RetryPolicy,
    ServerError,
    Timeout,
    TokenProviderError,
)
from tests import inside
from tests.faults.harness import network, server, tls
from tests.faults.harness.answers import response, status_body
from tests.faults.harness.clock import FakeClock
from tests.faults.harness.fault import GUARD, Fault
from tests.faults.harness.server import ScriptedServer, good_answer

ROOT = Path(__file__).parents[2]
DAY = date(2026, 1, 2)
TOKEN = "any-token-will-do"
BUSY = response(503, {"message": "busy"})


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class Held:
    """A step that answers only once it is released."""

    def __init__(self) -> None:
        self.release = asyncio.Event()

    async def __call__(self, conn: server.Conn, request: server.Request) -> None:
        await self.release.wait()
        await server.healthy(conn, request)


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Switch off the log of single calls, because there are thousands of them."""
    caplog.set_level("WARNING", logger="flashback_async")


def sleep_for_ever(clock: FakeClock) -> None:
    """Make a clock record its sleepers and wake none of them."""

    async def sleep(seconds: float) -> None:
        clock.sleeps.append(seconds)
        await asyncio.Event().wait()

    clock.sleep = sleep


# Deadlines.


async def test_L01_deadline_while_waiting_for_a_slot(fault: Fault):
    held = Held()
    await fault.serve(held)
    fault.clock.run()
    client = fault.client(limits=Limits(max_concurrency=1))
    holder = asyncio.create_task(client.status.get("holder"))
    await fault.until(lambda: fault.server.requests)
    impatient = client.with_options(timeout=Timeout(total=0.1))
    await fault.error(
        impatient.status.get("late"),
        DeadlineExceededError,
        attempts=0,
        says=("waiting for a slot", "0.1 s", "0 requests"),
    )
    held.release.set()
    assert (await fault.result(holder)).bucket_id == "holder"
    fault.retried()
    fault.wire(1, connections=1, after="reused")


async def test_L01_deadline_in_the_moment_that_the_slot_comes(fault: Fault):
    held = Held()
    await fault.serve(held)
    client = fault.client(limits=Limits(max_concurrency=1))
    holder = asyncio.create_task(client.status.get("holder"))
    await fault.until(lambda: fault.server.requests)
    late = asyncio.create_task(client.status.get("late"))
    await turns()
    pool = inside.loop_state(client)
    leave = pool.admission.leave

    def time_runs_out() -> None:
        fault.clock.advance(30.0)
        inside.look_at_deadlines(client)

    def leave_as_time_runs_out() -> None:
        asyncio.get_running_loop().call_soon(time_runs_out)  # before the slot's new owner wakes
        del pool.admission.leave
        leave()

    pool.admission.leave = leave_as_time_runs_out
    held.release.set()
    says = ("waiting for a slot", "30 s")
    await fault.error(late, DeadlineExceededError, attempts=0, says=says)
    assert (await holder).bucket_id == "holder"
    assert late.cancelling() == 0
    fault.wire(1, connections=1, after="reused")


async def never() -> str:
    await asyncio.Event().wait()
    raise AssertionError


async def half_a_body(conn: server.Conn, request: server.Request) -> None:
    await conn.send(response(200, b"{" + b" " * 4, length=100))
    await conn.gone()


async def is_mute(conn: server.Conn) -> None:
    await conn.gone()


async def test_L02_deadline_while_the_token_is_fetched(fault: Fault):
    await fault.serve()
    fault.clock.run()
    client = fault.client(token=never, timeout=Timeout(total=0.1))
    await fault.error(
        client.status.get("bucket-1"),
        DeadlineExceededError,
        attempts=0,
        says=("waiting for the token", "0.1 s"),
    )
    await fault.until(lambda: inside.fetch_in_flight(client) is None)
    inside.replace_provider(client, good_provider)
    fault.wire(0)


async def good_provider() -> str:
    return TOKEN


@pytest.mark.parametrize("how", ["name", "tcp", "tls"])
async def test_L02_deadline_while_connecting(fault: Fault, how: str):
    await fault.serve(greet=is_mute if how == "tls" else None, listening=how != "tcp")
    fault.clock.run()
    port = fault.server.port
    urls = {"name": "http://api.localhost", "tcp": "http://127.0.0.1", "tls": "https://127.0.0.1"}
    if how == "name":
        network.FakeResolver(None)
    client = fault.client(base_url=f"{urls[how]}:{port}", timeout=Timeout(total=0.1))
    if how == "tcp":
        await fault.server.stop()
    with network.full_backlog("127.0.0.1", port if how == "tcp" else 0):
        await fault.error(
            client.status.get("bucket-1"),
            DeadlineExceededError,
            attempts=1,
            says=("0.1 s", "attempt 1", "phase connect"),
        )
    fault.retried()
    fault.wire(0)


@pytest.mark.parametrize(
    ("step", "phase"),
    [(server.hang, "phase headers"), (half_a_body, "phase body, 5 of 100 bytes received")],
)
async def test_L02_deadline_while_waiting_for_the_answer(
    fault: Fault, step: server.Step, phase: str
):
    await fault.serve(step)
    fault.clock.run()
    client = fault.client(timeout=Timeout(total=0.2))
    await fault.error(
        client.status.get("bucket-1"),
        DeadlineExceededError,
        attempts=1,
        says=("0.2 s", "attempt 1", phase),
    )
    fault.retried()
    fault.wire(1, connections=1, after="closed")


async def test_L02_deadline_tells_of_the_error_before(fault: Fault):
    await fault.serve(BUSY, server.hang)
    fault.clock.run()
    client = fault.client(timeout=Timeout(total=0.3))
    await fault.error(
        client.status.get("bucket-1"),
        DeadlineExceededError,
        attempts=2,
        says=("0.3 s", "attempt 2", "phase headers", "before that: 503", "'busy'"),
    )
    fault.retried(transient=1)
    fault.wire(2)


@pytest.mark.parametrize("total", [0.049, 0.05])
@pytest.mark.parametrize(
    ("step", "kind", "says"),
    [
        (BUSY, ServerError, "503"),
        (server.close, ConnectionLostError, "closed before response"),
    ],
)
async def test_L03_no_time_left_for_the_back_off(
    fault: Fault, total: float, step: server.Step, kind: type[FlashbackError], says: str
):
    await fault.serve(step)
    client = fault.client(timeout=Timeout(total=total))
    await fault.error(
        client.status.get("bucket-1"),
        kind,
        attempts=1,
        says=(says, "no time left for a retry after 0.05 s"),
    )
    assert fault.clock.draws == [(0.0, 0.05)]
    fault.retried()  # and nothing slept or spent
    fault.wire(1)


async def test_L03_no_time_left_for_the_back_off_after_a_429(fault: Fault):
    await fault.serve(response(429, {"message": "slow down"}))
    client = fault.client(timeout=Timeout(total=0.9))
    await fault.error(
        client.status.get("bucket-1"),
        RateLimitError,
        attempts=1,
        says=("429", "no time left for a retry after 1.00 s"),
    )
    fault.retried()
    fault.wire(1)


async def in_flight(fault: Fault) -> FlashbackClient:
    await fault.serve(server.hang)
    return fault.client()


async def in_the_body(fault: Fault) -> FlashbackClient:
    await fault.serve(half_a_body)
    return fault.client()


async def in_the_queue(fault: Fault) -> FlashbackClient:
    await fault.serve()
    client = fault.client(limits=Limits(max_concurrency=1))
    await client.status.get("first")
    admission = inside.admission(client)
    admission.active += 1
    asyncio.get_running_loop().call_later(0.2, admission.leave)
    return client


async def in_the_back_off(fault: Fault) -> FlashbackClient:
    await fault.serve(BUSY)
    sleep_for_ever(fault.clock)
    return fault.client()


async def at_the_gate(fault: Fault) -> FlashbackClient:
    await fault.serve(response(429, {}, {"Retry-After": "2"}))
    sleep_for_ever(fault.clock)
    return fault.client()


async def at_the_provider(fault: Fault) -> FlashbackClient:
    await fault.serve()
    tokens = iter([never, good_provider])
    return fault.client(token=lambda: next(tokens)())


# Each place with the requests that the server has seen once a call is there.
PLACES = {
    in_flight: 1,
    in_the_body: 1,
    in_the_queue: 1,
    in_the_back_off: 1,
    at_the_gate: 1,
    at_the_provider: 0,
}


@pytest.mark.parametrize("how", ["timeout", "wait_for"])
@pytest.mark.parametrize("place", PLACES)
async def test_L04_the_callers_own_timeout_stays_the_callers(
    fault: Fault, place: Callable[[Fault], Awaitable[FlashbackClient]], how: str
):
    client = await place(fault)
    caught = None
    try:
        if how == "timeout":
            async with asyncio.timeout(0.1) as scope:
                await client.status.get("bucket-1")
        else:
            await asyncio.wait_for(client.status.get("bucket-1"), 0.1)
    except Exception as error:
        caught = error
    assert type(caught) is TimeoutError
    assert how != "timeout" or scope.expired()
    assert asyncio.current_task().cancelling() == 0
    fault.must_be_safe(caught)
    await fault.until(lambda: inside.active(client) == 0)
    fault.wire(PLACES[place])


async def test_L04_both_timeouts_at_once_end_it_once(fault: Fault):
    await fault.serve(then=server.hang)
    fault.clock.run()
    client = fault.client(timeout=Timeout(total=0.1))
    for _ in range(3):
        caught = None
        try:
            async with asyncio.timeout(0.1):
                await client.status.get("bucket-1")
        except TimeoutError as error:
            caught = error
        assert type(caught) in (TimeoutError, DeadlineExceededError)
        assert asyncio.current_task().cancelling() == 0
        await turns()  # no cancellation comes later
    fault.wire(3)


# Fan-out, tokens and closing.


async def test_L06_cancelled_fan_out_leaves_no_child(fault: Fault, quiet: None):
    await fault.serve(then=server.hang)
    client = fault.client(limits=Limits(max_concurrency=500))
    before = len(asyncio.all_tasks())
    run = asyncio.create_task(client.status.get_many([f"bucket-{n}" for n in range(600)]))
    await fault.until(lambda: len(fault.server.requests) == 500)
    assert len(asyncio.all_tasks() - fault.server.tasks) >= before + 500
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fault.result(run)
    assert run.cancelled()
    assert len(asyncio.all_tasks() - fault.server.tasks) == before  # at once, not only in the end
    assert inside.active(client) == 0
    fault.wire(500)


async def test_L07_one_of_ten_who_wait_for_the_token_is_cancelled(fault: Fault):
    await fault.serve()
    asked = 0
    comes = asyncio.Event()

    async def provider() -> str:
        nonlocal asked
        asked += 1
        await comes.wait()
        return TOKEN

    client = fault.client(token=provider)
    calls = [asyncio.create_task(client.status.get(f"bucket-{n}")) for n in range(10)]
    await turns()
    for victim in (calls[0], calls[5]):  # the one that began the fetch, and another
        victim.cancel()
    await turns()
    comes.set()
    results = await fault.result(asyncio.gather(*calls, return_exceptions=True))
    for n, result in enumerate(results):
        if n in (0, 5):
            assert type(result) is asyncio.CancelledError
        else:
            assert result.bucket_id == f"bucket-{n}"
    assert asked == 1
    fault.wire(8)


async def test_L07_all_who_wait_for_the_token_are_cancelled(fault: Fault):
    await fault.serve()
    ended = []
    provider = iter([never, good_provider])

    async def asked() -> str:
        try:
            return await next(provider)()
        finally:
            ended.append(True)

    client = fault.client(token=asked)
    calls = [asyncio.create_task(client.status.get(f"bucket-{n}")) for n in range(10)]
    await turns()
    for call in calls:
        call.cancel()
    await fault.result(asyncio.wait(calls))
    assert all(call.cancelled() for call in calls)
    await fault.until(lambda: ended == [True])  # nobody is left to wait for it
    fault.wire(0)


async def test_L08_close_ends_calls_in_flight_and_queued(fault: Fault):
    await fault.serve(then=server.hang)
    client = fault.client(limits=Limits(max_concurrency=2))
    first = [asyncio.create_task(client.status.get(f"bucket-{n}")) for n in range(2)]
    await fault.until(lambda: len(fault.server.requests) == 2)
    view = client.with_options(timeout=Timeout(total=20.0))
    queued = [
        asyncio.create_task(call)
        for call in (
            client.status.get("bucket-3"),
            view.status.get("bucket-4"),
            client.node_stats.get("bucket-5", DAY),
            client.bucket_stats.list(["bucket-6"]),
        )
    ]
    run = asyncio.create_task(client.status.get_many([f"many-{n}" for n in range(5)]))
    await turns()
    async with asyncio.timeout(GUARD):
        await client.close()
        await asyncio.wait([*first, *queued, run])
    for call in first:
        says = ("client closed", "attempt 1, phase headers")
        await fault.error(call, ClientClosedError, attempts=1, says=says)
    for call in queued:
        says = ("client closed", "waiting for a slot")
        await fault.error(call, ClientClosedError, attempts=0, says=says)
    for outcome in run.result():
        fault.check(outcome.error, ClientClosedError, attempts=0, says="closed")
    assert len(run.result()) == 5
    await fault.until(lambda: fault.server.open_connections == 0)
    fault.wire(2)


@pytest.mark.parametrize("place", PLACES)
async def test_L08_close_ends_a_call_wherever_it_is(
    fault: Fault, place: Callable[[Fault], Awaitable[FlashbackClient]]
):
    client = await place(fault)
    call = asyncio.create_task(client.status.get("bucket-1"))
    await fault.until(lambda: len(fault.server.requests) == PLACES[place])
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert not call.done()
    async with asyncio.timeout(GUARD):
        await client.close()
    assert call.done()
    await fault.error(call, ClientClosedError, says="client closed")
    assert call.cancelling() == 0
    if place is in_the_queue:
        inside.admission(client).leave()
        inside.admission(client).leave = lambda: None  # the timer's
    fault.wire(PLACES[place])


async def test_L08_close_under_a_task_group_loses_no_result_in_silence(fault: Fault):
    await fault.serve(then=server.hang)
    client = fault.client()
    caught = None
    try:
        async with asyncio.TaskGroup() as group:
            for n in range(3):
                group.create_task(client.status.get(f"bucket-{n}"))
            await fault.until(lambda: len(fault.server.requests) == 3)
            await client.close()
    except BaseExceptionGroup as error:
        caught = error
    assert caught is not None
    assert len(caught.exceptions) == 3
    for error in caught.exceptions:
        fault.check(error, ClientClosedError, attempts=1, says="client closed")
    assert asyncio.current_task().cancelling() == 0
    fault.wire(3)


async def test_L08_close_ends_a_run_that_is_being_iterated(fault: Fault):
    await fault.serve(server.healthy, then=server.hang)
    client = fault.client(limits=Limits(max_concurrency=3))
    outcomes = []
    async for outcome in client.status.iter_many([f"bucket-{n}" for n in range(7)]):
        outcomes.append(outcome)
        if len(outcomes) == 1:
            await fault.until(lambda: len(fault.server.requests) == 4)
            await client.close()
    assert sorted(outcome.index for outcome in outcomes) == list(range(7))
    assert outcomes[0].ok
    for outcome in outcomes[1:]:
        fault.check(outcome.error, ClientClosedError, says="closed")
    fault.wire(4)


async def test_L09_every_call_after_close_is_refused(fault: Fault):
    await fault.serve()
    client = fault.client()
    view = client.with_options(retry=RetryPolicy.none())
    await fault.result(client.status.get("bucket-1"))
    await client.close()
    for used in (client, view):
        for call in (
            lambda used=used: used.status.get("b"),
            lambda used=used: used.status.get_many(["b"]),
            lambda used=used: anext(used.status.iter_many(["b"])),
            lambda used=used: used.node_stats.get("b", DAY),
            lambda used=used: used.node_stats.get_many(["b"], DAY),
            lambda used=used: anext(used.node_stats.iter_many(["b"], DAY)),
            lambda used=used: used.bucket_stats.get("b"),
            lambda used=used: used.bucket_stats.list(),
            lambda used=used: used.bucket_stats.list(["b"]),
            lambda used=used: used.bucket_stats.get_many(["b"]),
            lambda used=used: anext(used.bucket_stats.iter_many(["b"])),
            lambda used=used: used.__aenter__(),
        ):
            await fault.error(called(call), ClientClosedError, attempts=0, says="client is closed")
    await client.close()
    fault.wire(1)


async def called(call: Callable[[], Awaitable[object]]) -> object:
    return await call()


async def test_L09_closing_twice_or_at_once_is_fine(fault: Fault):
    await fault.serve(server.hang)
    client = fault.client()
    call = asyncio.create_task(client.status.get("bucket-1"))
    await fault.until(lambda: fault.server.requests)
    async with asyncio.timeout(GUARD):
        await asyncio.gather(*(client.close() for _ in range(5)))
        assert call.done()  # each of them waited for it
        await client.close()
    await fault.error(call, ClientClosedError, attempts=1, says="client closed")
    await fault.client().close()  # never used
    fault.wire(1)


async def test_L09_closing_a_view_closes_nothing(fault: Fault):
    await fault.serve()
    client = fault.client()
    async with client.with_options(retry=RetryPolicy.none()) as view:
        await fault.result(view.status.get("bucket-1"))
    await view.close()
    await fault.result(view.status.get("bucket-2"))
    await fault.result(client.status.get("bucket-3"))
    fault.wire(3, connections=1, after="reused")


async def test_L10_client_that_is_never_closed(fault: Fault):
    await fault.serve()

    async def forget() -> None:
        client = FlashbackClient(fault.token, base_url=fault.server.url)
        await asyncio.gather(*(client.status.get(f"bucket-{n}") for n in range(3)))

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        await fault.result(forget())
        gc.collect()
        await fault.until(lambda: fault.server.open_connections == 0)
        await turns()
        gc.collect()
    assert [warning.category for warning in caught] == [ResourceWarning]
    assert "FlashbackClient" in str(caught[0].message)
    assert "never closed" in str(caught[0].message)
    fault.must_be_safe(caught[0].message, str(caught[0]))
    fault.wire(3, connections=3)


async def test_L10_view_keeps_its_client_open(fault: Fault):
    await fault.serve()

    def view_alone() -> FlashbackClient:
        return FlashbackClient(fault.token, base_url=fault.server.url).with_options()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        view = view_alone()
        await fault.result(view.status.get("bucket-1"))
        gc.collect()
        await fault.result(view.status.get("bucket-2"))
        assert not caught
        del view
        gc.collect()
        await fault.until(lambda: fault.server.open_connections == 0)
    assert [warning.category for warning in caught] == [ResourceWarning]
    fault.wire(2, connections=1)


async def test_L10_client_that_was_never_used_or_is_closed_warns_of_nothing(fault: Fault):
    await fault.serve()

    async def use() -> None:
        FlashbackClient(TOKEN)
        async with FlashbackClient(TOKEN, base_url=fault.server.url) as client:
            await client.status.get("bucket-1")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        await fault.result(use())
        gc.collect()
    assert not caught
    fault.wire(1)


def test_L10_client_that_outlives_its_loop_warns_once():
    async def forget(kept: list[FlashbackClient]) -> None:
        async with ScriptedServer() as served:
            client = FlashbackClient(TOKEN, base_url=served.url)
            kept.append(client)
            await client.status.get("bucket-1")

    kept: list[FlashbackClient] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asyncio.run(forget(kept))
        gc.collect()
        assert [str(warning.message) for warning in caught] == []
        kept.clear()
        gc.collect()
    assert [warning.category for warning in caught] == [ResourceWarning]
    assert "FlashbackClient" in str(caught[0].message)


async def test_L11_error_in_the_body_of_the_client_goes_through(fault: Fault):
    await fault.serve(server.healthy, server.hang)
    client = fault.client()
    raised = ValueError("of the body")
    caught = None
    try:
        async with client:
            await client.status.get("bucket-1")
            call = asyncio.create_task(client.status.get("bucket-2"))
            await fault.until(lambda: len(fault.server.requests) == 2)
            raise raised
    except ValueError as error:
        caught = error
    assert caught is raised
    assert caught.__cause__ is caught.__context__ is None
    await fault.error(call, ClientClosedError, attempts=1)
    await fault.error(client.status.get("bucket-3"), ClientClosedError, attempts=0)
    await fault.until(lambda: fault.server.open_connections == 0)
    fault.wire(2)


# Event loops and processes.


async def test_L12_other_loop_while_the_first_lives(fault: Fault):
    await fault.serve()
    client = fault.client()
    await fault.result(client.status.get("bucket-1"))

    async def in_the_other_loop() -> list[BaseException]:
        calls = (
            client.status.get("bucket-2"),
            client.node_stats.get("bucket-2", DAY),
            client.bucket_stats.list(["bucket-2"]),
        )
        async with asyncio.timeout(GUARD):
            return await asyncio.gather(*calls, return_exceptions=True)

    errors = await asyncio.to_thread(asyncio.run, in_the_other_loop())
    assert len(errors) == 3
    for error in errors:
        fault.check(error, EventLoopError, attempts=0, says="another event loop")
    await fault.result(client.status.get("bucket-3"))
    assert fault.server.targets == ["/bucket/bucket-1/status", "/bucket/bucket-3/status"]
    fault.wire(2, connections=1, after="reused")


async def test_L12_closing_in_another_loop_while_the_first_lives(fault: Fault):
    await fault.serve()
    client = fault.client()
    await fault.result(client.status.get("bucket-1"))
    error = await asyncio.to_thread(lambda: asyncio.run(error_of(client.close())))
    fault.check(error, EventLoopError, says="another event loop")
    # What was asked of the wrong loop closed nothing.
    await fault.result(client.status.get("bucket-2"))
    assert (await fault.result(client.status.get_many(["bucket-3"]))).ok
    fault.wire(3, connections=1, after="reused")


async def error_of(call: Awaitable[object]) -> BaseException | None:
    try:
        await call
    except Exception as error:
        return error
    return None


def test_L12_second_loop_after_the_first_is_closed():
    served: list[ScriptedServer] = []
    client: list[FlashbackClient] = []

    async def use(name: str, *, last: bool = False) -> int:
        if not served:
            served.append(ScriptedServer())
            client.append(FlashbackClient(TOKEN, base_url=served[0].url))
        async with served[0]:
            calls = (client[0].status.get(f"{name}-{n}") for n in range(3))
            statuses = await asyncio.gather(*calls)
            report = await client[0].status.get_many([f"{name}-{n}" for n in range(5)])
            if last:
                await client[0].close()
        assert [status.bucket_id for status in statuses] == [f"{name}-{n}" for n in range(3)]
        assert report.ok
        return len(served[0].connections)

    descriptors = open_descriptors()
    opened = asyncio.run(use("first"))
    gc.collect()
    # The pool of the first loop went with it, and its sockets with the pool.
    assert open_descriptors() <= descriptors + 1
    assert asyncio.run(use("second")) > opened
    assert asyncio.run(use("third", last=True)) > opened
    assert len(served[0].requests) == 24


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir())) if sys.platform == "linux" else 0


async def test_L12_borrowed_session_of_another_loop(fault: Fault):
    await fault.serve()
    ready, done = threading.Event(), threading.Event()
    made: list[aiohttp.ClientSession] = []

    async def other() -> None:
        async with aiohttp.ClientSession() as session:
            made.append(session)
            ready.set()
            await asyncio.to_thread(done.wait, 5.0)

    thread = asyncio.create_task(asyncio.to_thread(asyncio.run, other()))
    try:
        await asyncio.to_thread(ready.wait, 5.0)
        client = FlashbackClient("".join(fault.token), base_url=fault.server.url, session=made[0])
        await fault.error(
            client.status.get("bucket-1"), EventLoopError, attempts=0, says="another event loop"
        )
        assert not made[0].closed
        await client.close()
        assert not made[0].closed  # it is the lender's
    finally:
        done.set()
        await thread
    fault.recovers = False
    fault.wire(0, connections=0)


def test_L12_borrowed_session_whose_loop_is_gone():
    sessions: list[aiohttp.ClientSession] = []
    clients: list[FlashbackClient] = []

    async def first() -> None:
        async with ScriptedServer() as served, aiohttp.ClientSession() as session:
            sessions.append(session)
            clients.append(FlashbackClient(TOKEN, base_url=served.url, session=session))
            await clients[0].status.get("bucket-1")

    async def second() -> BaseException | None:
        async with asyncio.timeout(GUARD):
            error = await error_of(clients[0].status.get("bucket-2"))
        await clients[0].close()
        return error

    asyncio.run(first())
    error = asyncio.run(second())
    assert type(error) is EventLoopError
    assert "gone" in str(error)
    assert error.attempts == 0


def test_L13_client_made_outside_of_any_loop():
    client = FlashbackClient(TOKEN, base_url="http://127.0.0.1:1")
    view = client.with_options(timeout=Timeout(total=5.0))
    assert "FlashbackClient" in repr(view)
    assert inside.loop_state(client) is None  # nothing is open yet

    async def use() -> list[str]:
        async with ScriptedServer() as served, FlashbackClient(TOKEN, base_url=served.url) as other:
            return [(await other.status.get("bucket-1")).bucket_id]

    assert asyncio.run(use()) == ["bucket-1"]
    asyncio.run(client.close())


def test_L13_client_made_outside_of_any_loop_works_in_one():
    served: list[ScriptedServer] = []

    async def start() -> None:
        served.append(ScriptedServer())

    asyncio.run(start())  # a port is known before there is a client
    client = FlashbackClient(TOKEN, base_url=served[0].url)

    async def use() -> str:
        async with served[0], client:
            return (await client.status.get("bucket-1")).bucket_id

    assert asyncio.run(use()) == "bucket-1"
    assert len(served[0].requests) == 1


FORK = """
    import asyncio, json, os, signal, sys
    from flashback_async import FlashbackClient
    from tests.faults.harness.server import ScriptedServer

    async def error_of(call):
        try:
            await call
        except BaseException as error:
            return [type(error).__name__, str(error)]

    async def main():
        async with ScriptedServer() as served:
            client = FlashbackClient("any-token", base_url=served.url, transport="{TRANSPORT}")
            await client.status.get("before")
            reader, writer = os.pipe()
            child = os.fork()
            if not child:
                signal.alarm(5)
                told = {CHILD}
                os.write(writer, json.dumps(told + [os.getpid()]).encode())
                os._exit(0)
            os.close(writer)
            _, status = os.waitpid(child, 0)
            told = json.loads(os.read(reader, 65536) or "null")
            os.close(reader)
            after = await asyncio.wait_for(client.status.get("after"), 3)
            await asyncio.to_thread(int)  # the loop still hears of its threads
            await client.close()
            print(json.dumps({
                "parent": os.getpid(), "status": status, "told": told, "after": after.bucket_id,
                "requests": len(served.requests), "connections": len(served.connections),
            }))

    asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize(
    "child",
    [
        pytest.param("[await error_of(client.status.get('child'))]", id="in_the_inherited_loop"),
        pytest.param(
            "[asyncio.run(error_of(client.status.get('a'))), "
            "asyncio.run(error_of(client.close())), "
            "asyncio.run(error_of(client.with_options().status.get('b')))]",
            id="in_loops_of_its_own",
        ),
    ],
)
def test_L14_client_in_a_forked_child(child: str, transport: str):
    script = FORK.replace("{CHILD}", child).replace("{TRANSPORT}", transport)
    answer = json.loads(run_script(script))
    assert answer["status"] == 0
    *errors, pid = answer["told"]
    for kind, text in errors:
        assert kind == "EventLoopError", text
        assert "forked" in text
        assert str(answer["parent"]) in text
        assert str(pid) in text
    # The parent's connection is as it was.
    assert (answer["after"], answer["requests"], answer["connections"]) == ("after", 2, 1)


def run_script(text: str, *flags: str, **environment: str) -> str:
    """Run a script in a process of its own and return what it prints."""
    done = subprocess.run(
        [sys.executable, *flags, "-c", textwrap.dedent(text)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


# Clocks.


@pytest.mark.parametrize("jump", [86_400.0, -86_400.0])
async def test_L15_wall_clock_jumps_in_a_back_off(fault: Fault, jump: float):
    await fault.serve(BUSY)
    client = fault.client()
    sleep = fault.clock.sleep

    async def jumping(seconds: float) -> None:
        fault.clock.wall_offset += jump
        await sleep(seconds)

    fault.clock.sleep = jumping
    await fault.result(client.status.get("bucket-1"))
    fault.retried(transient=1, refunded=True)
    fault.wire(2, connections=1, after="reused")


@pytest.mark.parametrize("jump", [86_400.0, -86_400.0, 0.0])
async def test_L15_date_to_retry_after_counts_on_the_servers_clock(fault: Fault, jump: float):
    now = datetime.fromtimestamp(fault.clock.wall(), UTC)
    dates = {"Date": http_date(now), "Retry-After": http_date(now + timedelta(seconds=2))}
    await fault.serve(response(429, {}, dates))
    fault.clock.wall_offset += jump
    client = fault.client()
    await fault.result(client.status.get("bucket-1"))
    assert fault.clock.sleeps == [2.0]
    assert fault.server.requests[1].at - fault.server.requests[0].at >= 2.0
    fault.wire(2)


@pytest.mark.parametrize("jump", [86_400.0, -86_400.0])
async def test_L15_date_to_retry_after_without_the_servers_clock(fault: Fault, jump: float):
    then = datetime.fromtimestamp(fault.clock.wall() + 2, UTC)
    await fault.serve(response(429, {}, {"Retry-After": http_date(then)}))
    fault.clock.wall_offset += jump
    client = fault.client()
    if jump > 0:  # the date lies in the past: as if there were none
        await fault.result(client.status.get("bucket-1"))
        fault.retried(throttled=1, refunded=True)
        fault.wire(2)
    else:  # it lies a day ahead: more than anyone waits
        error = await fault.error(client.status.get("bucket-1"), RateLimitError, attempts=1)
        assert error.retry_after == pytest.approx(86_402, abs=1)
        fault.retried()
        fault.wire(1)


def http_date(at: datetime) -> str:
    return format_datetime(at, usegmt=True)


@pytest.mark.parametrize("jump", [86_400.0, -86_400.0])
async def test_L15_wall_clock_does_not_age_a_token(fault: Fault, jump: float):
    await fault.serve()
    asked = []

    async def provider() -> str:
        asked.append(1)
        return TOKEN

    client = fault.client(token=provider)
    await fault.result(client.status.get("bucket-1"))
    fault.clock.wall_offset += jump
    await fault.result(client.status.get("bucket-2"))
    assert len(asked) == 1
    fault.wire(2, connections=1)


async def test_L16_sleep_of_the_machine_ends_a_call_once(fault: Fault):
    await fault.serve(then=server.hang)
    client = fault.client(timeout=Timeout(total=0.2, attempt=0.1))
    calls = [asyncio.create_task(client.status.get(f"bucket-{n}")) for n in range(20)]
    await fault.until(lambda: len(fault.server.requests) == 20)
    fault.clock.advance(3600.0)
    errors = await fault.result(asyncio.gather(*calls, return_exceptions=True))
    for error in errors:
        fault.check(
            error, RequestTimeoutError, attempts=1, says=("longer than 0.1 s", "no time left")
        )
    fault.retried()
    fault.wire(20)


async def test_L16_sleep_of_the_machine_past_the_total_time(fault: Fault):
    await fault.serve(server.hang)
    client = fault.client(timeout=Timeout(total=0.1, attempt=10.0))
    call = asyncio.create_task(client.status.get("bucket-1"))
    await fault.until(lambda: fault.server.requests)
    fault.clock.advance(3600.0)
    says = ("0.1 s", "phase headers")
    caught = await fault.result(asyncio.gather(call, return_exceptions=True))
    fault.check(caught[0], DeadlineExceededError, attempts=1, says=says)
    assert call.cancelling() == 0
    await turns()
    fault.retried()
    fault.wire(1)


async def test_L16_sleep_of_the_machine_in_a_back_off(fault: Fault):
    await fault.serve(then=BUSY)
    client = fault.client()
    sleep = fault.clock.sleep

    async def long(seconds: float) -> None:
        await sleep(seconds)
        fault.clock.advance(3600.0)

    fault.clock.sleep = long
    caught = await fault.result(error_of(client.status.get("bucket-1")))
    assert type(caught) in (DeadlineExceededError, ServerError)
    assert caught.attempts <= 2
    assert "503" in str(caught)
    fault.wire(caught.attempts)


# Many calls at once.


async def test_L17_slow_answers_on_every_slot(fault: Fault):
    drip = server.trickle(good_bytes("slow"), pause=0.05)
    await fault.serve(*[drip] * 8)
    fault.clock.run()
    client = fault.client(limits=Limits(max_concurrency=4), timeout=Timeout(total=5.0, attempt=0.2))
    slow = [asyncio.create_task(client.status.get("slow")) for n in range(4)]
    await fault.until(lambda: len(fault.server.requests) == 4)
    impatient = client.with_options(timeout=Timeout(total=0.1))
    hopeless = asyncio.create_task(impatient.status.get("hopeless"))
    patient = asyncio.create_task(client.status.get("patient"))
    await fault.error(hopeless, DeadlineExceededError, attempts=0, says="waiting for a slot")
    statuses = await fault.result(asyncio.gather(*slow, patient))
    assert [status.bucket_id for status in statuses] == ["slow"] * 4 + ["patient"]
    fault.wire(len(fault.server.requests))
    assert len(fault.server.requests) <= 4 * 3 + 3
    assert "/bucket/hopeless/status" not in fault.server.targets


def good_bytes(bucket_id: str) -> bytes:
    return response(body=status_body(bucket_id))


async def test_L18_fan_out_over_ten_thousand_is_bounded(fault: Fault, quiet: None):
    most = 0

    async def watched(conn: server.Conn, request: server.Request) -> None:
        nonlocal most
        if request.number % 100 == 0:
            ours = asyncio.all_tasks() - fault.server.tasks
            most = max(most, sum(name_of(task).startswith("Workers.") for task in ours))
            assert len(ours) <= 2 * 32
        await conn.send(good_answer(request))

    await fault.serve(then=watched)
    client = fault.client()
    ids = [f"bucket-{n}" for n in range(10_000)]
    async with asyncio.timeout(GUARD):
        report = await client.status.get_many(ids, concurrency=32)
    assert [outcome.index for outcome in report] == list(range(10_000))
    assert [outcome.unwrap().bucket_id for outcome in report] == ids
    assert 16 <= most <= 32
    fault.wire(10_000, connections=32)


def name_of(task: asyncio.Task[object]) -> str:
    return getattr(task.get_coro(), "__qualname__", "")


async def test_L19_same_id_twice_is_asked_for_once(fault: Fault):
    await fault.serve()
    client = fault.client()
    ids = ["a", "b", "a", "c", "a"]
    status = await fault.result(client.status.get_many(ids))
    assert [o.unwrap().bucket_id for o in status] == ids
    assert [o.index for o in status] == [0, 1, 2, 3, 4]
    stats = await fault.result(client.bucket_stats.get_many(ids))
    assert [o.unwrap().bucket_id for o in stats] == ids
    nodes = await fault.result(client.node_stats.get_many(["a", "a"], [DAY, DAY.isoformat()]))
    assert [o.key for o in nodes] == [("a", DAY)] * 4
    assert nodes.ok
    again = [o async for o in client.status.iter_many(["d"] * 20)]
    assert sorted(o.index for o in again) == list(range(20))
    assert sorted(fault.server.targets) == [
        "/bucket/a/stats",
        "/bucket/a/status",
        "/bucket/b/status",
        "/bucket/c/status",
        "/bucket/d/status",
        "/bucket/stats?bucketId=a%2Cb%2Cc",
    ]
    fault.wire(6)


async def test_L20_no_ids_at_all(fault: Fault):
    await fault.serve()
    client = fault.client()
    assert list(await client.status.get_many([])) == []
    assert list(await client.node_stats.get_many([], DAY)) == []
    assert list(await client.node_stats.get_many([])) == []
    assert list(await client.bucket_stats.get_many(iter(()))) == []
    assert await client.bucket_stats.list([]) == []
    assert [o async for o in client.status.iter_many([])] == []
    assert [o async for o in client.bucket_stats.iter_many(nothing())] == []
    fault.wire(0, connections=0)


async def nothing() -> AsyncIterator[str]:
    return
    yield


async def test_L20_ids_of_a_generator_are_read_as_they_are_needed(fault: Fault):
    await fault.serve()
    client = fault.client()
    read = 0

    def ids() -> Iterator[str]:
        nonlocal read
        for read in range(1, 101):
            yield f"bucket-{read}"

    seen = 0
    async with aclosing(client.status.iter_many(ids(), concurrency=4)) as outcomes:
        async for outcome in outcomes:
            assert outcome.ok
            seen += 1
            await turns(50)
            assert read <= seen + 2 * 4
    assert seen == read == 100
    fault.wire(100)


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_L20_ids_that_raise_midway(fault: Fault, asynchronous: bool):
    await fault.serve()
    client = fault.client()

    def ids() -> Iterator[str]:
        yield from ("a", "b", "c")
        raise LookupError("the list of ids broke off")

    async def ids_async() -> AsyncIterator[str]:
        for one in ids():
            yield one

    outcomes = []
    with pytest.raises(LookupError, match="broke off"):
        async for outcome in client.status.iter_many(ids_async() if asynchronous else ids()):
            outcomes.append(outcome)
    assert sorted(o.unwrap().bucket_id for o in outcomes) == ["a", "b", "c"]
    fault.wire(3)


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_L21_consumer_leaves_the_loop(fault: Fault, named: bool, asynchronous: bool):
    await fault.serve(server.healthy, then=server.hang)
    client = fault.client()
    ids = [f"bucket-{n}" for n in range(100)]

    async def ids_async() -> AsyncIterator[str]:
        for one in ids:
            yield one

    def outcomes() -> AsyncIterator[object]:
        return client.status.iter_many(ids_async() if asynchronous else ids, concurrency=8)

    if named:
        async with aclosing(outcomes()) as run:
            async for _ in run:
                await fault.until(lambda: len(fault.server.requests) == 9)
                break
        assert workers_left() == 0
    else:
        async for _ in outcomes():
            await fault.until(lambda: len(fault.server.requests) == 9)
            break
        gc.collect()
        await turns(20)
        assert workers_left() == 0
    assert inside.active(client) == 0
    fault.wire(9)


def workers_left() -> int:
    return sum(name_of(task).startswith("Workers.") for task in asyncio.all_tasks())


async def test_L22_token_provider_raises(fault: Fault):
    await fault.serve()
    raised = OSError("the vault is sealed")

    async def provider() -> str:
        raise raised

    client = fault.client(token=provider)
    for _ in range(2):  # nothing of it is kept
        error = await fault.error(
            client.status.get("bucket-1"),
            TokenProviderError,
            attempts=0,
            says=("the token provider raised OSError", "status.get 'bucket-1'"),
            never="vault",
            cause=OSError,
        )
        assert error.__cause__ is raised
    report = await fault.result(client.status.get_many(["a", "b"]))
    for outcome in report:
        fault.check(outcome.error, TokenProviderError, says="status.get", cause=OSError)
    fault.retried()
    inside.replace_provider(client, good_provider)
    fault.wire(0, connections=0)


async def test_L23_token_provider_hangs(fault: Fault):
    await fault.serve()
    fault.clock.run()
    tokens = iter([never, good_provider])
    client = fault.client(token=lambda: next(tokens)(), timeout=Timeout(total=0.1))
    says = ("waiting for the token", "0.1 s", "status.get")
    await fault.error(client.status.get("b"), DeadlineExceededError, attempts=0, says=says)
    fault.wire(0, connections=0)


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        (lambda token: "", "must not be empty"),
        (lambda token: None, "must be text, not NoneType"),
        (lambda token: 5, "must be text, not int"),
        (lambda token: token.encode(), "must be text, not bytes"),
        (lambda token: token + "\n", "visible ASCII"),
        (lambda token: f"{token}\r\nX-Evil: 1", "visible ASCII"),
        (lambda token: f"two {token}", "visible ASCII"),
        (lambda token: f"{token}ü", "visible ASCII"),
        (lambda token: f"Bearer {token}", "'Bearer '"),
    ],
)
async def test_L23_token_provider_gives_no_token(
    fault: Fault, wrong: Callable[[str], object], rule: str
):
    await fault.serve()

    async def provider() -> object:
        return wrong(fault.token)

    client = fault.client(token=provider)
    await fault.error(
        client.status.get("bucket-1"),
        TokenProviderError,
        attempts=0,
        says=("no usable token", rule, "status.get"),
        never="X-Evil",
    )
    fault.retried()
    inside.replace_provider(client, good_provider)
    fault.wire(0, connections=0)


OUTAGES = {
    "refused": (None, ConnectError),
    "reset": (server.reset, ConnectionLostError),
    "503": (BUSY, ServerError),
    "hang": (server.hang, RequestTimeoutError),
}


@pytest.mark.parametrize(
    "outage",
    [
        "reset",
        *[pytest.param(outage, marks=pytest.mark.slow) for outage in OUTAGES if outage != "reset"],
    ],
)
async def test_L24_L25_full_outage_and_its_end(
    fault: Fault, quiet: None, caplog: pytest.LogCaptureFixture, outage: str
):
    step, kind = OUTAGES[outage]
    await fault.serve(then=step or server.healthy, listening=step is not None)
    if outage == "hang":
        fault.clock.run()
    client = fault.client(timeout=Timeout(attempt=0.05 if outage == "hang" else 10.0))
    budget = inside.state(client).budget

    calls = (client.status.get(f"bucket-{n}") for n in range(1000))
    async with asyncio.timeout(GUARD):
        errors = await asyncio.gather(*calls, return_exceptions=True)
    assert Counter(map(type, errors)) == {kind: 1000}
    assert {(error.__cause__, error.__context__) for error in errors} == {(None, None)}
    sent = sum(error.attempts for error in errors)
    assert 1000 <= sent <= 1050
    if outage in ("reset", "503"):
        assert len(fault.server.requests) == sent
    else:  # an attempt may end before it has got through to the server
        assert len(fault.server.requests) <= sent
    at_once = [error for error in errors if error.attempts == 1]
    assert len(at_once) > 900
    for error in random.Random(1).sample(at_once, 10):
        fault.check(error, kind, attempts=1, says="retry budget empty")
    assert budget.tokens < 14
    told = [r for r in caplog.records if "retry budget empty" in r.getMessage()]
    assert len(told) == 1  # not once for each call

    # It ends, and one answer in ten still fails once.
    await fault.server.start()
    unlucky = {f"/bucket/later-{n}/status" for n in random.Random(2).sample(range(300), 30)}

    async def recovering(conn: server.Conn, request: server.Request) -> None:
        if request.target in unlucky:
            unlucky.remove(request.target)
            await conn.send(BUSY)
        else:
            await server.healthy(conn, request)

    fault.server.then = recovering
    before = len(fault.server.requests)
    patient = client.with_options(timeout=Timeout())
    calls = (patient.status.get(f"later-{n}") for n in range(300))
    results = await fault.result(asyncio.gather(*calls, return_exceptions=True))
    failed = [result for result in results if isinstance(result, BaseException)]
    assert len(failed) <= 3
    assert not unlucky
    assert budget.tokens == 500  # full again
    fault.wire(before + 330 - len(failed))


async def test_L25_a_call_at_a_time_recovers_as_well(fault: Fault, quiet: None):
    await fault.serve(then=BUSY)
    client = fault.client()
    for n in range(60):
        await fault.error(client.status.get(f"bucket-{n}"), ServerError)
    assert inside.budget(client) < 14
    failing = True

    async def recovering(conn: server.Conn, request: server.Request) -> None:
        nonlocal failing
        number = int(request.target.split("/")[2])
        failing = not failing if number % 10 == 0 else False
        await conn.send(BUSY if failing else good_answer(request))

    failing = False
    fault.server.then = recovering
    before = len(fault.server.requests)
    results = [await fault.result(error_of(client.status.get(str(n)))) for n in range(300)]
    failed = [error for error in results if error is not None]
    assert len(failed) <= 3
    assert inside.budget(client) == 500
    fault.wire(before + 330 - len(failed))


async def test_L26_first_back_offs_are_uniform(fault: Fault, quiet: None):
    failed: set[str] = set()

    async def fails_once(conn: server.Conn, request: server.Request) -> None:
        first = request.target not in failed
        failed.add(request.target)
        await conn.send(BUSY if first else good_answer(request))

    await fault.serve(then=fails_once)
    chance = random.Random(26)
    drawn = fault.clock.uniform
    fault.clock.uniform = lambda low, high: (drawn(low, high), chance.uniform(low, high))[1]
    client = fault.client(retry=RetryPolicy(backoff_base=0.2))
    ids = [f"bucket-{n}" for n in range(1000)]
    async with asyncio.timeout(GUARD):
        report = await client.status.get_many(ids, concurrency=16)
    assert report.ok
    assert fault.clock.draws == [(0.0, 0.2)] * 1000
    sleeps = sorted(fault.clock.sleeps)
    assert len(sleeps) == 1000
    # Kolmogorov and Smirnov: how far the share below each value is from a uniform one's.
    apart = max(abs(value / 0.2 - rank / 1000) for rank, value in enumerate(sleeps))
    assert apart < 1.63 / 1000**0.5
    fault.wire(2000)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
async def test_L28_interrupt_in_the_callers_loop_goes_through(
    fault: Fault, kind: type[BaseException]
):
    await fault.serve(server.healthy, then=server.hang)
    client = fault.client()
    raised = kind("of the caller")
    caught = None
    try:
        async with aclosing(client.status.iter_many(map(str, range(50)), concurrency=8)) as run:
            async for _ in run:
                await fault.until(lambda: len(fault.server.requests) == 9)
                raise raised
    except BaseException as error:
        caught = error
    assert caught is raised
    assert workers_left() == 0
    fault.wire(9)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_L28_interrupt_ends_the_loop_itself_in_order(kind: type[BaseException]):
    raised = kind("of the caller")
    seen: list[object] = []

    async def main() -> None:
        async with (
            ScriptedServer(server.healthy, then=server.hang) as served,
            FlashbackClient(TOKEN, base_url=served.url) as client,
        ):
            seen.append(client)
            async for outcome in client.status.iter_many(map(str, range(50)), concurrency=8):
                seen.append(outcome.ok)
                raise raised

    with pytest.raises(kind) as caught:
        asyncio.run(main())
    assert caught.value is raised
    assert seen[1:] == [True]
    gc.collect()  # a warning of something unclosed would fail the test


async def test_L29_policy_shared_by_two_hundred_calls(fault: Fault, quiet: None):
    answers: Counter[str] = Counter()

    async def by_fate(conn: server.Conn, request: server.Request) -> None:
        number = int(request.target.split("/")[2])
        answers[request.target] += 1
        turn = answers[request.target]
        fate = FATES.get(number % 40, [])
        await turns(number % 7)
        await conn.send(fate[turn - 1] if turn <= len(fate) else good_answer(request))

    await fault.serve(then=by_fate)
    policy = RetryPolicy(max_attempts=3, backoff_base=0.05)
    client = fault.client(retry=policy)
    other = fault.client(retry=policy)
    calls = ((client, other)[n % 2].status.get(str(n)) for n in range(200))
    results = await fault.result(asyncio.gather(*calls, return_exceptions=True))
    wire = 0
    for n, result in enumerate(results):
        fate = FATES.get(n % 40, [])
        wire += min(3, len(fate) + 1) if fate != [MISSING] else 1
        if fate == [MISSING]:
            fault.check(result, NotFoundError, attempts=1)
        elif len(fate) == 3:
            fault.check(result, ServerError, attempts=3, says=f"'of attempt 3 {n % 40}'")
        else:
            assert result.bucket_id == str(n)
    fault.wire(wire)


MISSING = response(404, {"message": "no such bucket"})


def fails(times: int, which: int) -> list[bytes]:
    return [response(503, {"message": f"of attempt {n + 1} {which}"}) for n in range(times)]


FATES = {0: fails(1, 0), 5: [MISSING], 10: fails(3, 10), 17: fails(2, 17), 23: fails(3, 23)}


# Other event loops.


async def the_same_calls() -> list[str]:
    """Make calls of every kind under all checks of a fault test, and return their results."""
    log = logging.getLogger("asyncio")
    level = log.level
    # In debug mode it logs the frames of the server here, which holds what it was sent.
    log.setLevel(logging.INFO)
    try:
        return await calls_of_every_kind()
    finally:
        log.setLevel(level)


async def calls_of_every_kind() -> list[str]:
    told: list[str] = []

    async def tell(name: str, call: Awaitable[object]) -> None:
        try:
            result = await fault.result(call)
        except FlashbackError as error:
            told.append(f"{name}: {type(error).__name__} after {error.attempts}")
        except asyncio.CancelledError:
            told.append(f"{name}: cancelled")
        else:
            told.append(f"{name}: {result!r}")

    async with Fault() as fault:
        await fault.serve(
            server.healthy,
            server.healthy,
            response(404, {}),
            BUSY,
            server.healthy,
            response(429, {}, {"Retry-After": "2"}),
            server.healthy,
            server.close,
            server.healthy,
            response(200, b"{", length=100),
            server.hang,
        )
        secure = await fault.serve(tls=tls.server())
        fault.clock.run()
        client = fault.client()
        for name in ("fresh", "reused", "missing", "retried", "throttled", "closed"):
            await tell(name, client.status.get(name))
        short = client.with_options(timeout=Timeout(total=0.1))
        await tell("deadline", short.status.get("deadline"))
        victim = asyncio.create_task(client.status.get("victim"))
        await fault.until(lambda: len(fault.server.requests) == 11)
        victim.cancel()
        await tell("victim", victim)
        report = await fault.result(client.status.get_many([f"b{n}" for n in range(100)] + [" "]))
        told.append(f"run: {report!r}")
        left = 0
        async for outcome in client.status.iter_many([f"c{n}" for n in range(100)]):
            left += outcome.ok
            if left == 3:
                break
        told.append(f"left: {left}")
        await turns(50)
        over_tls = fault.client(base_url=secure.url)
        await tell("tls", over_tls.node_stats.get("bucket-1", DAY))
        await over_tls.close()
        fault.clients.remove(over_tls)
        fault.server.then = server.hang
        closing = FlashbackClient(TOKEN, base_url=fault.server.url)
        last = asyncio.create_task(closing.status.get("last"))
        before = len(fault.server.requests)
        await fault.until(lambda: len(fault.server.requests) > before)
        await closing.close()
        await tell("last", last)
        fault.wire(len(fault.server.requests))
    return told


async def listen_once() -> None:
    async with ScriptedServer():
        pass


@pytest.fixture(scope="module")
def expected() -> list[str]:
    """Return the results of the same calls in asyncio's own loop."""
    told = asyncio.run(the_same_calls())
    assert [re.sub(r": Bucket.*|: \[Daily.*", ": a model", text) for text in told] == [
        "fresh: a model",
        "reused: a model",
        "missing: NotFoundError after 1",
        "retried: a model",
        "throttled: a model",
        "closed: a model",
        "deadline: DeadlineExceededError after 1",
        "victim: cancelled",
        "run: <Report: 100 succeeded, 1 failed>",
        "left: 3",
        "tls: a model",
        "last: ClientClosedError after 1",
    ]
    return told


def test_L30_same_results_under_uvloop(expected: list[str]):
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(listen_once())  # for which this loop opens a descriptor of its own
        assert runner.run(the_same_calls()) == expected


def test_L30_same_results_in_asyncios_debug_mode(expected: list[str]):
    async def patiently() -> list[str]:
        asyncio.get_running_loop().slow_callback_duration = 10.0  # this machine may be busy
        return await the_same_calls()

    with asyncio.Runner(debug=True) as runner:
        assert runner.run(patiently()) == expected


@pytest.mark.slow
def test_L30_same_results_in_pythons_development_mode(expected: list[str]):
    script = """
        import asyncio, sys
        from tests.faults.test_lifecycle import the_same_calls

        async def main():
            loop = asyncio.get_running_loop()
            assert loop.get_debug() and sys.flags.dev_mode
            loop.slow_callback_duration = 10.0
            print("\\n".join(await the_same_calls()))

        asyncio.run(main())
    """
    flags = ("-X", "dev", "-W", "error", "-W", "ignore::DeprecationWarning")
    told = run_script(script, *flags, PYTHONASYNCIODEBUG="1")
    assert told.splitlines() == expected


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_L30_same_results_with_eager_tasks(expected: list[str]):
    async def eagerly() -> list[str]:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        return await the_same_calls()

    assert asyncio.run(eagerly()) == expected
