"""The command line, ``flashback``, which needs the extra ``cli``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from importlib.util import find_spec
from typing import NoReturn

from flashback_async.cli.signals import heeding_sigterm
from flashback_async.cli.verdict import ENDLESS, Verdict, command_of, give, interrupted, is_check

_NEEDED = ("click", "rich")
_STOPPED = ("check", *ENDLESS)  # which SIGTERM ends as Ctrl-C does, also before they run


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and end the process with its exit code.

    Args:
        arguments: What follows the command's name; None means the process's own arguments.
    """
    code: int
    stops = heeding_sigterm() if command_of(arguments) in _STOPPED else nullcontext()
    try:
        with stops:
            code = _run(arguments)
    except KeyboardInterrupt:  # before a command could handle it
        code = interrupted(arguments)
    except Exception as error:
        if not is_check(arguments):
            raise
        code = give(Verdict.UNKNOWN, f"{type(error).__name__}: {error}")
    sys.exit(code)


def _run(arguments: Sequence[str] | None) -> int:
    if not all(map(_is_installed, _NEEDED)):
        needs = 'flashback needs click and rich: pip install "flashback-async[cli]"'
        return _fail(arguments, needs, 2)
    from flashback_async.cli.app import run

    return run(arguments)


def _fail(arguments: Sequence[str] | None, problem: str, code: int) -> int:
    if is_check(arguments):
        return give(Verdict.UNKNOWN, problem)
    sys.stderr.write(f"{problem}\n")
    return code


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ImportError:
        return False
