"""The bar: on a terminal, and nowhere else."""

import io
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console

from flashback_async.cli import grid
from flashback_async.cli import progress as bar
from flashback_async.cli.options import Options
from flashback_async.cli.progress import progress

PLAIN = Options(64, 10.0, None, None, False, output="table")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    screen = Terminal()
    # Not sys.stderr itself: pytest sets that anew between a fixture and its test.
    monkeypatch.setattr(bar, "sys", SimpleNamespace(stderr=screen))
    monkeypatch.setattr(
        grid,
        "make_console",
        lambda stderr: Console(file=screen, force_terminal=True, width=80, _environ={}),
    )
    return screen


def unpaced():
    return None


@pytest.mark.parametrize(("total", "count"), [(1_200, "1,200 of 1,200"), (None, "1,200")])
def test_a_bar_says_how_many_and_leaves_no_trace(terminal, total, count):
    with progress(shown=True, total=total, pace=unpaced) as step:
        for _ in range(1_200):
            step()
    drawn = terminal.getvalue()
    assert count in drawn
    assert "/s" in drawn
    assert drawn.endswith("\x1b[2K")  # the line is cleared


@pytest.mark.parametrize(
    ("pace", "shown"), [(47.6, "throttled to 48/s"), (0.5, "to 0.5/s"), (1234.5, "to 1,234/s")]
)
def test_a_bar_tells_to_which_rate_the_run_is_throttled(terminal, pace, shown):
    with progress(shown=True, total=2, pace=lambda: pace) as step:
        step()
    assert shown in terminal.getvalue()


def test_a_bar_shows_a_note(terminal):
    with progress(shown=True, total=2, pace=unpaced, note=lambda: "1 of 7 days") as step:
        step()
    assert "1 of 7 days" in terminal.getvalue()


def test_without_a_terminal_nothing_is_drawn(capsys):
    with progress(shown=True, total=2, pace=unpaced) as step:
        step()
    assert capsys.readouterr().err == ""


def test_unwanted_nothing_is_drawn(terminal):
    with progress(shown=False, total=2, pace=unpaced) as step:
        step()
    assert terminal.getvalue() == ""


@pytest.mark.parametrize(
    ("changes", "to_terminal", "shown"),
    [
        ({}, True, True),
        ({}, False, True),
        ({"output": "jsonl"}, False, True),
        ({"output": "jsonl"}, True, False),  # the lines would tear it apart
        ({"output": "csv"}, True, False),
        ({"output": "json"}, True, True),
        ({"verbose": 1}, True, False),
        ({"quiet": True}, True, False),
        ({"no_progress": True}, True, False),
    ],
)
def test_a_bar_is_shown_where_it_disturbs_nothing(monkeypatch, changes, to_terminal, shown):
    monkeypatch.setattr(sys, "stdout", Terminal() if to_terminal else io.StringIO())
    assert PLAIN._replace(**changes).shows_bar is shown


def test_the_format_follows_where_the_output_goes(monkeypatch):
    options = PLAIN._replace(output=None)
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert options.form == "table"
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert options.form == "jsonl"
