"""Days in a row."""

from datetime import date, datetime, timedelta, timezone
from types import SimpleNamespace

import pytest

from flashback_async import InvalidArgumentError, day_range
from tests.unit.support import NOON, Bench, answer

LATE = datetime(2024, 1, 15, 23, tzinfo=timezone(timedelta(hours=-5)))


@pytest.fixture
def today(monkeypatch):
    """It is the 15th of January 2024 in UTC."""
    monkeypatch.setattr("flashback_async.resources.days.time", SimpleNamespace(time=lambda: NOON))


def test_both_ends_are_included():
    assert day_range("2024-02-28", "2024-03-01") == [
        date(2024, 2, 28),
        date(2024, 2, 29),
        date(2024, 3, 1),
    ]


@pytest.mark.parametrize("day", [date(2024, 1, 16), LATE, "2024-01-16", "2024-01-16T05:00Z"])
def test_an_end_is_any_day_and_counts_in_utc(day):
    days = day_range(day, day)
    assert days == [date(2024, 1, 16)]
    assert type(days[0]) is date


def test_without_a_last_day_it_is_yesterday(today):
    assert day_range("2024-01-13") == [date(2024, 1, 13), date(2024, 1, 14)]
    assert day_range("2024-01-14") == [date(2024, 1, 14)]


@pytest.mark.parametrize(
    ("first", "last", "rule"),
    [
        ("2024-01-15", "2024-01-14", "last must not lie before first: 2024-01-14 is before"),
        ("2024-01-15", None, "last must not lie before first: yesterday, 2024-01-14, is before"),
        (None, "2024-01-14", "^first must be a date"),
        ("soon", "2024-01-14", "^first must be ISO 8601 text"),
        ("2024-01-14", 5, "^last must be a date"),
        (datetime(2024, 1, 15), None, "^first must be a date or an aware datetime"),  # noqa: DTZ001
        (date.min, datetime(9999, 12, 31, 23, tzinfo=LATE.tzinfo), "^last must lie in the years"),
    ],
)
def test_what_is_no_range_is_refused(today, first, last, rule):
    with pytest.raises(InvalidArgumentError, match=rule):
        day_range(first, last)


@pytest.mark.slow
def test_the_whole_calendar_is_a_range():
    days = day_range(date.min, date.max)
    assert (days[0], days[-1], len(days)) == (date.min, date.max, 3_652_059)


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_the_zone_of_the_machine_changes_no_day(today, monkeypatch, zone):
    monkeypatch.setenv("TZ", zone)
    days = day_range("2024-01-13", "2024-01-14T23:59")
    assert days == day_range("2024-01-13") == [date(2024, 1, 13), date(2024, 1, 14)]


async def test_days_takes_a_range():
    async with Bench(answer({"nodeStats": []})) as bench:
        report = await bench.node_stats.get_many(["a"], day_range("2024-01-13", "2024-01-15"))
        assert [o.key.day.day for o in report] == [13, 14, 15]
