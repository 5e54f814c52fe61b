"""What kept days say."""

from datetime import date, timedelta

import pytest

from flashback_async import InvalidArgumentError
from flashback_async.pages.report.uptime import Uptime
from tests.pages import FIRST, days, node_day

DAY = timedelta(days=1)


def read(history):
    uptime = Uptime()
    for day, rows in history:
        uptime.add(day, rows)
    return uptime


def test_the_uptime_of_a_day_is_the_mean_of_the_nodes_that_have_one():
    rows = [node_day("a", FIRST, 100.0, 0), node_day("a", FIRST, 50.0, 1)]
    uptime = read([(FIRST, [*rows, node_day("a", FIRST, None, 2)])])
    (found,) = uptime.worst_buckets()
    assert found.days == [75.0]
    assert (found.mean, found.reported, found.below, found.worst) == (75.0, 1, 1, 0)


def test_the_worst_bucket_comes_first_and_those_without_a_report_last():
    uptime = read(days({"b": [99.0], "a": [99.0], "none": [None], "worst": [0.0], "best": [100.0]}))
    assert [found.bucket_id for found in uptime.worst_buckets()] == [
        "worst",
        "a",
        "b",
        "best",
        "none",
    ]


def test_days_without_a_report_do_not_count_for_the_mean():
    (found,) = read(days({"a": [100.0, None, 98.0]})).worst_buckets()
    assert found.days == [100.0, None, 98.0]
    assert (found.mean, found.reported, found.below) == (99.0, 2, 1)


def test_gaps_are_known_as_such():
    third = FIRST + 2 * DAY
    uptime = read([(FIRST, [node_day("a", FIRST, 90.0)]), (third, [node_day("b", third, 80.0)])])
    assert (uptime.first, uptime.last, uptime.kept, uptime.span) == (FIRST, third, 2, 3)
    assert [uptime.is_kept(place) for place in range(3)] == [True, False, True]
    assert [found.days for found in uptime.worst_buckets()] == [
        [None, None, 80.0],
        [90.0, None, None],
    ]


def test_regions_count_node_days():
    def rows(day):
        yield node_day("a", day, 99.95, 0, region="x")
        yield node_day("a", day, 99.5, 1, region="x")
        yield node_day("b", day, 50.0, 0, region="x")
        yield node_day("b", day, None, 1, region="x")
        yield node_day("c", day, 100.0, 0, region=None)

    uptime = read([(FIRST, rows(FIRST)), (FIRST + DAY, rows(FIRST + DAY))])
    found = uptime.regions["x"]
    assert (found.count, found.reported, found.below_high, found.below_low) == (8, 6, 4, 2)
    assert found.mean == pytest.approx((99.95 + 99.5 + 50) / 3)
    assert uptime.regions[None].mean == 100


def test_a_node_of_several_buckets_is_one_node():
    def rows(day, value):
        shared = {"ip": "10.0.0.1", "region": "x"}
        return [node_day(bucket_id, day, value, **shared) for bucket_id in "ab"]

    uptime = read([(FIRST, rows(FIRST, 90.0)), (FIRST + DAY, rows(FIRST + DAY, 100.0))])
    (node,) = uptime.worst_nodes()
    assert (node.ip, node.bucket_ids, node.mean) == ("10.0.0.1", {"a", "b"}, 95.0)
    assert (node.reported, node.below_low, node.worst, node.worst_day) == (2, 1, 90.0, FIRST)


def test_nodes_without_an_address_are_known_by_their_place():
    rows = [node_day("a", FIRST, 90.0, 0, ip=None), node_day("a", FIRST, 80.0, 1, ip=None)]
    assert [node.mean for node in read([(FIRST, rows)]).worst_nodes()] == [80.0, 90.0]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_no_report(value):
    (found,) = read(days({"a": [value]})).worst_buckets()
    assert found.days == [None]


@pytest.mark.parametrize(("value", "shown"), [(1e308, 100.0), (150.0, 100.0), (-1e308, 0.0)])
def test_what_is_beyond_the_range_counts_as_its_nearest_end(value, shown):
    rows = [node_day("a", FIRST, value, place, ip=None) for place in range(2)]
    uptime = read([(FIRST, rows), (FIRST + DAY, [node_day("a", FIRST + DAY, value)])])
    (found,) = uptime.worst_buckets()
    assert (found.days, found.mean) == ([shown, shown], shown)
    assert uptime.regions["us-east-1"].mean == shown
    assert {(node.mean, node.worst) for node in uptime.worst_nodes()} == {(shown, shown)}


@pytest.mark.parametrize("second", [FIRST, FIRST - DAY, date.min])
def test_days_out_of_order_are_refused(second):
    uptime = read([(FIRST, [])])
    with pytest.raises(InvalidArgumentError, match="history must be in the order of its days"):
        uptime.add(second, [])
