"""A call can be cancelled at every step, once, and leaves nothing behind.

Each situation is played again and again. Each time the call is cancelled one step later, until it
ends by itself before that step.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import types
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from contextlib import aclosing

import pytest

from flashback_async import (
    ClientClosedError,
    DeadlineExceededError,
    FlashbackClient,
    FlashbackError,
    Limits,
    Timeout,
)
from tests import inside
from tests.faults.harness import server, tls
from tests.faults.harness.answers import chunked, response, status_body
from tests.faults.harness.clock import FakeClock
from tests.faults.harness.fault import GUARD, Fault
from tests.faults.harness.server import good_answer

BUSY = response(503, {"message": "busy"})
MISSING = response(404, {"message": "no such bucket"})
REJECTED = response(401, {"message": "who are you?"})
PAUSE = response(429, {}, {"Retry-After": "2"})
PATIENT = Timeout(total=1e6, attempt=1e6)
TOTAL = 30.0  # no attempt ends before it
LONGEST = 400  # steps after which a situation must have ended by itself


async def turn() -> None:
    """Wait for one iteration of the loop."""
    loop = asyncio.get_running_loop()
    comes = loop.create_future()
    loop.call_soon(lambda: comes.done() or comes.set_result(None))
    await comes


async def turns(count: int) -> None:
    for _ in range(count):
        await turn()


async def until(condition: Callable[[], bool]) -> None:
    """Yield to the event loop until a condition holds, but only a few times."""
    async with asyncio.timeout(GUARD):
        while not condition():
            await asyncio.sleep(0)


class SlowClock(FakeClock):
    """A clock whose sleeps take some iterations of the loop."""

    asleep = 0

    async def sleep(self, seconds: float) -> None:
        self.asleep += 1
        try:
            await turns(3)
        finally:
            self.asleep -= 1
        await super().sleep(seconds)


class Play:
    """One performance of a situation: a client, the server's answers, and the other calls."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.clock = SlowClock()
        self.answers: dict[str, list[server.Step]] = defaultdict(list)
        self.others: list[asyncio.Task[object]] = []
        self.later: list[Coroutine[None, None, object]] = []
        self.others_end_closed = False
        self.released = asyncio.Event()
        self.struck = False
        self.over = False
        self.cancels = 0
        self.caught: BaseException | None = None
        self.result: object = None
        self.client: FlashbackClient
        fault.server.then = self._answer

    def open(self, **options: object) -> FlashbackClient:
        options.setdefault("timeout", Timeout(total=TOTAL, attempt=2 * TOTAL))
        self.client = self.fault.client(**options)
        self.fault.clients[:] = [self.client]  # those before are closed
        inside.use_clock(self.client, self.clock)
        return self.client

    async def other(self, name: str = "other") -> None:
        """Start another call, which the server holds until the end and which must succeed."""
        self.answers[name] = [self._hold]
        before = len(self.fault.server.requests)
        self.others.append(asyncio.create_task(self.patiently(name)))
        await until(lambda: len(self.fault.server.requests) > before)

    async def patiently(self, name: str) -> object:
        view = self.client.with_options(timeout=PATIENT)
        return await view.status.get(name)

    async def _hold(self, conn: server.Conn, request: server.Request) -> None:
        await self.released.wait()
        await server.healthy(conn, request)

    async def _answer(self, conn: server.Conn, request: server.Request) -> None:
        steps = self.answers.get(request.target.split("/")[2])
        step = steps.pop(0) if steps else server.healthy
        for one in step if isinstance(step, list) else [step]:
            await (conn.send(one) if isinstance(one, bytes) else one(conn, request))

    async def run(self, victim: Awaitable[object]) -> None:
        """Await the call that is to be cancelled, and record its end and that of a later call."""
        task = asyncio.current_task()
        try:
            self.result = await victim
        except asyncio.CancelledError:
            self.cancels += 1
            self.over = True
            assert task.uncancel() == 0
        except BaseException as error:
            self.caught = error
        self.over = True
        assert task.cancelling() == 0
        await turns(5)  # a cancellation that comes late would end this task

    @property
    def pool(self):
        return inside.loop_state(self.client)


# The situations: each returns the call that is to be cancelled.

Situation = Callable[[Play], Awaitable[Coroutine[None, None, object]]]


async def fresh(play: Play):
    client = play.open()
    await play.other()
    return client.status.get("victim")


async def reused(play: Play):
    client = play.open()
    await play.other()
    await client.status.get("first")
    return client.status.get("victim")


async def stale(play: Play):
    client = play.open()
    await play.other()
    await client.status.get("first")
    play.answers["victim"] = [server.close]
    return client.status.get("victim")


async def queued(play: Play):
    client = play.open(limits=Limits(max_concurrency=1))
    play.answers["holder"] = [[after(6), server.healthy]]
    play.others.append(asyncio.create_task(play.patiently("holder")))
    await until(lambda: "/bucket/holder/status" in play.fault.server.targets[-1:])
    play.later = [play.patiently("behind"), play.patiently("further behind")]
    return client.status.get("victim")


async def over_tls(play: Play):
    client = play.open()
    await play.other()
    return client.status.get("victim")


async def name_look_up(play: Play):
    loop = asyncio.get_running_loop()

    async def slow(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        await turns(4)
        return [(2, 1, 6, "", ("127.0.0.1", port))]

    loop.getaddrinfo = slow
    client = play.open(base_url=f"http://api.localhost:{play.fault.server.port}")
    play.later = [play.patiently("beside")]  # shares the look-up
    return client.status.get("victim")


async def headers(play: Play):
    client = play.open()
    await play.other()
    await client.status.get("first")
    whole = response(body=status_body("victim"))
    play.answers["victim"] = [[server.trickle(whole[:160], size=20), whole[160:]]]
    return client.status.get("victim")


async def body(play: Play):
    client = play.open()
    await play.other()
    await client.status.get("first")
    head, _, rest = response(body=status_body("victim")).partition(b"\r\n\r\n")
    play.answers["victim"] = [[head + b"\r\n\r\n", after(2), server.trickle(rest, size=40)]]
    return client.status.get("victim")


async def chunked_body(play: Play):
    client = play.open()
    await play.other()
    await client.status.get("first")
    whole = json.dumps(status_body("victim")).encode()
    head = response(headers={"Transfer-Encoding": "chunked"}, length=None)
    rest = chunked(*(whole[n : n + 40] for n in range(0, len(whole), 40)))
    play.answers["victim"] = [[head, after(2), server.trickle(rest, size=50)]]
    return client.status.get("victim")


async def back_off(play: Play):
    client = play.open()
    await play.other()
    play.answers["victim"] = [BUSY, BUSY]
    return client.status.get("victim")


async def retry_after(play: Play):
    client = play.open()
    await play.other()
    play.answers["victim"] = [PAUSE]

    async def behind_the_gate() -> object:
        while play.pool.admission.pause_left() <= 0 and not play.over:
            await asyncio.sleep(0)
        return await play.patiently("behind")

    play.later = [behind_the_gate(), behind_the_gate()]
    return client.status.get("victim")


async def first_token(play: Play):
    async def provider() -> str:
        await turns(4)
        return "token"

    client = play.open(token=provider)
    play.later = [play.patiently("beside"), play.patiently("beside")]
    return client.status.get("victim")


async def token_refresh(play: Play):
    tokens = iter(["old"])

    async def provider() -> str:
        token = next(tokens, "new")
        await turns(4)
        return token

    async def check(conn: server.Conn, request: server.Request) -> None:
        is_old = request.headers["authorization"].endswith("old")
        await conn.send(REJECTED if is_old else good_answer(request))

    client = play.open(token=provider)
    await client.status.get("first")
    play.answers["victim"] = [check] * 2
    play.answers["beside"] = [check] * 2
    play.later = [play.patiently("beside")]
    return client.status.get("victim")


def mixed_answers(play: Play) -> list[str]:
    ids = [f"v{n}" for n in range(10)]
    play.answers["v1"] = play.answers["v7"] = [MISSING]
    play.answers["v3"] = [BUSY]
    play.answers["v5"] = [[after(9), server.healthy]]
    return ids


async def get_many(play: Play):
    client = play.open()
    await play.other()
    return client.status.get_many(mixed_answers(play), concurrency=3)


async def get_many_in_lists(play: Play):
    client = play.open(limits=Limits(max_concurrency=3))
    await play.other()
    play.answers["stats?bucketId=a%2Cb%2Cc%2Cd"] = [MISSING]
    return client.bucket_stats.get_many(["a", "b", "c", "d"])


async def iter_many(play: Play):
    client = play.open()
    await play.other()

    async def consume() -> int:
        count = 0
        async for _ in client.status.iter_many(mixed_answers(play), concurrency=3):
            count += 1
            await turn()
        return count

    return consume()


async def iter_many_named(play: Play):
    client = play.open()
    await play.other()

    async def ids() -> AsyncIterator[str]:
        for one in mixed_answers(play):
            await turn()
            yield one

    async def consume() -> int:
        count = 0
        async with aclosing(client.status.iter_many(ids(), concurrency=3)) as outcomes:
            async for _ in outcomes:
                count += 1
        return count

    return consume()


async def closing(play: Play):
    client = play.open(limits=Limits(max_concurrency=2))
    await play.other("first")
    await play.other("second")
    play.others.append(asyncio.create_task(play.patiently("queued")))
    await turns(2)
    play.others_end_closed = True
    return client.close()


async def decode_in_a_thread(play: Play):
    client = play.open()
    await play.other()
    large = status_body("victim") | {"ignored": "x" * 2**20}
    play.answers["victim"] = [response(body=large)]
    return client.status.get("victim")


async def pace(play: Play):
    client = play.open(limits=Limits(max_rate=100.0))
    await asyncio.gather(*(client.status.get(f"first-{n}") for n in range(10)))
    return client.status.get("victim")


def after(count: int) -> server.Step:
    async def wait(conn: server.Conn, request: server.Request) -> None:
        await turns(count)

    return wait


SITUATIONS: list[Situation] = [
    fresh,
    reused,
    stale,
    queued,
    over_tls,
    name_look_up,
    headers,
    body,
    chunked_body,
    back_off,
    retry_after,
    first_token,
    token_refresh,
    get_many,
    get_many_in_lists,
    iter_many,
    iter_many_named,
    closing,
    decode_in_a_thread,
    pace,
]
# Where there are many turns that are all alike, not each of them is tried.
STRIDES = {pace: 150}


# What is done to them.

Strike = Callable[[Play, asyncio.Task[None]], None]


def cancel(play: Play, task: asyncio.Task[None]) -> None:
    task.cancel()


def time_runs_out(play: Play, task: asyncio.Task[None] | None = None) -> None:
    """Pass the call's deadline, and notice it in this iteration of the event loop."""
    play.clock.advance(TOTAL + 1.0)
    if play.pool is not None:
        inside.look_at_deadlines(play.client)


def cancel_as_time_runs_out(play: Play, task: asyncio.Task[None]) -> None:
    cancel(play, task)
    time_runs_out(play)


def time_runs_out_as_it_is_cancelled(play: Play, task: asyncio.Task[None]) -> None:
    time_runs_out(play)
    cancel(play, task)


@types.coroutine
def stop_at(
    victim: Coroutine[object, object, object], point: int, strike: Callable[[], None], *, late: bool
) -> Generator[object, object, object]:
    """Await something, and strike as it waits for the nth time: at once, or as the wait ends.

    A late strike falls after the awaited result has arrived and before the task resumes.
    """
    loop = asyncio.get_running_loop()
    value, error, seen = None, None, 0
    while True:
        try:
            waits_for = victim.send(value) if error is None else victim.throw(error)
        except StopIteration as end:
            return end.value
        if seen == point:
            if late and waits_for is not None:
                waits_for.add_done_callback(lambda _: strike())
            else:
                loop.call_soon(strike)
        seen += 1
        value, error = None, None
        try:
            value = yield waits_for
        except BaseException as thrown:
            error = thrown


async def perform(fault: Fault, situation: Situation, step: int, how: str, strike: Strike) -> Play:
    """Play a situation once, strike at a step of it, and check what is left."""
    play = Play(fault)
    before = asyncio.all_tasks()
    victim = await situation(play)
    task: asyncio.Task[None]

    def struck() -> None:
        if not play.over:
            play.struck = True
            strike(play, task)

    if how == "turns":
        task = asyncio.create_task(play.run(victim))
    else:
        late = how == "late"
        task = asyncio.create_task(play.run(stop_at(victim, step, struck, late=late)))
    play.others += [asyncio.create_task(call) for call in play.later]
    if how == "turns":
        for _ in range(1 + step):  # one in which it begins
            await asyncio.sleep(0)
            if play.over:
                break
        struck()
    await until(lambda: play.over)
    if play.cancels:
        left = [t for t in asyncio.all_tasks() - before if is_worker(t)]
        assert situation is iter_many or not left, f"still at work: {left}"
    await fault.result(task)
    await leave_nothing(fault, play, before)
    return play


def is_worker(task: asyncio.Task[object]) -> bool:
    return getattr(task.get_coro(), "__qualname__", "").startswith("Workers.")


async def leave_nothing(fault: Fault, play: Play, before: set[asyncio.Task[object]]) -> None:
    """Check that the other calls end well, that nothing is left, and that the client works."""
    play.released.set()
    others = await fault.result(asyncio.gather(*play.others, return_exceptions=True))
    closed = inside.is_closed(play.client)
    for other in others:
        if closed and play.others_end_closed:
            assert type(other) is ClientClosedError, other
        else:
            assert not isinstance(other, BaseException), repr(other)
    assert all(task.cancelling() == 0 for task in play.others)
    pool = play.pool

    def left() -> set[object]:
        tasks = asyncio.all_tasks() - before - fault.server.tasks
        return tasks | inside.connections_in_use(play.client)

    ends = asyncio.get_running_loop().time() + 1.0
    while left() and asyncio.get_running_loop().time() < ends:
        await asyncio.sleep(0)
    assert not left()
    if pool is not None:
        assert pool.admission.active == 0
        assert not inside.callers_waiting(play.client)
        assert not pool.timer.scopes
        fetch = inside.fetch_in_flight(play.client)
        assert fetch is None or fetch.waiters == 0
    assert play.clock.asleep == 0
    if not closed:
        seen = len(fault.server.requests)
        play.clock.advance(3600.0)  # past the pauses
        view = play.client.with_options(timeout=PATIENT)
        assert (await fault.result(view.status.get("healthy"))).bucket_id == "healthy"
        assert len(fault.server.requests) == seen + 1  # nobody else sent anything
    await fault.result(play.client.close())
    fault.clients.clear()


async def serve_for(fault: Fault, situation: Situation) -> None:
    await fault.serve(tls=tls.server() if situation is over_tls else None)
    for listening in fault.server.sockets:  # no piece of an answer waits for another
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


async def at_every_step(
    fault: Fault, situation: Situation, how: str, strike: Strike, check: Callable[[Play], None]
) -> None:
    stride = STRIDES.get(situation, 1) if how == "turns" else 1
    reached = 0
    for step in range(0, LONGEST * stride, stride):
        play = await perform(fault, situation, step, how, strike)
        if not play.struck:
            assert play.caught is None, play.caught
            break
        reached += 1
        try:
            check(play)
        except AssertionError as error:
            error.add_note(f"at step {step}")
            raise
    else:
        raise AssertionError("it does not end")
    assert reached >= 1


def is_cancelled_once(play: Play) -> None:
    assert play.caught is None, f"turned into {play.caught!r}"
    assert play.cancels == 1, f"swallowed: {play.result!r}"


@pytest.mark.parametrize("situation", SITUATIONS)
async def test_L05_cancelled_at_every_step(fault: Fault, quiet: None, situation: Situation):
    await serve_for(fault, situation)
    for how in ("turns", "at_once", "late"):
        await at_every_step(fault, situation, how, cancel, is_cancelled_once)
    fault.wire(len(fault.server.requests))


OWN_TIME = [s for s in SITUATIONS if s not in (closing, pace, decode_in_a_thread, over_tls)]


@pytest.mark.parametrize("situation", OWN_TIME)
async def test_L05_cancelled_as_its_own_time_runs_out(
    fault: Fault, quiet: None, situation: Situation
):
    await serve_for(fault, situation)
    for strike in (cancel_as_time_runs_out, time_runs_out_as_it_is_cancelled):
        await at_every_step(fault, situation, "turns", strike, is_cancelled_once)
    fault.wire(len(fault.server.requests))


@pytest.mark.parametrize("situation", OWN_TIME)
async def test_L05_own_deadline_at_every_step_is_no_cancellation(
    fault: Fault, quiet: None, situation: Situation
):
    bulk = situation in (get_many, get_many_in_lists, iter_many, iter_many_named)
    ends: Counter[type] = Counter()

    def ends_by_its_deadline(play: Play) -> None:
        assert play.cancels == 0
        if play.caught is None:
            assert bulk or play.result.bucket_id == "victim"
        else:
            # In a back-off it may instead end with the error before it.
            assert isinstance(play.caught, FlashbackError), repr(play.caught)
            assert not bulk  # there it is the outcome of a key
            ends[type(play.caught)] += 1

    await serve_for(fault, situation)
    for how in ("turns", "late"):
        await at_every_step(fault, situation, how, time_runs_out, ends_by_its_deadline)
    assert bulk or ends[DeadlineExceededError] >= 1
    fault.wire(len(fault.server.requests))


async def test_L05_retry_cancelled_before_it_was_sent_costs_nothing(fault: Fault, quiet: None):
    await fault.serve()
    asleep = 0
    for step in range(LONGEST):
        seen = len(fault.server.requests)
        play = Play(fault)
        victim = await back_off(play)
        task = asyncio.create_task(play.run(victim))
        for _ in range(1 + step):
            await asyncio.sleep(0)
        if play.over:
            await leave_nothing(fault, play, asyncio.all_tasks())
            break
        task.cancel()
        was_asleep = play.clock.asleep
        await fault.result(task)
        if was_asleep:
            asleep += 1
            sent = fault.server.targets[seen:].count("/bucket/victim/status")
            assert inside.budget(play.client) == 500 - 14 * (sent - 1)
        await leave_nothing(fault, play, asyncio.all_tasks())
    assert asleep >= 6  # three turns of each of two sleeps
    fault.wire(len(fault.server.requests))


async def test_L05_close_and_cancellation_at_once(fault: Fault, quiet: None):
    await fault.serve(then=server.hang)
    for first in ("close", "cancel"):
        client = fault.client()
        before = len(fault.server.requests)
        call = asyncio.create_task(client.status.get("bucket-1"))
        await fault.until(lambda before=before: len(fault.server.requests) > before)
        end = asyncio.create_task(client.close())
        if first == "close":
            await asyncio.sleep(0)  # it has begun, and the call has yet to wake
        call.cancel()
        await fault.result(asyncio.wait({call, end}))
        assert call.cancelled()
        assert end.exception() is None
        fault.clients.remove(client)
    fault.wire(2)


@pytest.mark.parametrize(
    "most",
    [
        1_000,
        pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
    ],
)
async def test_L05_thousands_of_cancellations_at_random_times(fault: Fault, quiet: None, most: int):
    chance = random.Random(5)
    kinds: Counter[str] = Counter()

    async def answer(conn: server.Conn, request: server.Request) -> None:
        drawn = chance.random()
        if drawn < 0.3:
            await turns(chance.randrange(20))
        if drawn > 0.99:
            await conn.send(PAUSE)
        elif drawn > 0.95:
            await conn.send(BUSY)
        elif drawn > 0.93:
            conn.close()
        elif drawn > 0.91:
            await conn.send(good_answer(request)[:-30])
            await turns(3)
            conn.close()
        else:
            await conn.send(good_answer(request))

    async def run() -> None:
        async for _ in client.status.iter_many(["a", "b", "c"]):
            pass

    def call() -> Coroutine[None, None, object]:
        drawn = chance.random()
        if drawn < 0.9:
            return client.status.get("a")
        return run() if drawn < 0.95 else client.bucket_stats.get_many(["a", "b"])

    async def cancel_some() -> None:
        while kinds["cancelled"] < most:
            task = asyncio.create_task(call())
            for _ in range(int(chance.expovariate(0.1))):
                await asyncio.sleep(0)
                if task.done():
                    break
            asked = task.cancel()
            await asyncio.wait({task})
            assert asked == task.cancelled()  # not swallowed, and not made up
            if asked:
                assert task.cancelling() == 1
                kinds["cancelled"] += 1
            else:
                assert isinstance(task.exception(), FlashbackError | None)
                kinds["ended"] += 1

    await fault.serve(then=answer)
    client = fault.client(limits=Limits(max_concurrency=16))
    async with asyncio.TaskGroup() as group:
        for _ in range(24):
            group.create_task(cancel_some())
    assert kinds["cancelled"] >= most
    assert kinds["ended"] >= most // 100
    assert inside.active(client) == 0
    await turns(100)
    fault.wire(len(fault.server.requests))


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Switch off the log of single calls, because there are thousands of them."""
    caplog.set_level("WARNING", logger="flashback_async")
