"""A week of watching in virtual time: nothing drifts, and nothing grows."""

import asyncio
import gc
import random

import pytest

from tests.unit.support import no

HOUR = 3600


@pytest.mark.parametrize("hours", [12, 7 * 24])
@pytest.mark.slow
async def test_a_week_leaves_no_trace(make, tmp_path, hours):
    ids = [f"b{n}" for n in range(4)]
    api, bench = make(*ids, states=("ONLINE", "ONLINE", "ONLINE"))
    chance = random.Random(1)
    state = tmp_path / "state"
    told, first, worst, objects, rest = {}, {}, 0.0, [], 0

    async def consume(watch):
        async for change in watch:
            subject = change.bucket_id, change.ip
            assert change.before == told.get(subject)
            told[subject] = change.after

    async with bench, bench.status.watch(interval=60, state=state) as watch:
        consuming = asyncio.create_task(consume(watch))
        for hour in range(hours):
            bucket_id = chance.choice(ids)
            for ip in api.nodes[bucket_id]:
                api.nodes[bucket_id][ip] = chance.choice(["ONLINE", "OFFLINE", "DISCONNECTED"])
            api.refusals = {chance.choice(ids): no(503)} if hour % 3 else {}
            await asyncio.sleep(HOUR)
            for bucket_id, at in api.asked:
                place = (at - first.setdefault(bucket_id, at)) % 60
                worst = max(worst, min(place, 60 - place))
            rest += len(api.asked)
            api.asked.clear()
            bench.script.sent.clear()
            bench.clock.slept.clear()
            bench.clock.drawn.clear()
            if hour in (hours // 2, hours - 1):
                gc.collect()
                objects.append(len(gc.get_objects()))
        shifted, asked = watch.stats.shifted, watch.stats.asked
        files = sum(path.stat().st_size for path in tmp_path.iterdir())
        consuming.cancel()
        await asyncio.gather(consuming, return_exceptions=True)
    assert asked == rest
    assert abs(asked - hours * 60 * len(ids)) <= len(ids)
    assert shifted == 0
    assert worst < 0.11  # a step
    assert objects[1] - objects[0] < 300
    assert files < 1_000_000
    for (bucket_id, ip), after in told.items():
        if ip is not None:
            assert after == next(n.state for n in watch.view[bucket_id].nodes if n.ip == ip)
