"""The sandbox as a server that runs until it is stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from typing import Any

from flashback_async.cli.exits import Deadline, Exit
from flashback_async.cli.messages import say
from flashback_async.cli.runner import guarded, run_loop
from flashback_async.sandbox import Sandbox
from flashback_async.sandbox.control import PREFIX, ControlledSandbox


def serve(settings: dict[str, Any]) -> int:
    """Run a sandbox until Ctrl-C or SIGTERM, which both end it with exit code 0.

    Args:
        settings: The arguments of `Sandbox`, which the options of the command are named after, and
            `control`: whether programs can tell it over HTTP what goes wrong.
    """
    make = ControlledSandbox if settings.pop("control") else Sandbox

    def work() -> int:
        try:
            sandbox = make(**settings)
        except ValueError as error:
            say(f"error: {_naming_option(str(error), settings)}")
            return Exit.USAGE
        with suppress(KeyboardInterrupt):  # the way to stop it, so no failure
            run_loop(_serve(sandbox))
        return Exit.OK

    return guarded(work, Deadline(None))


def _naming_option(message: str, settings: dict[str, Any]) -> str:
    """Return the message about a setting, which begins with its name, as one about its option."""
    name, _, rest = message.partition(" ")
    return f"--{name.replace('_', '-')} {rest}" if name in settings else message


async def _serve(sandbox: Sandbox) -> None:
    async with sandbox:
        # A shell reads the two lines on standard output.
        for name, value in (
            ("FLASHBACK_BASE_URL", sandbox.base_url),
            ("FLASHBACK_TOKEN", sandbox.token),
        ):
            sys.stdout.write(_assignment(name, value))
        sys.stdout.flush()
        _say_how_to_use(sandbox)
        await _terminated()


async def _terminated() -> None:
    """Wait for SIGTERM, if the event loop can handle it."""
    terminated = asyncio.Event()
    with suppress(NotImplementedError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminated.set)
    await terminated.wait()


def _say_how_to_use(sandbox: Sandbox) -> None:
    say("")
    say("Paste these two lines into another terminal; there, for example:")
    say("  flashback status --all")
    if sandbox.bucket_ids:
        say(f"  flashback status {sandbox.bucket_ids[0]}")
    say(f"  flashback status {sandbox.forbidden_ids[0]}   # of another workspace")
    if isinstance(sandbox, ControlledSandbox):
        faults = f"{sandbox.base_url}{PREFIX}faults"
        say(f'  curl {faults} --json \'[{{"fault": "status", "status": 503, "first": 3}}]\'')
    say("Ctrl-C stops the sandbox.")


def _assignment(name: str, value: str) -> str:
    return f'$env:{name} = "{value}"\n' if os.name == "nt" else f"export {name}={value}\n"
