"""One call over a scripted transport: attempts, time, tokens, pauses, and how it ends."""

import asyncio
import contextlib
import itertools
import json
import logging
import threading

import pytest

from flashback_async.api.wire import decode_status
from flashback_async.call.caller import Caller
from flashback_async.config import Limits, RetryPolicy, Timeout
from flashback_async.errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    ClientClosedError,
    ConnectError,
    ConnectionLostError,
    DeadlineExceededError,
    DecodeError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
    TokenProviderError,
)
from flashback_async.run import SINGLE_CALL, Run
from flashback_async.values import NoAnswer, Request, Retry
from tests.unit.support import (
    NOON,
    RECALLED,
    TOKEN,
    Bench,
    after,
    answer,
    echo_status,
    hang,
    lost,
    no,
    now,
    status_body,
    turns,
)

ASK = Request("status.get", "GET", "/bucket/b/status", "b")
OK = answer(status_body())


def gone():
    return lost(ConnectionLostError("the connection was reset"))


def stale():
    return lost(ConnectionLostError("the connection was closed"), stale=True)


async def call(bench, decode=json.loads, run=SINGLE_CALL, request=ASK, policy=None):
    caller = bench.caller
    if policy is not None:
        caller = Caller(bench.state, caller.timeout, policy)
    return await caller.call(request, decode, run)


async def fails(bench, kind, **kwargs):
    with pytest.raises(kind) as caught:
        await call(bench, **kwargs)
    assert type(caught.value) is kind
    return caught.value


class Provider:
    """A token provider that returns t1, t2, …"""

    def __init__(self, seconds=0.0, *, fail_on=()):
        self.seconds = seconds
        self.fail_on = fail_on
        self.asked = 0
        self.cancelled = 0

    async def __call__(self):
        self.asked += 1
        number = self.asked
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if number in self.fail_on:
            raise LookupError("no token today")
        return f"t{number}"


# The straight way.


async def test_a_call_sends_one_request_and_gives_the_decoded_answer():
    async with Bench(OK) as bench:
        assert await call(bench) == status_body()
        (sent,) = bench.sent
        assert sent.request is ASK
        assert sent.token == TOKEN
        assert not sent.fresh
        assert sent.connect == 5.0
        assert bench.script.opened == 1
        assert bench.admission.active == 0
    assert bench.script.closed


async def test_a_call_leaves_no_timer_that_keeps_the_client_busy():
    async with Bench(OK) as bench:
        for _ in range(50):
            await call(bench)
        assert len(asyncio.get_running_loop().timers) <= 1


async def test_the_slot_is_given_back_before_the_answer_is_decoded():
    active = []
    async with Bench(OK) as bench:
        await call(bench, lambda body: active.append(bench.admission.active))
    assert active == [0]


async def test_a_success_refills_the_budget():
    async with Bench(OK) as bench:
        bench.state.budget.withdraw(100)
        await call(bench)
        assert bench.budget == 405


@pytest.mark.parametrize("status", [200, 201, 299])
async def test_any_success_is_decoded(status):
    async with Bench(answer({"a": 1}, status)) as bench:
        assert await call(bench) == {"a": 1}


# Attempts.


@pytest.mark.parametrize(
    "failure",
    [
        gone(),
        lost(ConnectError("refused")),
        no(500),
        no(502),
        no(503),
        no(504),
        no(408),
        no(425),
    ],
    ids=lambda f: str(getattr(f, "status", None) or type(f.error).__name__),
)
async def test_a_transient_failure_is_tried_again(failure):
    async with Bench(failure, failure, OK) as bench:
        assert await call(bench) == status_body()
        assert bench.script.times == pytest.approx([0, 0.05, 0.15])
        assert bench.budget == 500


@pytest.mark.parametrize(
    "status", [400, 404, 403, 405, 409, 410, 413, 414, 415, 422, 501, 505, 511]
)
async def test_a_refusal_is_not_tried_again(status):
    async with Bench(no(status, "no"), OK) as bench:
        error = await fails(bench, kind_of(status))
        assert (error.status, error.message, error.attempts) == (status, "no", 1)
        assert len(bench.sent) == 1


def kind_of(status):
    kinds = {400: BadRequestError, 403: PermissionDeniedError, 404: NotFoundError}
    return kinds.get(status, ServerError if status >= 500 else APIError)


@pytest.mark.parametrize("error", [ProtocolError("malformed HTTP"), DecodeError("bad gzip")])
async def test_what_the_transport_calls_final_is_final(error):
    async with Bench(NoAnswer(error), OK) as bench:
        assert await fails(bench, type(error)) is error
        assert len(bench.sent) == 1
        assert error.operation == "status.get"
        assert error.bucket_id == "b"


async def test_the_last_error_says_which_call_failed_and_after_how_much():
    answers = [no(503, "busy", x_request_id=f"r{n}") for n in (1, 2, 3)]
    async with Bench(*answers) as bench:
        error = await fails(bench, ServerError)
        assert error.operation == "status.get"
        assert error.bucket_id == "b"
        assert error.attempts == 3
        assert error.elapsed == pytest.approx(0.15)
        assert error.request_id == "r3"
        text = str(error)
        for part in ("503", "busy", "status.get 'b'", "3 requests sent in 0.15 s"):
            assert part in text
        assert "request ids 'r1', 'r2', 'r3'" in text
        assert bench.budget == 500 - 28


async def test_one_request_id_is_not_told_twice():
    async with Bench(no(400, x_request_id="r1")) as bench:
        text = str(await fails(bench, kind_of(400)))
        assert text.count("r1") == 1
        assert "1 request sent" in text


async def test_no_retry_means_one_request_whatever_the_answer():
    for failure in (gone(), stale(), no(503), no(429), no(429, retry_after=1)):
        async with Bench(failure, OK, retry=RetryPolicy.none()) as bench:
            with pytest.raises(Exception):  # noqa: B017 - each its own
                await call(bench)
            assert len(bench.sent) == 1
            assert bench.clock.slept == []


async def test_an_empty_budget_ends_calls_and_is_logged_once(caplog):
    caplog.set_level(logging.WARNING, "flashback_async")
    async with Bench(no(500)) as bench:
        bench.state.budget.withdraw(490)
        for _ in range(3):
            error = await fails(bench, ServerError)
            assert error.attempts == 1
            assert "retry budget empty" in str(error)
    assert ["retry budget empty" in r.getMessage() for r in caplog.records] == [True]


async def test_a_transport_that_is_closed_has_sent_nothing():
    async with Bench(NoAnswer(ClientClosedError("the session is closed"), sent=False)) as bench:
        error = await fails(bench, ClientClosedError)
        assert error.attempts == 0


# A connection that had died.


async def test_a_dead_connection_is_replaced_free_of_charge():
    async with Bench(stale(), OK) as bench:
        await call(bench)
        assert [s.fresh for s in bench.sent] == [False, True]
        assert bench.script.times == [0, 0]
        assert bench.clock.slept == []
        assert bench.budget == 500


async def test_a_dead_connection_is_replaced_free_of_charge_only_once_a_call():
    async with Bench(stale(), stale(), OK) as bench:
        await call(bench)
        assert [s.fresh for s in bench.sent] == [False, True, False]
        assert bench.script.times == pytest.approx([0, 0, 0.05])
    async with Bench(stale(), stale(), stale(), OK) as bench:
        await call(bench)
        assert [s.fresh for s in bench.sent] == [False, True, False, False]
        assert bench.script.times == pytest.approx([0, 0, 0.05, 0.15])


async def test_a_dead_connection_at_a_retry_is_replaced_as_well():
    async with Bench(gone(), stale(), OK) as bench:
        await call(bench)
        assert bench.script.times == pytest.approx([0, 0.05, 0.05])
        assert bench.budget == 500


async def test_an_empty_budget_does_not_keep_a_dead_connection_from_being_replaced():
    async with Bench(stale(), OK) as bench:
        bench.state.budget.withdraw(500)
        await call(bench)
        assert len(bench.sent) == 2


# Time.


async def test_an_attempt_that_takes_too_long_is_tried_again():
    async with Bench(hang, OK, timeout=Timeout(attempt=3)) as bench:
        await call(bench)
        assert bench.script.times == pytest.approx([0, 3.05], abs=0.01)


async def test_a_backoff_may_last_longer_than_an_attempt():
    policy = RetryPolicy(backoff_base=5.0)
    async with Bench(gone(), OK, timeout=Timeout(attempt=1), retry=policy) as bench:
        assert await call(bench) == status_body()
        assert bench.script.times == [0, 5]


async def test_attempts_that_all_take_too_long_end_with_their_own_error():
    async with Bench(hang, timeout=Timeout(attempt=3)) as bench:
        error = await fails(bench, RequestTimeoutError)
        assert error.attempts == 3
        assert error.elapsed == pytest.approx(9.15, abs=0.02)
        assert "3 s" in str(error)
        assert "phase headers" in str(error)
        assert isinstance(error, TimeoutError)
        assert asyncio.current_task().cancelling() == 0


async def test_a_timeout_in_the_body_tells_how_far_it_came():
    async def trickle(request, attempt):
        attempt.phase, attempt.received, attempt.expected = "body", 5, 100
        await hang_on()

    async def endless(request, attempt):
        attempt.phase, attempt.received, attempt.expected = "body", 7, None
        await hang_on()

    async def hang_on():
        await asyncio.get_running_loop().create_future()

    options = {"timeout": Timeout(attempt=3), "retry": RetryPolicy.none()}
    async with Bench(trickle, **options) as bench:
        assert "5 of 100 bytes received" in str(await fails(bench, RequestTimeoutError))
    async with Bench(endless, **options) as bench:
        assert "7 bytes received" in str(await fails(bench, RequestTimeoutError))


async def test_the_total_time_ends_a_call_in_the_middle_of_an_attempt():
    async with Bench(hang, timeout=Timeout(total=4, attempt=10)) as bench:
        error = await fails(bench, DeadlineExceededError)
        assert error.elapsed == pytest.approx(4, abs=0.01)
        assert error.attempts == 1
        for part in ("4 s", "in attempt 1", "phase headers", "status.get 'b'"):
            assert part in str(error)
        assert len(bench.sent) == 1
        assert bench.admission.active == 0


async def test_the_smaller_of_attempt_and_total_rules():
    async with Bench(hang, timeout=Timeout(total=5, attempt=4)) as bench:
        error = await fails(bench, DeadlineExceededError)
        assert error.elapsed == pytest.approx(5, abs=0.01)
        assert error.attempts == 2
        assert "before that: the attempt took longer than 4 s" in str(error)


async def test_a_backoff_that_time_does_not_allow_ends_with_the_real_error_at_once():
    policy = RetryPolicy(backoff_base=8.0)
    async with Bench(after(1, no(500)), timeout=Timeout(total=5), retry=policy) as bench:
        error = await fails(bench, ServerError)
        assert error.elapsed == pytest.approx(1)
        assert "no time left for a retry" in str(error)


async def test_the_wait_for_a_slot_counts_against_the_total_and_not_the_attempt():
    options = {"limits": Limits(max_concurrency=1), "timeout": Timeout(total=7, attempt=4)}
    async with Bench(after(3, OK), **options) as bench:
        calls = [asyncio.create_task(call(bench)) for _ in range(3)]
        await asyncio.wait(calls)
        assert calls[0].result() == calls[1].result() == status_body()
        error = calls[2].exception()
        assert isinstance(error, DeadlineExceededError)
        assert "in attempt 1" in str(error)
        assert error.elapsed == pytest.approx(7, abs=0.01)
        assert bench.script.times == [0, 3, 6]


async def test_a_call_that_gets_no_slot_in_time_sends_nothing():
    options = {"limits": Limits(max_concurrency=1), "timeout": Timeout(total=4)}
    async with Bench(after(6, OK), timeout=Timeout(total=4)) as bench:
        assert await fails(bench, DeadlineExceededError)
    async with Bench(hang, **options) as bench:
        first = asyncio.create_task(call(bench))
        await turns()
        error = await fails(bench, DeadlineExceededError)
        assert error.attempts == 0
        assert "waiting for a slot" in str(error)
        assert len(bench.sent) == 1
        await asyncio.wait([first])
        assert isinstance(first.exception(), DeadlineExceededError)


async def test_the_timeout_of_the_caller_stays_the_callers():
    async with Bench(hang) as bench:
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(1):
                await call(bench)
        assert type(caught.value) is TimeoutError
        with pytest.raises(TimeoutError) as caught:
            await asyncio.wait_for(call(bench), 1)
        assert type(caught.value) is TimeoutError
        assert bench.admission.active == 0


@pytest.mark.parametrize("moment", [0, 1, 3.01, 3.05, 3.5, 6.9])
async def test_cancelling_a_call_at_any_moment_ends_it_once_and_gives_its_slot_back(moment):
    timeout, policy = Timeout(attempt=3), RetryPolicy(backoff_base=0.1)
    async with Bench(hang, timeout=timeout, retry=policy) as bench:
        task = asyncio.create_task(call(bench))
        await asyncio.sleep(moment)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert bench.admission.active == 0
        assert bench.budget in {500, 486, 472}
        bench.script.answers = [OK]
        assert await call(bench) == status_body()


async def test_a_transport_that_swallows_its_cancellation_ends_the_call_all_the_same():
    async def swallows(request, attempt):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(100)
        return OK

    async with Bench(swallows, timeout=Timeout(attempt=3)) as bench:
        assert await call(bench) == status_body()
        assert asyncio.current_task().cancelling() == 0
        await asyncio.sleep(100)


# Pauses.


async def test_a_pause_is_kept_by_every_call_of_the_client():
    async with Bench(no(429, retry_after=7), OK) as bench:
        first = asyncio.create_task(call(bench))
        await turns()
        await asyncio.sleep(1)
        await asyncio.gather(first, *(call(bench) for _ in range(5)))
        assert bench.script.times[0] == 0
        # One after the other, at the pace with which a throttled client begins.
        assert bench.script.times[1:5] == pytest.approx([7.0, 7.1, 7.2, 7.3])
        assert bench.budget == 500


async def test_a_503_with_a_time_is_a_pause_and_without_one_a_transient_failure():
    async with Bench(no(503, retry_after=7), no(503), OK) as bench:
        await call(bench)
        assert bench.script.times == pytest.approx([0, 7, 7.1])  # a back-off, then its turn


async def test_pauses_do_not_use_up_attempts():
    async with Bench(*[no(429, retry_after=1)] * 10, OK) as bench:
        assert await call(bench) == status_body()
        assert bench.script.times == list(range(11))


async def test_a_call_without_the_time_for_a_pause_ends_at_once_and_the_gate_stays_closed():
    async with Bench(no(429, "slow down", retry_after=7), OK, timeout=Timeout(total=5)) as bench:
        error = await fails(bench, RateLimitError)
        assert error.retry_after == 7.0
        assert error.attempts == 1
        assert error.elapsed == 0
        error = await fails(bench, RateLimitError)
        assert error.status == 429
        assert error.retry_after == pytest.approx(7.0)
        assert error.attempts == 0
        assert error.elapsed == 0
        assert "pause" in str(error)
        assert len(bench.sent) == 1
        await asyncio.sleep(3)
        began = now()
        await call(bench)
        assert now() - began == pytest.approx(4)


async def test_a_pause_beyond_what_the_policy_accepts_closes_no_gate():
    async with Bench(no(429, retry_after=61), OK) as bench:
        error = await fails(bench, RateLimitError)
        assert error.retry_after == 61
        began = now()
        await call(bench)
        assert now() == began


async def test_a_gate_that_another_call_closes_further_is_told_with_what_happened_before():
    timeout = Timeout(total=10)
    async with Bench(no(429, retry_after=2), hang, timeout=timeout) as bench:
        task = asyncio.create_task(call(bench))
        await asyncio.sleep(1)
        bench.admission.pause(50)
        await asyncio.wait([task])
        error = task.exception()
        assert isinstance(error, RateLimitError)
        assert "before that: 429" in str(error)
        assert error.attempts == 1


async def test_a_pause_calls_back_what_has_not_left_yet():
    async with Bench(no(429, retry_after=5), OK) as bench:
        await call(bench)
        assert bench.script.recalls == 1
        bench.script.answers = [no(429), OK]
        await call(bench)
        assert bench.script.recalls == 1, "without a time to wait, nobody is held back"


async def test_what_was_called_back_waits_for_the_pause_and_is_then_sent():
    def recalled(request, attempt):
        bench.admission.pause(7)
        return RECALLED

    async with Bench(recalled, OK) as bench:
        assert await call(bench) == status_body()
        assert bench.script.times == [0, 7]
        assert bench.budget == 500
        bench.script.answers = [recalled, no(404)]
        error = await fails(bench, NotFoundError)
        assert error.attempts == 1, "only what has left counts"


async def test_a_success_after_a_retry_earns_no_more_than_the_retry_had_cost():
    async with Bench(gone(), OK, stale(), OK) as bench:
        bench.state.budget.tokens = 100
        await call(bench)
        assert bench.budget == 100
        await call(bench)
        assert bench.budget == 105, "a free resend is no retry"


async def test_a_call_that_makes_no_retry_earns_nothing():
    async with Bench(gone(), retry=RetryPolicy.none()) as bench:
        bench.state.budget.tokens = 100
        await fails(bench, ConnectionLostError)
        assert bench.budget == 100


@pytest.mark.parametrize("first", [gone(), no(429)])
async def test_a_retry_that_was_called_back_and_never_sent_costs_nothing(first):
    def recalled(request, attempt):
        bench.admission.pause(7)
        return RECALLED

    async with Bench(first, recalled, OK) as bench:
        task = asyncio.create_task(call(bench))
        await asyncio.sleep(3)
        assert len(bench.sent) == 2
        assert bench.budget < 500
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert bench.budget == 500


async def test_what_an_earlier_retry_has_cost_stays_spent_where_a_later_one_is_called_back():
    def recalled(request, attempt):
        bench.admission.pause(7)
        return RECALLED

    async with Bench(gone(), no(429, retry_after=1), recalled, OK) as bench:
        task = asyncio.create_task(call(bench))
        await asyncio.sleep(3)
        assert len(bench.sent) == 3
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert bench.budget == 486


async def test_what_was_called_back_ends_where_the_pause_outlasts_it():
    def recalled(request, attempt):
        bench.admission.pause(7)
        return RECALLED

    async with Bench(recalled, OK, timeout=Timeout(total=5)) as bench:
        error = await fails(bench, RateLimitError)
        assert error.attempts == 0
        assert bench.admission.active == 0


# The pace.


async def pace(bench):
    """Make the server throttle until the client is paced, at 10 requests a second."""
    bench.script.answers = [no(429)]
    calls = [call(bench, run=Run(), policy=RetryPolicy.none()) for _ in range(3)]
    await asyncio.gather(*calls, return_exceptions=True)
    assert bench.admission.pace.on
    bench.sent.clear()


async def test_a_throttled_key_of_a_run_waits_a_random_time_that_costs_nothing():
    async with Bench(no(429), no(429), OK, share=0.5) as bench:
        assert await call(bench, run=Run()) == status_body()
        assert bench.script.times == [0, 0.5, 1.0]
        assert bench.clock.drawn == [(0.0, 1.0)] * 2
        assert bench.budget == 500


@pytest.mark.parametrize(
    ("most", "max_rate", "pace"), [(1, None, None), (9, 0.001, None), (9, None, 0.5)]
)
async def test_a_halted_run_ends_the_wait_for_a_slot_the_rate_limit_and_a_turn(
    most, max_rate, pace
):
    limits = Limits(max_concurrency=most, max_rate=max_rate)
    async with Bench(after(5, no(401)), limits=limits) as bench:
        run = Run()
        first = asyncio.create_task(call(bench, run=run))
        await turns()
        if pace is not None:
            bench.admission.pace.on, bench.admission.pace.rate = True, pace
            bench.admission.pace.take_turn(now() + 60, waited=False)
        others = [asyncio.create_task(call(bench, run=run)) for _ in range(9)]
        began = now()
        await asyncio.wait([first, *others])
        assert now() - began == pytest.approx(5, abs=1e-3)
        assert {type(task.exception()) for task in [first, *others]} == {AuthenticationError}
        assert len(bench.sent) == 1
        assert bench.admission.active == 0


async def test_a_key_that_waits_is_cancelled_by_its_task_as_before():
    async with Bench(no(429, retry_after=40)) as bench:
        run = Run()
        waiting = asyncio.create_task(call(bench, run=run))
        await asyncio.sleep(1)
        waiting.cancel()
        run.halt(AuthenticationError("401", status=401))
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        assert run.waiting == set()


async def test_a_key_that_is_throttled_again_and_again_rests_longer_each_time():
    refusals = [no(429)] * 9
    async with Bench(*refusals, OK, retry=RetryPolicy(throttle_base=0)) as bench:
        assert await call(bench, run=Run()) == status_body()
        rests = [later - at for at, later in itertools.pairwise(bench.script.times)]
        assert rests == pytest.approx([0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 4, 4], abs=1e-3)


async def test_a_throttled_key_draws_from_no_more_than_the_longest_back_off():
    policy = RetryPolicy(throttle_base=50, backoff_max=3)
    async with Bench(no(429), OK, retry=policy) as bench:
        assert await call(bench, run=Run()) == status_body()
        assert bench.script.times == [0, 3]
        assert bench.budget == 500


async def test_a_throttled_key_of_a_paced_run_is_sent_again_at_its_turn():
    async with Bench() as bench:
        await pace(bench)
        bench.script.answers = [no(429), no(429), OK]
        assert await call(bench, run=Run()) == status_body()
        assert bench.script.times == pytest.approx([0, 0.1, 0.2], abs=1e-3)
        assert bench.clock.drawn == []


async def test_a_halted_run_ends_the_wait_for_a_pause_at_once():
    async with Bench(no(429, retry_after=40)) as bench:
        run = Run()
        waiting = [asyncio.create_task(call(bench, run=run)) for _ in range(4)]
        await asyncio.sleep(1)
        run.halt(AuthenticationError("401", status=401))
        began = now()
        await asyncio.wait(waiting)
        assert now() == began
        assert run.waiting == set()
        assert bench.admission.active == 0
        errors = [task.exception() for task in waiting]
        assert {type(error) for error in errors} == {AuthenticationError}
        assert sorted(error.attempts for error in errors) == [0, 0, 0, 1]
        assert "not sent again" in str(errors[0])
        assert len(bench.sent) == 1


async def test_a_throttled_key_of_a_run_starts_its_time_anew():
    slow_no = after(2, no(429, retry_after=50))
    async with Bench(slow_no, slow_no, slow_no, OK, timeout=Timeout(total=3)) as bench:
        assert await call(bench, run=Run()) == status_body()
        assert bench.script.times == [0, 52, 104, 156]
    async with Bench(after(2, no(429)), hang, timeout=Timeout(total=3)) as bench:
        error = await fails(bench, DeadlineExceededError, run=Run())
        assert error.elapsed == pytest.approx(2 + 1 + 3, abs=0.1)


@pytest.mark.parametrize("refusal", [no(429), no(429, retry_after=1)])
async def test_a_key_that_is_throttled_30_times_fails(refusal):
    async with Bench(refusal, timeout=Timeout(total=5)) as bench:
        error = await fails(bench, RateLimitError, run=Run())
        assert error.attempts == len(bench.sent) == 30
        assert "throttled 30 times" in str(error)
        assert bench.budget == 500


async def test_a_key_of_a_run_that_may_send_once_fails_when_it_is_throttled():
    async with Bench(no(429), OK, retry=RetryPolicy.none()) as bench:
        error = await fails(bench, RateLimitError, run=Run())
        assert error.attempts == 1


async def test_other_failures_of_a_throttled_key_have_all_their_attempts():
    async with Bench(gone(), no(429), gone(), no(429), gone(), OK) as bench:
        error = await fails(bench, ConnectionLostError, run=Run())
        assert error.attempts == 5
        assert bench.budget == 500 - 2 * 14


async def test_a_single_call_is_throttled_at_the_cost_of_attempts_and_budget():
    async with Bench(no(429)) as bench:
        error = await fails(bench, RateLimitError)
        assert error.attempts == 3
        assert bench.budget == 490


async def test_waiting_for_a_turn_counts_towards_the_total_of_a_single_call():
    async with Bench(timeout=Timeout(total=2)) as bench:
        await pace(bench)
        bench.script.answers = [OK]
        bench.admission.pace.rate = 0.8
        first, second = await asyncio.gather(call(bench), call(bench), return_exceptions=True)
        assert first == status_body()
        assert isinstance(second, DeadlineExceededError)
        assert "waiting until the server allows more requests" in str(second)
        assert len(bench.sent) == 1


async def test_waiting_for_a_turn_costs_a_key_of_a_run_no_time():
    async with Bench(timeout=Timeout(total=2)) as bench:
        await pace(bench)
        bench.script.answers = [OK]
        run = Run()
        await asyncio.gather(*(call(bench, run=run) for _ in range(60)))
        assert len(bench.sent) == 60


async def test_a_503_without_a_time_counts_for_the_pace_and_is_transient_for_its_call():
    async with Bench() as bench:
        await pace(bench)
        bench.script.answers = [no(503)]
        error = await fails(bench, ServerError, run=Run())
        assert error.attempts == 3
        assert bench.budget == 500 - 2 * 14
        await fails(bench, ServerError, run=Run())
        assert bench.admission.pace.rate < 10


async def test_an_outage_begins_no_pace():
    async with Bench(no(503)) as bench:
        for _ in range(5):
            await fails(bench, ServerError)
        assert not bench.admission.pace.on


@pytest.mark.parametrize("answered", [OK, no(404), no(500)])
async def test_whatever_does_not_throttle_is_an_answer_that_was_served(answered):
    async with Bench(retry=RetryPolicy.none()) as bench:
        await pace(bench)
        bench.script.answers = [answered]
        calls = [call(bench, run=Run()) for _ in range(6)]
        await asyncio.gather(*calls, return_exceptions=True)
        assert bench.admission.pace.rate == 20


async def test_lost_connections_leave_the_pace_as_it_is():
    async with Bench(retry=RetryPolicy.none()) as bench:
        await pace(bench)
        bench.script.answers = [gone()]
        for _ in range(6):
            await fails(bench, ConnectionLostError)
        assert bench.admission.pace.rate == 10


async def test_the_beginning_of_a_pace_is_a_warning_and_its_end_is_told(caplog):
    caplog.set_level(logging.INFO, "flashback_async")
    async with Bench(retry=RetryPolicy.none()) as bench:
        await pace(bench)
        (warning,) = records(caplog, logging.WARNING)
        assert "paced, first at 10 requests/s" in warning.getMessage()
        bench.script.answers = [OK]
        for _ in range(100):
            await asyncio.sleep(1)
            await call(bench)
        (end,) = records(caplog, logging.INFO)
        assert "not paced any more" in end.getMessage()
        assert len(records(caplog, logging.WARNING)) == 1


async def test_a_date_is_read_against_the_time_of_day():
    # The clock of the test says noon.
    assert NOON == 1_705_320_000
    refusal = no(429, retry_after="Mon, 15 Jan 2024 12:00:04 GMT")
    async with Bench(refusal, OK) as bench:
        await call(bench)
        assert bench.script.times == [0, 4]


# Tokens.


async def test_a_rejected_text_token_ends_the_call():
    async with Bench(no(401, "bad token"), OK) as bench:
        error = await fails(bench, AuthenticationError)
        assert error.attempts == 1
        assert "token rejected" in str(error)
        assert TOKEN not in str(error)
        assert len(bench.sent) == 1


async def test_a_provider_is_asked_once_and_its_token_kept():
    provider = Provider()
    async with Bench(OK, token=provider) as bench:
        assert provider.asked == 0
        for _ in range(3):
            await call(bench)
        assert provider.asked == 1
        assert {s.token for s in bench.sent} == {"t1"}


async def test_a_rejected_token_of_a_provider_is_renewed_and_the_request_sent_again():
    provider = Provider()
    async with Bench(no(401), OK, token=provider, retry=RetryPolicy.none()) as bench:
        await call(bench)
        assert [s.token for s in bench.sent] == ["t1", "t2"]
        assert provider.asked == 2
        assert bench.budget == 500
        assert bench.script.recalls == 1, "nothing more leaves with the old one"


async def test_a_token_that_is_rejected_anew_ends_the_call():
    provider = Provider()
    async with Bench(no(401), token=provider) as bench:
        error = await fails(bench, AuthenticationError)
        assert [s.token for s in bench.sent] == ["t1", "t2"]
        assert error.attempts == 2
        assert provider.asked == 2
        with pytest.raises(AuthenticationError):
            await call(bench)
        assert provider.asked == 4, "the next call tries again"


async def test_many_rejected_at_once_renew_the_token_once():
    provider = Provider(seconds=2)

    def only_t2(request, attempt):
        reply = OK if bench.sent[-1].token == "t2" else no(401)
        return after(1, reply)(request, attempt)

    async with Bench(only_t2, token=provider) as bench:
        await asyncio.gather(*(call(bench) for _ in range(20)))
        assert provider.asked == 2
        assert len(bench.sent) == 40


async def test_a_retry_after_a_renewal_uses_the_new_token():
    async with Bench(no(401), gone(), OK, token=Provider()) as bench:
        await call(bench)
        assert [s.token for s in bench.sent] == ["t1", "t2", "t2"]


async def test_a_rejection_at_a_retry_renews_the_token_as_well():
    async with Bench(gone(), no(401), OK, token=Provider()) as bench:
        await call(bench)
        assert [s.token for s in bench.sent] == ["t1", "t1", "t2"]


async def test_a_provider_that_raises_ends_the_call_with_its_exception_as_the_cause():
    async with Bench(OK, token=Provider(fail_on={1})) as bench:
        error = await fails(bench, TokenProviderError)
        assert isinstance(error.__cause__, LookupError)
        assert error.attempts == 0
        assert error.operation == "status.get"
        assert "LookupError" in str(error)
        assert bench.sent == []
        assert bench.admission.active == 0
        await call(bench)


@pytest.mark.parametrize("text", ["", "a b", "a\nb", "bearer x", "é", None, 5, b"abc"])
async def test_what_is_no_token_ends_the_call_and_is_not_shown(text):
    async def gives():
        return text

    async with Bench(OK, token=gives) as bench:
        error = await fails(bench, TokenProviderError)
        assert bench.sent == []
        if isinstance(text, str) and text:
            assert text not in str(error)


async def test_a_provider_that_hangs_is_ended_by_the_total_time():
    provider = Provider(seconds=1000)
    async with Bench(OK, token=provider) as bench:
        error = await fails(bench, DeadlineExceededError)
        assert error.elapsed == pytest.approx(30, abs=0.01)
        assert "waiting for the token" in str(error)
        assert bench.sent == []
        await turns()
        assert provider.cancelled == 1


async def test_cancelling_one_of_many_who_wait_for_the_token_leaves_the_others_theirs():
    provider = Provider(seconds=5)
    async with Bench(OK, token=provider) as bench:
        calls = [asyncio.create_task(call(bench)) for _ in range(10)]
        await asyncio.sleep(1)
        calls[0].cancel()
        await asyncio.wait(calls)
        assert calls[0].cancelled()
        assert all(task.result() == status_body() for task in calls[1:])
        assert provider.asked == 1
        assert provider.cancelled == 0


# Answers.


async def test_an_answer_that_cannot_be_read_says_which_it_was():
    def decode(body):
        raise DecodeError("$.a: expected int", path="$.a")

    async with Bench(answer(b"{}", 200, x_request_id="r9")) as bench:
        error = await fails(bench, DecodeError, decode=decode)
        assert (error.path, error.status, error.request_id) == ("$.a", 200, "r9")
        assert error.attempts == 1
        assert error.operation == "status.get"
        for part in ("status 200", "application/json", "r9", "$.a: expected int"):
            assert part in str(error)


async def test_a_failure_under_200_is_an_error_with_what_it_says():
    def decode(body):
        raise APIError(status=200, body=body.decode())

    body = {"success": False, "message": "no such thing", "error_code": "E7"}
    async with Bench(answer(body, 200, x_request_id="r9")) as bench:
        error = await fails(bench, APIError, decode=decode)
        assert (error.status, error.code, error.message) == (200, "E7", "no such thing")
        assert error.request_id == "r9"
        assert "no such thing" in str(error)
        assert len(bench.sent) == 1


async def test_an_answer_about_another_bucket_is_an_error_and_its_connection_not_trusted():
    class Connection:
        trusted = True

        def force_close(self):
            self.trusted = False

    connection = Connection()

    def misdirected(request, attempt):
        attempt.connection = connection
        return OK

    def decode(body):
        return decode_status(b'{"bucketId":"c\\n","nodeStatus":[]}', "b")

    async with Bench(misdirected) as bench:
        error = await fails(bench, DecodeError, decode=decode)
        assert error.path == "$.bucketId"
        assert r"expected 'b', got 'c\n'" in str(error)
        assert error.status == 200
    assert not connection.trusted
    async with Bench(OK) as bench:  # a transport need not report its connection
        await fails(bench, DecodeError, decode=decode)


async def test_what_decoding_finds_out_is_raised_with_the_facts_of_the_call():
    def decode(body):
        raise NotFoundError("not in the answer", status=200)

    async with Bench(OK) as bench:
        error = await fails(bench, NotFoundError, decode=decode)
        assert (error.attempts, error.operation, error.bucket_id) == (1, "status.get", "b")


async def test_a_bug_in_decoding_is_raised_as_it_is():
    async with Bench(OK) as bench:
        with pytest.raises(ZeroDivisionError):
            await call(bench, lambda body: 1 / 0)
        assert bench.admission.active == 0


async def test_a_long_body_is_decoded_in_a_thread_and_a_short_one_is_not():
    async with Bench(answer(b" " * 2**20), answer(b" " * (2**20 + 1))) as bench:
        here = threading.get_ident()
        assert await call(bench, lambda body: threading.get_ident()) == here
        assert await call(bench, lambda body: threading.get_ident()) != here


async def test_decoding_in_a_thread_may_outlast_the_total_time():
    loop = asyncio.get_running_loop()

    def decode(body):
        loop.now += 100.0
        return len(body)

    timeout = Timeout(total=10)
    async with Bench(answer(b" " * (2**20 + 1)), timeout=timeout) as bench:
        assert await call(bench, decode) == 2**20 + 1


async def test_an_error_of_decoding_in_a_thread_is_told_the_same():
    def decode(body):
        raise DecodeError("no")

    async with Bench(answer(b" " * (2**20 + 1))) as bench:
        error = await fails(bench, DecodeError, decode=decode)
        assert error.attempts == 1
        assert "no" in str(error)


async def test_html_under_200_is_an_error_of_decoding():
    page = answer(b"<html><title>Log in</title>", content_type="text/html; charset=utf-8")
    async with Bench(page) as bench:
        error = await fails(bench, DecodeError)
        for part in ("HTML", "text/html", "<html><title>Log in</title>"):
            assert part in str(error)
        assert error.status == 200


async def test_an_unknown_status_is_an_error_of_the_protocol():
    async with Bench(answer(b"", 999)) as bench:
        assert "999" in str(await fails(bench, ProtocolError))
        assert len(bench.sent) == 1


# In a bulk run.


async def test_the_time_of_a_bulk_key_starts_as_it_is_admitted():
    options = {"limits": Limits(max_concurrency=1), "timeout": Timeout(total=4, attempt=3)}
    async with Bench(after(2, OK), **options) as bench:
        calls = [asyncio.create_task(call(bench, run=Run())) for _ in range(20)]
        await asyncio.gather(*calls)
        assert bench.script.times == [2 * n for n in range(20)]


async def test_a_bulk_key_has_its_total_time_once_admitted():
    options = {"limits": Limits(max_concurrency=1), "timeout": Timeout(total=4, attempt=30)}
    async with Bench(after(1, OK), hang, **options) as bench:
        first = asyncio.create_task(call(bench, run=Run()))
        await turns()
        second = asyncio.create_task(call(bench, run=Run()))
        await asyncio.wait([first, second])
        error = second.exception()
        assert isinstance(error, DeadlineExceededError)
        assert error.elapsed == pytest.approx(5, abs=0.01)


async def test_the_total_time_of_a_bulk_key_covers_the_fetch_of_the_token():
    async with Bench(OK, token=Provider(seconds=100)) as bench:
        error = await fails(bench, DeadlineExceededError, run=Run())
        assert error.elapsed == pytest.approx(30, abs=0.01)


async def test_a_bulk_key_waits_for_pauses_longer_than_its_total_time():
    timeout = Timeout(total=5)
    async with Bench(*[no(429, retry_after=50)] * 3, OK, timeout=timeout) as bench:
        assert await call(bench, run=Run()) == status_body()
        assert bench.script.times == [0, 50, 100, 150]


async def test_a_rejected_token_halts_the_run():
    run = Run()
    async with Bench(no(401), OK) as bench:
        error = await fails(bench, AuthenticationError, run=run)
        assert isinstance(run.error, AuthenticationError)
        assert run.error is not error
        later = await fails(bench, AuthenticationError, run=run)
        assert later.attempts == 0
        assert later is not run.error
        assert len(bench.sent) == 1
        assert bench.script.recalls == 1
        assert bench.admission.active == 0
        assert await call(bench, run=Run()) == status_body(), "the next run tries again"


async def test_a_token_that_was_rejected_before_halts_a_later_run_as_well():
    first, second = Run(), Run()
    async with Bench(no(401)) as bench:
        await fails(bench, AuthenticationError, run=first)
        await fails(bench, AuthenticationError, run=second)
        assert isinstance(second.error, AuthenticationError)
        assert second.error.attempts == 0
        assert bench.script.recalls == 2


async def test_a_run_that_was_halted_before_a_rejection_keeps_its_reason():
    run = Run()

    def late(request, attempt):
        run.error = DeadlineExceededError("the run is over")
        return no(401)

    async with Bench(late) as bench:
        await fails(bench, AuthenticationError, run=run)
        assert isinstance(run.error, DeadlineExceededError)


@pytest.mark.parametrize("token", [TOKEN, Provider()], ids=["text", "provider"])
async def test_a_call_of_a_run_that_a_rejection_has_halted_sends_nothing(token):
    run = Run()
    run.halt(AuthenticationError("rejected", status=401))
    async with Bench(OK, token=token) as bench:
        error = await fails(bench, AuthenticationError, run=run)
        assert error.attempts == 0
        assert "never sent" in str(error)
        assert bench.sent == []


async def test_a_token_that_can_be_renewed_does_not_halt_the_run():
    run = Run()
    async with Bench(no(401), OK, token=Provider()) as bench:
        assert await call(bench, run=run) == status_body()
        assert run.error is None


async def test_a_renewed_token_that_is_rejected_halts_the_run():
    run = Run()
    async with Bench(no(401), token=Provider()) as bench:
        await fails(bench, AuthenticationError, run=run)
        assert isinstance(run.error, AuthenticationError)


# Closing.


@pytest.mark.parametrize(
    ("answers", "moment", "where"),
    [
        ([hang], 1, "in attempt 1, phase headers"),
        ([gone(), hang], 0.02, "between two attempts"),
        ([no(429, retry_after=20), hang], 1, "waiting until the server allows more requests"),
    ],
)
async def test_closing_ends_a_call_wherever_it_is(answers, moment, where):
    bench = Bench(*answers)
    task = asyncio.create_task(call(bench))
    await asyncio.sleep(moment)
    began = now()
    await bench.state.close()
    assert now() == began
    await asyncio.wait([task])
    error = task.exception()
    assert type(error) is ClientClosedError
    assert f"client closed {where}" in str(error)
    assert error.operation == "status.get"
    assert task.cancelling() == 0


async def test_closing_ends_calls_that_wait_for_a_slot_and_for_a_token():
    provider = Provider(seconds=1000)
    bench = Bench(OK, token=provider, limits=Limits(max_concurrency=1))
    calls = [asyncio.create_task(call(bench)) for _ in range(5)]
    await turns()
    await bench.state.close()
    await asyncio.wait(calls)
    texts = [str(task.exception()) for task in calls]
    assert sum("waiting for the token" in text for text in texts) == 1
    assert sum("waiting for a slot" in text for text in texts) == 4
    assert provider.cancelled == 1


async def test_closing_while_an_attempt_times_out_ends_the_call():
    async def slow_to_end(request, attempt):
        try:
            await hang(request, attempt)
        finally:
            await asyncio.sleep(2)

    bench = Bench(slow_to_end, timeout=Timeout(attempt=3))
    task = asyncio.create_task(call(bench))
    await asyncio.sleep(4)
    await bench.state.close()
    await asyncio.wait([task])
    assert type(task.exception()) is ClientClosedError
    assert len(bench.sent) == 1


async def test_a_cancellation_beats_the_close_at_the_same_time():
    bench = Bench(hang)
    task = asyncio.create_task(call(bench))
    await turns()
    task.cancel()
    await bench.state.close()
    await asyncio.wait([task])
    assert task.cancelled()


# The log.


def records(caplog, level):
    return [r for r in caplog.records if r.name == "flashback_async" and r.levelno == level]


async def test_each_attempt_is_logged_with_its_facts(caplog):
    caplog.set_level(logging.DEBUG, "flashback_async")
    answers = [after(1, no(500, "busy\nline", x_request_id="r1")), gone()]
    async with Bench(*answers, answer(status_body(), 200, x_request_id="r2")) as bench:
        await call(bench)
    first, second, third, end = records(caplog, logging.DEBUG)
    assert first.operation == second.operation == third.operation == "status.get"
    assert first.bucket_id == "b"
    assert [r.attempt for r in (first, second, third)] == [1, 2, 3]
    assert [r.status for r in (first, second, third)] == [500, None, 200]
    assert [r.request_id for r in (first, second, third)] == ["r1", None, "r2"]
    assert first.elapsed == pytest.approx(1)
    assert "failed in 1.000 s" in first.getMessage()
    assert "failed in 0.000 s" in second.getMessage()
    assert "answer 200 in 0.000 s" in third.getMessage()
    assert end.getMessage() == "status.get: succeeded after 1.150 s, attempts: 3"
    for record in caplog.records:
        text = record.getMessage()
        assert text.startswith("status.get: ")
        assert "\n" not in text
        assert TOKEN not in text


async def test_each_retry_is_logged_with_why_and_how_long(caplog):
    caplog.set_level(logging.INFO, "flashback_async")
    async with Bench(gone(), no(429, retry_after=3), OK) as bench:
        await call(bench)
    first, second = (r.getMessage() for r in records(caplog, logging.INFO))
    assert "0.05 s" in first
    assert "reset" in first
    assert "3.00 s" in second
    assert "429" in second


async def test_a_pause_is_a_warning_once(caplog):
    caplog.set_level(logging.WARNING, "flashback_async")
    async with Bench(*[after(1, no(429, retry_after=9))] * 6, OK) as bench:
        await asyncio.gather(*(call(bench) for _ in range(6)))
    pause, pace = records(caplog, logging.WARNING)
    assert "9.00 s" in pause.getMessage()
    assert "paced" in pace.getMessage()


async def test_a_rejected_token_is_a_warning_once(caplog):
    caplog.set_level(logging.WARNING, "flashback_async")
    async with Bench(no(401, x_request_id="r7")) as bench:
        for _ in range(3):
            await fails(bench, AuthenticationError)
    (warning,) = records(caplog, logging.WARNING)
    assert "token rejected" in warning.getMessage()
    assert (warning.status, warning.request_id) == (401, "r7")


async def test_nothing_is_formatted_where_nobody_listens(caplog):
    caplog.set_level(logging.ERROR, "flashback_async")

    class Unprintable(ConnectionLostError):
        def __str__(self):
            raise AssertionError("formatted for nobody")

    async with Bench(lost(Unprintable("x")), OK) as bench:
        await call(bench)
    assert caplog.records == []


# What a caller sees of all this.


async def test_the_error_comes_without_frames_causes_or_contexts_of_others():
    async def fails_within(request, attempt):
        try:
            raise OSError("inner")
        except OSError:
            return NoAnswer(ConnectionLostError("lost"), Retry.NEVER)

    async with Bench(fails_within) as bench:
        error = await fails(bench, ConnectionLostError)
    assert error.__cause__ is None
    assert error.__context__ is None
    names = []
    trace = error.__traceback__
    while trace is not None:
        names.append(trace.tb_frame.f_code.co_qualname)
        trace = trace.tb_next
    assert names[-1] == "Caller.call"
    assert names.count("Caller.call") == 1


async def test_a_cancellation_comes_without_causes_and_contexts_too():
    async def slow(request, attempt):
        try:
            await hang(request, attempt)
        except asyncio.CancelledError as error:
            raise asyncio.CancelledError from error

    async with Bench(slow) as bench:
        task = asyncio.create_task(call(bench))
        await turns()
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert caught.value.__cause__ is None


async def test_a_call_after_closing_is_refused_with_its_operation():
    bench = Bench(OK)
    await bench.state.close()
    error = await fails(bench, ClientClosedError)
    assert error.operation == "status.get"
    assert error.bucket_id == "b"
    assert error.attempts == 0


async def test_an_error_of_a_resource_names_the_request():
    async with Bench(echo_status) as bench:
        with pytest.raises(InvalidArgumentError):
            await bench.status.get("a/b")
        assert bench.sent == []


async def test_a_token_that_comes_back_as_a_bucket_id_is_not_shown():
    def decode(body):
        return decode_status(f'{{"bucketId":"x{TOKEN}","nodeStatus":[]}}'.encode(), "b")

    async with Bench(OK) as bench:
        error = await fails(bench, DecodeError, decode=decode)
        assert TOKEN not in str(error)
        assert "x***" in str(error)
