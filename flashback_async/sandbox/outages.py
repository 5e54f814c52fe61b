"""Outages of the whole server, on the timetables of scripts."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from flashback_async.sandbox.faults import Down
from flashback_async.sandbox.script import Script


class Outages:
    """The scripts that keep the server down now, and the timers of those that will.

    Its methods are called in the thread of the server's event loop.
    """

    def __init__(self, go_down: Callable[[], None], go_up: Callable[[], None]) -> None:
        self._go_down = go_down
        self._go_up = go_up
        self._causes: set[Script] = set()
        self._timers: dict[Script, list[asyncio.TimerHandle]] = {}

    def schedule(self, script: Script) -> None:
        """Begin the outages of a script that has just been put in force, now or in time."""
        loop = asyncio.get_running_loop()
        timers = self._timers.setdefault(script, [])
        for fault in script.faults:
            if not isinstance(fault.effect, Down):
                continue
            begin, end = fault.window
            if end < math.inf:
                timers.append(loop.call_later(end, self.end, script))
            if fault.skipped:
                continue  # a request begins it
            if begin > 0:
                timers.append(loop.call_later(begin, self.begin, script))
            else:
                self.begin(script)

    @property
    def in_force(self) -> bool:
        """Whether a script keeps the server down now."""
        return bool(self._causes)

    def begin(self, script: Script) -> None:
        """Take the server down for a script."""
        if not self._causes:
            self._go_down()
        self._causes.add(script)

    def end(self, script: Script) -> None:
        """End a script's outage; the server is up again with the end of the last one."""
        if script in self._causes:
            self._causes.remove(script)
            if not self._causes:
                self._go_up()

    def cancel(self, script: Script) -> None:
        """End the outages of a script for good."""
        for timer in self._timers.pop(script, []):
            timer.cancel()
        self.end(script)
