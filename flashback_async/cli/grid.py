"""Columns of text on a terminal: aligned, in groups, and fitted to its width."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TextIO

from rich.console import Console
from rich.text import Text

_GAP = "  "
_PIPE_WIDTH = 200
_SIZES = ("COLUMNS", "LINES")


class Column(NamedTuple):
    """A column: its title, and how it is laid out."""

    title: str
    right: bool = False
    optional: bool = False  # left out if the terminal is narrow


class Group(NamedTuple):
    """The rows of one bucket, and its label."""

    label: str
    rows: list[list[Text]]


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Raise the error for the command; rich itself would end the process with code 1."""
        raise BrokenPipeError


def make_console(*, stderr: bool = False, file: TextIO | None = None) -> Console:
    """Make a console that shows text as it is; a pipe, which has no width, counts as wide.

    What is printed to a ``file`` is meant for the terminal, in the size that this has now.
    """
    environment = _usable_environment()
    if file is not None:
        for name in _SIZES:  # exported by some shell, they would outlast a change of the size
            environment.pop(name, None)
    console = _Console(
        stderr=stderr,
        file=file,
        force_terminal=None if file is None else True,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=True,
        _environ=environment,
    )
    if not (console.is_terminal or "COLUMNS" in environment):
        console.width = _PIPE_WIDTH
    return console


def _usable_environment() -> dict[str, str]:
    """Return the environment without an impossible size of the terminal."""
    environment = dict(os.environ)
    for name in _SIZES:
        if not re.fullmatch(r"0*[1-9][0-9]{0,5}", environment.get(name, ""), re.ASCII):
            environment.pop(name, None)
    return environment


def show(
    console: Console, label_title: str, columns: Sequence[Column], groups: Sequence[Group]
) -> None:
    """Print rows under their titles, in the widest of three forms that fits."""
    flat = _Grid([Column(label_title), *columns], _labelled(groups))
    if flat.width <= console.width:
        lines = flat.lines(console)
    else:
        lines = _grouped(console, columns, groups)
    console.print(Text("\n").join(lines))


def _labelled(groups: Sequence[Group]) -> list[list[Text]]:
    """Return all rows, the first one of each group with its label in front."""
    return [
        [Text("" if number else group.label), *row]
        for group in groups
        for number, row in enumerate(group.rows)
    ]


def _grouped(
    console: Console, columns: Sequence[Column], groups: Sequence[Group]
) -> Iterator[Text]:
    """Yield lines with the labels on their own; optional columns are left out if need be."""
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
    """Return lines of rows under their titles, without printing them."""
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
