"""One call under way: admission, attempts, exchange, decipher, decode."""

from __future__ import annotations

import asyncio
import copy
import logging
import math
from collections.abc import Callable, Iterable
from typing import TypeVar

from flashback_async.api import answers
from flashback_async.call.auth import TokenSource
from flashback_async.call.deadlines import Cut, Scope
from flashback_async.call.loop_state import LoopState
from flashback_async.call.retry import Answer, Budget, Plan, is_pause, send_again
from flashback_async.config import RetryPolicy, Timeout
from flashback_async.errors import (
    APIError,
    AuthenticationError,
    ClientClosedError,
    DeadlineExceededError,
    DecodeError,
    FlashbackError,
    RateLimitError,
    RequestTimeoutError,
    TokenProviderError,
)
from flashback_async.run import Run
from flashback_async.values import (
    Attempt,
    Clock,
    NoAnswer,
    Request,
    Response,
    Retry,
    Secret,
)

T = TypeVar("T")

logger = logging.getLogger("flashback_async")

# A longer body is decoded in a thread, so that the loop goes on meanwhile.
LONG_BODY = 2**20


class Call(Scope):
    """One call, from its admission to its answer, and the scope of its time.

    With ``halt`` it is part of a bulk run: its time starts as it is admitted, waiting for that
    costs it none, and a rejected token stops the run.
    """

    # Set on a call only where it leaves the straight way from one request to one answer.
    _phase = "before it began"
    _attempts = 0
    _round = 0
    _attempt: Attempt | None = None
    _secret: Secret | None = None
    _plan: Plan | None = None
    _last_error: FlashbackError | None = None
    _request_ids: tuple[str, ...] = ()
    _resent = False
    _refreshed = False

    def __init__(
        self,
        request: Request,
        loop_state: LoopState,
        tokens: TokenSource,
        budget: Budget,
        clock: Clock,
        timeout: Timeout,
        policy: RetryPolicy,
        halt: Run | None,
        since: float | None,
    ) -> None:
        self._request = request
        self._loop_state = loop_state
        self._tokens = tokens
        self._budget = budget
        self._clock = clock
        self._timeout = timeout
        self._policy = policy
        self._halt = halt
        super().__init__(loop_state.deadlines)
        self._started = clock.monotonic() if since is None else since
        self._ends = self._started + timeout.total if halt is None else math.inf

    # Its steps, within the scope.

    async def exchange(self, *, fresh: bool = False) -> Answer:
        """Send the request once, with leave to send and with a token."""
        admission = self._loop_state.admission
        if not admission.enter_at_once() and not await self._wait_for_leave():
            return self._paused()
        answer: Answer | None
        try:
            if self._halt is not None and self._halt.error is not None:
                how = "not sent again" if self._attempts else "never sent"
                return NoAnswer(self._halt.share(how))
            secret = self._tokens.kept or await self._fetch_token()
            if isinstance(secret, TokenProviderError):
                return NoAnswer(secret)
            attempt = self._begin_attempt(secret, fresh)
            answer = await self._loop_state.transport.send(self._request, secret, attempt)
            if isinstance(answer, Response):
                answer = self._decipher(answer, attempt)
            elif answer is None or not answer.sent:
                self._attempts -= 1
                if self._plan is not None:
                    self._plan.not_sent()
        except asyncio.CancelledError:
            if not self.absorbs(Cut.ATTEMPT):
                raise
            answer = self._timed_out()
        finally:
            # Only now: whoever gets the slot next must know what this answer taught.
            admission.leave()
        if answer is None:  # called back, for what another call has learnt
            return await self.exchange(fresh=fresh)
        self._phase = "between two attempts"
        if isinstance(answer, NoAnswer):
            self.until(self._ends, Cut.TOTAL)
            self._last_error = answer.error
        if logger.isEnabledFor(logging.DEBUG):
            self._tell_of_attempt(answer)
        return answer

    async def recover(self, failure: NoAnswer) -> Answer:
        """Make the attempts that are left to a call whose first one failed."""
        answer = await self._make_good(failure)
        if isinstance(answer, Response) or answer.retry is Retry.NEVER:
            return answer
        plan = Plan(self._policy, self._budget, self._clock, self._time_left, self._patience)
        self._plan = plan
        answer = await send_again(answer, self._try, plan, self._clock.sleep, self._tell_of_retry)
        if plan.found_budget_empty and self._budget.tell_empty():
            self._log(logging.WARNING, "%s: retry budget empty, nothing is sent again for now")
        return answer

    def conclude(
        self,
        answer: Answer,
        decode: Callable[[bytes], T],
        errors_in: Callable[[T], Iterable[FlashbackError]] | None,
    ) -> T | FlashbackError:
        """Give the decoded answer, or the error that the call ends with."""
        if isinstance(answer, NoAnswer):
            return self._finish(answer.error)
        self._reward()
        return self._decode(answer, decode, errors_in)

    async def conclude_apart(
        self,
        answer: Response,
        decode: Callable[[bytes], T],
        errors_in: Callable[[T], Iterable[FlashbackError]] | None,
    ) -> T | FlashbackError:
        """Decode a long answer in a thread; no time runs out on it, for its last byte is here."""
        self._phase = "decoding the answer"
        self.until(None, Cut.TOTAL)
        self._reward()
        return await asyncio.to_thread(self._decode, answer, decode, errors_in)

    # Attempts.

    async def _try(self) -> Answer:
        return await self._make_good(await self.exchange())

    async def _make_good(self, answer: Answer) -> Answer:
        """Repeat an exchange that was not really an attempt: a dead connection, an old token."""
        if isinstance(answer, NoAnswer) and answer.stale and self._may_resend():
            self._resent = True
            answer = await self.exchange(fresh=True)
        if isinstance(answer, NoAnswer) and self._is_old_token(answer):
            self._refreshed = True
            answer = await self.exchange()
        return answer

    def _may_resend(self) -> bool:
        return not self._resent and self._policy.max_attempts > 1

    def _is_old_token(self, failure: NoAnswer) -> bool:
        rejected = isinstance(failure.error, AuthenticationError)
        return rejected and self._tokens.can_refresh and not self._refreshed

    async def _fetch_token(self) -> Secret | TokenProviderError:
        self._phase = "waiting for the token"
        self.until(self._total_end(), Cut.TOTAL)
        return await self._tokens.fetch()

    def _begin_attempt(self, secret: Secret, fresh: bool) -> Attempt:
        """Start the time of an attempt, or what is left of the call's."""
        now = self._clock.monotonic()
        attempt = Attempt(self._timeout.connect, fresh, began=now)
        ends = self._total_end()
        if now + self._timeout.attempt < ends:
            self.until(now + self._timeout.attempt, Cut.ATTEMPT)
        else:
            self.until(ends, Cut.TOTAL)
        self._attempts += 1
        self._attempt, self._secret, self._phase = attempt, secret, "in an attempt"
        self._round = self._loop_state.admission.flow.round
        if self._plan is not None:
            self._plan.sent()
        return attempt

    def _timed_out(self) -> NoAnswer:
        text = f"the attempt took longer than {self._timeout.attempt} s, {self._progress}"
        return NoAnswer(RequestTimeoutError(text), Retry.TRANSIENT)

    # Admission.

    async def _wait_for_leave(self) -> bool:
        """Wait to be admitted; False where the server's pause outlasts the call."""
        self._phase = "waiting for a slot"
        admission = self._loop_state.admission
        if self._halt is None:
            self.until(self._ends, Cut.TOTAL)
            return await admission.enter(self._patience)
        left = self._time_left()
        self.until(None, Cut.TOTAL)
        entered = await admission.enter(self._patience)
        self._ends = self._clock.monotonic() + left
        return entered

    def _total_end(self) -> float:
        """Give the moment at which the time is up; that of a bulk key starts as it is admitted."""
        if self._ends == math.inf:
            self._ends = self._clock.monotonic() + self._timeout.total
        return self._ends

    def _paused(self) -> NoAnswer:
        """Give the error of a call that has less time than the server's pause."""
        seconds = self._loop_state.admission.pause_left()
        text = f"the server asked for a pause of {seconds:.2f} s more, longer than the time left"
        error = RateLimitError(text, status=429, retry_after=seconds)
        if self._last_error is not None:
            error._remark(f"before that: {self._last_error}")
        return NoAnswer(error)

    def _time_left(self) -> float:
        return self._ends - self._clock.monotonic()

    def _patience(self) -> float:
        """Give the seconds that the call can wait to be admitted."""
        return self._time_left() if self._halt is None else math.inf

    # Answers.

    def _decipher(self, response: Response, attempt: Attempt) -> Answer:
        """Tell data from a refusal, and let the whole client learn from the answer."""
        if answers.is_data(response.status, response.headers):
            self._loop_state.admission.flow.answered()
            return response
        attempt.head = response
        failure = answers.interpret(response, self._sent_secret, self._clock.wall())
        if failure.retry is Retry.THROTTLED:
            self._throttle(failure)
        else:
            self._loop_state.admission.flow.answered()
        if isinstance(failure.error, AuthenticationError):
            self._reject(failure.error)
        if isinstance(failure.error, APIError) and failure.error.request_id is not None:
            self._request_ids += (failure.error.request_id,)
        return failure

    def _throttle(self, failure: NoAnswer) -> None:
        """Slow every call of the client down, and pause all where the server said how long."""
        flow = self._loop_state.admission.flow
        flow.throttled(self._round)
        if is_pause(failure, self._policy) and isinstance(failure.error, APIError):
            seconds = failure.error.retry_after or 0.0
            if flow.pause(self._clock.monotonic(), seconds):
                self._loop_state.transport.recall()
                text = "%s: throttled, all calls of the client pause for %.2f s"
                self._log(logging.WARNING, text, self._loop_state.admission.pause_left())

    def _reject(self, error: AuthenticationError) -> None:
        recall = self._tokens.reject(self._sent_secret)
        if recall:
            self._log(logging.WARNING, "%s: token rejected", error=error)
        final = self._refreshed or not self._tokens.can_refresh
        if final and self._halt is not None and self._halt.error is None:
            self._halt.error, recall = copy.copy(error), True
        if recall:
            self._loop_state.transport.recall()

    def _reward(self) -> None:
        """Count a success, unless retries have settled what they cost already."""
        if self._plan is None:
            self._budget.reward()

    def _decode(
        self,
        answer: Response,
        decode: Callable[[bytes], T],
        errors_in: Callable[[T], Iterable[FlashbackError]] | None,
    ) -> T | FlashbackError:
        try:
            value = decode(answer.body)
        except FlashbackError as failure:
            if isinstance(failure, DecodeError) and failure._misdirected:
                self._distrust_connection()
            return self._finish(failure, answer)
        if errors_in is not None:
            for error in errors_in(value):
                self._finish(error, answer)
        return value

    def _distrust_connection(self) -> None:
        """Keep from reuse a connection whose next answer may also be to another call."""
        if self._attempt is not None and self._attempt.connection is not None:
            self._attempt.connection.force_close()

    # The end.

    def ended_by_run(self) -> FlashbackError | None:
        """Give the error of a call that was cancelled because the time of its run is up."""
        if self._halt is None or not isinstance(self._halt.error, DeadlineExceededError):
            return None
        return self._finish(self._halt.share("cancelled while under way"))

    def cut_off(self) -> FlashbackError:
        """Give the error of a call that was ended from outside of its attempts."""
        where = self._phase
        if where == "in an attempt":
            where = f"in attempt {self._attempts}, {self._progress}"
        if self.cut is Cut.CLOSED:
            return self._finish(ClientClosedError(f"client closed {where}"))
        error = DeadlineExceededError(
            f"the total time of {self._timeout.total} s is used up, {where}"
        )
        if self._last_error is not None:
            error._remark(f"before that: {self._last_error}")
        return self._finish(error)

    @property
    def _progress(self) -> str:
        assert self._attempt is not None  # noqa: S101 - one is under way
        return self._attempt.progress()

    @property
    def _sent_secret(self) -> Secret:
        """The token that the last answer may hold."""
        assert self._secret is not None  # noqa: S101 - an answer came to something that was sent
        return self._secret

    def _finish(self, error: FlashbackError, response: Response | None = None) -> FlashbackError:
        """Say in an error which call it ended, and about which answer."""
        error.operation = self._request.operation
        error.bucket_id = self._request.bucket_id
        error.attempts = self._attempts
        error.elapsed = self._clock.monotonic() - self._started
        if response is None and isinstance(error, DecodeError) and self._attempt is not None:
            response = self._attempt.head
        if response is not None:
            answers.complete(error, response, self._sent_secret, self._clock.wall())
        if len(self._request_ids) > 1:
            shown = ", ".join(answers.escape(i, 80) for i in self._request_ids)
            error._remark(f"request ids {shown}")
        return error

    # The log.

    def _tell_of_attempt(self, answer: Answer) -> None:
        began = self._started if self._attempt is None else self._attempt.began
        seconds = self._clock.monotonic() - began
        if isinstance(answer, Response):
            text = "%s: answer %d in %.3f s"
            self._log(logging.DEBUG, text, answer.status, seconds, answer=answer)
        else:
            text = "%s: failed in %.3f s: %s"
            self._log(logging.DEBUG, text, seconds, answer.error, error=answer.error)

    def _tell_of_retry(self, failure: NoAnswer, seconds: float) -> None:
        if logger.isEnabledFor(logging.INFO):
            waits = self._loop_state.admission.pause_left() if seconds == 0 else seconds
            self._log(
                logging.INFO,
                "%s: sent again in %.2f s: %s",
                max(0.0, waits),
                failure.error,
                error=failure.error,
            )

    def _log(
        self,
        level: int,
        text: str,
        *values: object,
        error: FlashbackError | None = None,
        answer: Response | None = None,
    ) -> None:
        """Log a line that begins with the operation, with facts as attributes of the record."""
        request_id = getattr(error, "request_id", None)
        if answer is not None:
            request_id = answers.request_id(answer, self._sent_secret)
        facts = {
            "operation": self._request.operation,
            "bucket_id": self._request.bucket_id,
            "attempt": self._attempts,
            "status": getattr(answer or error, "status", None),
            "elapsed": self._clock.monotonic() - self._started,
            "request_id": None if request_id is None else ascii(request_id)[1:-1],
        }
        logger.log(level, text, self._request.operation, *values, extra=facts)
