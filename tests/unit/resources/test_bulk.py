"""The promises of get_many and iter_many, the same for all three resources."""

import asyncio
import contextlib
import gc
import itertools
from datetime import date
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest

from flashback_async.config import Limits, RetryPolicy, Timeout
from flashback_async.errors import (
    AuthenticationError,
    DeadlineExceededError,
    EventLoopError,
    FlashbackError,
    PermissionDeniedError,
    RateLimitError,
)
from flashback_async.resources.bucket_stats import BucketStatsResource
from flashback_async.resources.node_stats import NodeStatsResource
from flashback_async.resources.status import StatusResource
from tests.unit.support import Bench, LoopClock, answer, hang, no, now, status_body

DAY = date(2024, 1, 15)


def ids_in(request):
    """The ids that a request asks for."""
    if request.bucket_id is not None:
        return [request.bucket_id]
    return parse_qs(urlsplit(request.target).query)["bucketId"][0].split(",")


def well(request, attempt=None):
    """The answer to any request: every bucket it asks for is there."""
    if request.operation == "status.get":
        return answer(status_body(request.bucket_id))
    if request.operation == "node_stats.get":
        return answer({"nodeStats": [{"ip": "10.0.0.1"}]})
    return answer({"stats": [{"bucketId": i, "totalCount": "1"} for i in ids_in(request)]})


class Api:
    """An API that answers after some seconds, well or with a planned error."""

    def __init__(self, seconds=1.0, say=well):
        self.seconds, self.say = seconds, say
        self.asked = []

    async def __call__(self, request, attempt):
        self.asked += ids_in(request)
        await asyncio.sleep(self.seconds)
        return self.say(request)


class Use:
    """The bulk calls of one resource."""

    def __init__(self, resource, *more):
        self.resource, self.more = resource, more

    def get_many(self, ids, **options):
        return self.resource.get_many(ids, *self.more, **options)

    def iter_many(self, ids, **options):
        return self.resource.iter_many(ids, *self.more, **options)


NAMES = ["status", "node_stats", "bucket_stats"]


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def use_of(name):
    def make(bench):
        return Use(getattr(bench, name), *([DAY] if name == "node_stats" else []))

    return make


async def each(keys):
    for key in keys:
        await asyncio.sleep(0)
        yield key


async def collect(outcomes):
    return [outcome async for outcome in outcomes]


def bucket_of(outcome):
    return getattr(outcome.key, "bucket_id", outcome.key)


# Leaving.


@pytest.mark.parametrize("source", [lambda ids: ids, each], ids=["plain", "async"])
async def test_a_generator_that_is_closed_has_left_nothing_at_that_moment(use_of, source):
    # Long ids: a list holds a dozen.
    ids = (f"{n:0250}" for n in itertools.count())
    async with Bench(Api()) as bench:
        gc.disable()
        try:
            outcomes = use_of(bench).iter_many(source(ids), concurrency=4)
            async with contextlib.aclosing(outcomes):
                async for outcome in outcomes:
                    assert outcome.ok
                    break
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert bench.script.under_way == 0
        finally:
            gc.enable()


@pytest.mark.parametrize(
    "say",
    [well, lambda request: no(403), lambda request: no(500), lambda request: answer(b"{")],
    ids=["well", "403", "500", "broken"],
)
async def test_no_error_of_an_outcome_holds_a_frame(use_of, say):
    ids = ["a", "b", "", "a/b", *(f"{n:0250}" for n in range(40))]
    async with Bench(Api(say=say)) as bench:
        outcomes = await collect(use_of(bench).iter_many(ids, concurrency=2, deadline=1.5))
        errors = [outcome.error for outcome in outcomes if not outcome.ok]
        assert len(errors) > 10
        for error in errors:
            assert error.__traceback__ is error.__context__ is error.__cause__ is None


# The same id in flight.


async def test_an_id_in_flight_is_one_request_with_an_outcome_at_each_place(use_of):
    api = Api()
    async with Bench(api) as bench:
        outcomes = await collect(use_of(bench).iter_many(["a"] * 20 + ["b"] + ["a"] * 20))
        assert sorted(api.asked) == ["a", "b"]
        assert sorted(outcome.index for outcome in outcomes) == list(range(41))
        assert [bucket_of(o) for o in sorted(outcomes, key=lambda o: o.index)] == list(
            "a" * 20 + "b" + "a" * 20
        )
        assert all(outcome.ok for outcome in outcomes)


async def test_the_places_of_an_id_have_errors_of_their_own(use_of):
    async with Bench(Api(say=lambda request: no(403, "no access"))) as bench:
        outcomes = await collect(use_of(bench).iter_many(["a"] * 5))
        assert len({id(outcome.error) for outcome in outcomes}) == 5
        for outcome in outcomes:
            assert isinstance(outcome.error, PermissionDeniedError)
            assert (outcome.error.bucket_id, outcome.error.attempts) == ("a", 1)
            assert outcome.error.message == "no access"


async def test_get_many_gives_each_place_an_error_and_a_key_of_its_own(use_of):
    async with Bench(Api(say=lambda request: no(403))) as bench:
        report = await use_of(bench).get_many(["a", "b", "a"])
        assert report[0].error is not report[2].error
        assert [bucket_of(outcome) for outcome in report] == ["a", "b", "a"]


@pytest.mark.parametrize("source", [itertools.repeat, lambda key: each(itertools.repeat(key))])
async def test_an_id_that_is_repeated_for_ever_grows_nothing(use_of, name, source):
    api, read = Api(), []
    ids = source("a")

    def counted():
        for key in ids:
            read.append(key)
            yield key

    async def counted_async():
        async for key in ids:
            read.append(key)
            yield key

    given = counted() if hasattr(ids, "__next__") else counted_async()
    at_once = 8 * (1000 if name == "bucket_stats" else 1)
    async with Bench(api) as bench:
        async with contextlib.aclosing(use_of(bench).iter_many(given, concurrency=8)) as outcomes:
            taken = 0
            async for outcome in outcomes:
                assert outcome.ok
                taken += 1
                assert len(read) <= taken + 2 * at_once + 8
                if taken == 3 * at_once:
                    break
        assert len(api.asked) <= 5


async def test_an_id_is_asked_for_again_once_its_answer_has_come(use_of, name):
    api = Api()

    async def ids():
        yield "a"
        await asyncio.sleep(5)
        yield "a"

    async with Bench(api) as bench:
        assert len(await collect(use_of(bench).iter_many(ids()))) == 2
        assert api.asked == (
            ["a"] if "bucket_stats" in bench.sent[0].request.operation else ["a"] * 2
        )


async def test_bad_ids_that_are_repeated_are_each_their_own_outcome(use_of):
    bad = ["", ["x"], None, "a/b"] * 3
    async with Bench(Api()) as bench:
        outcomes = await collect(use_of(bench).iter_many(["a", *bad, "a"]))
        assert sorted(o.index for o in outcomes if o.ok) == [0, 13]
        assert len({id(o.error) for o in outcomes if not o.ok}) == 12


async def test_the_deadline_reaches_every_place_of_an_id(use_of):
    async with Bench(hang) as bench:
        outcomes = await collect(use_of(bench).iter_many(["a"] * 5 + ["b"], deadline=3))
        assert sorted(outcome.index for outcome in outcomes) == list(range(6))
        assert {type(outcome.error) for outcome in outcomes} == {DeadlineExceededError}
        assert {outcome.error.attempts for outcome in outcomes} == {1}
        assert all(outcome.error.bucket_id == bucket_of(outcome) for outcome in outcomes)


async def test_a_rejected_token_reaches_every_place_of_an_id(use_of):
    async with Bench(Api(say=lambda request: no(401))) as bench:
        ids = ["a"] * 5 + ["b"] * 5
        outcomes = await collect(use_of(bench).iter_many(ids, concurrency=3))
        assert sorted(outcome.index for outcome in outcomes) == list(range(10))
        assert {type(outcome.error) for outcome in outcomes} == {AuthenticationError}
        assert len(bench.sent) == 1
        assert all(outcome.error.bucket_id == bucket_of(outcome) for outcome in outcomes)


async def test_leaving_ends_the_places_that_wait_too(use_of):
    async with Bench(hang) as bench:
        task = asyncio.create_task(collect(use_of(bench).iter_many(["a"] * 5, deadline=100)))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert asyncio.all_tasks() == {asyncio.current_task()}


# How a run begins, and how the calls end it.


class Calls:
    """A replacement for a client's calls, with recorded arguments and scripted answers."""

    def __init__(self, answer):
        self.answer = answer
        self.runs = []
        self.state = SimpleNamespace(
            limits=Limits(max_concurrency=2), clock=LoopClock(), open_loop_state=lambda: None
        )

    def check_open(self):
        pass

    async def call(self, request, decode, run, **_):
        self.runs.append(run)
        return await self.answer(request, decode, run)

    def use(self, name):
        if name == "status":
            return Use(StatusResource(self))
        if name == "node_stats":
            return Use(NodeStatsResource(self), DAY)
        return Use(BucketStatsResource(self, "https://api.test/" + "p" * 3900))  # lists of a few


async def ready(request, decode, run):
    await asyncio.sleep(1)
    return decode(well(request).body)


async def test_the_end_of_a_run_is_a_moment_fixed_as_it_begins(name):
    calls = Calls(ready)
    outcomes = calls.use(name).iter_many(map(str, range(200)), deadline=50)
    await asyncio.sleep(7)
    began = now()
    assert len(await collect(outcomes)) == 200
    assert len({id(run) for run in calls.runs}) == 1
    assert calls.runs[0].ends == began + 50
    await calls.use(name).get_many(["a"])
    assert calls.runs[-1].ends == float("inf")


@pytest.mark.parametrize("source", ["plain", "async"])
async def test_a_pause_that_outlasts_the_run_gives_every_later_key_its_error_unsent(name, source):
    read = []

    async def throttled(request, decode, run):
        await asyncio.sleep(1)
        if "7" not in ids_in(request):
            return decode(well(request).body)
        error = RateLimitError("pause", status=429, retry_after=30.0, attempts=1)
        error.operation, error.bucket_id = request.operation, request.bucket_id
        run.halt(error)
        raise error

    def keys():
        for n in range(100):
            read.append(n)
            yield str(n)

    async def keys_async():
        for key in keys():
            await asyncio.sleep(0)
            yield key

    began = now()
    given = keys() if source == "plain" else keys_async()
    outcomes = await collect(Calls(throttled).use(name).iter_many(given, deadline=20))
    assert now() - began < 10
    assert sorted(outcome.index for outcome in outcomes) == list(range(len(outcomes)))
    assert len(outcomes) == len(read) == 100 if source == "plain" else len(read) < 50
    unsent = [o for o in outcomes if not o.ok and "never sent" in str(o.error)]
    assert len(unsent) > 50 or source == "async"
    for outcome in unsent:
        error = outcome.error
        assert isinstance(error, RateLimitError)
        assert (error.retry_after, error.attempts, error.elapsed) == (30.0, 0, 0.0)
        assert error.bucket_id == bucket_of(outcome)
        assert error.operation == ("bucket_stats.list" if name == "bucket_stats" else f"{name}.get")


async def test_a_client_of_another_loop_names_the_call(name):
    calls = Calls(ready)

    def refuse():
        raise EventLoopError("the client is in use in another event loop")

    calls.state.open_loop_state = refuse
    outcomes = calls.use(name).iter_many(["a"])
    with pytest.raises(EventLoopError) as caught:
        await anext(outcomes)
    assert caught.value.operation == f"{name}.iter_many"
    with pytest.raises(EventLoopError) as caught:
        await calls.use(name).get_many(["a"])
    assert caught.value.operation == f"{name}.get_many"


# What a run that is out of time says.


async def test_a_call_that_the_deadline_of_its_run_ends_tells_what_was_sent(use_of):
    retry = RetryPolicy(backoff_base=0.0)
    async with Bench(no(500), hang, retry=retry) as bench:
        (outcome,) = await use_of(bench).get_many(["slow"], deadline=3)
        assert len(bench.sent) == 2
    error = outcome.error
    assert type(error) is DeadlineExceededError
    assert (error.attempts, error.elapsed, error.bucket_id) == (2, pytest.approx(3), "slow")
    assert "2 requests sent in 3.00 s" in str(error)


async def test_keys_that_never_started_have_sent_nothing():
    async with Bench(hang) as bench:
        report = await bench.status.get_many(["a", "b"], concurrency=1, deadline=2)
    assert [outcome.error.attempts for outcome in report] == [1, 0]
    assert (report[1].error.bucket_id, report[1].error.elapsed) == ("b", 0.0)


async def test_a_long_list_that_takes_too_long_ends_like_any_call():
    ids = [f"bucket-with-a-long-name-{n:040}" for n in range(150)]
    async with Bench(hang, timeout=Timeout(total=2)) as bench:
        with pytest.raises(FlashbackError) as of_list:
            await bench.bucket_stats.list(ids)
        assert len(bench.sent) > 1
        with pytest.raises(FlashbackError) as single:
            await bench.status.get("b")
    error = of_list.value
    assert type(error) is type(single.value)
    assert (error.attempts, error.elapsed) == (1, pytest.approx(2))
    assert "run" not in str(error)


@pytest.mark.parametrize("own", [100, 3])
async def test_a_run_never_exceeds_the_concurrency_of_its_client(use_of, own):
    ids = [f"{n:0250}" for n in range(200)]
    async with Bench(Api(), limits=Limits(max_concurrency=4)) as bench:
        async for _ in use_of(bench).iter_many(ids, concurrency=own):
            most_tasks = len(asyncio.all_tasks()) - 1
            assert most_tasks <= min(own, 4)
        assert bench.script.most_under_way == min(own, 4)
