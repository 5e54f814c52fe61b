"""The pace of one worker, in virtual time."""

import asyncio

from flashback_async.dask.pacer import Pacer


async def turns(pacer, count, share):
    loop = asyncio.get_running_loop()
    return [loop.time() async for _ in pacer.spread(range(count), share)]


def pacer():
    return Pacer(asyncio.get_running_loop().time, asyncio.sleep)


def most_within(moments, seconds):
    return max(sum(start <= m < start + seconds for m in moments) for start in moments)


async def test_turns_come_at_the_rate_without_a_burst():
    moments = await turns(pacer(), 101, 10.0)
    assert 9.9 <= moments[-1] - moments[0] <= 10.1
    assert most_within(moments, 1.0) <= 11


async def test_two_shards_share_one_rate():
    one = pacer()
    both = await asyncio.gather(turns(one, 50, 10.0), turns(one, 51, 10.0))
    moments = sorted(both[0] + both[1])
    assert 9.9 <= moments[-1] - moments[0] <= 10.1


async def test_the_newest_figure_holds_for_all():
    one = pacer()
    slow = asyncio.create_task(turns(one, 20, 1.0))
    await asyncio.sleep(4.5)
    fast = await turns(one, 1, 10.0)
    moments = await slow
    assert len(fast) == 1
    assert moments[-1] - moments[0] < 8


async def test_a_figure_without_keys_holds_too():
    one = pacer()
    slow = asyncio.create_task(turns(one, 20, 1.0))
    await asyncio.sleep(4.5)
    assert await turns(one, 0, 10.0) == []
    moments = await slow
    assert moments[-1] - moments[0] < 8


async def test_a_pause_of_the_input_is_not_made_up_for():
    one = pacer()
    await turns(one, 5, 10.0)
    await asyncio.sleep(60)
    assert most_within(await turns(one, 30, 10.0), 1.0) <= 11
