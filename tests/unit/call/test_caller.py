"""The state of an event loop: opened by the first call, replaced with the loop, closed."""

import asyncio
import gc
import os

import pytest

from benchmarks.virtual_time import VirtualLoop
from flashback_async.call import loop_state as pools
from flashback_async.errors import ClientClosedError, EventLoopError
from flashback_async.values import Request
from tests.unit.support import Bench, answer, hang, now, status_body, turns

ASK = Request("status.get", "GET", "/bucket/b/status", "b")
OK = answer(status_body())


async def call(bench):
    return await bench.caller.call(ASK, len)


class Loop:
    """A loop that runs coroutines until it is closed, as asyncio.run closes its own."""

    def __init__(self):
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.itself = self.runner.get_loop()

    def run(self, coroutine):
        return self.runner.run(coroutine)

    def close(self):
        if not self.itself.is_closed():
            self.runner.close()


@pytest.fixture
def make_loop():
    made = []

    def make():
        made.append(Loop())
        return made[-1]

    yield make
    for loop in made:
        loop.close()


async def make_bench(*answers, **options):
    return Bench(*answers, **options)


# Opening.


async def test_the_first_call_opens_the_transport_and_later_ones_share_it():
    async with Bench(OK) as bench:
        assert bench.script.opened == 0
        await asyncio.gather(*(call(bench) for _ in range(5)))
        await call(bench)
        assert bench.script.opened == 1


async def test_a_transport_that_cannot_be_opened_fails_the_call():
    class Refuses:
        def open(self):
            raise EventLoopError("another loop's")

    bench = Bench(OK, make_transport=Refuses)
    with pytest.raises(EventLoopError, match="another loop's") as caught:
        await call(bench)
    assert caught.value.operation == "status.get"
    await bench.state.close()


# Closing.


async def test_a_client_that_was_never_used_is_closed_without_a_word():
    bench = Bench(OK)
    await bench.state.close()
    assert bench.script.opened == bench.script.closed == 0
    with pytest.raises(ClientClosedError):
        bench.state.check_open()
    with pytest.raises(ClientClosedError):
        await call(bench)


async def test_closing_twice_and_from_several_tasks_is_fine():
    bench = Bench(OK)
    close = bench.script.close

    async def slow_close():
        await asyncio.sleep(1)
        await close()

    bench.script.close = slow_close
    await call(bench)
    await asyncio.gather(*(bench.state.close() for _ in range(3)))
    await bench.state.close()
    assert bench.script.closed


async def test_closing_ends_what_is_under_way_before_the_transport_is_closed():
    bench = Bench(hang)
    task = asyncio.create_task(call(bench))
    await turns()
    at_close = []
    close = bench.script.close

    async def check():
        at_close.append(bench.script.under_way)
        await close()

    bench.script.close = check
    await bench.state.close()
    assert at_close[0] == 0
    await asyncio.wait([task])
    assert isinstance(task.exception(), ClientClosedError)


async def test_a_call_may_close_the_client_it_is_made_with():
    async def closes(request, attempt):
        await bench.state.close()
        return OK

    bench = Bench(closes)
    assert await call(bench) > 0
    with pytest.raises(ClientClosedError):
        await call(bench)


async def test_cancelling_the_close_still_closes_the_transport():
    async def slow_to_end(request, attempt):
        try:
            await hang(request, attempt)
        finally:
            await asyncio.sleep(5)

    bench = Bench(slow_to_end)
    task = asyncio.create_task(call(bench))
    await turns()
    closing = asyncio.create_task(bench.state.close())
    await asyncio.sleep(1)
    closing.cancel()
    await asyncio.wait([closing])
    assert closing.cancelled()
    assert bench.script.closed
    await asyncio.wait([task])
    assert isinstance(task.exception(), ClientClosedError)
    await bench.state.close()


# Another loop.


def test_a_new_loop_after_the_old_one_gets_a_new_transport(make_loop):
    first, second = make_loop(), make_loop()
    bench = first.run(make_bench(OK))
    first.run(call(bench))
    first.close()
    assert bench.script.closed, "the loop closed the pool as it ended"
    bench.clock.loop = second.itself
    second.run(call(bench))
    assert bench.script.opened == 2
    second.run(bench.state.close())
    assert bench.script.closed >= 2


def test_the_budget_and_the_token_outlive_the_loop(make_loop):
    asked = []

    async def provider():
        asked.append(1)
        return "t1"

    first, second = make_loop(), make_loop()
    bench = first.run(make_bench(OK, token=provider))
    first.run(call(bench))
    bench.state.budget.withdraw(100)
    first.close()
    bench.clock.loop = second.itself
    second.run(call(bench))
    assert asked == [1]
    assert bench.budget == 405
    second.run(bench.state.close())


def test_a_loop_that_was_not_ended_in_order_is_replaced_too(make_loop):
    first, second = make_loop(), make_loop()
    bench = first.run(make_bench(OK))
    first.run(call(bench))
    first.itself.close()
    bench.clock.loop = second.itself
    second.run(call(bench))
    assert bench.script.opened == 2
    second.run(bench.state.close())


def test_two_live_loops_are_refused_at_once(make_loop):
    first, second = make_loop(), make_loop()
    bench = first.run(make_bench(OK))
    first.run(call(bench))
    for use in (call(bench), bench.state.close()):
        with pytest.raises(EventLoopError, match="another event loop"):
            second.run(use)
    assert len(bench.sent) == 1
    first.run(bench.state.close())


def test_a_borrowed_session_belongs_to_the_first_loop_for_good(make_loop):
    first, second = make_loop(), make_loop()
    bench = first.run(make_bench(OK, borrowed=True))
    first.run(call(bench))
    first.close()
    with pytest.raises(EventLoopError, match="loop that is gone"):
        second.run(call(bench))
    second.run(bench.state.close())


def test_a_client_closed_in_a_later_loop_is_closed(make_loop):
    first, second = make_loop(), make_loop()
    bench = first.run(make_bench(OK))
    first.run(call(bench))
    first.close()
    second.run(bench.state.close())
    with pytest.raises(ClientClosedError):
        second.run(call(bench))


def test_another_process_is_refused(make_loop, monkeypatch):
    loop = make_loop()
    bench = loop.run(make_bench(OK))
    loop.run(call(bench))
    pool = bench.state.loop_state
    with monkeypatch.context() as patch:
        patch.setattr(pools, "_alive", [pool])
        pools._disown()  # as in the child of a fork
    for use in (call(bench), bench.state.close()):
        with pytest.raises(EventLoopError, match=f"process {os.getpid()} before it forked"):
            loop.run(use)
    assert len(bench.sent) == 1
    loop.run(pool.close())


# Letting go.


async def test_a_pool_that_nobody_closed_is_closed_by_its_loop():
    bench = Bench(OK)
    await call(bench)
    assert bench.state.abandon()
    assert not bench.state.abandon()
    await turns()
    assert bench.script.closed
    assert not pools._closing
    with pytest.raises(ClientClosedError):
        bench.state.check_open()


async def test_there_is_nothing_to_let_go_of_before_the_first_call_or_after_the_close():
    bench = Bench(OK)
    assert not bench.state.abandon()
    bench = Bench(OK)
    await call(bench)
    await bench.state.close()
    assert not bench.state.abandon()


def test_a_pool_whose_loop_is_gone_is_let_go_of_in_silence(make_loop):
    loop = make_loop()
    bench = loop.run(make_bench(OK))
    loop.run(call(bench))
    loop.close()
    bench.state.abandon()
    gc.collect()


def test_the_end_of_the_loop_ends_calls_and_closes_the_pool(make_loop):
    loop = make_loop()
    bench = loop.run(make_bench(hang))
    seen = []

    async def start():
        async def use():
            try:
                await call(bench)
            except BaseException as error:
                seen.append(type(error))
                raise

        seen.append(asyncio.create_task(use()))
        await turns()

    loop.run(start())
    loop.close()
    assert seen[1:] == [asyncio.CancelledError]
    assert bench.script.closed


async def test_what_is_ready_is_used_without_further_checks():
    async with Bench(OK) as bench:
        assert bench.state.loop_state is None
        await call(bench)
        in_use = bench.state.loop_state
        assert in_use.is_ready()
        assert in_use is bench.state.open_loop_state()
        began = now()
        await bench.state.close()
        assert now() == began
        assert not in_use.is_ready()
