"""How the benchmark takes turns, and pairs what it has measured."""

import pytest

from benchmarks.contenders import Aiohttp, Sdk
from benchmarks.measure import in_turns, with_the_sdk
from benchmarks.transports import Flood


@pytest.mark.slow
async def test_every_round_begins_with_another_contender():
    order = []

    async def block(contender):
        order.append(contender.name)
        return float(len(order))

    contenders = [Aiohttp("http://127.0.0.1", 1), Sdk("http://127.0.0.1", 1)]
    costs = await in_turns(contenders, 3, block, warm_ups=1)
    assert order[2:] == [name for ours in (0, 1, 0) for name in pair(ours)]
    assert costs == {"aiohttp": [3.0, 6.0, 7.0], "this SDK": [4.0, 5.0, 8.0]}


def pair(ours):
    names = ["aiohttp", "this SDK"]
    return names[::-1] if ours else names


def test_a_contender_is_compared_with_the_sdk_of_its_own_run():
    main = {"aiohttp": [3.0], "this SDK": [1.0]}
    other = {"aiohttp": [5.0], "httpx": [60.0], "this SDK": [2.0]}
    assert with_the_sdk(main, other) == {
        "aiohttp": ([3.0], [1.0]),
        "this SDK": ([1.0], [1.0]),
        "httpx": ([60.0], [2.0]),
    }


def test_the_ideal_counts_whole_waves():
    assert Flood(64, 128, None).ideal == pytest.approx(0.06)
    assert Flood(64, 129, None).ideal == pytest.approx(0.09)
