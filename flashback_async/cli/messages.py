"""Short lines on standard error, beside the data."""

from __future__ import annotations

import contextlib

import click

from flashback_async.cli.text import printable


def say(text: str) -> None:
    """Write a line to standard error; a failure to write it is ignored."""
    with contextlib.suppress(OSError, ValueError):
        click.echo(printable(text), err=True)
