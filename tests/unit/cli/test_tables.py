"""The tables of the resources."""

from datetime import UTC, date, datetime, timedelta

import pytest

from flashback_async import (
    BucketDay,
    BucketStats,
    BucketStatus,
    DailyNodeStats,
    Failure,
    NodeState,
    NodeStatus,
    NotFoundError,
    Success,
)
from flashback_async.cli import tables
from flashback_async.cli.records import NODE_STATS, STATS, STATUS


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")


def shown(capsys, view, *pairs):
    tables.show(view, [Success(n, key, value, 0.1) for n, (key, value) in enumerate(pairs)])
    return capsys.readouterr().out.splitlines()


def test_a_status_has_a_row_for_each_node(capsys):
    seen = datetime.now(UTC) - timedelta(hours=2, minutes=30)
    nodes = (
        NodeStatus("10.0.0.1", "us-east-1", "1.8.2", NodeState.ONLINE, 14.0, seen),
        NodeStatus("\x1b[2J", None, None, "[red]ODD", None, None),
    )
    lines = shown(capsys, STATUS, ("b1", BucketStatus("b1", nodes)), ("b2", BucketStatus("b2", ())))
    assert lines[0].split() == [
        "Bucket",
        "State",
        "Latency",
        "Region",
        "Node",
        "Version",
        "Updated",
    ]
    assert lines[2].split()[:3] == ["b1", "ONLINE", "14"]
    assert lines[2].endswith("2 h ago")
    assert lines[3].split() == ["[red]ODD", "-", "-", "\\x1b[2J", "-", "-"]
    assert lines[4].split() == ["b2", "no", "nodes"]


def test_states_have_their_colours_and_unknown_ones_none():
    styles = [tables.state(s).style for s in ("ONLINE", "OFFLINE", "DISCONNECTED", "ODD", None)]
    assert styles == ["green", "bold red", "yellow", "", ""]


def test_stats_end_with_a_total(capsys):
    one = BucketStats("b1", 1_000, 2**30, None, -(2**20))
    two = BucketStats("b2", 2_000, 2**30, 2**40, 2**21)
    lines = shown(capsys, STATS, ("b1", one), ("b2", two))
    assert lines[2].split() == ["b1", "1,000", "1.00", "GiB", "-", "-1.00", "MiB"]
    total = ["Total", "3,000", "2.00", "GiB", "1.00", "TiB", "+1.00", "MiB"]
    assert lines[4].split() == total


def test_one_bucket_needs_no_total(capsys):
    assert len(shown(capsys, STATS, ("b1", BucketStats("b1", 1, 2, 3, 4)))) == 3


def test_node_stats_have_a_row_for_each_node_and_day(capsys):
    seen = datetime(2024, 1, 15, 23, 59, tzinfo=UTC)
    node = DailyNodeStats("10.0.0.1", "*-a.example", 99.5, 14.25, "1.8.2", "OFFLINE", seen, 13.0)
    lines = shown(capsys, NODE_STATS, (BucketDay("b1", date(2024, 1, 15)), [node]))
    assert lines[0].startswith("Bucket Day")
    assert "b1 2024-01-15  OFFLINE  99.50 %  14.2 ms  13 ms  10.0.0.1  *-a.example" in lines[2]


def test_failures_and_nothing_at_all_make_no_table(capsys):
    tables.show(STATUS, [Failure(0, "b", NotFoundError("x"), 0.1)])
    tables.show(STATUS, [])
    assert capsys.readouterr().out == ""
