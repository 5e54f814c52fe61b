"""``flashback dashboard``: a page on this machine that shows a watch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from flashback_async.cli.options import Options, bucket_arguments, shared_options, watch_options


@click.command(short_help="Show buckets' nodes on a page that stays up to date, until Ctrl-C.")
@bucket_arguments()
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=0,
    show_default=True,
    help="0 takes a free one.",
)
@watch_options
@click.option("-q", "--quiet", is_flag=True, help="Log no warnings.")
@shared_options(without=("output", "deadline", "no_progress", "quiet"))
def dashboard(ids: Sequence[str] | None, options: Options, port: int, **settings: Any) -> int:
    """Show the state of buckets' nodes on a page that stays up to date.

    It prints the page's address, which only this machine can reach, and runs until Ctrl-C or
    SIGTERM (exit code 0). With "-", all ids are read from standard input first.
    """
    from flashback_async.cli.dashboarding import show_dashboard
    from flashback_async.cli.settings import make_client

    return show_dashboard(lambda: make_client(options), ids, settings, options, port)
