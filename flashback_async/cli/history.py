"""The command `history`: keep the daily statistics of many days, and tell what is kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import click

from flashback_async.cli.options import (
    Options,
    bucket_arguments,
    check_number,
    parse_day,
    parse_days,
    shared_options,
)


@click.command(short_help="Keep the daily statistics of many days.")
@bucket_arguments(without="status")
@click.option(
    "--from",
    "first",
    callback=parse_day,
    metavar="DAY",
    help="The first UTC day: 2024-01-15, today or yesterday.",
)
@click.option(
    "--to", "last", callback=parse_day, metavar="DAY", help="The last day.  [default: yesterday]"
)
@click.option(
    "--out",
    "path",
    type=click.Path(),
    required=True,
    metavar="PATH",
    help="The file or folder to keep them in, new or of an earlier run.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(("sqlite", "parquet")),
    help="A database, or a folder of Parquet files.  [default: as it is, else sqlite]",
)
@click.option(
    "--settle",
    type=click.FloatRange(0, 8_760),
    callback=check_number,
    default=1.0,
    show_default=True,
    metavar="HOURS",
    help="How long ago a day must have ended.",
)
@click.option(
    "--allow-failed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Keep a day even if up to N buckets failed.",
)
@click.option(
    "--redo",
    multiple=True,
    callback=parse_days,
    metavar="DAY",
    help="Ask for a day although it is kept. May be given several times.",
)
@click.option("--status", is_flag=True, help="Tell what is kept, and ask for nothing.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(("table", "json")),
    help="Format of --status.  [default: table on a terminal, else json]",
)
@shared_options(without=("output", "deadline"))
def history(
    ids: Sequence[str] | None,
    options: Options,
    first: date | None,
    last: date | None,
    status: bool,
    **settings: Any,
) -> int:
    """Keep the daily uptime and latency of buckets' nodes, for as many days as you like.

    Days that are kept already are not asked for again, so run it again to go on after a failure,
    or every day. With "-", ids are read from standard input.
    """
    if settings["path"] == "-":
        raise click.UsageError("--out must name a file or a folder, not standard output")
    if status:
        if first or last or settings["redo"] or settings["form"]:
            raise click.UsageError("--status goes with --out and --output only")
        from flashback_async.cli.kept import show_status

        return show_status(settings["path"], options)
    redo = settings["redo"]
    if first is None and not redo:
        raise click.UsageError("give --from DAY, --redo DAY, or --status")
    if first is not None and last is not None and last < first:
        raise click.UsageError(f"--to must not lie before --from: {last} is before {first}")
    from flashback_async.cli.keeping import export_history

    if first is None:
        first = last = redo[0]  # and the others
    return export_history(ids, first, last, settings, options)
