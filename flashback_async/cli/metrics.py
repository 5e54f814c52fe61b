"""The work of `exporter`: metrics over HTTP, until it is stopped."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import click

from flashback_async.cli import output
from flashback_async.cli.exits import Deadline, Exit
from flashback_async.cli.ids import all_ids
from flashback_async.cli.log import log_lines, stderr_lines
from flashback_async.cli.options import Options
from flashback_async.cli.runner import guarded, run_loop
from flashback_async.cli.settings import make_client, naming_options
from flashback_async.cli.signals import heeding_sigterm
from flashback_async.pages.exporter.address import Address
from flashback_async.pages.exporter.exporter import Exporter
from flashback_async.pages.exporter.requests import Requests


def export_metrics(ids: Sequence[str] | None, settings: Mapping[str, Any], options: Options) -> int:
    """Export metrics until Ctrl-C or SIGTERM, the ways to stop it; None means all buckets."""

    def work() -> int:
        stopped = suppress(KeyboardInterrupt, asyncio.CancelledError)
        with stopped, heeding_sigterm(), naming_options(options):
            Address.parse(settings["listen"])  # before standard input is read
            run_loop(_export(ids, settings, options))
        return Exit.OK

    return guarded(work, Deadline(None))


async def _export(
    arguments: Sequence[str] | None, settings: Mapping[str, Any], options: Options
) -> None:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - this is one
    with suppress(NotImplementedError, RuntimeError, ValueError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    requests = Requests()
    with stderr_lines() as tell, log_lines(options, tell):
        async with make_client(options, requests) as client:
            ids = None if arguments is None else await all_ids(arguments)
            if ids == []:
                raise click.UsageError("standard input holds no ids")
            async with Exporter(client, requests, ids, **settings) as exporter:
                await output.write(f"{exporter.url}\n")
                await exporter.run()
