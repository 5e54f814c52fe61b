"""The node stats resource: days, pairs of bucket and day, and what is sent."""

import asyncio
import json
from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from flashback_async.errors import (
    ClientClosedError,
    DeadlineExceededError,
    InvalidArgumentError,
    PermissionDeniedError,
)
from flashback_async.resources.node_stats import BucketDay
from tests.unit.support import Bench, after, answer, no

DAY = date(2024, 1, 15)
ITEM = {"ip": "10.0.0.1", "perc_uptime": 99.5}
OK = answer({"success": True, "nodeStats": [ITEM, ITEM]})


async def collect(outcomes):
    return [outcome async for outcome in outcomes]


async def each(keys):
    for key in keys:
        await asyncio.sleep(0)
        yield key


def days_sent(bench):
    return [(s.request.bucket_id, json.loads(s.request.body)["day"][:10]) for s in bench.sent]


async def test_get_posts_the_day():
    async with Bench(OK) as bench:
        stats = await bench.node_stats.get("b1", DAY)
        assert [item.uptime_percent for item in stats] == [99.5, 99.5]
        (sent,) = bench.sent
        assert sent.request == (
            "node_stats.get",
            "POST",
            "/bucket/b1/stats",
            "b1",
            b'{"day":"2024-01-15T00:00:00.000Z"}',
        )


async def test_an_id_is_one_segment_of_the_path():
    async with Bench(OK) as bench:
        await bench.node_stats.get("a?b c", DAY)
        assert bench.sent[0].request.target == "/bucket/a%3Fb%20c/stats"


@pytest.mark.parametrize(
    ("day", "sent"),
    [
        (date(1, 1, 1), "0001-01-01"),
        (date(9999, 12, 31), "9999-12-31"),
        (datetime(2024, 1, 15, 23, 59, tzinfo=UTC), "2024-01-15"),
        (datetime(2024, 1, 15, 23, tzinfo=timezone(timedelta(hours=-5))), "2024-01-16"),
        (datetime(2024, 1, 15, 1, tzinfo=timezone(timedelta(hours=5))), "2024-01-14"),
        ("2024-01-15", "2024-01-15"),
        ("2024-02-29", "2024-02-29"),
        ("2024-01-15T23:59:59Z", "2024-01-15"),
        ("2024-01-15T23:59:59.123Z", "2024-01-15"),
        ("2024-01-15T00:00:00.000Z", "2024-01-15"),
        ("2024-01-15T10:30", "2024-01-15"),
        ("2024-01-15 10:30:00", "2024-01-15"),
        ("2024-01-15T23:00:00-05:00", "2024-01-16"),
        ("2024-01-15T01:00:00+0500", "2024-01-14"),
    ],
)
async def test_a_day_counts_in_utc(day, sent):
    async with Bench(OK) as bench:
        await bench.node_stats.get("b", day)
        assert days_sent(bench) == [("b", sent)]


BAD_DAYS = [
    None,
    5,
    1705312200,
    b"2024-01-15",
    datetime(2024, 1, 15),  # noqa: DTZ001 - the naive one is the point
    datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5))),
    datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-5))),
    "",
    "today",
    "2026-02-30",
    "2026-1-1",
    "0000-01-01",
    "20240115",
    "2024-W03-1",
    "2024-01-15T",
    "2024-01-15T25:00:00Z",
    "2024-01-15Z",
    " 2024-01-15",
    "2024-01-15\n",
    "２０２４-01-15",
    "2024/01/15",
    "10000-01-01",
]


@pytest.mark.parametrize("day", BAD_DAYS, ids=repr)
async def test_what_is_no_day_is_refused_before_anything_is_sent(day):
    async with Bench(OK) as bench:
        with pytest.raises(InvalidArgumentError, match=r"^day must") as caught:
            await bench.node_stats.get("b", day)
        assert str(caught.value).isascii()
        with pytest.raises(InvalidArgumentError, match=r"^day must"):
            await bench.node_stats.get_many(["b"], [DAY, day])
        if not isinstance(day, bytes):
            with pytest.raises(InvalidArgumentError, match=r"^day must"):
                bench.node_stats.iter_many(["b"], day)
        assert bench.sent == []


@pytest.mark.parametrize("bad", ["", "a/b", None, 5])
async def test_a_bad_id_is_refused_before_anything_is_sent(bad):
    async with Bench(OK) as bench:
        with pytest.raises(InvalidArgumentError, match="bucket_id"):
            await bench.node_stats.get(bad, DAY)
        assert bench.sent == []


async def test_get_many_asks_for_every_pair_in_order():
    async with Bench(OK) as bench:
        days = ["2024-01-15", date(2024, 1, 16)]
        report = await bench.node_stats.get_many(iter("ab"), iter(days))
        expected = [BucketDay(b, date(2024, 1, d)) for b in "ab" for d in (15, 16)]
        assert [o.key for o in report] == expected
        assert [o.index for o in report] == [0, 1, 2, 3]
        assert report.ok
        assert list(report.succeeded) == expected
        assert sorted(days_sent(bench)) == [(b, f"2024-01-{d}") for b in "ab" for d in ("15", "16")]


@pytest.mark.parametrize("days", [DAY, "2024-01-15", datetime(2024, 1, 15, tzinfo=UTC), [DAY]])
async def test_one_day_will_do(days):
    async with Bench(OK) as bench:
        report = await bench.node_stats.get_many(["a", "b"], days)
        assert [o.key for o in report] == [BucketDay("a", DAY), BucketDay("b", DAY)]


async def test_a_pair_given_twice_is_asked_for_once():
    async with Bench(OK) as bench:
        report = await bench.node_stats.get_many(["a", "a"], [DAY, "2024-01-15T10:00:00Z"])
        assert len(report) == 4
        assert len(bench.sent) == 1


async def test_no_id_sends_nothing():
    async with Bench(OK) as bench:
        assert list(await bench.node_stats.get_many([], DAY)) == []
        assert bench.sent == []


@pytest.mark.parametrize("ids", [["a"], []])
@pytest.mark.parametrize("days", [[], (), iter([]), {}])
async def test_no_day_is_refused_before_anything_is_sent(ids, days):
    async with Bench(OK) as bench:
        with pytest.raises(InvalidArgumentError, match="days must hold at least one day") as caught:
            await bench.node_stats.get_many(ids, days)
        assert caught.value.operation == "node_stats.get_many"
        with pytest.raises(InvalidArgumentError, match="days must hold at least one day") as caught:
            bench.node_stats.iter_many(ids, days)
        assert caught.value.operation == "node_stats.iter_many"
        assert bench.sent == []


# Pairs.

PAIRS = [BucketDay("a", DAY), BucketDay("b", date(2024, 2, 1)), BucketDay("a", date(2024, 1, 14))]


@pytest.mark.parametrize("source", [list, iter, dict.fromkeys])
async def test_pairs_are_asked_for_as_they_are(source):
    async with Bench(OK) as bench:
        report = await bench.node_stats.get_many(source(PAIRS))
        assert [o.key for o in report] == PAIRS
        assert report.ok
        assert days_sent(bench) == [("a", "2024-01-15"), ("b", "2024-02-01"), ("a", "2024-01-14")]


@pytest.mark.parametrize("source", [list, iter, dict.fromkeys, each])
async def test_iter_many_takes_pairs_too(source):
    async with Bench(OK) as bench:
        outcomes = await collect(bench.node_stats.iter_many(source(PAIRS), concurrency=1))
        assert [(o.index, o.key) for o in outcomes] == list(enumerate(PAIRS))


async def test_what_failed_can_be_asked_for_again():
    answers = [no(403), OK, no(404), OK]
    async with Bench(*answers) as bench:
        report = await bench.node_stats.get_many(["a", "b", "c"], DAY, concurrency=1)
        assert [o.ok for o in report] == [False, True, False]
        again = await bench.node_stats.get_many(report.failed)
        assert list(again.succeeded) == [BucketDay("a", DAY), BucketDay("c", DAY)]
        assert list(await bench.node_stats.get_many(again.failed)) == []
        assert len(bench.sent) == 5


async def test_the_day_of_a_pair_may_be_given_as_any_day():
    days = ["2024-01-15", datetime(2024, 1, 15, 23, tzinfo=UTC), DAY]
    async with Bench(OK) as bench:
        report = await bench.node_stats.get_many([BucketDay("a", day) for day in days])
        assert [o.key for o in report] == [BucketDay("a", DAY)] * 3
        assert [type(o.key.day) for o in report] == [date] * 3
        assert len(bench.sent) == 1


async def test_a_bad_id_in_a_pair_is_the_outcome_of_that_pair():
    async with Bench(OK) as bench:
        pairs = [BucketDay("a", DAY), BucketDay("", DAY), BucketDay(["x"], DAY)]
        report = await bench.node_stats.get_many(pairs)
        assert [type(o.error) for o in report] == [type(None)] + [InvalidArgumentError] * 2
        assert len(bench.sent) == 1


MIXED_UP = [
    pytest.param(
        ["a"],
        None,
        "^day must be given unless bucket_ids holds BucketDay pairs, not str",
        id="ids",
    ),
    pytest.param(
        [*PAIRS, "a"],
        None,
        "^day must be given unless bucket_ids holds BucketDay pairs, not str",
        id="one id",
    ),
    pytest.param([("a", DAY)], None, "BucketDay pairs, not tuple", id="tuple"),
    pytest.param([None], None, "BucketDay pairs, not NoneType", id="nothing"),
    pytest.param(
        PAIRS, DAY, "must hold ids, not BucketDay pairs, if days are given", id="pairs and days"
    ),
    pytest.param(
        ["a", *PAIRS], [DAY], "must hold ids, not BucketDay pairs, if days are given", id="one pair"
    ),
    pytest.param([BucketDay("a", "soon")], None, "^day must be ISO 8601 text", id="no day"),
    pytest.param([BucketDay("a", 5)], None, "^day must be a date", id="a number"),
]


@pytest.mark.parametrize(("ids", "days", "rule"), MIXED_UP)
async def test_pairs_and_ids_mixed_up_are_refused_before_anything_is_sent(ids, days, rule):
    async with Bench(OK) as bench:
        for source in (ids, tuple(ids), iter(ids)):
            with pytest.raises(InvalidArgumentError, match=rule) as caught:
                await bench.node_stats.get_many(source, days)
            assert caught.value.operation == "node_stats.get_many"
        for source in (ids, tuple(ids)):
            with pytest.raises(InvalidArgumentError, match=rule) as caught:
                bench.node_stats.iter_many(source, days)
            assert caught.value.operation == "node_stats.iter_many"
        assert bench.sent == []


@pytest.mark.parametrize("source", [iter, each])
@pytest.mark.parametrize(("ids", "days", "rule"), MIXED_UP)
async def test_what_an_iterator_mixes_up_is_told_when_it_is_read(source, ids, days, rule):
    taken = []
    async with Bench(OK) as bench:
        with pytest.raises(InvalidArgumentError, match=rule) as caught:
            async for outcome in bench.node_stats.iter_many(source(ids), days):
                taken.append(outcome.index)
        assert caught.value.operation == "node_stats.iter_many"
        bad = isinstance if days else (lambda item, kind: not isinstance(item, kind))
        assert len(taken) == next((n for n, i in enumerate(ids) if bad(i, BucketDay)), 0)


@pytest.mark.parametrize("ids", ["abc", None, 5])
async def test_without_days_too_what_is_no_iterable_is_refused(ids):
    async with Bench(OK) as bench:
        with pytest.raises(InvalidArgumentError, match="bucket_ids must be an iterable"):
            await bench.node_stats.get_many(ids)
        with pytest.raises(InvalidArgumentError, match="bucket_ids must be an iterable"):
            bench.node_stats.iter_many(ids)


async def test_a_pair_in_flight_is_one_request():
    async with Bench(after(1, OK)) as bench:
        outcomes = await collect(bench.node_stats.iter_many([*PAIRS, *PAIRS]))
        assert sorted(o.index for o in outcomes) == list(range(6))
        assert len(bench.sent) == 3


@pytest.mark.parametrize("bad", ["", None, 5, ["x"]])
async def test_a_bad_id_among_many_is_the_outcome_of_its_pairs(bad):
    async with Bench(OK) as bench:
        report = await bench.node_stats.get_many(["a", bad], [DAY, date(2024, 1, 16)])
        assert [o.ok for o in report] == [True, True, False, False]
        assert all(isinstance(o.error, InvalidArgumentError) for o in report[2:])


async def test_an_error_names_the_call_and_the_bucket():
    async with Bench(no(403, "no access")) as bench:
        report = await bench.node_stats.get_many(["a"], DAY)
        error = report.failed[BucketDay("a", DAY)]
        assert isinstance(error, PermissionDeniedError)
        assert (error.operation, error.bucket_id) == ("node_stats.get", "a")


async def test_what_a_run_did_not_finish_names_the_call_and_the_bucket():
    async with Bench(after(9, OK)) as bench:
        report = await bench.node_stats.get_many(["a", "b"], DAY, concurrency=1, deadline=3)
        for outcome, bucket_id in zip(report, "ab", strict=True):
            assert isinstance(outcome.error, DeadlineExceededError)
            assert outcome.error.operation == "node_stats.get"
            assert outcome.error.bucket_id == bucket_id


@pytest.mark.parametrize("source", [list, iter, each])
async def test_iter_many_gives_every_pair(source):
    async with Bench(OK) as bench:
        outcomes = await collect(bench.node_stats.iter_many(source("ab"), [DAY]))
        assert sorted(o.key for o in outcomes) == [BucketDay("a", DAY), BucketDay("b", DAY)]
        assert all(o.ok for o in outcomes)


async def test_iter_many_over_an_async_source_takes_every_day_of_each_id():
    async with Bench(OK) as bench:
        days = [DAY, date(2024, 1, 16)]
        outcomes = await collect(bench.node_stats.iter_many(each("ab"), days, concurrency=1))
        assert [o.key for o in outcomes] == [BucketDay(b, d) for b in "ab" for d in days]


@pytest.mark.parametrize("ids", ["abc", b"abc", None, 5])
async def test_what_is_no_iterable_of_ids_is_refused_at_once(ids):
    async with Bench(OK) as bench:
        with pytest.raises(InvalidArgumentError, match="bucket_ids"):
            await bench.node_stats.get_many(ids, DAY)
        with pytest.raises(InvalidArgumentError, match="bucket_ids"):
            bench.node_stats.iter_many(ids, DAY)


async def test_a_run_is_refused_once_the_client_is_closed():
    bench = Bench(OK)
    await bench.state.close()
    with pytest.raises(ClientClosedError):
        await bench.node_stats.get_many(["a"], DAY)
    with pytest.raises(ClientClosedError):
        bench.node_stats.iter_many(["a"], DAY)


def test_a_key_is_a_plain_tuple():
    key = BucketDay("a", DAY)
    assert key == ("a", DAY)
    assert (key.bucket_id, key.day) == ("a", DAY)
