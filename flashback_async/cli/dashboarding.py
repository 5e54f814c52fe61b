"""The work of `dashboard`: a server that runs until it is stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flashback_async import FlashbackClient
from flashback_async.cli import output
from flashback_async.cli.endless import until_stopped
from flashback_async.cli.log import log_lines, stderr_lines
from flashback_async.cli.options import Options
from flashback_async.pages.dashboard.server import Dashboard

# Seconds: a watch of all buckets lists them each 300 s, so by then it has left out what is deleted.
_GONE_AFTER = 660.0


def show_dashboard(
    make: Callable[[], FlashbackClient],
    ids: Sequence[str] | None,
    settings: Mapping[str, Any],
    options: Options,
    port: int = 0,
) -> int:
    """Serve a dashboard until Ctrl-C or SIGTERM, the ways to stop it.

    Args:
        make: Makes the client.
        ids: The arguments of the command; None means all buckets.
        settings: Those of the watch.
        options: The shared options.
        port: The port to listen on; 0 takes a free one.
    """

    async def work(client: FlashbackClient, ids: list[str] | None) -> None:
        watch = client.status.watch(ids, **settings)
        board = Dashboard(
            watch,
            interval=settings["interval"],
            port=port,
            gone_after=_GONE_AFTER if ids is None else 0.0,
        )
        with stderr_lines() as tell, log_lines(options, tell):
            async with watch, board:
                await output.write(f"{board.url}\n")
                await board.ended()

    return until_stopped(make, ids, options, work)
