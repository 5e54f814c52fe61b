"""The status resource over a scripted transport, and once through aiohttp's own client."""

import asyncio
import contextlib
import itertools

import pytest

from flashback_async.config import Limits
from flashback_async.errors import (
    AuthenticationError,
    ClientClosedError,
    DeadlineExceededError,
    DecodeError,
    InvalidArgumentError,
    NotFoundError,
)
from flashback_async.models import BucketStatus, NodeState
from tests.unit.support import Bench, after, answer, echo_status, hang, no, now, status_body, turns


async def collect(outcomes):
    return [outcome async for outcome in outcomes]


async def each(keys):
    for key in keys:
        await asyncio.sleep(0)
        yield key


def slowly(seconds):
    async def late(request, attempt):
        await asyncio.sleep(seconds)
        return echo_status(request, attempt)

    return late


def by_id(**answers):
    """Answer by the bucket asked for; any other has its status."""

    def pick(request, attempt):
        given = answers.get(request.bucket_id)
        return echo_status(request, attempt) if given is None else given

    return pick


# get


async def test_get_asks_for_one_bucket():
    async with Bench(echo_status) as bench:
        status = await bench.status.get("b1")
        assert status.bucket_id == "b1"
        assert status.nodes[0].state is NodeState.ONLINE
        (sent,) = bench.sent
        assert sent.request == ("status.get", "GET", "/bucket/b1/status", "b1", None)


async def test_an_id_is_one_segment_of_the_path():
    async with Bench(echo_status) as bench:
        assert (await bench.status.get("a?b#c%2Fd é")).bucket_id == "a?b#c%2Fd é"
        assert bench.sent[0].request.target == "/bucket/a%3Fb%23c%252Fd%20%C3%A9/status"


@pytest.mark.parametrize("bad", ["", " ", "..", "a/b", "a\nb", None, 5, b"b", "x" * 257])
async def test_a_bad_id_sends_nothing(bad):
    async with Bench(echo_status) as bench:
        with pytest.raises(InvalidArgumentError, match="bucket_id"):
            await bench.status.get(bad)
        assert bench.sent == []


async def test_an_answer_about_another_bucket_is_an_error():
    async with Bench(answer(status_body("other"))) as bench:
        with pytest.raises(DecodeError, match="expected 'b', got 'other'") as caught:
            await bench.status.get("b")
        assert caught.value.path == "$.bucketId"
        assert caught.value.bucket_id == "b"


# get_many


async def test_get_many_has_an_outcome_for_each_id_in_order():
    async with Bench(by_id(b=no(404, "gone"))) as bench:
        report = await bench.status.get_many(iter(["c", "b", "a"]))
        assert [(o.index, o.key, o.ok) for o in report] == [
            (0, "c", True),
            (1, "b", False),
            (2, "a", True),
        ]
        assert report.succeeded["a"] == (await bench.status.get("a"))
        error = report.failed["b"]
        assert isinstance(error, NotFoundError)
        assert (error.operation, error.bucket_id, error.attempts) == ("status.get", "b", 1)


async def test_get_many_asks_once_for_an_id_that_is_given_twice():
    async with Bench(echo_status) as bench:
        report = await bench.status.get_many(["a", "b", "a", "a"])
        assert [o.key for o in report] == ["a", "b", "a", "a"]
        assert [o.index for o in report] == [0, 1, 2, 3]
        assert len(bench.sent) == 2


async def test_get_many_of_nothing_sends_nothing():
    async with Bench(echo_status) as bench:
        report = await bench.status.get_many([])
        assert list(report) == []
        assert report.ok
        assert bench.sent == []


@pytest.mark.parametrize("bad", ["", "..", None, 5, ["x"], "a\u202e"])
async def test_a_bad_id_among_many_is_its_own_outcome(bad):
    async with Bench(echo_status) as bench:
        report = await bench.status.get_many(["a", bad, "b"])
        assert [o.ok for o in report] == [True, False, True]
        assert isinstance(report[1].error, InvalidArgumentError)
        assert report[1].key is bad
        assert len(bench.sent) == 2


NOT_IDS = ["abc", "", b"abc", bytearray(b"x"), None, 5, 1j]


@pytest.mark.parametrize("ids", NOT_IDS, ids=repr)
async def test_what_is_no_iterable_of_ids_is_refused_at_once(ids):
    async with Bench(echo_status) as bench:
        with pytest.raises(InvalidArgumentError, match="bucket_ids must be an iterable"):
            await bench.status.get_many(ids)
        with pytest.raises(InvalidArgumentError, match="bucket_ids must be an iterable"):
            bench.status.iter_many(ids)
        assert bench.sent == []


async def test_get_many_takes_no_async_iterable():
    async with Bench(echo_status) as bench:
        with pytest.raises(InvalidArgumentError, match="bucket_ids"):
            await bench.status.get_many(each("ab"))


@pytest.mark.parametrize("concurrency", [0, -1, True, "5", 1.5])
async def test_a_wrong_concurrency_is_refused_at_once(concurrency):
    async with Bench(echo_status) as bench:
        with pytest.raises(InvalidArgumentError, match="concurrency"):
            await bench.status.get_many(["a"], concurrency=concurrency)
        with pytest.raises(InvalidArgumentError, match="concurrency"):
            bench.status.iter_many(["a"], concurrency=concurrency)


@pytest.mark.parametrize("deadline", [0, -1, float("nan"), float("inf"), True, "5"])
async def test_a_wrong_deadline_is_refused_at_once(deadline):
    async with Bench(echo_status) as bench:
        with pytest.raises(InvalidArgumentError, match="deadline"):
            await bench.status.get_many(["a"], deadline=deadline)
        with pytest.raises(InvalidArgumentError, match="deadline"):
            bench.status.iter_many(["a"], deadline=deadline)


@pytest.mark.parametrize(
    ("limit", "asked", "most"), [(64, None, 64), (5, None, 5), (5, 10**9, 5), (64, 3, 3)]
)
async def test_the_limit_of_the_client_rules(limit, asked, most):
    async with Bench(slowly(1), limits=Limits(max_concurrency=limit)) as bench:
        await bench.status.get_many(map(str, range(150)), concurrency=asked)
        assert bench.script.most_under_way == most


async def test_the_limit_is_shared_by_all_calls_of_the_client():
    async with Bench(slowly(1), limits=Limits(max_concurrency=4)) as bench:
        await asyncio.gather(
            bench.status.get_many(map(str, range(10))),
            bench.status.get_many(map(str, range(10))),
            bench.status.get("x"),
        )
        assert bench.script.most_under_way == 4


async def test_many_callers_at_once_have_each_its_own_answer():
    async with Bench(slowly(1)) as bench:
        found = await asyncio.gather(*(bench.status.get(f"b{n}") for n in range(300)))
        assert [status.bucket_id for status in found] == [f"b{n}" for n in range(300)]


async def test_the_deadline_of_a_run_reaches_every_key_left():
    async with Bench(slowly(2)) as bench:
        began = now()
        report = await bench.status.get_many(map(str, range(10)), concurrency=2, deadline=5)
        assert now() - began == 5
        assert [o.ok for o in report] == [True] * 4 + [False] * 6
        for outcome in report[4:]:
            assert isinstance(outcome.error, DeadlineExceededError)
            assert outcome.error.operation == "status.get"
            assert outcome.error.bucket_id == outcome.key
        assert [o.error.attempts for o in report[4:]] == [1, 1, 0, 0, 0, 0]
        assert "cancelled in flight" in str(report[4].error)
        assert "1 request sent in 1.00 s" in str(report[4].error)
        assert "never sent" in str(report[6].error)
        assert len(bench.sent) == 6


async def test_waiting_costs_a_bulk_key_no_time():
    limits = Limits(max_concurrency=1)
    async with Bench(slowly(9), limits=limits) as bench:
        report = await bench.status.get_many(map(str, range(10)), concurrency=10)
        assert report.ok
        assert bench.script.times == [9 * n for n in range(10)]


async def test_a_paced_run_is_slow_and_not_broken():
    async with Bench(echo_status, limits=Limits(max_rate=2)) as bench:
        report = await bench.status.get_many(map(str, range(200)))
        assert report.ok
        assert 99 < bench.script.times[-1] < 110


async def test_a_throttled_run_is_slow_and_not_broken():
    throttle = itertools.cycle([True, False, False])

    def now_and_then(request, attempt):
        return no(429, retry_after=60) if next(throttle) else echo_status(request, attempt)

    async with Bench(now_and_then) as bench:
        report = await bench.status.get_many(map(str, range(20)), concurrency=4)
        assert report.ok
        assert len(bench.sent) == 30


async def test_a_rejected_token_ends_the_run_and_the_next_tries_again():
    async with Bench(after(1, no(401))) as bench:
        report = await bench.status.get_many(map(str, range(50)), concurrency=3)
        assert [type(o.error) for o in report] == [AuthenticationError] * 50
        assert len(bench.sent) == 3
        for outcome in report[3:]:
            assert outcome.error.attempts == 0
            assert outcome.error.bucket_id == outcome.key
            assert "never sent" in str(outcome.error)
        bench.script.answers = [echo_status]
        assert (await bench.status.get_many(["a"])).ok


async def test_a_run_is_refused_once_the_client_is_closed():
    bench = Bench(echo_status)
    await bench.state.close()
    with pytest.raises(ClientClosedError):
        await bench.status.get_many(["a"])
    with pytest.raises(ClientClosedError):
        bench.status.iter_many(["a"])


async def test_closing_under_a_run_ends_each_key_with_its_error():
    bench = Bench(hang)
    task = asyncio.create_task(bench.status.get_many(map(str, range(20)), concurrency=5))
    await turns(30)
    await bench.state.close()
    report = await task
    assert [type(o.error) for o in report] == [ClientClosedError] * 20
    assert len(bench.sent) == 5


# iter_many


@pytest.mark.parametrize("source", [list, iter, each])
async def test_iter_many_gives_outcomes_as_they_complete(source):
    async def by_number(request, attempt):
        await asyncio.sleep(int(request.bucket_id))
        return echo_status(request, attempt)

    async with Bench(by_number) as bench:
        outcomes = await collect(bench.status.iter_many(source(["3", "1", "2"])))
        assert [(o.index, o.key) for o in outcomes] == [(1, "1"), (2, "2"), (0, "3")]
        assert all(isinstance(o.unwrap(), BucketStatus) for o in outcomes)


async def test_iter_many_reads_lazily_and_break_leaves_nothing():
    read = []

    def source():
        for n in itertools.count():
            read.append(n)
            yield str(n)

    async with Bench(slowly(1)) as bench:
        async for outcome in bench.status.iter_many(source(), concurrency=4):
            assert outcome.ok
            break
        await turns()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert bench.script.under_way == 0
        assert len(read) <= 10


async def test_an_async_source_is_left_alone_after_break():
    async with Bench(slowly(1)) as bench:
        outcomes = bench.status.iter_many(each(map(str, itertools.count())), concurrency=4)
        async with contextlib.aclosing(outcomes):
            async for _ in outcomes:
                break
        await turns()
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_an_error_of_the_source_is_raised_after_what_is_under_way():
    async def source():
        yield "a"
        raise LookupError("source")

    taken = []
    async with Bench(slowly(3)) as bench:
        with pytest.raises(LookupError):
            async for outcome in bench.status.iter_many(source()):
                assert outcome.ok
                taken.append(outcome.key)
    assert taken == ["a"]


async def test_failures_of_some_keys_leave_the_others_alone():
    answers = {"b": no(500), "c": answer(b"{"), "d": no(403), "e": answer(status_body("zz"))}
    async with Bench(by_id(**answers)) as bench:
        outcomes = await collect(bench.status.iter_many(["a", "b", "c", "d", "e", "f"]))
        kinds = {o.key: type(o.error).__name__ for o in outcomes}
        assert kinds == {
            "a": "NoneType",
            "b": "ServerError",
            "c": "DecodeError",
            "d": "PermissionDeniedError",
            "e": "DecodeError",
            "f": "NoneType",
        }
