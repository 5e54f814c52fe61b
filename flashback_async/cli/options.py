"""The arguments and options that the commands share."""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal, NamedTuple

import click

Command = Callable[..., int]


def bucket_arguments(
    *, all_by_default: bool = False, without: str | None = None
) -> Callable[[Command], Command]:
    """Add ids and ``--all`` to a command, as one argument `ids`: None means all buckets.

    Args:
        all_by_default: Whether ids and ``--all`` may both be left out.
        without: The argument of an option with which neither is allowed.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def chosen(*, ids: tuple[str, ...], everything: bool, **values: Any) -> int:
            if everything and ids:
                raise click.UsageError("give bucket ids or --all, not both")
            if without is not None and values[without]:
                if everything or ids:
                    raise click.UsageError(f"give neither bucket ids nor --all with --{without}")
            elif not (everything or ids or all_by_default):
                raise click.UsageError(
                    'give bucket ids, "-" to read them from standard input, or --all'
                )
            return command(ids=ids or None, **values)

        decorated: Command = chosen
        helped = "Every bucket that the token can see."
        if all_by_default:
            helped += "  [default without ids]"
        decorated = click.option("--all", "everything", is_flag=True, help=helped)(decorated)
        return click.argument("ids", nargs=-1, metavar="[ID...|-]")(decorated)

    return decorate


def parse_days(
    _: click.Context, parameter: click.Parameter, values: Sequence[str]
) -> tuple[date, ...]:
    """Return the days that the values of an option name.

    Raises:
        click.BadParameter: One of them names no day.
    """
    return tuple(_day(value, parameter) for value in values)


def parse_day(_: click.Context, parameter: click.Parameter, value: str | None) -> date | None:
    """Return the day that the value of an option names; None if it was not given.

    Raises:
        click.BadParameter: It names no day.
    """
    return None if value is None else _day(value, parameter)


def _day(value: str, parameter: click.Parameter) -> date:
    today = datetime.now(UTC).date()
    named = {"today": today, "yesterday": today - timedelta(days=1)}
    if value.lower() in named:
        return named[value.lower()]
    try:
        at = datetime.fromisoformat(value)
        return (at if at.tzinfo is None else at.astimezone(UTC)).date()
    except (ValueError, OverflowError):
        message = f"day must be a UTC day such as 2024-01-15, today or yesterday, not {value!a}"
        raise click.BadParameter(message, param=parameter) from None


def positive_option(name: str, **settings: Any) -> Callable[[Command], Command]:
    """Make an option that takes a finite number above 0."""
    return click.option(name, type=float, callback=_check_positive, **settings)


def _check_positive(_: click.Context, parameter: click.Parameter, value: float | None) -> Any:
    # click's own range accepts NaN and infinity.
    if value is not None and not (math.isfinite(value) and value > 0):
        raise click.BadParameter(f"{value} is not a finite number above 0", param=parameter)
    return value


def check_number(_: click.Context, parameter: click.Parameter, value: float) -> float:
    """Return the value of an option with a range, which click lets NaN pass.

    Raises:
        click.BadParameter: It is NaN.
    """
    if math.isnan(value):
        raise click.BadParameter(f"{value} is not a number", param=parameter)
    return value


def watch_options(command: Command) -> Command:
    """Add the options of every command that watches, named as the settings of a watch."""
    for add in reversed(_WATCH_OPTIONS):
        command = add(command)
    return command


_WATCH_OPTIONS = (
    positive_option(
        "--interval",
        metavar="SECONDS",
        default=60.0,
        show_default=True,
        help="Between two polls of a bucket.",
    ),
    click.option(
        "--fall",
        type=click.IntRange(min=1),
        default=2,
        show_default=True,
        help="Answers in a row after which a node is not ONLINE, or gone.",
    ),
    click.option(
        "--rise",
        type=click.IntRange(min=1),
        default=2,
        show_default=True,
        help="Answers in a row after which a node is ONLINE again.",
    ),
)


class Options(NamedTuple):
    """The values of the shared options; those that a command lacks have a default."""

    concurrency: int
    timeout: float
    max_rate: float | None
    base_url: str | None
    allow_insecure_http: bool
    transport: Literal["auto", "aiohttp", "direct"] = "auto"
    deadline: float | None = None
    output: str | None = None
    no_progress: bool = False
    quiet: bool = False
    verbose: int = 0

    @property
    def form(self) -> str:
        """The output format; without ``--output``, the one that suits the output's target."""
        return self.output or ("table" if sys.stdout.isatty() else "jsonl")

    @property
    def shows_bar(self) -> bool:
        """Whether a progress bar is wanted and would stay intact."""
        # Log lines, and data that is written line by line to the same terminal, would break it.
        broken = self.verbose or (self.form in ("jsonl", "csv") and sys.stdout.isatty())
        return not (self.no_progress or self.quiet or broken)


FORMS = ("table", "json", "jsonl", "csv")

_OPTIONS: dict[str, Callable[[Command], Command]] = {
    "concurrency": click.option(
        "--concurrency",
        type=click.IntRange(min=1),
        default=64,
        show_default=True,
        help="Requests in flight at once.",
    ),
    "max_rate": positive_option(
        "--max-rate", metavar="N", help="Requests a second.  [default: no limit]"
    ),
    "timeout": positive_option(
        "--timeout",
        metavar="SECONDS",
        default=10.0,
        show_default=True,
        help="For one request; with its retries, three times as long.",
    ),
    "deadline": positive_option(
        "--deadline", metavar="SECONDS", help="For the whole run.  [default: no deadline]"
    ),
    "base_url": click.option(
        "--base-url",
        metavar="URL",
        help="Where the API is.  [default: $FLASHBACK_BASE_URL, else Flashback's]",
    ),
    "allow_insecure_http": click.option(
        "--allow-insecure-http", is_flag=True, help="Permit http:// to another machine."
    ),
    "transport": click.option(
        "--transport",
        type=click.Choice(("auto", "aiohttp", "direct")),
        default="auto",
        show_default=True,
        help="What carries the requests.",
    ),
    "no_progress": click.option("--no-progress", is_flag=True, help="Draw no progress bar."),
    "quiet": click.option(
        "-q", "--quiet", is_flag=True, help="No bar and no summary; only failures."
    ),
    "verbose": click.option(
        "-v", "--verbose", count=True, help="Log retries to stderr; -vv all requests."
    ),
}


def shared_options(
    *, forms: Sequence[str] = FORMS, without: Collection[str] = ()
) -> Callable[[Command], Command]:
    """Add the shared options to a command, as one argument `options`.

    Args:
        forms: The output formats that the command has.
        without: The fields of `Options` that it lacks, or that it has an option of its own for.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def packed(**values: Any) -> int:
            given = [name for name in Options._fields if name in values]
            options = Options(**{name: values.pop(name) for name in given})
            return command(options=options, **values)

        decorated: Command = packed
        offered = {"output": _output_option(forms), **_OPTIONS}
        for name in reversed(offered):
            if name not in without:
                decorated = offered[name](decorated)
        return decorated

    return decorate


def _output_option(forms: Sequence[str]) -> Callable[[Command], Command]:
    return click.option(
        "-o",
        "--output",
        type=click.Choice(forms),
        help="Format.  [default: table on a terminal, else jsonl]",
    )
