"""The commands. Only click is imported here; a command imports what it needs when it runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import click

from flashback_async.cli.dashboard import dashboard
from flashback_async.cli.exporter import exporter
from flashback_async.cli.history import history
from flashback_async.cli.messages import say
from flashback_async.cli.options import (
    Options,
    bucket_arguments,
    parse_days,
    positive_option,
    shared_options,
    watch_options,
)
from flashback_async.cli.report import report
from flashback_async.cli.streams import prepare_streams
from flashback_async.cli.verdict import Verdict, give, interrupted, is_check

_USAGE = 2
_EPILOG = """
\b
The token comes from FLASHBACK_TOKEN, or from the file that FLASHBACK_TOKEN_FILE
names. Data goes to standard output, everything else to standard error.

\b
Exit codes, the first that applies:
  130  interrupted, by Ctrl-C or SIGTERM
    2  usage or settings are wrong, or the output cannot be written
    3  the token was rejected
    5  the deadline passed
    4  nothing succeeded
    1  some buckets failed
    0  all is well
"""


@click.group(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="flashback-async", message="flashback %(version)s")
def flashback() -> None:
    """Statistics and node status of Flashback storage buckets."""


@flashback.command()
@bucket_arguments()
@click.option("--not-online", is_flag=True, help="Show only nodes that are not ONLINE.")
@click.option(
    "--dask", metavar="ADDRESS", help="Let a Dask cluster poll: that of the scheduler here."
)
@shared_options()
def status(ids: Sequence[str] | None, options: Options, not_online: bool, dask: str | None) -> int:
    """Show the current state of buckets' nodes.

    With "-", ids are read from standard input, one a line; blank lines and lines that start
    with # are skipped.
    """
    from flashback_async.cli.polling import poll_status

    return poll_status(ids, options, not_online=not_online, dask=dask)


@flashback.command(short_help="Show how much was uploaded and downloaded.")
@bucket_arguments(all_by_default=True)
@shared_options()
def stats(ids: Sequence[str] | None, options: Options) -> int:
    """Show how much was uploaded to buckets and downloaded from them; without ids, for all.

    With "-", ids are read from standard input, one a line; blank lines and lines that start
    with # are skipped.
    """
    from flashback_async.cli.polling import poll_stats

    return poll_stats(ids, options)


@flashback.command()
@bucket_arguments()
@click.option(
    "--day",
    "days",
    multiple=True,
    required=True,
    callback=parse_days,
    metavar="DAY",
    help="A UTC day: 2024-01-15, today or yesterday. May be given several times.",
)
@shared_options()
def node_stats(ids: Sequence[str] | None, days: Sequence[date], options: Options) -> int:
    """Show the daily uptime and latency of buckets' nodes.

    With "-", ids are read from standard input, one a line; blank lines and lines that start
    with # are skipped.
    """
    from flashback_async.cli.polling import poll_node_stats

    return poll_node_stats(ids, days, options)


@flashback.command(short_help="Report changes of buckets' nodes, until Ctrl-C.")
@bucket_arguments()
@watch_options
@click.option(
    "--state",
    type=click.Path(),
    metavar="FILE",
    help="Where to keep what was seen and written, for the next watch.",
)
@click.option("-q", "--quiet", is_flag=True, help="Log no warnings.")
@shared_options(forms=("table", "jsonl"), without=("deadline", "no_progress", "quiet"))
def watch(ids: Sequence[str] | None, options: Options, **settings: Any) -> int:
    """Report changes of buckets' nodes, until Ctrl-C or SIGTERM (exit code 0).

    On a terminal, a table shows what is not ONLINE now. In a pipe, each change is a line.
    With "-", all ids are read from standard input first.
    """
    from flashback_async.cli.watching import watch_buckets

    return watch_buckets(ids, settings, options)


@flashback.command(short_help="Judge buckets' nodes, as a plugin of monitoring systems.")
@bucket_arguments()
@click.option(
    "-w",
    "--warning",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="WARNING if more than N buckets have a node that is not ONLINE.",
)
@click.option(
    "-c",
    "--critical",
    type=click.IntRange(min=0),
    metavar="N",
    help="CRITICAL if more than N buckets have one.  [default: never]",
)
@shared_options(without=("output", "no_progress", "quiet", "verbose"))
def check(ids: Sequence[str] | None, options: Options, warning: int, critical: int | None) -> int:
    """Judge buckets' nodes, as a plugin of monitoring systems.

    It writes one line with performance data. Its own exit codes are: 0 OK, 1 WARNING,
    2 CRITICAL, 3 UNKNOWN. Whatever else goes wrong is UNKNOWN, wrong usage included.
    """
    from flashback_async.cli.check import check_buckets

    return check_buckets(ids, options, warning, critical)


@flashback.command(short_help="Run a Flashback API on this machine.")
@click.option("--buckets", type=click.IntRange(0, 1_000_000), default=100, show_default=True)
@click.option(
    "--nodes", type=click.IntRange(0, 10_000), default=3, show_default=True, help="Of each bucket."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Determines the account.")
@click.option(
    "--latency", type=click.FloatRange(min=0), default=0.0, help="Seconds that each answer takes."
)
@click.option(
    "--error-rate", type=click.FloatRange(0, 1), default=0.0, help="Share of answers that are 503."
)
@positive_option("--rate-limit", help="Requests a second; beyond that, it answers 429.")
@click.option("--healthy", is_flag=True, help="Every node is ONLINE until it is told otherwise.")
@click.option(
    "--churn",
    type=click.FloatRange(0, 3_600),
    default=0.0,
    help="How often an hour each node changes its state.",
)
@click.option("--control", is_flag=True, help="Let programs tell it over HTTP what goes wrong.")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="0 takes a free one.")
def sandbox(**settings: object) -> int:
    """Run a Flashback API on this machine, with a made-up account, until Ctrl-C."""
    from flashback_async.cli.serve import serve

    return serve(settings)


@flashback.command()
@click.option("--buckets", type=click.IntRange(1, 100_000), default=1_000, show_default=True)
@click.option("--no-progress", is_flag=True, help="Draw no progress bar.")
@click.option("--watch", "watches", is_flag=True, help="Watch them instead, until Ctrl-C.")
@click.option("--cluster", is_flag=True, help="Let two workers of a Dask cluster poll them.")
@click.option("--report", "reports", is_flag=True, help="Keep their last weeks, make a report.")
@click.option("--dashboard", "shows_page", is_flag=True, help="Show them on a page, until Ctrl-C.")
def demo(
    buckets: int, no_progress: bool, watches: bool, cluster: bool, reports: bool, shows_page: bool
) -> int:
    """Poll 1,000 buckets of a sandbox and show the results. Needs no account."""
    from flashback_async.cli.demo import dashboard_demo, show_demo, watch_demo

    if watches + cluster + reports + shows_page > 1:
        raise click.UsageError("give one of --watch, --cluster, --report and --dashboard")
    if reports:
        from flashback_async.cli.report_demo import show_report

        return show_report(buckets, shows_bar=not no_progress)
    if shows_page:
        return dashboard_demo(buckets)
    if cluster:
        from flashback_async.cli.cluster_demo import show_cluster

        return show_cluster(buckets, shows_bar=not no_progress)
    if watches:
        return watch_demo(buckets)
    return show_demo(buckets, shows_bar=not no_progress)


for _command in (history, report, dashboard, exporter):
    flashback.add_command(_command)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        arguments: What follows the command's name; None means the process's own arguments.
    """
    try:
        problem = prepare_streams()
        if problem:
            return _refuse(arguments, problem, _USAGE)
        code = flashback.main(arguments, prog_name="flashback", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return _USAGE
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f" (see '{context.command_path} --help')" if context else ""
        return _refuse(arguments, f"{error.format_message()}{hint}", error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return interrupted(arguments)
    return code if isinstance(code, int) else 0


def _refuse(arguments: Sequence[str] | None, problem: str, code: int) -> int:
    if is_check(arguments):
        return give(Verdict.UNKNOWN, problem)
    say(f"error: {problem}")
    return code
