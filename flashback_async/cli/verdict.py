"""The one line of ``flashback check``, whatever happens, and the exit codes of monitoring plugins.

It needs nothing but the standard library, so that a broken installation can be told as well.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from enum import IntEnum

from flashback_async.cli.streams import drop_output
from flashback_async.cli.text import shortened

ENDLESS = ("watch", "dashboard", "exporter")  # commands that run until they are stopped

_MOST = 600  # characters; some systems keep a kilobyte of a line


class Verdict(IntEnum):
    """The results of a check, each with its exit code."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


def is_check(arguments: Sequence[str] | None) -> bool:
    """Return whether the arguments, or else those of the process, are those of a check."""
    return command_of(arguments) == "check"


def command_of(arguments: Sequence[str] | None) -> str:
    """Return the command that the arguments name, or else those of the process."""
    given = sys.argv[1:] if arguments is None else arguments
    return next((word for word in given if word != "--"), "")


def interrupted(arguments: Sequence[str] | None) -> int:
    """Report that Ctrl-C or SIGTERM has ended a command early; return its exit code."""
    command = command_of(arguments)
    if command == "check":
        return give(Verdict.UNKNOWN, "interrupted")
    if command in ENDLESS:
        return 0  # the way to stop it
    with suppress(OSError, ValueError):
        sys.stderr.write("interrupted\n")
    return 130


def give(verdict: Verdict, text: str, figures: str = "") -> int:
    """Write a verdict as one line; return its exit code, or that of UNKNOWN if nobody can read it.

    Args:
        verdict: The result.
        text: What people read. Nothing in it can end the line or begin the figures.
        figures: The performance data; none if it is empty.
    """
    shown = shortened(text, _MOST).replace("|", "/")
    line = f"FLASHBACK {verdict.name} - {shown}" + (f" | {figures}" if figures else "")
    if sys.stdout is None:
        return Verdict.UNKNOWN
    try:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except (OSError, ValueError):
        drop_output()
        return Verdict.UNKNOWN
    return verdict
