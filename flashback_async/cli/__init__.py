"""The command line, ``flashback``, which needs the extra ``cli``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import NoReturn

_NEEDED = ("click", "rich")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and end the process with its exit code.

    Args:
        arguments: What follows the command's name; None means the process's own arguments.
    """
    if not all(map(_is_installed, _NEEDED)):
        sys.stderr.write('flashback needs click and rich: pip install "flashback-async[cli]"\n')
        sys.exit(2)
    try:
        from flashback_async.cli.app import run

        code = run(arguments)
    except KeyboardInterrupt:  # before a command could handle it
        sys.stderr.write("interrupted\n")
        code = 130
    sys.exit(code)


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ImportError:
        return False
