"""Calls of a client: in the pool of the running loop, and with one place that raises."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TypeVar

from flashback_async.call.auth import TokenSource
from flashback_async.call.call import LONG_BODY, Call
from flashback_async.call.loop_state import LoopState
from flashback_async.call.retry import Budget
from flashback_async.config import Limits, RetryPolicy, Timeout
from flashback_async.errors import ClientClosedError, EventLoopError, FlashbackError
from flashback_async.run import Run
from flashback_async.values import (
    Clock,
    NoAnswer,
    Request,
    Response,
    SystemClock,
    TransportFactory,
)

T = TypeVar("T")


class ClientState:
    """What all views of a client share, and what outlives the event loop."""

    def __init__(
        self,
        *,
        make_transport: TransportFactory,
        tokens: TokenSource,
        limits: Limits,
        borrowed: bool,
    ) -> None:
        self.limits = limits
        self.tokens = tokens
        self.budget = Budget()
        self.clock: Clock = SystemClock()
        self._make_transport = make_transport
        self._borrowed = borrowed
        self.loop_state: LoopState | None = None
        self._closed = False

    def check_open(self) -> None:
        """See to it that nobody has closed the client.

        Raises:
            ClientClosedError: Somebody has.
        """
        if self._closed:
            raise ClientClosedError("the client is closed")

    def open_loop_state(self) -> LoopState:
        """Give the pool of the running loop, and open it where there is none.

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
        self.loop_state = LoopState(self._make_transport(), self.limits, self.clock)
        return self.loop_state

    async def close(self) -> None:
        """End every call and close every connection; closing twice is fine."""
        loop_state = self.loop_state
        if loop_state is not None:
            loop_state.check_use()
        self._closed = True
        if loop_state is not None and not loop_state.loop.is_closed():
            await loop_state.close()

    def abandon(self) -> bool:
        """Let go of what nobody closed; tells whether there was something to close."""
        if self._closed or self.loop_state is None:
            return False
        self._closed = True
        self.loop_state.abandon()
        return True


class Caller:
    """Make calls under the options of one view of a client."""

    def __init__(self, state: ClientState, timeout: Timeout, retry: RetryPolicy) -> None:
        self.state = state
        self.timeout = timeout
        self.retry = retry
        self.check_open = state.check_open

    async def call(
        self,
        request: Request,
        decode: Callable[[bytes], T],
        halt: Run | None = None,
        errors_in: Callable[[T], Iterable[FlashbackError]] | None = None,
        since: float | None = None,
    ) -> T:
        """Make one call: to its decoded answer, or to the one error that it ends with.

        With ``halt`` the call is part of a bulk run, which a rejected token stops. ``errors_in``
        gives the errors that are part of an answer, of items that stand for themselves.
        ``since`` is when the time of the call started, where that was before now.
        """
        state = self.state
        call = result = None
        try:
            loop_state = state.loop_state
            if loop_state is None or not loop_state.is_ready():
                loop_state = state.open_loop_state()
            call = Call(
                request,
                loop_state,
                state.tokens,
                state.budget,
                state.clock,
                self.timeout,
                self.retry,
                halt,
                since,
            )
            with call:
                answer = await call.exchange()
                if isinstance(answer, NoAnswer):
                    answer = await call.recover(answer)
                if isinstance(answer, Response) and len(answer.body) > LONG_BODY:
                    result = await call.conclude_apart(answer, decode, errors_in)
                else:
                    result = call.conclude(answer, decode, errors_in)
                if not isinstance(result, FlashbackError):
                    return result
            failure: BaseException
            failure = result if isinstance(result, FlashbackError) else call.cut_off()
        except FlashbackError as error:
            error.operation, error.bucket_id = request.operation, request.bucket_id
            failure = error
        except BaseException as error:  # cancellation, and what is raised by hooks of others
            error.__cause__ = None
            failure = error
            if isinstance(error, asyncio.CancelledError) and call is not None:
                failure = call.ended_by_run() or error
        # Frames of the libraries below hold the header with the token: none of them goes along.
        failure.__context__ = None
        try:
            raise failure.with_traceback(None)
        finally:
            del failure  # its traceback leads here: it would be kept alive by itself
