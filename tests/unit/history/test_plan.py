"""Which days are due, and the arguments of an export."""

from datetime import UTC, date, datetime, timedelta

import pytest

from flashback_async import (
    ConfigurationError,
    DailyNodeStats,
    FlashbackClient,
    InvalidArgumentError,
    NodeState,
)
from flashback_async.history import NodeDay
from flashback_async.history.plan import check_options, checked_ids, span_of
from flashback_async.history.rows import KeptDay, hash_of, time_text, values_of

HOUR = timedelta(hours=1)
CLIENT = FlashbackClient("token")


def day(number):
    return date(2026, 1, number)


def at(number, hour, minute=0):
    return datetime(2026, 1, number, hour, minute, tzinfo=UTC)


def kept(*days):
    return {day(n): KeptDay(day(n), 3, 1, 0, "x", at(20, 0)) for n in days}


def test_the_newest_day_is_asked_for_first_and_kept_days_are_not():
    span = span_of("2026-01-01", "2026-01-05", (), HOUR)
    plan = span.plan(kept(2, 4, 9), at(9, 0))
    assert plan.due == [day(5), day(3), day(1)]
    assert plan.skipped == [day(2), day(4)]
    assert plan.unsettled == []


@pytest.mark.parametrize(
    ("now", "due"),
    [(at(5, 23, 59), 4), (at(6, 0, 59), 4), (at(6, 1), 5), (at(7, 0, 59), 5), (at(7, 1), 6)],
)
def test_a_day_is_due_once_it_has_ended_long_enough_ago(now, due):
    plan = span_of(day(1), day(9), (), HOUR).plan({}, now)
    assert plan.due[0] == day(due)
    assert plan.unsettled == [day(n) for n in range(due + 1, 10)]


def test_today_is_never_due():
    plan = span_of(day(5), day(6), (), timedelta(0)).plan({}, at(6, 23, 59))
    assert (plan.due, plan.unsettled) == ([day(5)], [day(6)])


def test_days_to_redo_are_due_though_kept_and_outside_of_the_span():
    plan = span_of(day(3), day(4), ["2026-01-01", day(4)], HOUR).plan(kept(1, 3, 4), at(9, 0))
    assert (plan.due, plan.skipped) == ([day(4), day(1)], [day(3)])


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("yesterday", None, (), HOUR), "first must be ISO 8601 text"),
        ((day(2), day(1), (), HOUR), "last must not lie before first"),
        ((at(1, 0).replace(tzinfo=None), None, (), HOUR), "first must be"),
        ((day(1), day(2), "2026-01-01", HOUR), "redo must be an iterable of days, not str"),
        ((day(1), day(2), day(1), HOUR), "redo must be an iterable of days, not date"),
        ((day(1), day(2), ["soon"], HOUR), "redo must be ISO 8601 text"),
        ((day(1), day(2), (), 3600), "settle must be a timedelta, not int"),
        ((day(1), day(2), (), -HOUR), "settle must not be negative"),
    ],
)
def test_a_bad_span_names_the_argument(arguments, problem):
    with pytest.raises(InvalidArgumentError, match=problem):
        span_of(*arguments)


@pytest.mark.parametrize(
    ("ids", "problem"),
    [
        ("abc", "an iterable of ids, not str"),
        (b"abc", "an iterable of ids, not bytes"),
        (None, "an iterable of ids, not NoneType"),
        ([], "at least one id"),
        (["a", 1], "ids as text, not int"),
    ],
)
def test_bad_ids_are_refused(ids, problem):
    with pytest.raises(InvalidArgumentError, match=f"^bucket_ids must .*{problem}"):
        checked_ids(ids)


def test_ids_are_read_once_and_each_counts_once():
    assert checked_ids(iter(["b", "a", "b"])) == ["b", "a"]


@pytest.mark.parametrize("allowed", [True, -1, 1.0, None, "1"])
def test_allow_failed_is_a_whole_number(allowed):
    with pytest.raises(InvalidArgumentError, match=r"^allow_failed must be a whole number"):
        check_options(CLIENT, "sqlite", allowed, None)


def test_other_options_are_checked():
    with pytest.raises(InvalidArgumentError, match=r"^on_day must be a function, not int"):
        check_options(CLIENT, "sqlite", 0, 1)
    for form in ("csv", None, ["sqlite"]):
        with pytest.raises(ConfigurationError, match=r'^format must be "sqlite" or "parquet", not'):
            check_options(CLIENT, form, 0, None)
    assert check_options(CLIENT, "parquet", 1, print) == "parquet"


def test_a_row_has_every_column_in_order_and_plain_values():
    node = DailyNodeStats(
        "10.0.0.1",
        "*-us-east-1-aws.flashback.tech",
        99.5,
        2.0,
        "1.2",
        NodeState.ONLINE,
        at(5, 3),
        4.0,
    )
    values = values_of("b", day(5), [DailyNodeStats(), node])
    assert len(values) == 26
    assert NodeDay(*values[:13]) == NodeDay("b", day(5), 0)
    row = NodeDay(*values[13:])
    assert row == (
        *("b", day(5), 1, "10.0.0.1", node.host, "us-east-1", "aws"),
        *(99.5, 2.0, "1.2", "ONLINE", at(5, 3), 4.0),
    )
    assert type(row.state) is str
    assert NodeDay._fields == (
        *("bucket_id", "day", "place", "ip", "host", "region", "provider", "uptime_percent"),
        *("avg_latency_ms", "version", "state", "last_updated", "last_latency_ms"),
    )


def test_the_hash_of_ids_depends_on_the_set_alone():
    assert hash_of(["a", "b", "a"]) == hash_of(iter("ba"))
    assert len({hash_of(["a", "b"]), hash_of(["ab"]), hash_of(["a,b"]), hash_of(['a", "b'])}) == 4


def test_times_are_text_of_one_length_that_sorts():
    texts = [time_text(at(5, 3)), time_text(at(5, 3).replace(microsecond=7))]
    assert texts == ["2026-01-05T03:00:00.000000Z", "2026-01-05T03:00:00.000007Z"]
    assert [datetime.fromisoformat(text) for text in texts] == [
        at(5, 3),
        at(5, 3).replace(microsecond=7),
    ]
