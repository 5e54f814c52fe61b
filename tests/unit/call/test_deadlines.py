"""Cancel scopes end calls that take too long, and absorb no other cancellation."""

import asyncio
import contextlib

import pytest

from flashback_async.call.deadlines import CancelScope, Cause, DeadlineTimer
from tests.unit.support import LoopClock, now, turns


@pytest.fixture
async def deadlines():
    loop = asyncio.get_running_loop()
    made = DeadlineTimer(loop, LoopClock())
    yield made
    assert not made.scopes, "a scope was entered and never left"
    await made.close()
    assert not loop.timers, "a timer is left"


async def forever():
    await asyncio.get_running_loop().create_future()


async def test_what_ends_in_time_is_left_alone(deadlines):
    with CancelScope(deadlines) as scope:
        scope.move(now() + 5, Cause.TOTAL)
        await asyncio.sleep(4.9)
    assert scope.cancelled_by is None
    await asyncio.sleep(5)
    assert asyncio.current_task().cancelling() == 0


@pytest.mark.parametrize("reason", [Cause.TOTAL, Cause.ATTEMPT])
async def test_what_takes_too_long_is_cut_off_at_its_moment_and_no_later(deadlines, reason):
    began = now()
    with CancelScope(deadlines) as scope:
        scope.move(began + 5, reason)
        await forever()
    assert scope.cancelled_by is reason
    assert now() - began == pytest.approx(5, abs=0.005)
    assert asyncio.current_task().cancelling() == 0
    await turns()


async def test_the_moment_can_be_moved_either_way(deadlines):
    began = now()
    with CancelScope(deadlines) as scope:
        scope.move(began + 5, Cause.TOTAL)
        scope.move(began + 9, Cause.TOTAL)
        await asyncio.sleep(8)
        scope.move(began + 8.5, Cause.TOTAL)
        await forever()
    assert now() - began == pytest.approx(8.5, abs=0.005)


async def test_a_scope_without_a_moment_waits_without_end(deadlines):
    with CancelScope(deadlines) as scope:
        scope.move(now() + 5, Cause.TOTAL)
        scope.move(None, Cause.TOTAL)
        await asyncio.sleep(1000)
    assert scope.cancelled_by is None


async def test_a_moment_that_has_passed_already_cuts_at_the_next_wait(deadlines):
    began = now()
    with CancelScope(deadlines) as scope:
        scope.move(began - 1, Cause.TOTAL)
        await forever()
    assert scope.cancelled_by is Cause.TOTAL
    assert now() - began < 0.01


async def test_one_timer_serves_the_scopes_of_a_loop(deadlines):
    loop = asyncio.get_running_loop()

    async def call(seconds):
        began = now()
        with CancelScope(deadlines) as scope:
            scope.move(began + seconds, Cause.TOTAL)
            await forever()
        return scope.cancelled_by, now() - began

    calls = [asyncio.create_task(call(seconds)) for seconds in (3, 1, 2, 1)]
    await turns()
    assert len(loop.timers) == 1
    ended = await asyncio.gather(*calls)
    assert [cut for cut, _ in ended] == [Cause.TOTAL] * 4
    assert [took for _, took in ended] == pytest.approx([3, 1, 2, 1], abs=0.005)


async def test_a_scope_needs_a_task():
    loop = asyncio.get_running_loop()
    raised = loop.create_future()

    def outside():
        try:
            CancelScope(DeadlineTimer(loop, LoopClock()))
        except RuntimeError as error:
            raised.set_result(str(error))

    loop.call_soon(outside)
    assert "task" in await raised


# A cancellation from elsewhere.


@pytest.fixture
def cut_in(deadlines):
    """Run a body in a scope of its own task; return the task and the scope."""

    def start(body, *, seconds=5, reason=Cause.TOTAL):
        scopes = []

        async def call():
            with CancelScope(deadlines) as scope:
                scopes.append(scope)
                scope.move(now() + seconds, reason)
                await body(scope)
            return "went on"

        return asyncio.create_task(call()), scopes

    return start


async def test_a_cancellation_from_outside_passes_through(cut_in):
    task, scopes = cut_in(lambda _: forever())
    await turns()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert scopes[0].cancelled_by is None
    assert task.cancelling() == 1


@pytest.mark.parametrize("order", ["outside first", "scope first"])
@pytest.mark.parametrize("reason", [Cause.TOTAL, Cause.CLOSED, Cause.ATTEMPT])
async def test_when_both_arrive_at_once_the_one_from_outside_passes_through(cut_in, order, reason):
    task, scopes = cut_in(lambda _: forever())
    await turns()
    acts = [task.cancel, lambda: scopes[0].cancel(reason)]
    for act in acts if order == "outside first" else reversed(acts):
        act()
    await asyncio.wait([task])
    assert task.cancelled()
    assert task.cancelling() == 1


async def test_a_cancellation_from_before_the_scope_is_not_the_scopes(deadlines):
    async def call():
        with contextlib.suppress(asyncio.CancelledError):
            await forever()
        assert asyncio.current_task().cancelling() == 1
        with CancelScope(deadlines) as scope:
            scope.move(now() + 1, Cause.TOTAL)
            await forever()
        return scope.cancelled_by, asyncio.current_task().cancelling()

    task = asyncio.create_task(call())
    await turns()
    task.cancel()
    assert await task == (Cause.TOTAL, 1)


async def test_the_timeout_of_the_caller_stays_the_callers(deadlines):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            with CancelScope(deadlines) as scope:
                scope.move(now() + 5, Cause.TOTAL)
                await forever()
    assert scope.cancelled_by is None


async def test_the_timeout_of_the_caller_at_the_same_moment_stays_the_callers(deadlines):
    when = now() + 5
    with pytest.raises(TimeoutError):
        async with asyncio.timeout_at(when):
            with CancelScope(deadlines) as scope:
                scope.move(when, Cause.TOTAL)
                await forever()
    assert asyncio.current_task().cancelling() == 0


async def test_an_error_that_comes_of_being_cut_off_is_raised(cut_in):
    async def fails(_):
        try:
            await forever()
        finally:
            raise LookupError

    task, scopes = cut_in(fails)
    await asyncio.wait([task])
    assert isinstance(task.exception(), LookupError)
    assert scopes[0].cancelled_by is Cause.TOTAL
    assert task.cancelling() == 0


async def test_who_swallows_the_cut_goes_on_and_is_not_cancelled_afterwards(cut_in):
    async def swallows(_):
        with contextlib.suppress(asyncio.CancelledError):
            await forever()
        await asyncio.sleep(100)

    task, _ = cut_in(swallows)
    assert await task == "went on"
    assert task.cancelling() == 0


# The cut of an attempt, which the call itself takes back.


async def test_the_cut_of_an_attempt_can_be_taken_back_and_the_call_goes_on(cut_in):
    async def attempts(scope):
        began = now()
        for number in range(1, 4):
            scope.move(now() + 1, Cause.ATTEMPT)
            try:
                await forever()
            except asyncio.CancelledError:
                assert scope.absorb(Cause.ATTEMPT)
            assert now() - began == pytest.approx(number, abs=0.01)
            assert asyncio.current_task().cancelling() == 0
            scope.move(None, Cause.TOTAL)
            await asyncio.sleep(0)

    task, scopes = cut_in(attempts)
    assert await task == "went on"
    assert scopes[0].cancelled_by is None


async def test_another_cut_is_not_taken_back_as_that_of_an_attempt(cut_in):
    seen = []

    async def attempt(scope):
        try:
            await forever()
        except asyncio.CancelledError:
            seen.append(scope.absorb(Cause.ATTEMPT))
            raise

    task, scopes = cut_in(attempt, reason=Cause.TOTAL)
    await task
    assert seen == [False]
    assert scopes[0].cancelled_by is Cause.TOTAL


async def test_a_cancellation_from_outside_is_not_taken_back_with_that_of_the_attempt(cut_in):
    seen = []

    async def attempt(scope):
        try:
            await forever()
        except asyncio.CancelledError:
            seen.append(scope.absorb(Cause.ATTEMPT))
            raise

    task, scopes = cut_in(attempt, reason=Cause.ATTEMPT)
    await turns()
    scopes[0].expire()
    task.cancel()
    await asyncio.wait([task])
    assert seen == [False]
    assert task.cancelled()


async def test_an_attempt_that_ends_in_spite_of_its_cut_leaves_none_behind(cut_in):
    async def swallows(scope):
        with contextlib.suppress(asyncio.CancelledError):
            await forever()
        assert scope.cancelled_by is Cause.ATTEMPT
        scope.move(now() + 3, Cause.TOTAL)
        assert scope.cancelled_by is None
        assert asyncio.current_task().cancelling() == 0
        await asyncio.sleep(2)

    task, scopes = cut_in(swallows, reason=Cause.ATTEMPT)
    assert await task == "went on"
    assert scopes[0].cancelled_by is None


async def test_a_call_is_cut_off_only_once(cut_in):
    cancelled = 0

    async def slow_to_end(_):
        nonlocal cancelled
        for _ in range(3):
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                cancelled += 1

    task, scopes = cut_in(slow_to_end)
    await asyncio.sleep(6)
    scopes[0].cancel(Cause.CLOSED)
    scopes[0].expire()
    await task
    assert cancelled == 1
    assert scopes[0].cancelled_by is Cause.TOTAL


# Closing.


async def test_closing_cuts_off_every_call_and_sees_them_end(deadlines):
    ended = []

    async def call(name):
        with CancelScope(deadlines) as scope:
            scope.move(now() + 100, Cause.TOTAL)
            try:
                await forever()
            finally:
                await asyncio.sleep(3)
        ended.append((name, scope.cancelled_by))

    calls = [asyncio.create_task(call(n)) for n in range(3)]
    await turns()
    began = now()
    await deadlines.close()
    assert now() - began == pytest.approx(3)
    assert sorted(ended) == [(n, Cause.CLOSED) for n in range(3)]
    await asyncio.gather(*calls)


async def test_closing_ends_a_call_whose_attempt_was_just_cut_off(deadlines):
    async def call():
        with CancelScope(deadlines) as scope:
            for _ in range(1000):
                scope.move(now() + 10, Cause.ATTEMPT)
                try:
                    await forever()
                except asyncio.CancelledError:
                    await asyncio.sleep(2)  # an exchange may take a while to end
                    if not scope.absorb(Cause.ATTEMPT):
                        raise
        return scope.cancelled_by

    task = asyncio.create_task(call())
    await asyncio.sleep(11)
    began = now()
    await deadlines.close()
    assert now() - began < 5
    assert await task is Cause.CLOSED


async def test_closing_spares_the_call_of_the_task_that_closes(deadlines):
    with CancelScope(deadlines) as scope:
        await deadlines.close()
    assert scope.cancelled_by is None


async def test_closing_ends_calls_that_begin_while_others_end(deadlines):
    cuts = []

    async def call(when_cut):
        with CancelScope(deadlines) as scope:
            try:
                await forever()
            finally:
                await when_cut()
        cuts.append(scope.cancelled_by)

    async def begin_another():
        late.append(asyncio.create_task(call(turns)))

    late = []
    calls = [asyncio.create_task(call(end)) for end in (begin_another, lambda: asyncio.sleep(3))]
    await turns()
    await deadlines.close()
    await asyncio.gather(*calls, *late)
    assert cuts == [Cause.CLOSED] * 3


async def test_closing_from_two_tasks_at_once_is_fine(deadlines):
    async def call():
        with CancelScope(deadlines) as scope:
            await forever()
        return scope.cancelled_by

    calls = [asyncio.create_task(call()) for _ in range(3)]
    await turns()
    await asyncio.gather(deadlines.close(), deadlines.close())
    assert await asyncio.gather(*calls) == [Cause.CLOSED] * 3


class SlowClock(LoopClock):
    def monotonic(self):
        return super().monotonic() * 0.5


async def test_a_timer_that_comes_early_is_set_again(deadlines):
    # A loop rounds its timers; what has not yet come is waited for again.
    loop = asyncio.get_running_loop()
    slow = DeadlineTimer(loop, SlowClock())
    with CancelScope(slow) as scope:
        scope.move(loop.time() * 0.5 + 1, Cause.TOTAL)
        await asyncio.sleep(1.5)
        assert scope.cancelled_by is None
        await forever()
    assert scope.cancelled_by is Cause.TOTAL
    await slow.close()
