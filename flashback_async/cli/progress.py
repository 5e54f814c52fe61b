"""A progress bar on standard error: count, rate, remaining time, and more if there is more."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


@contextmanager
def progress(
    *,
    shown: bool,
    total: int | None,
    pace: Callable[[], float | None],
    note: Callable[[], str] = str,
) -> Iterator[Callable[[], None]]:
    """Draw a bar, if standard error is a terminal; yields the function to call at each step.

    Args:
        shown: Whether a bar is wanted.
        total: How many steps there will be; None if that is unknown.
        pace: Returns the requests a second that the server allows; None while it does not throttle.
        note: Returns what else there is to show, such as a second count.
    """
    if not (shown and sys.stderr.isatty()):
        yield _no_step
        return
    bar = _make_bar(pace, note)
    task = bar.add_task("", total=total)
    with bar:
        yield lambda: bar.advance(task)


def _no_step() -> None:
    """Do nothing, because no bar is drawn."""


def _make_bar(pace: Callable[[], float | None], note: Callable[[], str]) -> Progress:
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TimeRemainingColumn
    from rich.text import Text

    from flashback_async.cli import text
    from flashback_async.cli.grid import make_console

    class Count(ProgressColumn):
        def render(self, task: Task) -> Text:
            done = f"{task.completed:,.0f}"
            return Text(done if task.total is None else f"{done} of {task.total:,.0f}")

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:,.0f}/s", style="cyan")

    class Pace(ProgressColumn):
        def render(self, task: Task) -> Text:
            rate = pace()
            return Text("" if rate is None else f"throttled to {text.rate(rate)}", style="yellow")

    class Note(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(note())

    return Progress(
        BarColumn(),
        Note(),
        Count(),
        Rate(),
        TimeRemainingColumn(compact=True),
        Pace(),
        console=make_console(stderr=True),
        transient=True,
        # The bar leaves standard output alone, which is for data and may be a file.
        redirect_stdout=False,
        redirect_stderr=False,
    )
