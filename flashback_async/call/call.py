"""One call: its admission, its attempts and the decoding of its answer."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

from flashback_async.api import answers
from flashback_async.call.client_state import ClientState
from flashback_async.call.deadlines import CancelScope, Cause
from flashback_async.call.loop_state import LoopState
from flashback_async.call.record import CallRecord, Phase, outlasting_pause
from flashback_async.call.retry import Retries
from flashback_async.config import RetryPolicy, Timeout
from flashback_async.errors import (
    AuthenticationError,
    DecodeError,
    FlashbackError,
    RateLimitError,
    TokenProviderError,
)
from flashback_async.run import Run
from flashback_async.values import Attempt, NoAnswer, Request, Response, Retry, Secret

T = TypeVar("T")
Reply = Response | NoAnswer

# Bytes; a longer body is decoded in a thread, so that it does not block the event loop.
LONG_BODY = 2**20


class Call:
    """One call, from its admission to its answer.

    In a bulk run, the wait for admission does not count toward the call's total time.
    """

    # Defaults for the common case; set on the instance only when a call departs from it.
    _resent = False
    _refreshed = False

    def __init__(
        self,
        request: Request,
        state: ClientState,
        loop_state: LoopState,
        timeout: Timeout,
        policy: RetryPolicy,
        run: Run,
        since: float | None,
    ) -> None:
        self._request = request
        self._state = state
        self._loop_state = loop_state
        self._timeout = timeout
        self._policy = policy
        self._run = run
        self._scope = CancelScope(loop_state.timer)
        began = state.clock.monotonic() if since is None else since
        self._ends = began + timeout.total
        self.record = CallRecord(request, state.clock, began, state.journal)

    async def answer(
        self,
        decode: Callable[[bytes], T],
        errors_in: Callable[[T], Iterable[FlashbackError]] | None,
    ) -> T:
        """Return the decoded answer, or raise the error that ends the call."""
        with self._scope as scope:
            reply = await self._exchange()
            if isinstance(reply, NoAnswer):
                reply = await self._recover(reply)
            else:
                self._state.budget.reward()
            if isinstance(reply, NoAnswer):
                raise self.record.complete(reply.error)
            if len(reply.body) <= LONG_BODY:
                return self._decode(reply, decode, errors_in)
            return await self._decode_in_thread(reply, decode, errors_in)
        raise self.record.cut_off(scope.cancelled_by, self._timeout.total)

    def ended_by_run(self) -> FlashbackError | None:
        """Return the error of a call that was cancelled because its run's deadline passed."""
        if self._run.expired is None:
            return None
        return self.record.complete(self._run.cancelled())

    # One exchange.

    async def _exchange(self, *, fresh: bool = False) -> Reply:
        """Return the reply to the request, sent once admission and token allow it."""
        admission = self._loop_state.admission
        while True:
            reply: Reply | None = None
            if not admission.enter_at_once() and not await self._wait_for_admission():
                return self._not_admitted()
            try:
                if self._run.error is not None:
                    return self._unsent()
                secret = self._state.tokens.kept or await self._fetch_token()
                if isinstance(secret, TokenProviderError):
                    return NoAnswer(secret)
                attempt = self._begin_attempt(secret, fresh)
                reply = await self._loop_state.transport.send(self._request, secret, attempt)
                if isinstance(reply, Response):
                    reply = self._classify(reply, attempt)
            except asyncio.CancelledError:
                if not self._scope.absorb(Cause.ATTEMPT):
                    raise
                reply = self.record.timed_out(self._timeout.attempt)
            finally:
                # Left only after the answer has changed the limits that the next call meets.
                admission.leave()
                if self.record.phase is Phase.ATTEMPT:
                    self.record.end_attempt(reply, self._scope.cancelled_by, self._run.expired)
            if isinstance(reply, NoAnswer):
                if reply.retry is Retry.RECALLED:
                    continue
                self._scope.move(self._ends, Cause.TOTAL)
            return reply

    async def _wait_for_admission(self) -> bool:
        """Wait for a slot, the pace and a pause; return whether the call may send."""
        paced = self._loop_state.admission.pace.on
        self.record.phase = Phase.PACE if paced else Phase.ADMISSION
        asked = self._state.clock.monotonic()
        self._scope.move(None if self._run.waits_apart else self._ends, Cause.TOTAL)
        if not self._run.waits_apart:
            return await self._loop_state.admission.enter(self._patience)
        admitted = await self._enter_in_run()
        self._ends += self._state.clock.monotonic() - asked
        return admitted

    async def _enter_in_run(self) -> bool:
        """Wait for admission, at the longest until the run is halted; return whether it came."""
        waiting = self._run.waiting
        end_wait = partial(self._scope.cancel, Cause.HALTED)
        waiting.add(end_wait)
        try:
            return await self._loop_state.admission.enter(self._patience)
        except asyncio.CancelledError:
            if not self._scope.absorb(Cause.HALTED):
                raise
            return False
        finally:
            waiting.discard(end_wait)

    def _not_admitted(self) -> NoAnswer:
        """Return why admission turned the call away: a pause, or the end of its run."""
        outlasted = self._loop_state.admission.pause_left() > self._patience()
        if self._run.error is None or outlasted:
            return self._outlasted_by_pause()
        return self._unsent()

    def _unsent(self) -> NoAnswer:
        """Return the failure of a call whose run was halted before it was sent."""
        how = "not sent again" if self.record.attempts else "never sent"
        return NoAnswer(self._run.unsent(how), sent=False)

    async def _fetch_token(self) -> Secret | TokenProviderError:
        self.record.phase = Phase.TOKEN
        self._scope.move(self._ends, Cause.TOTAL)
        return await self._loop_state.tokens.fetch()

    def _begin_attempt(self, secret: Secret, fresh: bool) -> Attempt:
        """Start an attempt, whose deadline is its own or the call's, whichever is earlier."""
        now = self._state.clock.monotonic()
        attempt_ends = now + self._timeout.attempt
        if attempt_ends < self._ends:
            self._scope.move(attempt_ends, Cause.ATTEMPT)
        else:
            self._scope.move(self._ends, Cause.TOTAL)
        attempt = Attempt(self._timeout.connect, fresh, now)
        self.record.begin_attempt(attempt, secret)
        return attempt

    def _classify(self, response: Response, attempt: Attempt) -> Reply:
        """Return a response with data as it is, any other as a failure; adapt the pace to it."""
        if answers.is_data(response.status, response.headers):
            self._adapt_pace(attempt)
            return response
        attempt.head = response
        failure = answers.interpret(response, self.record.secret, self._state.clock.wall())
        if failure.retry is Retry.THROTTLED:
            self._throttle(failure, attempt)
        else:
            # A server at its limit may say no more than that it is not available.
            self._adapt_pace(attempt, overloaded=response.status == 503)
        if isinstance(failure.error, AuthenticationError):
            self._reject(failure.error)
        return failure

    def _adapt_pace(self, attempt: Attempt, *, overloaded: bool = False) -> None:
        """Adapt the pace to an answer that does not throttle this call."""
        admission = self._loop_state.admission
        if overloaded and admission.pace.on:
            admission.throttled(attempt.began, named_time=False)
        elif admission.answered(attempt.began):
            self.record.log_end_of_pace()

    def _throttle(self, failure: NoAnswer, attempt: Attempt) -> None:
        """Adapt the pace, and pause all calls if the server named a time."""
        admission = self._loop_state.admission
        named_time = 0 < failure.pause <= self._policy.max_retry_after
        if named_time and admission.pause(failure.pause):
            self._loop_state.transport.recall()
            self.record.begin_pause(admission.pause_left())
        if admission.throttled(attempt.began, named_time=named_time):
            self.record.log_pace(admission.pace.rate)

    def _reject(self, error: AuthenticationError) -> None:
        """Record that the token was rejected, and halt a run if the token cannot be renewed."""
        tokens = self._state.tokens
        is_news = tokens.reject(self.record.secret)
        if is_news:
            self.record.log_rejected_token(error)
        is_final = self._refreshed or not tokens.can_refresh
        if (is_final and self._run.halt(copy.copy(error))) or is_news:
            self._loop_state.transport.recall()

    # After a failure.

    async def _recover(self, failure: NoAnswer) -> Reply:
        """Return the last reply of a call whose first exchange failed."""
        budget, record = self._state.budget, self.record
        reply = await self._repeat_for_free(failure)
        if isinstance(reply, Response):
            budget.reward()
            return reply
        if reply.retry is Retry.NEVER:
            return reply
        admission = self._loop_state.admission
        retries = Retries(self._policy, budget, self._state.clock, self._time_left, self._patience)
        try:
            while (wait := self._next_wait(retries, reply)) is not None:
                record.log_retry(reply, wait or max(0.0, admission.pause_left()))
                await self._state.clock.sleep(wait)
                again = await self._exchange(fresh=record.doubts_idle_connections)
                reply = await self._repeat_for_free(again)
                if isinstance(reply, Response):
                    return reply
        finally:
            retries.settle(record.attempts, succeeded=isinstance(reply, Response))
        if retries.stopped_by_budget and budget.should_log_empty():
            record.log_empty_budget()
        if self._run.waits_apart and 0 < reply.pause >= self._patience():
            paused = self._outlasted_by_pause(reply.pause)
            return reply if isinstance(reply.error, RateLimitError) else paused
        return reply

    def _next_wait(self, retries: Retries, failure: NoAnswer) -> float | None:
        """Return the seconds before the next attempt; None ends the call."""
        if not self._run.waits_apart or failure.retry is not Retry.THROTTLED:
            return retries.next_wait(failure, self.record.attempts)
        paced = self._loop_state.admission.pace.on
        wait = retries.next_wait_in_run(failure, paced=paced)
        if wait is not None:
            self._ends = self._state.clock.monotonic() + wait + self._timeout.total
            self._scope.move(self._ends, Cause.TOTAL)
        return wait

    async def _repeat_for_free(self, reply: Reply) -> Reply:
        """Repeat, without a back-off, an exchange on a dead connection or with an old token."""
        if isinstance(reply, NoAnswer) and reply.retry is Retry.STALE and self._may_resend():
            self._resent = True
            reply = await self._exchange(fresh=True)
        if isinstance(reply, NoAnswer) and self._may_renew_token(reply):
            reply = await self._renew_token(reply)
        return reply

    def _may_resend(self) -> bool:
        return not self._resent and self._policy.max_attempts > 1

    def _may_renew_token(self, failure: NoAnswer) -> bool:
        """Return whether the API rejected what this call sent, and there may be a new token."""
        rejected = failure.sent and isinstance(failure.error, AuthenticationError)
        return rejected and self._state.tokens.can_refresh and not self._refreshed

    async def _renew_token(self, rejected: NoAnswer) -> Reply:
        """Return the reply to a new token, or the rejection if there is no new one."""
        tokens = self._state.tokens
        self._refreshed = True
        old = self.record.secret
        new = tokens.kept or await self._fetch_token()
        if isinstance(new, TokenProviderError):
            return NoAnswer(new)
        if not tokens.is_worth_sending(new, old):
            if self._run.halt(copy.copy(rejected.error)):
                self._loop_state.transport.recall()
            return rejected
        return await self._exchange()

    def _outlasted_by_pause(self, asked_for: float = 0.0) -> NoAnswer:
        """Return the failure of a call that the server's pause outlasts, and halt its run."""
        pause = max(asked_for, self._loop_state.admission.pause_left())
        self._run.halt(outlasting_pause(pause))
        return self.record.paused(pause)

    def _time_left(self) -> float:
        return self._ends - self._state.clock.monotonic()

    def _patience(self) -> float:
        """Return the seconds that the call can wait to be admitted."""
        return self._run.waits_until(self._ends) - self._state.clock.monotonic()

    # The answer.

    async def _decode_in_thread(
        self,
        response: Response,
        decode: Callable[[bytes], T],
        errors_in: Callable[[T], Iterable[FlashbackError]] | None,
    ) -> T:
        """Decode a long answer in a thread; no deadline applies, because all of it has arrived."""
        self.record.phase = Phase.DECODE
        self._scope.move(None, Cause.TOTAL)
        loop, threads = self._loop_state.loop, self._loop_state.threads
        return await loop.run_in_executor(threads, self._decode, response, decode, errors_in)

    def _decode(
        self,
        response: Response,
        decode: Callable[[bytes], T],
        errors_in: Callable[[T], Iterable[FlashbackError]] | None,
    ) -> T:
        try:
            value = decode(response.body)
        except FlashbackError as error:
            if isinstance(error, DecodeError) and error._misdirected:
                self._distrust_connection()
            raise self.record.complete(error, response) from None
        if errors_in is not None:
            for part in errors_in(value):
                self.record.complete(part, response)
        return value

    def _distrust_connection(self) -> None:
        """Prevent the reuse of a connection that may mix up the answers to calls."""
        attempt = self.record.attempt
        if attempt is not None and attempt.connection is not None:
            attempt.connection.force_close()
