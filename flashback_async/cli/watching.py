"""The work of `watch`: changes as a table that lives, or as lines, until it is stopped."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from typing import Any

from flashback_async import Change, FlashbackClient, Watch, to_json
from flashback_async.cli import changes, output
from flashback_async.cli.endless import until_stopped
from flashback_async.cli.log import log_lines, stderr_lines
from flashback_async.cli.options import Options
from flashback_async.cli.settings import make_client

_IDLE, _BUSY = 1.0, 0.5  # seconds between two pictures: without changes, and with changes
_TURN = 100  # changes that are taken before others have their turn
_MESSAGES = 3


def watch_buckets(ids: Sequence[str] | None, settings: Mapping[str, Any], options: Options) -> int:
    """Watch buckets until Ctrl-C or SIGTERM, the ways to stop it; None means all buckets."""
    return watch_with(lambda: make_client(options), ids, settings, options)


def watch_with(
    make: Callable[[], FlashbackClient],
    ids: Sequence[str] | None,
    settings: Mapping[str, Any],
    options: Options,
) -> int:
    """Watch buckets with the client that a function makes."""

    async def work(client: FlashbackClient, ids: list[str] | None) -> None:
        watch = client.status.watch(ids, **settings)
        if options.form == "table" and _can_draw():
            await _show(client, watch, options)
        else:
            form = changes.line if options.form == "table" else to_json
            await _print(watch, form, options)

    return until_stopped(make, ids, options, work)


def _can_draw() -> bool:
    """Return whether standard output is a terminal that can move its cursor."""
    from flashback_async.cli.grid import make_console

    return sys.stdout.isatty() and not make_console().is_dumb_terminal


async def _print(watch: Watch, form: Callable[[Change], str], options: Options) -> None:
    """Write a line for each change; one that is written is done."""
    with stderr_lines() as tell, log_lines(options, tell):
        async with watch:
            async for change in watch:
                await output.write(f"{form(change)}\n")


async def _show(client: FlashbackClient, watch: Watch, options: Options) -> None:
    from flashback_async.cli.display import Display
    from flashback_async.cli.frame import Moment, frame
    from flashback_async.cli.overview import Overview

    messages: deque[str] = deque(maxlen=_MESSAGES)
    with ExitStack() as stack:
        # On the same terminal, lines of the log would break the table.
        tell = messages.append if sys.stderr.isatty() else stack.enter_context(stderr_lines())
        stack.enter_context(log_lines(options, tell))
        async with watch, Display() as display:
            overview = Overview(watch.view)
            while True:
                overview.update()
                moment = Moment(datetime.now(UTC), watch.stats, client.pace, messages)
                await display.draw(frame(overview, moment, display.console))
                await _note_changes(watch, overview.note)


async def _note_changes(watch: Watch, note: Callable[[Change], object]) -> None:
    """Take changes until the next picture is due."""
    loop, number = asyncio.get_running_loop(), 0
    began = loop.time()
    with suppress(TimeoutError):
        async with asyncio.timeout_at(began + _IDLE) as limit:
            while True:
                note(await anext(watch))
                number += 1
                if number == 1:
                    limit.reschedule(max(loop.time(), began + _BUSY))
                if not number % _TURN:
                    await asyncio.sleep(0)
