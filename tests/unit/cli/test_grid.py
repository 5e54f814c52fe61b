"""Tables: three forms for three widths, and nothing of the data taken for markup."""

import io

import pytest
from rich.console import Console
from rich.text import Text

from flashback_async.cli import grid
from flashback_async.cli.grid import Column, Group

COLUMNS = (Column("State"), Column("Latency", right=True), Column("Host", optional=True))
GROUPS = [
    Group("bucket-one", [[Text("ONLINE"), Text("5 ms"), Text("*-a")]] * 2),
    Group("[red]two[/]", [[Text("OFFLINE"), Text("-"), Text(":smile:")]]),
]


def shown(width, encoding="utf-8", groups=GROUPS):
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=file, width=width, markup=False, emoji=False, soft_wrap=True)
    grid.show(console, "Bucket", COLUMNS, groups)
    file.seek(0)
    return file.read().splitlines()


def test_a_wide_terminal_has_a_row_for_each_item():
    assert shown(80) == [
        "Bucket       State    Latency  Host",
        "──────────────────────────────────────",
        "bucket-one   ONLINE      5 ms  *-a",
        "             ONLINE      5 ms  *-a",
        "[red]two[/]  OFFLINE        -  :smile:",
    ]


def test_a_narrower_one_has_the_labels_on_lines_of_their_own():
    assert shown(30) == [
        "  State    Latency  Host",
        "  ─────────────────────────",
        "bucket-one",
        "  ONLINE      5 ms  *-a",
        "  ONLINE      5 ms  *-a",
        "[red]two[/]",
        "  OFFLINE        -  :smile:",
    ]


def test_a_narrow_one_leaves_out_what_is_optional():
    assert shown(20)[:4] == [
        "  State    Latency",
        "  ────────────────",
        "bucket-one",
        "  ONLINE      5 ms",
    ]


def test_a_terminal_without_box_characters_gets_none():
    assert all(line.isascii() for line in shown(80, encoding="ascii"))


def test_wide_characters_take_two_places():
    rows = [[Text("日本"), Text("5 ms"), Text("")], [Text("OK"), Text("5 ms"), Text("")]]
    lines = shown(80, groups=[Group("b", rows)])
    assert lines[2].index("5 ms") + 2 == lines[3].index("5 ms")


def test_a_pipe_counts_as_wide(monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert grid.make_console().width == 200
    monkeypatch.setenv("COLUMNS", "50")
    assert grid.make_console().width == 50


@pytest.mark.parametrize("size", ["0", "-5", "", "²", "9" * 5_000, "wide"])
def test_a_size_that_no_terminal_has_counts_as_none(monkeypatch, capsys, size):
    monkeypatch.setenv("COLUMNS", size)
    monkeypatch.setenv("LINES", size)
    console = grid.make_console()
    assert console.width == 200
    grid.show(console, "Bucket", COLUMNS, GROUPS)
    assert "ONLINE" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["[bold]x[/bold]", ":smile:", "http://x 12 'y'"])
def test_the_console_shows_text_as_it_is(text, capsys):
    grid.make_console().print(text)
    assert capsys.readouterr().out == f"{text}\n"
