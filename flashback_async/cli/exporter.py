"""The command `exporter`: its arguments and options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from flashback_async.cli.options import Options, bucket_arguments, shared_options, watch_options


@click.command(short_help="Serve metrics for Prometheus, until Ctrl-C.")
@bucket_arguments()
@click.option(
    "--listen",
    metavar="HOST:PORT",
    default="127.0.0.1:9464",
    show_default=True,
    help="Where to serve; port 0 takes a free one.",
)
@click.option(
    "--detail",
    type=click.Choice(("region", "bucket", "node")),
    default="bucket",
    show_default=True,
    help="How much to export: each adds to the one before.",
)
@watch_options
@click.option("-q", "--quiet", is_flag=True, help="Log no warnings.")
@shared_options(without=("output", "deadline", "no_progress", "quiet"))
def exporter(ids: Sequence[str] | None, options: Options, **settings: Any) -> int:
    """Serve the state of buckets' nodes to Prometheus, until Ctrl-C or SIGTERM (exit code 0).

    It writes its URL to standard output; the metrics are at /metrics. With "-", all ids are
    read from standard input first.
    """
    from flashback_async.cli.metrics import export_metrics

    return export_metrics(ids, settings, options)
