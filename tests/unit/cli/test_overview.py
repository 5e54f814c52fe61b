"""The table of a watch: what it counts, lists first, and leaves out on a small screen."""

import io
from datetime import UTC, datetime, timedelta

import pytest

from flashback_async import (
    BucketView,
    Change,
    ChangeKind,
    NodeState,
    NodeStatus,
    NodeView,
    ServerError,
    WatchStats,
)
from flashback_async.cli import changes, grid
from flashback_async.cli.frame import Moment, frame
from flashback_async.cli.overview import Overview
from flashback_async.cli.verdict import interrupted

NOW = datetime(2025, 6, 30, 12, 0, tzinfo=UTC)
ERROR = ServerError("503 Service Unavailable")
EVIL = "\x1b[31m[bold]\n\u202e"


def node(ip="10.0.0.1", state="ONLINE", age=60):
    known = NodeState(state) if state in NodeState.__members__ else state
    status = NodeStatus(ip, "eastus", "1.0", known, 10.0, NOW)
    return NodeView(status, ip, known, NOW - timedelta(seconds=age))


def bucket(bucket_id, *nodes, error=None, asked=True):
    return BucketView(bucket_id, nodes, asked and error is None, error, NOW if asked else None)


def change(kind, bucket_id, ip=None, before=None, after=None, at=NOW, error=None):
    status = None if ip is None else node(ip).node
    return Change(ChangeKind(kind), bucket_id, ip, before, after, status, at, NOW, 0, error)


def view_of(*buckets):
    return {view.bucket_id: view for view in buckets}


def picture(overview, width=100, height=24, messages=(), pace=None, lag=0.0, asked=100):
    stats = WatchStats(len(overview._estate._view), asked, 0, 0, lag, 0.0)
    console = grid.make_console(file=io.StringIO())
    console.width, console.height = width, height
    lines = frame(overview, Moment(NOW, stats, pace, messages), console)
    return [line.plain for line in lines]


def refreshed(overview):
    for _ in range(3):  # the second one begins a new round
        overview.update()
    return overview


def test_nodes_are_counted_by_state_and_recounted_as_the_view_changes():
    view = view_of(bucket("a", node(), node("2", "OFFLINE")), bucket("b", node(), node("2", None)))
    overview = Overview(view)
    assert overview.states == {"ONLINE": 2, "OFFLINE": 1, None: 1}
    view["a"] = bucket("a", node(), node("2"))
    overview.note(change("STATE", "a", "2", "OFFLINE", "ONLINE"))
    overview.update()
    assert overview.states == {"ONLINE": 3, None: 1}
    assert [problem.ip for problem in overview.problems()] == ["2"]
    del view["b"]
    overview.note(change("GONE", "b"))
    overview.update()
    assert overview.states == {"ONLINE": 2}
    assert (list(overview.problems()), overview.gone) == ([], 0)


def test_a_change_that_is_taken_back_and_never_told_is_seen_all_the_same():
    view = view_of(bucket("a", node(state="OFFLINE")), bucket("b", node()))
    overview = Overview(view)
    view["a"] = bucket("a", node())
    del view["b"]
    refreshed(overview)
    assert overview.states == {"ONLINE": 1}
    assert not list(overview.problems())


def test_a_bucket_is_unknown_from_the_change_that_says_so_to_the_one_that_ends_it():
    view = view_of(bucket("a", node(), error=ERROR))
    overview = Overview(view_of(bucket("a", node())))
    overview.note(change("UNKNOWN", "a", error=ERROR))
    (problem,) = overview.problems()
    assert (overview.unknown, problem.state, problem.ip) == (1, "UNKNOWN", None)
    assert problem.detail == "ServerError: 503 Service Unavailable"
    overview.note(change("KNOWN", "a"))
    assert (overview.unknown, list(overview.problems())) == (0, [])
    # An earlier watch told of it, and nothing has changed since.
    overview = Overview(view)
    assert overview.unknown == 1
    view["a"] = bucket("a", node())
    refreshed(overview)
    assert overview.unknown == 0
    # It has answered before, so that a single failure says little.
    view["a"] = bucket("a", node(), error=ERROR)
    assert refreshed(overview).unknown == 0


def test_a_bucket_that_is_not_asked_yet_is_no_problem():
    assert not list(Overview(view_of(bucket("a", asked=False))).problems())


def test_a_bucket_that_is_gone_is_a_problem_until_its_nodes_appear():
    overview = Overview(view_of(bucket("a")))
    overview.note(change("GONE", "a"))
    overview.update()
    assert overview.gone == 1
    assert [problem.state for problem in overview.problems()] == ["GONE"]
    overview.note(change("APPEARED", "a", "1", after="ONLINE"))
    assert overview.gone == 0


def test_the_nodes_that_a_first_answer_finds_are_no_news():
    overview = Overview(view_of(bucket("a", node())))
    overview.note(change("APPEARED", "a", "1", after="ONLINE"))
    overview.note(change("APPEARED", "a", "2", after="ONLINE"))
    assert not overview.changes
    later = change("APPEARED", "a", "3", after="ONLINE", at=NOW + timedelta(seconds=60))
    overview.note(later)
    assert list(overview.changes) == [later]


def test_what_is_down_as_a_whole_comes_first_and_then_the_latest():
    overview = Overview(
        view_of(
            bucket("part", node("1"), node("2", "OFFLINE", 10), node("3", "OFFLINE", 7_200)),
            bucket("whole", node("1", "DISCONNECTED", 90_000)),
        )
    )
    rows = [line.split() for line in picture(overview)[4:7]]
    assert rows == [
        ["DISCONNECTED", "1", "d", "1", "whole", "eastus"],
        ["OFFLINE", "10", "s", "2", "part", "eastus"],
        ["OFFLINE", "2", "h", "3", "part", "eastus"],
    ]


def test_the_heading_says_what_is_out_of_the_ordinary():
    overview = Overview(view_of(bucket("a", node(), node("2", "ODD")), bucket("b", asked=False)))
    overview.note(change("UNKNOWN", "b", error=ERROR))
    overview.note(change("GONE", "b"))
    first, second, *_ = picture(overview, asked=1, pace=20.0, lag=3.0)
    assert first.startswith(
        "2 buckets · 1 ONLINE · 1 ODD · 1 bucket UNKNOWN · 1 bucket GONE · 1 ask"
    )
    assert f"{first} · {second}".count(" · 3 s behind · throttled to 20/s · ") == 1
    calm = picture(Overview(view_of(bucket("a", node()))))
    assert calm[0].startswith("1 bucket · 1 ONLINE · ")
    assert calm[1:] == ["", "No problems."]


def test_nothing_is_called_fine_that_was_not_asked():
    few = Overview(view_of(bucket("a", node()), bucket("b", asked=False)))
    assert picture(few, asked=1)[-1] == "No problems so far."
    assert picture(Overview({}))[-1] == "No buckets yet."


@pytest.mark.parametrize(("command", "code"), [("watch", 0), ("check", 3), ("status", 130)])
def test_an_interrupt_before_a_command_begins_ends_it_as_its_own_would(command, code, capsys):
    assert interrupted([command]) == code
    said = capsys.readouterr()
    assert said.out == ("FLASHBACK UNKNOWN - interrupted\n" if command == "check" else "")
    assert said.err == ("interrupted\n" if command == "status" else "")


@pytest.mark.parametrize("width", [1, 20, 40, 80, 200])
@pytest.mark.parametrize("height", [1, 2, 3, 4, 5, 6, 7, 10, 24, 50])
@pytest.mark.parametrize("number", [0, 1, 30])
def test_a_picture_is_never_larger_than_the_screen(width, height, number):
    view = view_of(*(bucket(f"bucket-{n}", node(state="OFFLINE")) for n in range(number)))
    overview = Overview(view)
    for n in range(number):
        overview.note(change("STATE", f"bucket-{n}", "10.0.0.1", "ONLINE", "OFFLINE"))
    lines = picture(overview, width, height, messages=["WARNING " + "x" * 300] * 3)
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)
    listed = sum(line.startswith("OFFLINE  ") for line in lines)
    if width >= 40 and height >= 4 and number:
        more = [line for line in lines if line.startswith("and ") or "problem" in line]
        left = int(more[0].removeprefix("and ").split()[0]) if more else 0
        assert listed + left == number


def test_messages_and_the_last_changes_are_shown_below():
    overview = Overview(view_of(bucket("a", node())))
    for n in range(60):
        overview.note(change("STATE", "a", f"node-{n}", "OFFLINE", "ONLINE"))
    lines = picture(overview, messages=["WARNING x"])
    assert lines[-1] == "WARNING x"
    shown = [line for line in lines if "OFFLINE -> ONLINE" in line]
    assert "node-59" in shown[0]
    assert 3 <= len(shown) <= 8


def test_a_terminal_without_unicode_gets_ascii():
    class Ascii(io.StringIO):
        encoding = "ascii"

    overview = Overview(view_of(bucket("a", node(state="OFFLINE"))))
    console = grid.make_console(file=Ascii())
    stats = WatchStats(1, 1, 0, 0, 0.0, 0.0)
    assert all(
        line.plain.isascii() for line in frame(overview, Moment(NOW, stats, None, ()), console)
    )


def test_nothing_that_the_api_says_is_markup_or_acts_on_the_terminal():
    error = ServerError(EVIL)
    overview = Overview(view_of(bucket(EVIL, node(EVIL, EVIL)), bucket("b", error=error)))
    overview.note(change("STATE", EVIL, EVIL, EVIL, EVIL))
    overview.note(change("UNKNOWN", "b", error=error))
    lines = picture(overview, width=300)
    assert all(line.isprintable() for line in lines)
    assert any("\\x1b[31m[bold]\\n" in line for line in lines)
    for noted in overview.changes:
        assert changes.line(noted).isprintable()


@pytest.mark.parametrize(
    ("kind", "values", "shown"),
    [
        ("STATE", {"ip": "1", "before": "ONLINE", "after": "OFFLINE"}, "b  1  ONLINE -> OFFLINE"),
        ("APPEARED", {"ip": "1", "after": None}, "b  1  appeared, -"),
        ("GONE", {"ip": "1", "before": "ONLINE"}, "b  1  ONLINE -> gone"),
        ("GONE", {}, "b  gone"),
        ("UNKNOWN", {"error": ERROR}, "b  UNKNOWN: ServerError: 503 Service Unavailable"),
        ("KNOWN", {}, "b  KNOWN"),
    ],
)
def test_a_change_is_one_line_of_text(kind, values, shown):
    assert changes.line(change(kind, "b", **values)) == f"2025-06-30T12:00:00Z  {shown}"
