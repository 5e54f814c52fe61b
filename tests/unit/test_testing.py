"""Waits that a test skips: which end at once, and which stay real."""

import asyncio
import itertools
import time

import pytest

from flashback_async import (
    DeadlineExceededError,
    Limits,
    RateLimitError,
    RetryPolicy,
    Timeout,
)
from flashback_async.testing import skip_waits
from tests.unit.support import Bench, after, answer, echo_status, hang, no, status_body

OK = answer(status_body())


@pytest.fixture
def bench(monkeypatch):
    """Return a bench whose clock is the one of skip_waits, in the loop's virtual time."""

    def make(*answers, **options):
        with skip_waits():
            made = Bench(*answers, keep_clock=True, **options)
        monkeypatch.setattr(
            "flashback_async.clock.SystemClock.monotonic", asyncio.get_running_loop().time
        )
        return made

    return make


def real():
    """Return the seconds of the loop, which only real waits make pass."""
    return asyncio.get_running_loop().time()


async def test_a_pause_and_a_back_off_end_at_once(bench):
    async with bench(no(429, retry_after=20), no(503), OK) as made:
        began = real()
        assert await made.status.get("b")
        assert real() - began < 0.05
        error_free = made.budget
        assert error_free == 500


async def test_the_clock_of_the_client_has_moved_all_the_same(bench):
    async with bench(no(429, retry_after=20), OK, timeout=Timeout(total=60)) as made:
        before = made.state.clock.monotonic()
        await made.status.get("b")
        assert 20 <= made.state.clock.monotonic() - before < 20.2


async def test_waits_that_overlap_are_not_added_up(bench):
    async with bench(no(503), no(503), no(503), echo_status, timeout=Timeout(total=60)) as made:
        before = made.state.clock.monotonic()
        await asyncio.gather(*(made.status.get(f"b{n}") for n in range(3)))
        assert made.state.clock.monotonic() - before <= 0.05 + 0.05


async def test_nothing_is_skipped_while_a_request_is_under_way(bench):
    async with bench(no(503), after(0.03, OK), after(0.03, OK), retry=RetryPolicy()) as made:
        made.script.answers = [no(503), after(3.0, answer(status_body("slow"))), OK]
        first = asyncio.create_task(made.status.get("b"))
        await asyncio.sleep(0)
        slow = asyncio.create_task(made.status.get("slow"))
        before = real()
        await asyncio.gather(first, slow)
        assert real() - before >= 3.0


async def test_a_wait_that_is_shorter_than_a_request_ends_by_itself(bench):
    async with bench(no(503), hang, OK) as made:
        first = asyncio.create_task(made.status.get("b"))
        await asyncio.sleep(0)
        slow = asyncio.create_task(made.status.get("slow"))
        assert await first
        slow.cancel()
        await asyncio.wait([slow])


async def test_an_attempt_still_takes_its_time(bench):
    async with bench(hang, timeout=Timeout(attempt=2, total=3)) as made:
        before = real()
        with pytest.raises(TimeoutError):
            await made.status.get("b")
        assert real() - before >= 2


async def test_a_throttled_run_is_skipped_through(bench):
    refusals = [no(429)] * 40
    async with bench(*refusals, echo_status) as made:
        before = real()
        assert (await made.status.get_many([f"b{n}" for n in range(60)])).ok
        assert real() - before < 2
        assert made.state.clock.monotonic() - before > 3


@pytest.mark.parametrize(("keys", "pause"), [(64, 50), (70, 50), (200, 20)])
async def test_a_pause_of_a_large_run_is_skipped_by_all_of_its_keys(bench, keys, pause):
    async with bench(no(429, retry_after=pause), echo_status) as made:
        before = real()
        assert (await made.status.get_many([f"b{n}" for n in range(keys)])).ok
        assert real() - before < 0.5
        assert made.state.clock.monotonic() - before > pause


async def test_pauses_again_and_again_are_skipped(bench):
    count = itertools.count(1)

    def reply(request, attempt):
        third = next(count) % 3 == 0
        return no(429, retry_after=30) if third else echo_status(request, attempt)

    async with bench(reply) as made:
        before = real()
        assert (await made.status.get_many([f"b{n}" for n in range(100)])).ok
        assert real() - before < 2


async def test_the_deadline_of_a_run_is_on_the_clock_of_the_client(bench):
    async with bench(no(429)) as made:
        before = real()
        report = await made.status.get_many([f"b{n}" for n in range(20)], deadline=60)
        assert {type(error) for error in report.failed.values()} == {DeadlineExceededError}
        assert real() - before < 1
        assert 59 < made.state.clock.monotonic() - before < 62


async def test_a_deadline_alone_is_not_skipped_to(bench):
    async with bench(after(5, OK)) as made:
        before = real()
        report = await made.status.get_many(["b"], deadline=3)
        assert not report.ok
        assert 3 <= real() - before < 3.1


async def test_a_pause_that_is_too_long_still_fails(bench):
    async with bench(no(429, retry_after=31)) as made:
        with pytest.raises(RateLimitError):
            await made.status.get("b")


async def test_a_wait_that_is_cancelled_leaves_nothing(bench):
    async with bench(no(429, retry_after=20), hang, OK) as made:
        first = asyncio.create_task(made.status.get("b"))
        await asyncio.sleep(0)
        blocked = asyncio.create_task(made.status.get("other"))
        await asyncio.sleep(0.1)
        first.cancel()
        blocked.cancel()
        await asyncio.wait([first, blocked])
        made.script.answers = [OK]
        await made.status.get("b")


async def test_the_rate_limit_is_real(bench):
    limits = Limits(max_rate=10)
    async with bench(echo_status, limits=limits) as made:
        before = real()
        await made.status.get_many([f"b{n}" for n in range(6)])
        assert real() - before >= 0.45


def test_it_holds_for_clients_that_are_made_within_the_block():
    from flashback_async import FlashbackClient
    from tests import inside

    outside = FlashbackClient("t")
    with skip_waits():
        first = FlashbackClient("t")
        with skip_waits():
            second = FlashbackClient("t")
        third = FlashbackClient("t")
    after_it = FlashbackClient("t")
    kinds = [type(inside.clock(c)).__name__ for c in (outside, first, second, third, after_it)]
    assert kinds == ["SystemClock", *["_SkippingClock"] * 3, "SystemClock"]
    assert time.monotonic() - inside.clock(first).monotonic() < 1


async def test_a_sleep_that_is_cancelled_in_the_moment_of_the_jump_stays_cancelled(bench):
    async with bench(OK) as made:
        clock = made.state.clock
        sleeper = asyncio.create_task(clock.sleep(5))
        await asyncio.sleep(0)
        # The jump comes in the same iteration of the event loop, before the task can clean up.
        asyncio.get_running_loop().call_at(clock._resting.when() - 1e-10, sleeper.cancel)
        with pytest.raises(asyncio.CancelledError):
            await sleeper
        assert await made.status.get("b")
