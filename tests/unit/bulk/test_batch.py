"""Batches of keys, and the outcomes of batches as outcomes of their keys."""

import asyncio
import contextlib
import itertools

import pytest

from flashback_async.bulk.batch import AsyncBatches, Cutter, cut, gather, unpack
from flashback_async.bulk.fanout import fan_out
from flashback_async.bulk.report import Failure, Success
from flashback_async.errors import NotFoundError, ServerError
from tests.unit.support import turns


async def each(keys):
    for key in keys:
        await asyncio.sleep(0)
        yield key


async def cut_up(keys, room, how, most=1000):
    cutter = Cutter(len, room, most)
    if how == "async":
        return [batch async for batch in AsyncBatches(each(keys), cutter)]
    return list(cut(keys, cutter))


@pytest.fixture(params=["plain", "async"])
def how(request):
    return request.param


async def test_keys_are_cut_where_the_next_has_no_room(how):
    assert await cut_up(["aa", "bb", "c", "dddd"], 5, how) == [
        [(0, "aa"), (1, "bb"), (2, "c")],
        [(3, "dddd")],
    ]
    assert await cut_up(["aa", "bb", "cc"], 4, how) == [[(0, "aa"), (1, "bb")], [(2, "cc")]]


async def test_no_key_makes_no_batch(how):
    assert await cut_up([], 10, how) == []


@pytest.mark.parametrize("room", [0, -5, 1])
async def test_a_key_larger_than_the_room_goes_alone(how, room):
    assert await cut_up(["aaa", "bbb"], room, how) == [[(0, "aaa")], [(1, "bbb")]]
    if room == 1:
        assert await cut_up(["a", "bbb", "c"], room, how) == [[(0, "a")], [(1, "bbb")], [(2, "c")]]


async def test_a_key_that_a_batch_holds_already_takes_no_room_in_it(how):
    assert await cut_up(["aa", "bb", "aa", "bb", "cc", "aa"], 4, how) == [
        [(0, "aa"), (1, "bb"), (2, "aa"), (3, "bb")],
        [(4, "cc"), (5, "aa")],
    ]


async def test_keys_that_cannot_be_hashed_each_take_their_room(how):
    assert await cut_up([["x"], ["x"], ["x"]], 2, how) == [[(0, ["x"]), (1, ["x"])], [(2, ["x"])]]


async def test_a_batch_is_cut_at_its_largest_number_of_keys_whatever_repeats(how):
    batches = await cut_up(["aa"] * 7 + ["b"], 3, how, most=3)
    assert [[key for _, key in batch] for batch in batches] == [["aa"] * 3] * 2 + [["aa", "b"]]


async def test_a_batch_is_given_as_soon_as_it_is_full():
    read = []

    def source():
        for n in itertools.count():
            read.append(n)
            yield n

    batches = cut(source(), Cutter(lambda _: 1, 3, 1000))
    assert [key for _, key in next(batches)] == [0, 1, 2]
    assert read == [0, 1, 2, 3]


class Breaks:
    """A source that yields some keys and then raises."""

    def __init__(self, keys, error):
        self.keys, self.error = iter(keys), error

    def __iter__(self):
        return self

    def __next__(self):
        for key in self.keys:
            return key
        raise self.error

    def __aiter__(self):
        return Breaks.Async(self)

    class Async:
        def __init__(self, plain):
            self.plain = plain

        async def __anext__(self):
            return next(self.plain)


@pytest.mark.parametrize("given", ["", "a", "abc", "abcd"])
async def test_what_a_source_gave_before_its_error_makes_the_last_batch(how, given):
    error = LookupError("source")
    cutter, source, made = Cutter(len, 2, 1000), Breaks(given, error), []
    with pytest.raises(LookupError) as caught:
        if how == "plain":
            made.extend(cut(source, cutter))
        else:
            async for batch in AsyncBatches(source, cutter):
                made.append(batch)
    assert caught.value is error
    assert list(itertools.chain(*made)) == list(enumerate(given))
    assert cutter.rest() == []


async def test_what_was_read_for_a_batch_that_nobody_waits_for_is_left_over():
    async def source():
        for key in "abcde":
            yield key
        await asyncio.sleep(1000)

    batches = AsyncBatches(source(), Cutter(len, 2, 1000))
    assert [await anext(batches) for _ in range(2)] == [
        [(0, "a"), (1, "b")],
        [(2, "c"), (3, "d")],
    ]
    waiting = asyncio.ensure_future(anext(batches))
    await turns()
    waiting.cancel()
    await asyncio.wait([waiting])
    assert batches.left_over() == [[(4, "e")]]
    assert batches.left_over() == []


async def answers_of(batches):
    """Fan out over batches; a batch whose keys hold a "!" fails as a whole."""

    async def ask(batch):
        await asyncio.sleep(0)
        if any("!" in key for _, key in batch):
            raise ServerError("no")
        return [Success(place, key, key.upper(), 0.5) for place, key in batch]

    def share(error, key):
        own = NotFoundError(f"{error} for {key}")
        own.bucket_id = key
        return own

    return unpack(fan_out(ask, batches, concurrency=2), share)


async def test_outcomes_come_out_of_their_batches_with_their_places():
    keys = ["a", "b", "c!", "d", "e"]
    outcomes = [o async for o in await answers_of(cut(keys, Cutter(len, 2, 1000)))]
    outcomes.sort(key=lambda o: o.index)
    assert [(o.index, o.key, o.value) for o in outcomes] == [
        (0, "a", "A"),
        (1, "b", "B"),
        (2, "c!", None),
        (3, "d", "D"),
        (4, "e", "E"),
    ]
    assert str(outcomes[2].error) == "no for c!"
    assert [o.elapsed for o in outcomes[:2]] == [0.5, 0.5]


async def test_the_error_of_a_batch_is_an_error_of_its_own_for_each_key():
    outcomes = [o async for o in await answers_of(cut(["a!", "b", "c"], Cutter(len, 9, 1000)))]
    assert [o.error.bucket_id for o in outcomes] == ["a!", "b", "c"]
    assert len({id(o.error) for o in outcomes}) == 3


async def test_closing_closes_what_is_unpacked():
    outcomes = await answers_of(cut(map(str, itertools.count()), Cutter(len, 10, 1000)))
    async with contextlib.aclosing(outcomes):
        async for _ in outcomes:
            break
    await turns()
    assert asyncio.all_tasks() == {asyncio.current_task()}


# Gathering.


class Ask:
    """A function that answers distinct keys, last first."""

    def __init__(self, fail=()):
        self.fail = fail
        self.asked = []
        self.closed = False

    async def __call__(self, keys):
        self.asked.append(list(keys))
        try:
            for index, key in reversed(list(enumerate(keys))):
                if key in self.fail:
                    yield Failure(index, key, ServerError(key), float(index))
                else:
                    yield Success(index, key, f"v{key}", float(index))
        finally:
            self.closed = True


async def test_a_report_is_in_the_order_of_the_input():
    ask = Ask(fail=("b",))
    report = await gather(iter(["c", "a", "b"]), ask)
    assert [(o.index, o.key, o.value) for o in report] == [
        (0, "c", "vc"),
        (1, "a", "va"),
        (2, "b", None),
    ]
    assert ask.closed


async def test_a_key_given_twice_is_asked_for_once_and_has_an_outcome_at_each_place():
    ask = Ask(fail=("b",))
    report = await gather(["a", "b", "a", "c", "b", "a"], ask)
    assert ask.asked == [["a", "b", "c"]]
    assert [(o.index, o.key) for o in report] == list(enumerate("abacba"))
    assert [o.value for o in report] == ["va", None, "va", "vc", None, "va"]
    assert report[1].error is not report[4].error
    assert str(report[1].error) == str(report[4].error)
    assert [o.elapsed for o in report] == [0.0, 1.0, 0.0, 2.0, 1.0, 0.0]


async def test_keys_that_no_dict_can_hold_are_each_asked_for():
    ask = Ask()
    report = await gather([["x"], ["x"], "a", ["x"]], ask)
    assert ask.asked == [[["x"], ["x"], "a", ["x"]]]
    assert len(report) == 4


async def test_nothing_gathered_is_an_empty_report():
    ask = Ask()
    assert list(await gather([], ask)) == []
    assert ask.asked == [[]]


async def test_a_bug_while_gathering_closes_what_was_asked():
    closed = []

    async def buggy(keys):
        try:
            yield Success(0, "a", 1, 0.0)
            raise ZeroDivisionError
        finally:
            closed.append(1)

    with pytest.raises(ZeroDivisionError):
        await gather(["a", "b"], buggy)
    assert closed == [1]
