"""One call under way: admission, attempts, exchange, decipher, decode."""

from __future__ import annotations

import asyncio
import copy
import logging
import math
from collections.abc import Callable
from typing import TypeVar

from flashback_async.bulk.fanout import Halt
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
from flashback_async.http import protocol
from flashback_async.http.auth import TokenSource
from flashback_async.http.deadline import Cut
from flashback_async.http.pool import Pool
from flashback_async.http.retry import Answer, Budget, Plan, is_pause, send_again
from flashback_async.http.values import (
    Attempt,
    Clock,
    Failure,
    Misdirected,
    Refused,
    Request,
    Response,
    Retry,
    Secret,
)

T = TypeVar("T")

logger = logging.getLogger("flashback_async")

# A longer body is decoded in a thread, so that the loop goes on meanwhile.
_LONG_BODY = 2**20


class Call:
    """One call, from its admission to its answer.

    With ``halt`` it is part of a bulk run: its time starts as it is admitted, waiting for that
    costs it none, and a rejected token stops the run.
    """

    def __init__(
        self,
        request: Request,
        *,
        pool: Pool,
        tokens: TokenSource,
        budget: Budget,
        clock: Clock,
        timeout: Timeout,
        policy: RetryPolicy,
        halt: Halt | None,
    ) -> None:
        self._request = request
        self._pool = pool
        self._tokens = tokens
        self._budget = budget
        self._clock = clock
        self._timeout = timeout
        self._policy = policy
        self._halt = halt
        self._scope = pool.deadlines.scope()
        self._started = clock.monotonic()
        self._ends = self._started + timeout.total if halt is None else math.inf
        self._phase = "before it began"
        self._attempts = 0
        self._attempt: Attempt | None = None
        self._secret: Secret | None = None
        self._plan: Plan | None = None
        self._last_error: FlashbackError | None = None
        self._request_ids: list[str] = []
        self._resent = self._refreshed = False

    async def run(self, decode: Callable[[bytes], T]) -> T | FlashbackError:
        """Give the decoded answer, or the error that the call ends with."""
        with self._scope:
            self._scope.until(self._ends, Cut.TOTAL)
            answer = await self._try()
            if isinstance(answer, Failure) and answer.retry is not Retry.NEVER:
                answer = await self._try_again(answer)
            elif isinstance(answer, Response):
                self._budget.reward()
            if isinstance(answer, Failure):
                return self._finish(answer.error)
            return await self._decode(decode, answer)
        return self._finish(self._cut_off())

    # Attempts.

    async def _try(self) -> Answer:
        """Make one attempt: an exchange, and one more where the first was not really one."""
        answer = await self._exchange()
        if isinstance(answer, Failure) and answer.stale and self._may_resend():
            self._resent = True
            answer = await self._exchange(fresh=True)
        if self._is_old_token(answer):
            self._refreshed = True
            answer = await self._exchange()
        return answer

    def _may_resend(self) -> bool:
        return not self._resent and self._policy.max_attempts > 1

    def _is_old_token(self, answer: Answer) -> bool:
        return (
            isinstance(answer, Failure)
            and isinstance(answer.error, AuthenticationError)
            and self._tokens.can_refresh
            and not self._refreshed
        )

    async def _try_again(self, first: Failure) -> Answer:
        """Make the attempts after a failed first one."""
        plan = Plan(self._policy, self._budget, self._clock, self._time_left, self._patience)
        self._plan = plan
        answer = await send_again(first, self._try, plan, self._clock.sleep, self._tell_of_retry)
        if plan.found_budget_empty and self._budget.tell_empty():
            self._log(logging.WARNING, "%s: retry budget empty, nothing is sent again for now")
        return answer

    async def _exchange(self, *, fresh: bool = False) -> Answer:
        """Send the request once, with leave to send and with a token."""
        admitted = await self._admit()
        if isinstance(admitted, Failure):
            return admitted
        try:
            secret = self._tokens.kept or await self._fetch_token()
            if isinstance(secret, TokenProviderError):
                return Failure(secret)
            attempt = Attempt(self._timeout.connect, fresh)
            began = self._clock.monotonic()
            answer = await self._send(secret, attempt)
        finally:
            self._pool.admission.leave()
        if isinstance(answer, Response):
            answer = self._decipher(answer, secret, admitted)
        if isinstance(answer, Failure):
            self._last_error = answer.error
        if logger.isEnabledFor(logging.DEBUG):
            self._tell_of_attempt(answer, self._clock.monotonic() - began)
        return answer

    async def _fetch_token(self) -> Secret | TokenProviderError:
        self._phase = "waiting for the token"
        return await self._tokens.fetch()

    async def _send(self, secret: Secret, attempt: Attempt) -> Answer:
        """Make the exchange, in the time that an attempt and the call have."""
        attempt_ends = self._clock.monotonic() + self._timeout.attempt
        if attempt_ends < self._ends:
            self._scope.until(attempt_ends, Cut.ATTEMPT)
        else:
            self._scope.until(self._ends, Cut.TOTAL)
        self._attempts += 1
        self._attempt, self._secret, self._phase = attempt, secret, "in an attempt"
        if self._plan is not None:
            self._plan.sent()
        answer: Answer
        try:
            answer = await self._pool.transport.send(self._request, secret, attempt)
        except asyncio.CancelledError:
            if not self._scope.absorbs(Cut.ATTEMPT):
                raise
            text = f"the attempt took longer than {self._timeout.attempt} s, {_progress(attempt)}"
            answer = Failure(RequestTimeoutError(text), Retry.TRANSIENT)
        self._scope.until(self._ends, Cut.TOTAL)
        self._phase = "between two attempts"
        return answer

    # Admission.

    async def _admit(self) -> int | Failure:
        """Wait for leave to send; gives the round that the request belongs to."""
        admission = self._pool.admission
        admitted = admission.enter_at_once()
        if admitted is None:
            admitted = await self._wait_for_leave()
        if admitted is None:
            return self._paused()
        if self._halt is None:
            return admitted
        if self._halt.error is not None:
            admission.leave()
            return Failure(copy.copy(self._halt.error))
        if self._ends == math.inf:
            self._ends = self._clock.monotonic() + self._timeout.total
        return admitted

    async def _wait_for_leave(self) -> int | None:
        self._phase = "waiting for a slot"
        if self._halt is None:
            return await self._pool.admission.enter(self._patience)
        left = self._time_left()
        self._scope.until(None, Cut.TOTAL)
        admitted = await self._pool.admission.enter(self._patience)
        self._ends = self._clock.monotonic() + left
        return admitted

    def _paused(self) -> Failure:
        """Give the error of a call that has less time than the server's pause."""
        seconds = self._pool.admission.pause_left()
        text = f"the server asked for a pause of {seconds:.2f} s more, longer than the time left"
        error = RateLimitError(text, status=429, retry_after=seconds)
        if self._last_error is not None:
            error._remark(f"before that: {self._last_error}")
        return Failure(error)

    def _time_left(self) -> float:
        return self._ends - self._clock.monotonic()

    def _patience(self) -> float:
        """Give the seconds that the call can wait to be admitted."""
        return self._time_left() if self._halt is None else math.inf

    # Answers.

    def _decipher(self, response: Response, secret: Secret, sent_in: int) -> Answer:
        """Tell data from a refusal, and let the whole client learn from the answer."""
        if protocol.holds_data(response):
            self._pool.admission.flow.answered()
            return response
        failure = protocol.failure_of(response, secret, self._clock.wall())
        if failure.retry is Retry.THROTTLED:
            self._throttle(failure, sent_in)
        else:
            self._pool.admission.flow.answered()
        if isinstance(failure.error, AuthenticationError):
            self._reject(failure.error, secret)
        if isinstance(failure.error, APIError) and failure.error.request_id is not None:
            self._request_ids.append(failure.error.request_id)
        return failure

    def _throttle(self, failure: Failure, sent_in: int) -> None:
        """Slow every call of the client down, and pause all where the server said how long."""
        flow = self._pool.admission.flow
        flow.throttled(sent_in)
        if is_pause(failure, self._policy) and isinstance(failure.error, APIError):
            seconds = failure.error.retry_after or 0.0
            if flow.pause(self._clock.monotonic(), seconds):
                self._log(
                    logging.WARNING,
                    "%s: throttled, all calls of the client pause for %.2f s",
                    seconds,
                )

    def _reject(self, error: AuthenticationError, secret: Secret) -> None:
        if self._tokens.reject(secret):
            self._log(logging.WARNING, "%s: token rejected", error=error)
        if self._halt is not None and (self._refreshed or not self._tokens.can_refresh):
            self._halt.error = copy.copy(error)

    async def _decode(self, decode: Callable[[bytes], T], response: Response) -> T | FlashbackError:
        assert self._secret is not None  # noqa: S101 - there is an answer
        assert self._attempt is not None  # noqa: S101
        self._phase = "decoding the answer"
        try:
            if len(response.body) > _LONG_BODY:
                return await asyncio.to_thread(decode, response.body)
            return decode(response.body)
        except Refused:
            error: FlashbackError = protocol.api_error(response, self._secret, self._clock.wall())
        except Misdirected as answer:
            # Whatever comes next on this connection may be another call's answer as well.
            if self._attempt.distrust is not None:
                self._attempt.distrust()
            error = self._misdirected(str(answer))
            protocol.complete(error, response, self._secret)
        except DecodeError as failure:
            error = protocol.complete(failure, response, self._secret)
        except FlashbackError as failure:
            error = failure
        return self._finish(error)

    def _misdirected(self, got: str) -> DecodeError:
        expected = protocol.escape(self._request.bucket_id or "", 80)
        return DecodeError(
            f"$.bucketId: expected {expected}, got {protocol.escape(got, 80)}", path="$.bucketId"
        )

    # The end.

    def _cut_off(self) -> FlashbackError:
        """Give the error of a call that was ended from outside of its attempts."""
        where = self._phase
        if where == "in an attempt" and self._attempt is not None:
            where = f"in attempt {self._attempts}, {_progress(self._attempt)}"
        if self._scope.cut is Cut.CLOSED:
            return ClientClosedError(f"client closed {where}")
        error = DeadlineExceededError(
            f"the total time of {self._timeout.total} s is used up, {where}"
        )
        if self._last_error is not None:
            error._remark(f"before that: {self._last_error}")
        return error

    def _finish(self, error: FlashbackError) -> FlashbackError:
        """Say in an error which call it ended."""
        error.operation = self._request.operation
        error.bucket_id = self._request.bucket_id
        error.attempts = self._attempts
        error.elapsed = self._clock.monotonic() - self._started
        if len(self._request_ids) > 1:
            shown = ", ".join(protocol.escape(i, 80) for i in self._request_ids)
            error._remark(f"request ids {shown}")
        return error

    # The log.

    def _tell_of_attempt(self, answer: Answer, seconds: float) -> None:
        if isinstance(answer, Response):
            self._log(
                logging.DEBUG, "%s: answer %d in %.3f s", answer.status, seconds, answer=answer
            )
        else:
            self._log(
                logging.DEBUG, "%s: failed in %.3f s: %s", seconds, answer.error, error=answer.error
            )

    def _tell_of_retry(self, failure: Failure, seconds: float) -> None:
        if logger.isEnabledFor(logging.INFO):
            waits = self._pool.admission.pause_left() if seconds == 0 else seconds
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
        if answer is not None and self._secret is not None:
            request_id = protocol.request_id(answer, self._secret)
        facts = {
            "operation": self._request.operation,
            "bucket_id": self._request.bucket_id,
            "attempt": self._attempts,
            "status": getattr(answer or error, "status", None),
            "elapsed": self._clock.monotonic() - self._started,
            "request_id": request_id,
        }
        logger.log(level, text, self._request.operation, *values, extra=facts)


def _progress(attempt: Attempt) -> str:
    """Say how far an exchange has come."""
    if attempt.phase != "body":
        return f"phase {attempt.phase}"
    expected = "" if attempt.expected is None else f" of {attempt.expected}"
    return f"phase body, {attempt.received}{expected} bytes received"
