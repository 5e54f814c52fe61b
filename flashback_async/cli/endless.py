"""The commands that run until they are stopped: Ctrl-C and SIGTERM end them with exit code 0."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import click

from flashback_async import FlashbackClient
from flashback_async.cli.exits import Deadline, Exit
from flashback_async.cli.ids import all_ids
from flashback_async.cli.options import Options
from flashback_async.cli.runner import guarded, run_loop
from flashback_async.cli.settings import naming_options


def until_stopped(
    make: Callable[[], FlashbackClient],
    arguments: Sequence[str] | None,
    options: Options,
    work: Callable[[FlashbackClient, list[str] | None], Awaitable[None]],
) -> int:
    """Do the work of a command, until it is stopped; return the exit code.

    Args:
        make: Makes the client.
        arguments: The ids of the command, or "-"; None means all buckets.
        options: The shared options.
        work: Gets the client and the ids; None means all buckets.
    """

    async def run() -> None:
        _end_at_sigterm()
        async with make() as client:
            await work(client, None if arguments is None else await _some(arguments))

    def until_it_ends() -> int:
        stopped = suppress(KeyboardInterrupt, asyncio.CancelledError)
        with stopped, naming_options(options):
            run_loop(run())
        return Exit.OK

    return guarded(until_it_ends, Deadline(None))


def _end_at_sigterm() -> None:
    """Let SIGTERM cancel the current task, if the event loop can handle it."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - this is one
    with suppress(NotImplementedError, RuntimeError, ValueError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


async def _some(arguments: Sequence[str]) -> list[str]:
    ids = await all_ids(arguments)
    if not ids:
        raise click.UsageError("standard input holds no ids")
    return ids
