"""What is said beside the data: short lines on standard error."""

from __future__ import annotations

import contextlib

import click

from flashback_async.cli.text import printable


def say(text: str) -> None:
    """Write a line to standard error; where nobody listens, nothing is lost."""
    with contextlib.suppress(OSError, ValueError):
        click.echo(printable(text), err=True)
