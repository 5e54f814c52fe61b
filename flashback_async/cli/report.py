"""The command that writes a report on buckets as one HTML file."""

from __future__ import annotations

from collections.abc import Sequence

import click

from flashback_async.cli.options import Options, bucket_arguments, shared_options


@click.command(short_help="Write a report on buckets as one HTML file.")
@bucket_arguments()
@click.option(
    "--history",
    type=click.Path(),
    metavar="PATH",
    help="Show the uptime of the last year too, as the history here has it.",
)
@click.option(
    "--out", required=True, metavar="FILE", help='The file to write; "-" is standard output.'
)
@shared_options(without=("output",))
def report(ids: Sequence[str] | None, options: Options, history: str | None, out: str) -> int:
    """Write a report on the state of buckets' nodes as one HTML file.

    It opens in any browser without a network. Buckets that fail are in it with their reason. It
    is not written if the token was rejected before a bucket answered, or if the search for all
    buckets failed; an earlier file then stays as it is.

    With "-", ids are read from standard input, one a line; blank lines and lines that start
    with # are skipped.
    """
    from flashback_async.cli.reporting import write_report

    return write_report(ids, options, history=history, out=out)
