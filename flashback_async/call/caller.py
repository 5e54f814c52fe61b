"""The one place that makes calls, and that raises their errors to the user."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import attrs

from flashback_async.call.call import Call
from flashback_async.call.client_state import ClientState
from flashback_async.call.deadlines import CancelScope
from flashback_async.config import RetryPolicy, Timeout
from flashback_async.errors import ClientClosedError, FlashbackError
from flashback_async.run import SINGLE_CALL, Run
from flashback_async.values import Request

T = TypeVar("T")


class Caller:
    """The calls of one view of a client, under its options."""

    def __init__(self, state: ClientState, timeout: Timeout, retry: RetryPolicy) -> None:
        self.state = state
        self.timeout = timeout
        self.retry = retry
        self.check_open = state.check_open

    def within(self, seconds: float) -> Caller:
        """Return a caller whose calls take so many seconds in all, at most."""
        total = max(1e-6, min(self.timeout.total, seconds))
        return Caller(self.state, attrs.evolve(self.timeout, total=total), self.retry)

    async def while_open(self, work: Callable[[], Awaitable[T]]) -> T:
        """Return what a function returns, which is cancelled as soon as the client is closed.

        Raises:
            ClientClosedError: The client is closed.
            EventLoopError: The client belongs to another event loop or process.
        """
        with CancelScope(self.state.open_loop_state().timer):
            return await work()
        raise ClientClosedError("the client was closed")

    async def call(
        self,
        request: Request,
        decode: Callable[[bytes], T],
        run: Run = SINGLE_CALL,
        errors_in: Callable[[T], Iterable[FlashbackError]] | None = None,
        since: float | None = None,
    ) -> T:
        """Return the decoded answer to a request, or raise the one error that ends the call.

        ``run`` is the bulk run that the call is part of. ``errors_in`` returns the errors inside
        a decoded answer, of items that failed on their own. ``since`` is the moment at which the
        call's total time began, if that was earlier.
        """
        failure: BaseException
        call = None
        try:
            loop_state = self.state.loop_state
            if loop_state is None or not loop_state.is_ready():
                loop_state = self.state.open_loop_state()
            call = Call(request, self.state, loop_state, self.timeout, self.retry, run, since)
            value = await call.answer(decode, errors_in)
            call.record.end()
            return value
        except FlashbackError as error:
            error.operation, error.bucket_id = request.operation, request.bucket_id
            failure = error
        except asyncio.CancelledError as error:
            error.__cause__ = None
            failure = (call.ended_by_run() if call is not None else None) or error
        except BaseException as error:  # a bug, or an exception of a borrowed session's hook
            error.__cause__ = None
            failure = error
        # Frames and causes of the libraries below hold the header with the token.
        failure.__context__ = None
        if call is not None:
            call.record.end(failure)
        try:
            raise failure.with_traceback(None)
        finally:
            # Its traceback refers to this frame, which would keep both alive.
            del failure, call
