"""Caches under random schedules of look-ups, cancellations, failures and forgetting."""

import asyncio
from collections import Counter

from hypothesis import example, given
from hypothesis import strategies as st

from benchmarks.virtual_time import VirtualLoop
from flashback_async import (
    BucketStats,
    BucketStatus,
    Cached,
    CachePolicy,
    FlashbackError,
    RetryPolicy,
)
from flashback_async.resources.cached import Cache
from tests.unit.support import Bench, answer, no, status_body

KEYS = ["a", "b", "c"]
CULPRIT = "c"  # for which the API refuses whole lists
# What a resource returns, and the seconds that a call may take: a list of three is asked for in
# up to five requests.
KINDS = {"status": (BucketStatus, 1.5), "bucket_stats": (BucketStats, 5 * 1.5)}
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

    async def __call__(self, request, attempt):
        keys = [request.bucket_id]
        if request.operation.startswith("bucket_stats"):
            keys = request.target.partition("=")[2].split("%2C")
        self.under_way.update(keys)
        try:
            await asyncio.sleep(self.latency)
        finally:
            self.under_way.subtract(keys)
        if self.status != 200:
            return no(self.status)
        if request.operation.startswith("status"):
            return answer(status_body(*keys))
        if CULPRIT in keys and len(keys) > 1:
            return no(403)  # so that the list is halved
        return answer({"success": True, "stats": [{"bucketId": key} for key in keys]})


async def run(steps, resource):
    api = Api()
    async with Bench(api, retry=RetryPolicy.none()) as bench:
        cache = Cache(bench.caller, POLICY, bench.status, bench.bucket_stats, bench.node_stats)
        reads = getattr(cache, resource)
        tasks, forgotten = [], False
        for name, *values in steps:
            match name:
                case "get":
                    tasks.append(asyncio.create_task(reads.lookup(*values)))
                case "page":
                    keys, deadline = values
                    page = reads.lookup_many(keys, deadline=deadline)
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
    check(results, *KINDS[resource])


def check(results, model, longest):
    """Check what readers got; ``longest`` is the seconds that a call may take."""
    errors = []
    for result in results:
        if isinstance(result, asyncio.CancelledError):
            continue
        single = isinstance(result, Cached | FlashbackError)
        for found in [result] if single else [o.value or o.error for o in result]:
            if isinstance(found, FlashbackError):
                errors.append(found)
                continue
            assert isinstance(found.value, model)
            assert 0 <= found.age <= 1 + 6 + longest
            assert found.stale == (found.age >= POLICY.fresh)
            if found.error is not None:
                errors.append(found.error)
    assert len(set(map(id, errors))) == len(errors), "each error belongs to one reader"


@given(st.lists(STEPS, max_size=30), st.sampled_from(sorted(KINDS)))
@example([("get", "a"), ("sleep", 5.0), ("page", ["a", "a"], 0.1)], "status")  # an old value
@example([("page", ["a", "b", CULPRIT], 0.5), ("sleep", 0.9), ("get", "b")], "bucket_stats")
def test_whatever_happens_each_reader_gets_an_answer_and_nothing_is_left(steps, resource):
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(run(steps, resource))
