"""The state that all views of a client share, and that outlives an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from flashback_async.call.auth import TokenSource
from flashback_async.call.journal import Journal
from flashback_async.call.loop_state import LoopState
from flashback_async.call.retry import Budget
from flashback_async.config import Limits
from flashback_async.errors import ClientClosedError, EventLoopError
from flashback_async.observer import Snapshot
from flashback_async.timing import new_timing
from flashback_async.values import TransportFactory


class ClientState:
    """The limits, token, budget, journal and clock of a client, and the state of its event loop."""

    def __init__(
        self,
        *,
        make_transport: TransportFactory,
        tokens: TokenSource,
        limits: Limits,
        borrowed: bool,
        journal: Journal,
    ) -> None:
        self.limits = limits
        self.journal = journal
        self.tokens = tokens
        self.budget = Budget()
        self.clock, self._watch = new_timing()
        self.loop_state: LoopState | None = None
        self._make_transport = make_transport
        self._borrowed = borrowed
        self._closed = False

    @property
    def pace(self) -> float | None:
        """The requests a second at which calls are paced; None if they are not."""
        loop_state = self.loop_state
        pace = None if loop_state is None else loop_state.admission.pace
        return pace.rate if pace is not None and pace.on else None

    def snapshot(self) -> Snapshot:
        """Return what the client is doing now. Any thread may ask, so nothing is changed."""
        journal, loop_state = self.journal, self.loop_state
        if loop_state is None or loop_state.is_stale:
            in_flight, waiting, pause = 0, 0, 0.0
        else:
            admission = loop_state.admission
            in_flight, waiting = admission.in_flight, len(admission.held_up)
            pause = max(0.0, admission.pause_left())
        last_success = journal.last_success
        age = None if last_success is None else self.clock.monotonic() - last_success
        return Snapshot(
            in_flight=in_flight,
            waiting=waiting,
            slots=self.limits.max_concurrency,
            paused_for=pause,
            retry_budget=self.budget.tokens,
            requests=journal.requests,
            retries=journal.retries,
            last_success_age=age,
            last_error=journal.last_error,
        )

    def check_open(self) -> None:
        """Check that the client has not been closed.

        Raises:
            ClientClosedError: It has.
        """
        if self._closed:
            raise ClientClosedError("the client is closed")

    def open_loop_state(self) -> LoopState:
        """Return the state of the running loop, opened now if there is none.

        Raises:
            ClientClosedError: The client is closed.
            EventLoopError: The client belongs to another live loop, or to the parent process.
        """
        self.check_open()
        if self.loop_state is not None:
            self.loop_state.check_use()
            if not self.loop_state.is_stale:
                return self.loop_state
            if self._borrowed:
                raise EventLoopError("the borrowed session belongs to an event loop that is gone")
        transport = self._watch(self._make_transport())
        self.loop_state = LoopState(transport, self.tokens, self.limits, self.clock)
        return self.loop_state

    def current_loop_state(self) -> LoopState:
        """Return the state of the running loop, which is ready for a call.

        Raises:
            ClientClosedError: The client is closed.
            EventLoopError: As in ``open_loop_state``.
        """
        loop_state = self.loop_state
        if loop_state is None or not loop_state.is_ready():
            loop_state = self.open_loop_state()
        return loop_state

    async def close(self) -> None:
        """End every call and close every connection; closing twice is fine."""
        loop_state = self.loop_state
        if loop_state is not None:
            loop_state.check_use()
        self._closed = True
        if loop_state is not None and not loop_state.loop.is_closed():
            await loop_state.close()

    def abandon(self) -> bool:
        """Release what was never closed; return whether there was anything to close."""
        if self._closed or self.loop_state is None:
            return False
        self._closed = True
        self.loop_state.abandon()
        return True


class Pauses:
    """The pauses that the API asks a client for, in its current event loop."""

    def __init__(self, state: ClientState) -> None:
        self._state = state

    def left(self) -> float:
        """Return the seconds until the pause is over; 0 or less if there is none."""
        return self._state.current_loop_state().admission.pause_left()

    def hold_up(self, task: asyncio.Task[None]) -> bool:
        """Return whether the call of a task waits to be admitted."""
        return task in self._state.current_loop_state().admission.held_up

    def watch(self, began: Callable[[], object]) -> None:
        """Call a function whenever a pause begins or is extended."""
        self._state.current_loop_state().admission.pause_watchers.add(began)

    def unwatch(self, began: Callable[[], object]) -> None:
        """Call it no more."""
        if self._state.loop_state is not None:
            self._state.loop_state.admission.pause_watchers.discard(began)
