"""Columns of text on a terminal: aligned, in groups, and fitted to its width."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.console import Console
from rich.text import Text

_GAP = "  "
_PIPE_WIDTH = 200


class Column(NamedTuple):
    """A column: its title, and how it is set."""

    title: str
    right: bool = False
    optional: bool = False  # left out where the terminal is narrow


class Group(NamedTuple):
    """Rows that belong together, under the name of what they belong to."""

    label: str
    rows: list[list[Text]]


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the command; rich itself would end the process with code 1."""
        raise BrokenPipeError


def make_console(*, stderr: bool = False) -> Console:
    """Make a console that shows text as it is; a pipe, which has no width, counts as wide."""
    console = _Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)
    if not (console.is_terminal or os.environ.get("COLUMNS")):
        console.width = _PIPE_WIDTH
    return console


def show(
    console: Console, label_title: str, columns: Sequence[Column], groups: Sequence[Group]
) -> None:
    """Print rows under their titles, in the roomiest of three forms that fits the width."""
    flat = _Grid([Column(label_title), *columns], _labelled(groups))
    if flat.width <= console.width:
        lines = flat.lines(console)
    else:
        lines = _grouped(console, columns, groups)
    console.print(Text("\n").join(lines))


def _labelled(groups: Sequence[Group]) -> list[list[Text]]:
    """Put the label of each group in front of its first row."""
    return [
        [Text("" if number else group.label), *row]
        for group in groups
        for number, row in enumerate(group.rows)
    ]


def _grouped(
    console: Console, columns: Sequence[Column], groups: Sequence[Group]
) -> Iterator[Text]:
    """Give the labels lines of their own, and leave out columns if that is not enough."""
    rows = [row for group in groups for row in group.rows]
    grid = _Grid(columns, rows)
    if len(_GAP) + grid.width > console.width:
        kept = [place for place, column in enumerate(columns) if not column.optional]
        grid = _Grid([columns[place] for place in kept], [[row[p] for p in kept] for row in rows])
    below = grid.lines(console)
    for _ in ("titles", "rule"):
        yield Text(_GAP).append_text(next(below))
    for group in groups:
        yield Text(group.label, style="bold")
        for _ in group.rows:
            yield Text(_GAP).append_text(next(below))


def lines(console: Console, columns: Sequence[Column], rows: list[list[Text]]) -> Iterator[Text]:
    """Give rows under their titles, for those who print them among other things."""
    return _Grid(columns, rows).lines(console)


class _Grid:
    """Rows of cells, each column as wide as its widest cell."""

    def __init__(self, columns: Sequence[Column], rows: list[list[Text]]) -> None:
        self._columns = columns
        self._rows = rows
        self._titles = [Text(column.title, style="bold") for column in columns]
        cells = zip(self._titles, *rows, strict=True)
        self._widths = [max(cell.cell_len for cell in column) for column in cells]
        self.width = sum(self._widths) + len(_GAP) * (len(columns) - 1)

    def lines(self, console: Console) -> Iterator[Text]:
        yield self._line(self._titles)
        yield Text(("-" if console.options.ascii_only else "─") * self.width, style="dim")
        for row in self._rows:
            yield self._line(row)

    def _line(self, cells: list[Text]) -> Text:
        line = Text()
        for column, width, cell in zip(self._columns, self._widths, cells, strict=True):
            padding = " " * (width - cell.cell_len)
            if column.right:
                line.append(padding)
            line.append_text(cell)
            if not column.right:
                line.append(padding)
            line.append(_GAP)
        line.rstrip()
        return line
