"""The workers of a run: every key has one outcome, and nothing is left behind."""

import asyncio
import contextlib
import gc
import itertools
import sys
import weakref
from types import SimpleNamespace

import pytest

from flashback_async.bulk.fanout import fan_out, fan_out_in
from flashback_async.bulk.keys import ReadsAhead
from flashback_async.errors import (
    AuthenticationError,
    DeadlineExceededError,
    FlashbackError,
    InvalidArgumentError,
    ServerError,
)
from flashback_async.run import Run
from tests.unit.support import now, turns


class Work:
    """A function to fan out over keys, which counts how it is called."""

    def __init__(self, seconds=0.0, outcomes=None):
        self.seconds = seconds
        self.outcomes = outcomes or {}
        self.called = []
        self.cancelled = []
        self.at_once = self.most = 0

    async def __call__(self, key):
        self.called.append(key)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.cancelled.append(key)
            raise
        finally:
            self.at_once -= 1
        result = self.outcomes.get(key, f"value of {key}")
        if isinstance(result, BaseException):
            raise result
        return result


class Source:
    """An iterable of keys that counts how far it was read."""

    def __init__(self, keys, error=None):
        self.keys = iter(keys)
        self.error = error
        self.read = 0

    def __iter__(self):
        return self

    def __next__(self):
        try:
            key = next(self.keys)
        except StopIteration:
            if self.error is not None:
                raise self.error from None
            raise
        self.read += 1
        return key


class AsyncSource:
    """The same for an async iterable, which takes some time for each key."""

    def __init__(self, keys, *, seconds=0.0, error=None):
        self.keys = iter(keys)
        self.seconds = seconds
        self.error = error
        self.read = 0
        self.at_once = 0

    def __aiter__(self):
        return self

    async def __anext__(self):
        assert self.at_once == 0, "two workers read at once"
        self.at_once += 1
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.at_once -= 1
        try:
            key = next(self.keys)
        except StopIteration:
            if self.error is not None:
                raise self.error from None
            raise StopAsyncIteration from None
        self.read += 1
        return key


class Ahead(AsyncSource, ReadsAhead):
    """An async source that has read two keys more than it has returned."""

    def left_over(self):
        return ["x", "y"]


async def all_of(outcomes):
    return [outcome async for outcome in outcomes]


def others():
    return asyncio.all_tasks() - {asyncio.current_task()}


# Outcomes.


@pytest.mark.parametrize("make", [list, iter, Source, AsyncSource, tuple, dict.fromkeys])
@pytest.mark.parametrize("concurrency", [1, 2, 7, 100])
async def test_every_key_has_one_outcome_with_its_place_and_its_own_value(make, concurrency):
    keys = [f"k{n}" for n in range(20)]
    outcomes = await all_of(fan_out(Work(), make(keys), concurrency=concurrency))
    outcomes.sort(key=lambda outcome: outcome.index)
    assert [o.index for o in outcomes] == list(range(20))
    assert [o.key for o in outcomes] == keys
    assert [o.unwrap() for o in outcomes] == [f"value of {k}" for k in keys]
    assert all(o.ok and o.error is None for o in outcomes)


async def test_a_key_that_is_given_twice_is_called_twice():
    work = Work()
    outcomes = await all_of(fan_out(work, ["a", "b", "a"], concurrency=1))
    assert [(o.index, o.key) for o in outcomes] == [(0, "a"), (1, "b"), (2, "a")]
    assert work.called == ["a", "b", "a"]


@pytest.mark.parametrize("make", [list, AsyncSource])
async def test_no_key_gives_no_outcome_and_calls_nothing(make):
    work = Work()
    assert await all_of(fan_out(work, make([]))) == []
    assert work.called == []


async def test_outcomes_come_as_they_complete():
    async def wait(key):
        await asyncio.sleep(key)
        return now()

    began = now()
    outcomes = await all_of(fan_out(wait, [3, 1, 2]))
    assert [o.key for o in outcomes] == [1, 2, 3]
    assert [o.unwrap() - began for o in outcomes] == [1, 2, 3]


async def test_a_value_may_be_none():
    async def nothing(key):
        return None

    (outcome,) = await all_of(fan_out(nothing, ["a"]))
    assert outcome.ok
    assert outcome.unwrap() is None


async def test_elapsed_is_what_the_call_took(monkeypatch):
    clock = SimpleNamespace(monotonic=now)
    monkeypatch.setattr("flashback_async.bulk.workers.time", clock)
    error = ServerError("no")

    async def wait(key):
        await asyncio.sleep(key)
        if key == 2:
            raise error

    outcomes = await all_of(fan_out(wait, [1, 2, 5], concurrency=1, deadline=6))
    assert [o.elapsed for o in outcomes] == [1, 2, 3]


async def test_an_error_of_ours_is_an_outcome_and_leaves_the_others_alone():
    error = ServerError("no", status=500)
    outcomes = await all_of(fan_out(Work(outcomes={"b": error}), "abc", concurrency=1))
    assert [o.ok for o in outcomes] == [True, False, True]
    assert outcomes[1].error is error
    assert outcomes[1].value is None
    with pytest.raises(ServerError) as caught:
        outcomes[1].unwrap()
    assert caught.value is error


async def test_an_error_of_ours_that_is_raised_without_waiting_is_an_outcome():
    def refuse(key):
        raise InvalidArgumentError("no")

    outcomes = await all_of(fan_out(refuse, "ab"))
    assert [type(o.error) for o in outcomes] == [InvalidArgumentError] * 2


# Bounds.


@pytest.mark.parametrize("concurrency", [1, 3, 10])
@pytest.mark.parametrize("make", [Source, AsyncSource])
async def test_no_more_calls_at_once_than_asked_for_and_no_fewer(make, concurrency):
    work = Work(seconds=1)
    await all_of(fan_out(work, make(range(50)), concurrency=concurrency))
    assert work.most == concurrency


async def test_concurrency_is_64_where_nothing_is_said():
    work = Work(seconds=1)
    await all_of(fan_out(work, range(200)))
    assert work.most == 64


async def test_workers_start_only_where_a_key_waits():
    most = 0

    async def count(key):
        nonlocal most
        await asyncio.sleep(1)
        most = max(most, len(others()))

    await all_of(fan_out(count, range(3), concurrency=10**9))
    assert most <= 4


async def test_a_run_of_many_keys_has_no_more_tasks_than_its_concurrency():
    most = 0

    async def count(key):
        nonlocal most
        most = max(most, len(others()))
        await asyncio.sleep(key % 3)

    assert len(await all_of(fan_out(count, iter(range(10_000)), concurrency=20))) == 10_000
    assert most == 20


@pytest.mark.parametrize("concurrency", [1, 5])
@pytest.mark.parametrize("make", [Source, AsyncSource])
async def test_who_takes_the_outcomes_slowly_holds_the_reading_back(make, concurrency):
    source = make(itertools.count())
    taken = 0
    outcomes = fan_out(Work(), source, concurrency=concurrency)
    async with contextlib.aclosing(outcomes):
        async for _ in outcomes:
            taken += 1
            await turns(100)
            # No more outcomes are kept than there are workers, but for one that each has at hand.
            assert source.read <= taken + 2 * concurrency - 1
            if taken == 50:
                break
    assert source.read < 50 + 2 * concurrency


async def test_nothing_is_read_before_the_first_outcome_is_asked_for():
    source = Source("abc")
    outcomes = fan_out(Work(), source)
    await turns()
    assert source.read == 0
    assert others() == set()
    await outcomes.aclose()
    assert source.read == 0


async def test_keys_are_read_in_their_order_whatever_the_concurrency():
    work = Work(seconds=1)
    await all_of(fan_out(work, AsyncSource(range(30), seconds=0.1), concurrency=4))
    assert work.called == list(range(30))


# Leaving early.


async def test_break_stops_the_calls_within_a_few_turns_without_aclosing():
    work = Work(seconds=100, outcomes={})

    async def quick_first(key):
        return key if key == 0 else await work(key)

    async for outcome in fan_out(quick_first, itertools.count(), concurrency=8):
        assert outcome.key == 0
        await turns(30)
        assert work.at_once == 8
        break
    await turns()
    assert work.at_once == 0
    assert len(work.cancelled) == 8
    assert others() == set()


async def test_closing_waits_until_every_call_has_ended():
    ended = []

    async def slow_to_end(key):
        if key == 0:
            return
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(3)
            ended.append(key)

    began = now()
    async with contextlib.aclosing(fan_out(slow_to_end, range(5), concurrency=5)) as outcomes:
        async for _ in outcomes:
            await turns()
            break
    assert sorted(ended) == [1, 2, 3, 4]
    assert now() - began == 3
    assert others() == set()


async def test_a_cancellation_while_a_run_is_being_stopped_ends_it_and_reaches_the_caller():
    ended = []

    async def slow_to_end(key):
        if key == 0:
            return
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(3)
            ended.append(key)

    async def leave():
        async with contextlib.aclosing(fan_out(slow_to_end, range(3), concurrency=3)) as outcomes:
            async for _ in outcomes:
                await turns()
                break

    consumer = asyncio.create_task(leave())
    await asyncio.sleep(1)
    assert ended == []
    consumer.cancel()
    await asyncio.wait([consumer])
    assert consumer.cancelled()
    assert sorted(ended) == [1, 2]
    assert others() == set()


async def test_an_error_in_the_body_of_the_loop_stops_the_calls():
    work = Work(seconds=100)

    async def quick_first(key):
        return None if key == 0 else await work(key)

    with pytest.raises(ZeroDivisionError):
        async for _ in fan_out(quick_first, itertools.count(), concurrency=3):
            await turns()
            1 / 0  # noqa: B018
    gc.collect()
    await turns()
    assert work.at_once == 0
    assert others() == set()


async def test_cancelling_who_waits_for_an_outcome_stops_the_calls():
    work = Work(seconds=100)
    consumer = asyncio.create_task(all_of(fan_out(work, range(500), concurrency=500)))
    await turns(1100)
    assert work.at_once == 500
    consumer.cancel()
    await asyncio.wait([consumer])
    assert consumer.cancelled()
    await turns()
    assert len(work.cancelled) == 500
    assert others() == set()


async def test_cancelling_again_while_calls_end_still_sees_them_end():
    ended = []

    async def slow_to_end(key):
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(5)
            ended.append(key)

    async def consume():
        async with contextlib.aclosing(fan_out(slow_to_end, "ab")) as outcomes:
            return await all_of(outcomes)

    consumer = asyncio.create_task(consume())
    await asyncio.sleep(1)
    for _ in range(3):
        consumer.cancel()
        await asyncio.sleep(1)
    assert not consumer.done()
    assert ended == []
    await asyncio.wait([consumer])
    assert consumer.cancelled()
    assert sorted(ended) == ["a", "b"]


async def test_closing_before_the_second_worker_has_started_starts_none():
    work = Work()
    outcomes = fan_out(work, range(10), concurrency=10)
    first = await anext(outcomes)
    await outcomes.aclose()
    for _ in range(3):
        assert others() == set()
        await asyncio.sleep(0)
    assert first.key == 0
    with pytest.raises(StopAsyncIteration):
        await anext(outcomes)


async def test_closing_twice_is_fine():
    outcomes = fan_out(Work(), range(3))
    await anext(outcomes)
    await outcomes.aclose()
    await outcomes.aclose()


async def test_a_call_that_swallows_its_cancellation_does_not_keep_the_run_going():
    called = []

    async def stubborn(key):
        called.append(key)
        if key:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(100)
        return key

    outcomes = fan_out(stubborn, itertools.count(), concurrency=2)
    async with contextlib.aclosing(outcomes):
        async for _ in outcomes:
            await turns()
            break
    await turns()
    assert sorted(called) == [0, 1, 2]
    assert others() == set()


async def test_leaving_while_calls_end_for_the_deadline_does_not_wait_for_ever():
    ended = []

    async def slow_to_end(key):
        if key == 0:
            return
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(10)
            ended.append(key)

    outcomes = fan_out(slow_to_end, range(5), concurrency=1, deadline=1)
    async with contextlib.aclosing(outcomes):
        async for _ in outcomes:
            await asyncio.sleep(2)  # the deadline passes, and the call in flight is ending
            break
    await turns()
    assert others() == set()


async def test_the_run_goes_away_with_its_generator():
    class Key:
        pass

    key = Key()
    gone = weakref.ref(key)
    outcomes = fan_out(Work(), [key])
    del key
    await all_of(outcomes)
    del outcomes
    gc.collect()
    assert gone() is None


# Bugs.


class Bug(Exception):
    pass


async def test_any_other_exception_stops_the_run_and_is_raised():
    work = Work(seconds=100)
    bug = Bug("boom")

    async def one_bad(key):
        if key == 3:
            raise bug
        await work(key)

    with pytest.raises(Bug) as caught:
        await all_of(fan_out(one_bad, itertools.count(), concurrency=10))
    assert caught.value is bug
    assert work.at_once == 0
    assert others() == set()


async def test_the_outcomes_before_a_bug_come_out_first():
    taken = []
    with pytest.raises(Bug):
        async for outcome in fan_out(Work(outcomes={2: Bug()}), range(5), concurrency=1):
            assert outcome.ok
            taken.append(outcome.key)
    assert taken == [0, 1]


async def test_a_function_that_gives_nothing_to_await_is_a_bug():
    with pytest.raises(TypeError):
        await all_of(fan_out(lambda key: key, "a"))


async def test_a_call_that_cancels_itself_is_a_bug_and_not_a_hang():
    async def cancels(key):
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError, match="a call of the run was cancelled"):
        await all_of(fan_out(cancels, range(5), concurrency=2))
    assert asyncio.current_task().cancelling() == 0
    assert others() == set()


async def test_a_call_that_cancels_itself_in_a_halted_run_loses_no_key_in_silence():
    run = Run()

    async def work(key):
        if key == 0:
            run.halt(AuthenticationError("401"))
            raise AuthenticationError("401")
        await asyncio.sleep(1)
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError, match="a call of the run was cancelled"):
        await all_of(fan_out_in(run, work, range(5), concurrency=2, deadline=None))
    assert others() == set()


@pytest.mark.parametrize("halted", [False, True])
async def test_a_source_that_cancels_itself_ends_the_run(halted):
    run = Run()

    class Source(AsyncSource):
        async def __anext__(self):
            if self.read == 2:
                await asyncio.sleep(2)
                raise asyncio.CancelledError
            return await super().__anext__()

    async def work(key):
        await asyncio.sleep(1)
        if halted:
            run.error = ServerError("halt")
        await asyncio.sleep(1.5)

    with pytest.raises(asyncio.CancelledError, match="a call of the run was cancelled"):
        await all_of(fan_out_in(run, work, Source("abcd"), concurrency=3, deadline=None))
    assert others() == set()


async def test_the_error_of_an_outcome_holds_no_frame_of_a_worker():
    async def fail(key):
        await asyncio.sleep(1)
        raise ServerError("no")

    outcomes = await all_of(fan_out(fail, range(4), concurrency=1, deadline=2.5))
    assert [type(o.error).__name__ for o in outcomes] == [
        *["ServerError"] * 2,
        *["DeadlineExceededError"] * 2,
    ]
    assert [o.error.__traceback__ for o in outcomes] == [None] * 4


# Equal keys.


class Merged(Work):
    """A function whose equal keys are merged while they are in flight."""

    def over(self, keys, run=None, deadline=None, concurrency=8):
        return fan_out_in(
            run or Run(), self, keys, concurrency=concurrency, deadline=deadline, merge=True
        )


async def test_equal_keys_in_flight_are_one_call_with_an_outcome_at_each_place():
    work = Merged(seconds=2, outcomes={"c": ServerError("no")})
    outcomes = await all_of(work.over(["a", "b", "a", "c", "a", "c"]))
    assert sorted(work.called) == ["a", "b", "c"]
    assert sorted((o.index, o.key) for o in outcomes) == list(enumerate("abacac"))
    assert all(o.value == f"value of {o.key}" for o in outcomes if o.key != "c")
    first, second = (o.error for o in outcomes if o.key == "c")
    assert first is not second
    assert str(first) == str(second) == "no"
    assert first.__traceback__ is second.__traceback__ is None


async def test_a_key_that_comes_again_after_its_call_is_called_again():
    work = Merged(seconds=1)
    await all_of(work.over(["a", "b", "a"], concurrency=1))
    assert work.called == ["a", "b", "a"]


async def test_keys_that_cannot_be_hashed_are_not_merged():
    class Lists(Merged):
        async def __call__(self, key):
            await super().__call__(str(key))

    work = Lists(seconds=1)
    outcomes = await all_of(work.over([["x"], "a", ["x"], "a"]))
    assert sorted(o.index for o in outcomes) == [0, 1, 2, 3]
    assert sorted(work.called) == ["['x']", "['x']", "a"]


@pytest.mark.parametrize("make", [Source, AsyncSource])
async def test_a_source_that_repeats_one_key_for_ever_is_read_no_faster_for_it(make):
    source, taken = make(itertools.repeat("a")), 0
    work = Merged(seconds=1)
    async with contextlib.aclosing(work.over(source)) as outcomes:
        async for outcome in outcomes:
            assert (outcome.index < source.read, outcome.unwrap()) == (True, "value of a")
            taken += 1
            assert source.read <= taken + 2 * 8
            if taken == 100:
                break
    assert len(work.called) <= 100 / 8 + 2
    assert others() == set()


async def test_merged_keys_that_the_deadline_cuts_off_have_the_error_of_their_call():
    async def refused(key):
        try:
            await asyncio.sleep(9)
        except asyncio.CancelledError:
            await asyncio.sleep(1)
            raise DeadlineExceededError("late", attempts=1) from None

    outcomes = await all_of(
        fan_out_in(Run(), refused, "aaab", concurrency=3, deadline=2, merge=True)
    )
    assert sorted(o.index for o in outcomes) == [0, 1, 2, 3]
    assert [o.error.attempts for o in outcomes] == [1, 1, 1, 0]
    assert len({id(o.error) for o in outcomes}) == 4
    assert "never sent" in str(outcomes[3].error)


async def test_merged_keys_whose_call_ends_well_at_the_deadline_have_its_value():
    async def stubborn(key):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(9)
        return "done"

    outcomes = await all_of(
        fan_out_in(Run(), stubborn, "aaa", concurrency=3, deadline=2, merge=True)
    )
    assert [o.unwrap() for o in outcomes] == ["done"] * 3


async def test_merged_keys_whose_call_halts_the_run_have_its_error():
    run = Run()

    async def reject(key):
        await asyncio.sleep(1)
        run.halt(AuthenticationError("401", attempts=1))
        raise AuthenticationError("401", attempts=1)

    outcomes = await all_of(fan_out_in(run, reject, "aaab", concurrency=3, deadline=5, merge=True))
    assert [(o.index, o.error.attempts) for o in outcomes] == [(0, 1), (1, 1), (2, 1), (3, 0)]


async def test_a_bug_in_the_call_of_merged_keys_is_raised():
    work = Merged(seconds=1, outcomes={"a": Bug()})
    with pytest.raises(Bug):
        await all_of(work.over("aaa"))
    assert others() == set()


async def test_leaving_a_run_of_merged_keys_leaves_nothing():
    work = Merged(seconds=100)
    consumer = asyncio.create_task(all_of(work.over("aaab", deadline=500)))
    await asyncio.sleep(1)
    consumer.cancel()
    await asyncio.wait([consumer])
    assert consumer.cancelled()
    assert sorted(work.cancelled) == ["a", "b"]
    assert others() == set()


async def test_leaving_after_the_deadline_does_not_wait_for_a_call_that_merged_keys_wait_for():
    async def slow_to_end(key):
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(10)

    run = fan_out_in(Run(), slow_to_end, "aaa", concurrency=3, deadline=1, merge=True)
    consumer = asyncio.create_task(all_of(run))
    await asyncio.sleep(2)
    began = now()
    consumer.cancel()
    await asyncio.wait([consumer])
    assert now() == began
    assert others() == set()


async def test_fan_out_calls_for_each_place():
    work = Work(seconds=1)
    await all_of(fan_out(work, "aaa"))
    assert work.called == ["a", "a", "a"]


# The input.


@pytest.mark.parametrize("make", [Source, AsyncSource])
async def test_an_error_of_the_input_ends_the_run_after_what_is_under_way(make):
    error = LookupError("the input broke")
    work = Work(seconds=10)
    taken = []
    with pytest.raises(LookupError) as caught:
        async for outcome in fan_out(work, make(range(5), error=error), concurrency=3):
            assert outcome.ok
            taken.append(outcome.key)
    assert caught.value is error
    assert taken == [0, 1, 2, 3, 4]
    assert work.cancelled == []


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_an_input_is_not_read_again_after_its_error(kind):
    class Stumbles:
        def __init__(self):
            self.read = 0

        def __iter__(self):
            return self

        def __next__(self):
            self.read += 1
            if self.read == 3:
                raise LookupError
            return self.read

    class StumblesAsync(Stumbles):
        __iter__ = None

        def __aiter__(self):
            return self

        async def __anext__(self):
            await asyncio.sleep(0)
            return self.__next__()

    source = Stumbles() if kind == "plain" else StumblesAsync()
    with pytest.raises(LookupError):
        await all_of(fan_out(Work(seconds=1), source, concurrency=3))
    assert source.read == 3


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_an_input_is_not_read_again_after_its_end(kind):
    class Inbox:
        """A source that waits for ever if it is read after its end."""

        def __init__(self):
            self.keys = [1, 2, 3]
            self.ended = 0

        def __iter__(self):
            return self

        def __next__(self):
            if self.keys:
                return self.keys.pop()
            self.ended += 1
            raise StopIteration

    class AsyncInbox(Inbox):
        __iter__ = None

        def __aiter__(self):
            return self

        async def __anext__(self):
            await asyncio.sleep(0)
            try:
                return self.__next__()
            except StopIteration:
                raise StopAsyncIteration from None

    source = Inbox() if kind == "plain" else AsyncInbox()
    assert len(await all_of(fan_out(Work(seconds=1), source, concurrency=3))) == 3
    assert source.ended == 1


@pytest.mark.parametrize("keys", [None, 5, object(), abs])
async def test_keys_that_cannot_be_iterated_are_refused_at_once(keys):
    with pytest.raises(InvalidArgumentError, match=f"keys .*{type(keys).__name__}"):
        fan_out(Work(), keys)


async def test_an_iterator_need_not_be_iterable_itself():
    class Bare:
        def __init__(self):
            self.left = 3

        def __next__(self):
            if not self.left:
                raise StopIteration
            self.left -= 1
            return self.left

    class Keys:
        def __iter__(self):
            return Bare()

    assert len(await all_of(fan_out(Work(), Keys()))) == 3


async def test_an_async_iterable_is_read_by_one_worker_at_a_time_and_to_its_end():
    source = AsyncSource(range(7), seconds=1)  # raises if two read at once
    outcomes = await all_of(fan_out(Work(seconds=5), source, concurrency=4))
    assert sorted(o.key for o in outcomes) == list(range(7))
    assert source.read == 7


@pytest.mark.parametrize(
    "concurrency", [0, -1, True, False, "5", 1.0, None, pytest.param(-(10**5000), id="huge")]
)
async def test_a_wrong_concurrency_is_refused_at_once(concurrency):
    with pytest.raises(InvalidArgumentError, match="concurrency"):
        fan_out(Work(), [], concurrency=concurrency)


@pytest.mark.parametrize(
    "deadline",
    [
        0,
        -1,
        0.0,
        float("nan"),
        float("inf"),
        True,
        "5",
        [],
        pytest.param(10**400, id="vast"),
        pytest.param(-(10**5000), id="huge"),
    ],
)
async def test_a_wrong_deadline_is_refused_at_once(deadline):
    with pytest.raises(InvalidArgumentError, match="deadline"):
        fan_out(Work(), [], deadline=deadline)


@pytest.mark.parametrize("given", [{"concurrency": -7}, {"deadline": -7}, {"deadline": "-7"}])
async def test_a_refusal_shows_what_was_given(given):
    with pytest.raises(InvalidArgumentError, match="-7"):
        fan_out(Work(), [], **given)


@pytest.mark.parametrize("deadline", [None, 1, 0.5, 1e300, sys.float_info.max])
async def test_a_deadline_may_be_any_finite_time(deadline):
    assert len(await all_of(fan_out(Work(), "ab", deadline=deadline))) == 2


# The deadline.


async def test_a_run_that_is_done_in_time_has_no_timer_left():
    await all_of(fan_out(Work(), "ab", deadline=5))
    assert not asyncio.get_running_loop().timers


@pytest.mark.parametrize("make", [list, Source])
async def test_when_the_deadline_passes_every_key_left_comes_out_with_it(make):
    work = Work(seconds=2)
    began = now()
    outcomes = await all_of(fan_out(work, make(range(10)), concurrency=2, deadline=5))
    assert now() - began == 5
    assert sorted(o.index for o in outcomes) == list(range(10))
    assert [o.key for o in outcomes if o.ok] == [0, 1, 2, 3]
    errors = [o.error for o in outcomes if not o.ok]
    assert {type(error) for error in errors} == {DeadlineExceededError}
    assert len({id(error) for error in errors}) == 6, "each key has an error of its own"
    assert "5 s" in str(errors[0])
    assert [("cancelled in flight" in str(e), "never sent" in str(e)) for e in errors] == [
        *[(True, False)] * 2,
        *[(False, True)] * 4,
    ]
    assert work.called == [0, 1, 2, 3, 4, 5]
    assert [o.elapsed for o in outcomes[6:]] == [0.0] * 4


async def test_the_message_rounds_the_deadline():
    (outcome,) = await all_of(fan_out(Work(seconds=9), "a", deadline=7.992384761000039))
    assert "the deadline of the run, 7.99 s, passed" in str(outcome.error)


async def test_a_key_that_the_deadline_cut_off_is_described_as_itself():
    def label(error, key):
        error.bucket_id = f"b{key}"

    outcomes = await all_of(
        fan_out_in(Run(), Work(seconds=9), range(4), concurrency=2, deadline=1, label=label)
    )
    assert sorted(o.error.bucket_id for o in outcomes) == ["b0", "b1", "b2", "b3"]


async def test_an_async_iterable_is_not_read_further_after_the_deadline():
    source = AsyncSource(itertools.count(), seconds=0.4)
    outcomes = await all_of(fan_out(Work(seconds=10), source, concurrency=2, deadline=1))
    assert sorted(o.index for o in outcomes) == [0, 1]
    assert all(isinstance(o.error, DeadlineExceededError) for o in outcomes)
    assert source.read == 2


async def test_a_deadline_ends_the_wait_for_an_async_iterable():
    began = now()
    source = AsyncSource(range(3), seconds=100)
    assert await all_of(fan_out(Work(), source, deadline=2)) == []
    assert now() - began == 2
    assert source.at_once == 0


async def test_the_deadline_counts_while_nobody_takes_outcomes():
    taken = []
    async for outcome in fan_out(Work(), range(9), concurrency=2, deadline=5):
        taken.append(outcome)
        await asyncio.sleep(2)
    assert sorted(o.index for o in taken) == list(range(9))
    late = [o for o in taken if not o.ok]
    assert late
    assert {type(o.error) for o in late} == {DeadlineExceededError}


async def test_an_input_that_breaks_after_the_deadline_is_told_at_the_end():
    taken = []
    with pytest.raises(LookupError):
        async for outcome in fan_out(
            Work(seconds=9), Source(range(4), LookupError()), concurrency=1, deadline=1
        ):
            assert not outcome.ok
            taken.append(outcome.index)
    assert taken == [0, 1, 2, 3]


async def test_a_call_that_ends_well_in_spite_of_the_deadline_keeps_its_value():
    async def stubborn(key):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(100)
        return key

    outcomes = await all_of(fan_out(stubborn, range(3), concurrency=1, deadline=1))
    assert [o.ok for o in outcomes] == [True, False, False]


async def test_a_bug_that_the_deadline_brings_out_is_raised():
    async def buggy(key):
        try:
            await asyncio.sleep(100)
        finally:
            raise Bug

    with pytest.raises(Bug):
        await all_of(fan_out(buggy, range(3), deadline=1))


async def test_keys_that_all_were_done_are_left_alone_by_a_deadline_that_passes_later():
    taken = []
    async for outcome in fan_out(Work(), range(3), deadline=1):
        taken.append(outcome.ok)
        await asyncio.sleep(5)
    assert taken == [True] * 3


async def test_a_worker_that_has_not_yet_begun_at_the_deadline_loses_no_key():
    source = Source(range(5))

    def late(key):
        # The loop is blocked for longer than the deadline, and the next worker is due to start.
        asyncio.get_running_loop().now += 10
        return asyncio.sleep(0, key)

    outcomes = await all_of(fan_out(late, source, concurrency=5, deadline=3))
    assert sorted(o.index for o in outcomes) == list(range(5))


# A run that is halted from within.


async def test_a_halted_run_gives_the_error_to_every_key_that_was_not_sent():
    run = Run()
    described = []

    async def rejects_the_second(key):
        if key == 1:
            error = AuthenticationError("401", status=401, attempts=1, elapsed=2.0)
            run.error = error
            raise error
        return key

    def label(error, key):
        described.append(key)
        error.bucket_id = f"b{key}"

    outcomes = await all_of(
        fan_out_in(
            run,
            rejects_the_second,
            Source(range(5)),
            concurrency=1,
            deadline=None,
            label=label,
        )
    )
    assert [o.index for o in outcomes] == [0, 1, 2, 3, 4]
    assert [o.ok for o in outcomes] == [True, False, False, False, False]
    for outcome in outcomes[2:]:
        assert outcome.error is not run.error
        assert isinstance(outcome.error, AuthenticationError)
        assert outcome.error.status == 401
        assert outcome.error.attempts == 0
        assert outcome.error.elapsed == 0.0
        assert outcome.error.bucket_id == f"b{outcome.key}"
        assert "never sent" in str(outcome.error)
    assert run.error.attempts == 1
    assert described == [2, 3, 4]


async def test_the_many_keys_that_a_halted_run_never_sent_leave_turns_to_others():
    run, turns = Run(), 0

    async def reject(key):
        run.error = FlashbackError("halt")
        raise run.error

    async def count_turns():
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    other = asyncio.create_task(count_turns())
    began = now()
    outcomes = await all_of(fan_out_in(run, reject, range(2000), concurrency=8, deadline=None))
    other.cancel()
    assert len(outcomes) == 2000
    assert 100 <= turns <= 110, "one for every twenty keys"
    assert now() - began < 0.1


async def test_what_is_under_way_when_a_run_is_halted_may_end_well():
    run = Run()

    async def work(key):
        await asyncio.sleep(key)
        if key == 1:
            run.error = FlashbackError("halt")
            raise run.error
        return key

    outcomes = await all_of(fan_out_in(run, work, [3, 1, 2, 5, 6], concurrency=3, deadline=None))
    assert {o.key: o.ok for o in outcomes} == {3: True, 1: False, 2: True, 5: False, 6: False}


async def test_an_async_iterable_is_not_read_further_once_the_run_is_halted():
    run = Run()
    source = AsyncSource(itertools.count(), seconds=1)

    async def work(key):
        await asyncio.sleep(1.5)
        run.error = FlashbackError("halt")
        raise run.error

    outcomes = await all_of(fan_out_in(run, work, source, concurrency=5, deadline=None))
    assert [o.index for o in outcomes] == [0, 1]
    assert source.at_once == 0, "the wait for the next key was ended"


async def test_who_waits_for_a_turn_to_read_sends_nothing_once_the_run_is_halted():
    run, called = Run(), []
    source = AsyncSource(itertools.count(), seconds=1)

    async def work(key):
        called.append(key)
        # The third key halts the run while the first worker reads and the second waits to.
        await asyncio.sleep({0: 2.1, 1: 1.2}.get(key, 0.5))
        if key == 2:
            run.error = FlashbackError("halt")
            raise run.error

    began = now()
    await all_of(fan_out_in(run, work, source, concurrency=3, deadline=None))
    assert now() - began == 3.5
    assert called == [0, 1, 2]
    assert source.read == 3


@pytest.mark.parametrize("stop", ["halt", "deadline"])
async def test_what_an_async_source_had_read_but_not_given_comes_out_last(stop):
    run, described = Run(), []

    async def work(key):
        await asyncio.sleep(1.5)
        if stop == "halt":
            run.error = ServerError("halt")
            raise run.error

    outcomes = await all_of(
        fan_out_in(
            run,
            work,
            Ahead(range(9), seconds=1),
            concurrency=5,
            deadline=1.5 if stop == "deadline" else None,
            label=lambda error, key: described.append(key),
        )
    )
    assert [(o.index, o.key) for o in outcomes[-2:]] == [
        (len(outcomes) - 2, "x"),
        (len(outcomes) - 1, "y"),
    ]
    assert all("never sent" in str(o.error) for o in outcomes[-2:])
    assert [o.elapsed for o in outcomes[-2:]] == [0.0, 0.0]
    assert described[-2:] == ["x", "y"]


async def test_a_run_that_was_not_halted_asks_for_no_leftover():
    assert len(await all_of(fan_out(Work(), Ahead("ab"), concurrency=2))) == 2


async def test_a_run_may_be_refused_as_it_begins():
    refusal = ServerError("no")

    def refuse():
        raise refusal

    work, source = Work(), Source("ab")
    outcomes = fan_out_in(Run(), work, source, concurrency=2, deadline=5, begin=refuse)
    assert source.read == 0
    with pytest.raises(ServerError) as caught:
        await all_of(outcomes)
    assert caught.value is refusal
    assert source.read == 0
    assert others() == set()


async def test_a_deadline_after_a_halt_ends_what_is_in_flight_and_nothing_else():
    run = Run()

    async def work(key):
        if key == 0:
            run.error = ServerError("halt")
            raise run.error
        await asyncio.sleep(100)

    outcomes = await all_of(fan_out_in(run, work, range(4), concurrency=2, deadline=5))
    assert [(o.key, type(o.error)) for o in outcomes] == [
        *((key, ServerError) for key in (0, 2, 3)),
        (1, DeadlineExceededError),
    ]


async def test_the_keys_that_a_halted_run_does_not_send_do_not_wait_for_those_in_flight():
    run = Run()

    async def work(key):
        if key == 0:
            run.error = ServerError("halt")
            raise run.error
        await asyncio.sleep(7)

    began = now()
    ended = {}
    async for outcome in fan_out_in(run, work, range(50), concurrency=2, deadline=None):
        ended[outcome.key] = now() - began
    assert ended.pop(1) == 7
    assert len(ended) == 49
    assert set(ended.values()) == {0}


async def test_a_source_that_raises_in_a_halted_run_is_raised_after_what_is_in_flight():
    run = Run()
    ended = []

    def source():
        yield from range(3)
        raise LookupError("the source")

    async def work(key):
        if key == 0:
            run.error = ServerError("halt")
            raise run.error
        await asyncio.sleep(7)
        ended.append(key)

    keys = []
    with pytest.raises(LookupError, match="the source"):
        async for outcome in fan_out_in(run, work, source(), concurrency=2, deadline=None):
            keys.append(outcome.key)
    assert keys == [0, 2, 1]
    assert ended == [1]


async def test_a_run_halted_before_it_begins_sends_nothing():
    run = Run()
    run.error = ServerError("halt")
    work = Work()
    outcomes = await all_of(fan_out_in(run, work, range(3), concurrency=2, deadline=None))
    assert [o.ok for o in outcomes] == [False] * 3
    assert work.called == []
