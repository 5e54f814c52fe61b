"""The options that the commands share."""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import click

Command = Callable[..., int]


def positive_option(name: str, **settings: Any) -> Callable[[Command], Command]:
    """Make an option that takes a finite number above 0."""
    return click.option(name, type=float, callback=_check_positive, **settings)


def _check_positive(_: click.Context, parameter: click.Parameter, value: float | None) -> Any:
    # click's own range lets NaN and infinity pass.
    if value is not None and not (math.isfinite(value) and value > 0):
        raise click.BadParameter(f"{value} is not a finite number above 0", param=parameter)
    return value


class Options(NamedTuple):
    """What the shared options say."""

    output: str | None
    concurrency: int
    deadline: float | None
    timeout: float
    max_rate: float | None
    base_url: str | None
    allow_insecure_http: bool
    no_progress: bool
    quiet: bool
    verbose: int

    @property
    def form(self) -> str:
        """The output format: what fits where it goes, if none is asked for."""
        return self.output or ("table" if sys.stdout.isatty() else "jsonl")

    @property
    def shows_bar(self) -> bool:
        # Log lines, and data that comes line by line on the same terminal, would tear it apart.
        torn = self.verbose or (self.form in ("jsonl", "csv") and sys.stdout.isatty())
        return not (self.no_progress or self.quiet or torn)


_OPTIONS = (
    click.option(
        "-o",
        "--output",
        type=click.Choice(("table", "json", "jsonl", "csv")),
        help="Format.  [default: table on a terminal, else jsonl]",
    ),
    click.option(
        "--concurrency",
        type=click.IntRange(min=1),
        default=64,
        show_default=True,
        help="Requests at once.",
    ),
    positive_option("--max-rate", metavar="N", help="Requests a second.  [default: no limit]"),
    positive_option(
        "--timeout",
        metavar="SECONDS",
        default=10.0,
        show_default=True,
        help="For one request; with its retries, three times as long.",
    ),
    positive_option("--deadline", metavar="SECONDS", help="For all of it.  [default: none]"),
    click.option(
        "--base-url",
        metavar="URL",
        help="Where the API is.  [default: $FLASHBACK_BASE_URL, else Flashback's]",
    ),
    click.option("--allow-insecure-http", is_flag=True, help="Permit http:// to another machine."),
    click.option("--no-progress", is_flag=True, help="Draw no progress bar."),
    click.option("-q", "--quiet", is_flag=True, help="No bar and no summary; only failures."),
    click.option("-v", "--verbose", count=True, help="Log retries to stderr; -vv all requests."),
)


def shared_options(command: Command) -> Command:
    """Give a command the shared options, which it takes as one `options`."""

    @functools.wraps(command)
    def packed(**values: Any) -> int:
        options = Options(**{name: values.pop(name) for name in Options._fields})
        return command(options=options, **values)

    decorated: Command = packed
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated
