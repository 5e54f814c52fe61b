"""Scripts: faults in force, each with its counts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from attrs import define

from flashback_async.sandbox.faults import Down, Fault
from flashback_async.sandbox.log import Exchange, Seen


@define(eq=False)
class _Count:
    """What a fault of a script has met so far."""

    fault: Fault
    fitting: int = 0  # requests that it fits, and that no earlier fault took
    struck: int = 0


class Script:
    """Faults that are in force within a ``with`` block; what is left of them is then lifted.

    A request goes down the list. Each fault counts the requests that it fits and that no earlier
    one took. So several faults take turns, and one after another uses up its strikes.
    """

    def __init__(self, faults: Sequence[Fault], stage: Stage) -> None:
        self.faults = tuple(faults)
        self._counts = [_Count(fault) for fault in self.faults]
        self._struck: list[tuple[Fault, Exchange]] = []
        self._stage = stage
        self._began: float | None = None

    @property
    def struck(self) -> tuple[tuple[Fault, Seen], ...]:
        """The strikes so far: each fault with the request that it struck."""
        return tuple((fault, exchange.seen()) for fault, exchange in self._struck.copy())

    def check(self) -> None:
        """Check that every fault has struck; one of ``Fault.down`` is passed over.

        Raises:
            AssertionError: Some have not; the message names them.
        """
        __tracebackhide__ = True
        idle = [
            repr(count.fault)
            for count in self._counts
            if not count.struck and not isinstance(count.fault.effect, Down)
        ]
        if idle:
            raise AssertionError(f"never struck: {', '.join(idle)}")

    def take(self, exchange: Exchange) -> Fault | None:
        """Return the fault that strikes a request, and count it; None if none does."""
        age = exchange.at - (self._began or 0.0)
        for count in self._counts:
            fault = count.fault
            if not fault.fits(exchange.operation, exchange.bucket_ids, age):
                continue
            count.fitting += 1
            if fault.strikes(count.fitting, count.struck):
                count.struck += 1
                exchange.fault = fault
                self._struck.append((fault, exchange))
                return fault
        return None

    def __enter__(self) -> Self:
        """Put the faults in force.

        Raises:
            RuntimeError: The script has been in force before, or has a ``Fault.down`` and the
                sandbox is not running.
        """
        if self._began is not None:
            raise RuntimeError("a script can be in force only once; make another one")
        self._began = time.monotonic()
        self._stage.enter(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stage.leave(self)

    def __repr__(self) -> str:
        return f"<Script of {', '.join(map(repr, self.faults)) or 'nothing'}>"


class Stage:
    """The scripts in force, the innermost first. Any thread may change them.

    ``outage`` is called as a script begins and ends, for its ``Fault.down``.
    """

    def __init__(self, outage: Callable[[Script, bool], None]) -> None:
        self._inner_first: list[Script] = []
        self._outage = outage
        self._lock = threading.Lock()

    def enter(self, script: Script) -> None:
        """Put a script in force."""
        self._outage(script, True)
        with self._lock:
            self._inner_first.insert(0, script)

    def leave(self, script: Script) -> None:
        """Lift a script; one that was lifted before stays so."""
        with self._lock:
            if script in self._inner_first:
                self._inner_first.remove(script)
        self._outage(script, False)

    def lift_all(self) -> None:
        """Lift every script."""
        for script in self._inner_first.copy():
            self.leave(script)

    def take(self, exchange: Exchange) -> tuple[Script, Fault] | None:
        """Return the fault that strikes a request, with its script; None if none does."""
        with self._lock:
            for script in self._inner_first:
                if (fault := script.take(exchange)) is not None:
                    return script, fault
        return None
