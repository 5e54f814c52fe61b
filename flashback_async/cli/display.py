"""A screen of its own on the terminal, whose pictures are drawn without holding up the loop."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from flashback_async.cli import grid
from flashback_async.cli.output import write

_PATIENCE = 0.3  # seconds for the last picture, on a terminal that is stopped


class Display:
    """The screen of a terminal as long as it is entered; afterwards there is what was before.

    It is the alternate screen, because lines that a resized terminal breaks anew cannot be found
    again. The last picture stays on the terminal if the command is stopped.
    """

    def __init__(self) -> None:
        self._drawn = _Drawn()
        self.console: Console = grid.make_console(file=self._drawn)
        self._live = Live(
            console=self.console,
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._last: Sequence[Text] = ()

    async def __aenter__(self) -> Self:
        self._live.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._live.stop()
        if kind is asyncio.CancelledError:  # it was stopped, and did not fail
            # The line after it would push the first one of a full screen out of sight.
            shown = self._last[: max(1, self.console.height - 1)]
            self.console.print(Text("\n").join(shown))
        with suppress(TimeoutError, OSError):
            await asyncio.wait_for(write(self._drawn.taken()), _PATIENCE)

    async def draw(self, lines: Sequence[Text]) -> None:
        """Draw a picture, and wait until the terminal has taken it."""
        self._last = lines
        self._live.update(Group(*lines), refresh=True)
        await write(self._drawn.taken())


class _Drawn(io.StringIO):
    """What is drawn and not written yet."""

    @property
    def encoding(self) -> str:  # type: ignore[override] # a property in the base class, too
        return sys.stdout.encoding

    def taken(self) -> str:
        text = self.getvalue()
        self.seek(0)
        self.truncate()
        return text
