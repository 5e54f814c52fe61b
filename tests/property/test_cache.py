"""Caches under random schedules of look-ups, cancellations, failures and forgetting."""

import asyncio
from collections import Counter

from hypothesis import example, given
from hypothesis import strategies as st

from benchmarks.virtual_time import VirtualLoop
from flashback_async import BucketStatus, Cached, CachePolicy, FlashbackError, RetryPolicy
from flashback_async.resources.cached import Cache
from tests.unit.support import Bench, answer, no, now, status_body

KEYS = ["a", "b", "c"]
POLICY = CachePolicy(fresh=1, stale=3, stale_if_error=6, not_found=1, max_entries=2)
KEY = st.sampled_from(KEYS)
STEPS = st.one_of(
    st.tuples(st.just("get"), KEY),
    st.tuples(st.just("page"), st.lists(KEY, max_size=4), st.none() | st.sampled_from([0.1, 1.0])),
    st.tuples(st.just("cancel"), st.integers(0, 9)),
    st.tuples(st.just("sleep"), st.sampled_from([0.0, 0.05, 0.3, 0.9, 2.0, 5.0])),
    st.tuples(st.just("answer"), st.sampled_from([200, 200, 403, 404, 500])),
    st.tuples(st.just("latency"), st.sampled_from([0.0, 0.2, 1.5])),
    st.tuples(st.just("forget"), KEY),
    st.tuples(st.just("clear")),
)


class Api:
    """An API that records how many requests for a key are under way."""

    def __init__(self):
        self.status = 200
        self.latency = 0.2
        self.under_way = Counter()
        self.allowed = Counter()  # requests that nobody may join any more
        self.answered = {}

    async def __call__(self, request, attempt):
        key = request.bucket_id
        self.under_way[key] += 1
        try:
            await asyncio.sleep(self.latency)
        finally:
            self.under_way[key] -= 1
        if self.status != 200:
            return no(self.status)
        self.answered[key] = now()
        return answer(status_body(key))


async def run(steps):
    api = Api()
    async with Bench(api, retry=RetryPolicy.none()) as bench:
        cache = Cache(bench.caller, POLICY, bench.status, bench.bucket_stats, bench.node_stats)
        tasks, forgotten = [], False
        for name, *values in steps:
            match name:
                case "get":
                    tasks.append(asyncio.create_task(cache.status.lookup(*values)))
                case "page":
                    keys, deadline = values
                    page = cache.status.lookup_many(keys, deadline=deadline)
                    tasks.append(asyncio.create_task(page))
                case "cancel":
                    if tasks:
                        tasks[values[0] % len(tasks)].cancel()
                case "sleep":
                    await asyncio.sleep(values[0])
                case "answer":
                    api.status = values[0]
                case "latency":
                    api.latency = values[0]
                case "forget":
                    cache.forget(*values)
                    forgotten = True
                case "clear":
                    cache.clear()
                    forgotten = True
            await asyncio.sleep(0)
            if not forgotten:
                assert max(api.under_way.values(), default=0) <= 1, "one request for each key"
            assert cache.stats.entries <= POLICY.max_entries
        await asyncio.sleep(100)
        assert all(task.done() for task in tasks), "nobody waits for ever"
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert cache.stats.in_flight == 0
        assert api.under_way.total() == 0
    check(results)


def check(results):
    errors = []
    for result in results:
        if isinstance(result, asyncio.CancelledError):
            continue
        single = isinstance(result, Cached | FlashbackError)
        for found in [result] if single else [o.value or o.error for o in result]:
            if isinstance(found, FlashbackError):
                errors.append(found)
                continue
            assert isinstance(found.value, BucketStatus)
            assert 0 <= found.age <= 1 + 6 + 1.5
            assert found.stale == (found.age >= POLICY.fresh)
            if found.error is not None:
                errors.append(found.error)
    assert len(set(map(id, errors))) == len(errors), "each error belongs to one reader"


@given(st.lists(STEPS, max_size=30))
@example([("get", "a"), ("sleep", 5.0), ("page", ["a", "a"], 0.1)])  # an old value, and an error
def test_whatever_happens_each_reader_gets_an_answer_and_nothing_is_left(steps):
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(run(steps))
