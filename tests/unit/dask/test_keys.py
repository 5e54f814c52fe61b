"""The input of a run: nothing is read too far, and nothing is lost."""

import asyncio
import pickle
from datetime import date

import pytest

from flashback_async import BucketDay, ClusterLostError, InvalidArgumentError
from flashback_async.dask.keys import Input, Unfinished, pairs


def taken(keys, most=3):
    found = []
    while part := keys.take(most):
        found.append(part)
    return found


def test_a_plain_input_is_read_as_far_as_it_is_taken():
    source = iter(range(10))
    keys = Input(source)
    assert keys.take(3) == [(0, 0), (1, 1), (2, 2)]
    assert next(source) == 3
    assert keys.has_waiting


def test_the_keys_that_were_not_taken_are_the_rest():
    keys = Input(iter("abcdefg"))
    first = keys.take(3)
    assert [*first, *keys.rest()] == list(enumerate("abcdefg"))


@pytest.mark.parametrize("count", [0, 1, 3, 6, 7])
def test_a_plain_input_ends_once(count):
    keys = Input("k" * count)
    assert [place for part in taken(keys) for place in part] == list(enumerate("k" * count))
    assert keys.is_exhausted
    assert not keys.has_waiting


def test_what_an_input_raises_is_kept_and_what_came_before_is_taken():
    def source():
        yield "a"
        raise LookupError

    keys = Input(source())
    assert keys.take(3) == [(0, "a")]
    assert keys.is_exhausted
    assert isinstance(keys.error, LookupError)


async def read(keys, most=3):
    news = asyncio.Event()
    return asyncio.create_task(keys.read(most, news.set)), news


async def test_an_async_input_is_read_one_shard_ahead():
    asked = []

    async def source():
        for n in range(100):
            asked.append(n)
            yield n

    keys = Input(source())
    task, _ = await read(keys)
    await asyncio.sleep(1)
    assert len(asked) == 3
    assert keys.take(3) == [(0, 0), (1, 1), (2, 2)]
    await asyncio.sleep(1)
    assert len(asked) == 6
    assert list(keys.rest()) == [(3, 3), (4, 4), (5, 5)]
    keys.stop()
    task.cancel()
    await asyncio.wait({task})
    assert keys.error is None


async def test_a_key_of_a_slow_input_does_not_wait_for_a_whole_shard():
    go_on = asyncio.Event()

    async def source():
        yield "a"
        await go_on.wait()
        yield "b"

    keys = Input(source())
    task, news = await read(keys)
    await asyncio.sleep(0)
    assert keys.take(3) == []
    await news.wait()
    assert keys.take(3) == [(0, "a")]
    go_on.set()
    await task
    assert keys.take(3) == [(1, "b")]
    assert keys.is_exhausted


async def test_a_cancellation_from_inside_the_input_is_not_its_end():
    async def source():
        yield "a"
        raise asyncio.CancelledError

    keys = Input(source())
    task, _ = await read(keys)
    await asyncio.wait({task})
    assert isinstance(keys.error, asyncio.CancelledError)


def test_unfinished_places_are_sent_ones_first_and_then_the_rest_lazily():
    source = iter("abcdef")
    keys = Input(source)
    error = ClusterLostError("lost", unfinished=Unfinished(keys.take(2), keys.rest()))
    copied = pickle.loads(pickle.dumps(error))
    assert list(copied.unfinished) == [(0, "a"), (1, "b")]
    # zip does not take one more than it needs.
    first = dict(zip(range(3), error.unfinished, strict=False))
    assert first == {0: (0, "a"), 1: (1, "b"), 2: (2, "c")}
    assert next(source) == "d"


def test_pairs_are_each_id_with_every_day():
    days = ["2025-01-01", date(2025, 1, 2)]
    assert list(pairs(["a", "b"], days)) == [
        BucketDay(bucket, date(2025, 1, day)) for bucket in "ab" for day in (1, 2)
    ]
    assert list(pairs(pairs(["a"], "2025-01-01"), None)) == [BucketDay("a", date(2025, 1, 1))]


@pytest.mark.parametrize("days", [[], "x", 5, [None]])
def test_a_wrong_day_is_refused(days):
    with pytest.raises(InvalidArgumentError):
        pairs(["a"], days)


def test_ids_and_pairs_do_not_mix():
    with pytest.raises(InvalidArgumentError, match="days must be given"):
        list(pairs(["a"], None))
    with pytest.raises(InvalidArgumentError, match="not BucketDay pairs"):
        list(pairs([BucketDay("a", date(2025, 1, 1))], "2025-01-01"))


async def test_an_async_input_of_ids_becomes_pairs():
    async def source():
        yield "a"

    found = [pair async for pair in pairs(source(), "2025-01-01")]
    assert found == [BucketDay("a", date(2025, 1, 1))]
