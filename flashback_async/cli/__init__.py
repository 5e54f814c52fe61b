"""The command line, ``flashback``, which needs the extra ``cli``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import NoReturn

from flashback_async.cli.verdict import Verdict, give, is_check

_NEEDED = ("click", "rich")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and end the process with its exit code.

    Args:
        arguments: What follows the command's name; None means the process's own arguments.
    """
    code: int
    try:
        if all(map(_is_installed, _NEEDED)):
            from flashback_async.cli.app import run

            code = run(arguments)
        else:
            needs = 'flashback needs click and rich: pip install "flashback-async[cli]"'
            code = _fail(arguments, needs, 2)
    except KeyboardInterrupt:  # before a command could handle it
        code = _fail(arguments, "interrupted", 130)
    except Exception as error:
        if not is_check(arguments):
            raise
        code = give(Verdict.UNKNOWN, f"{type(error).__name__}: {error}")
    sys.exit(code)


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
