"""The work of `exporter`: metrics over HTTP, until it is stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flashback_async import FlashbackClient
from flashback_async.cli import output
from flashback_async.cli.endless import until_stopped
from flashback_async.cli.log import log_lines, stderr_lines
from flashback_async.cli.options import Options
from flashback_async.cli.settings import make_client
from flashback_async.pages.exporter.address import Address
from flashback_async.pages.exporter.exporter import Exporter
from flashback_async.pages.exporter.requests import Requests


def export_metrics(ids: Sequence[str] | None, settings: Mapping[str, Any], options: Options) -> int:
    """Export metrics until Ctrl-C or SIGTERM, the ways to stop it; None means all buckets."""
    requests = Requests()

    def make() -> FlashbackClient:
        Address.parse(settings["listen"])  # before ids are read from standard input
        return make_client(options, requests)

    async def work(client: FlashbackClient, ids: list[str] | None) -> None:
        with stderr_lines() as tell, log_lines(options, tell):
            async with Exporter(client, requests, ids, **settings) as exporter:
                await output.write(f"{exporter.url}\n")
                await exporter.run()

    return until_stopped(make, ids, options, work)
