"""The facts of one call, and the errors, log lines and observer's facts that report them."""

from __future__ import annotations

import asyncio
import logging
import sys
from enum import Enum

from flashback_async.api import answers
from flashback_async.api.urls import url_template
from flashback_async.call.deadlines import Cause
from flashback_async.call.journal import Journal
from flashback_async.clock import Clock
from flashback_async.errors import (
    APIError,
    ClientClosedError,
    DeadlineExceededError,
    DecodeError,
    FlashbackError,
    RateLimitError,
    RequestTimeoutError,
    seconds,
)
from flashback_async.observer import AttemptEnded, CallEnded, PauseBegan
from flashback_async.values import Attempt, NoAnswer, Request, Response, Retry, Secret

logger = logging.getLogger("flashback_async")


class Phase(Enum):
    """The step that a call has reached."""

    BEGIN = "before it began"
    ADMISSION = "waiting for a slot"
    PACE = "waiting until the server allows more requests"
    TOKEN = "waiting for the token"
    ATTEMPT = "in an attempt"
    BACKOFF = "between two attempts"
    DECODE = "decoding the answer"


def outlasting_pause(pause: float) -> RateLimitError:
    """Return the error of everything that has less time than the server's pause."""
    text = f"the server asked for a pause of another {pause:.2f} s, longer than the time left"
    return RateLimitError(text, status=429, retry_after=pause)


def _why_cut_off(cause: Cause | None, expired: FlashbackError | None) -> str:
    """Return the class of the error with which the exception being handled ends the call."""
    error = sys.exception()
    if isinstance(error, asyncio.CancelledError):
        if cause is not None:
            return (ClientClosedError if cause is Cause.CLOSED else DeadlineExceededError).__name__
        if expired is not None:
            return type(expired).__name__
    return type(error).__name__


class CallRecord:
    """The facts of one call, from which its errors and log lines are made."""

    # Defaults for the common case; set on the instance only when a call departs from it.
    phase = Phase.BEGIN
    attempts = 0
    attempt: Attempt | None = None
    last_error: FlashbackError | None = None
    _secret: Secret | None = None
    _request_ids: tuple[str, ...] = ()

    def __init__(self, request: Request, clock: Clock, began: float, journal: Journal) -> None:
        self._request = request
        self._clock = clock
        self._began = began
        self._journal = journal

    # The progress of the call.

    def begin_attempt(self, attempt: Attempt, secret: Secret) -> None:
        self.phase = Phase.ATTEMPT
        self.attempts += 1
        self.attempt, self._secret = attempt, secret

    def end_attempt(
        self,
        reply: Response | NoAnswer | None,
        cut_off_by: Cause | None,
        expired: FlashbackError | None,
    ) -> None:
        """Record how the attempt ended, unless it was withdrawn before anything was sent.

        ``reply`` is None if an exception cut it off, which is being handled now. A deadline or
        ``close`` may be behind that; ``expired`` is the error of a run past its deadline.
        """
        if isinstance(reply, NoAnswer):
            self.phase = Phase.BACKOFF
            if not reply.sent:
                self.attempts -= 1
                return
            self.last_error = reply.error
            if isinstance(reply.error, APIError) and reply.error.request_id is not None:
                self._request_ids += (reply.error.request_id,)
        elif reply is not None:
            self.phase = Phase.BACKOFF
        journal = self._journal
        journal.requests += 1
        if self.attempts > 1:
            journal.retries += 1
        if journal.observer is None and not logger.isEnabledFor(logging.DEBUG):
            return
        self._tell_attempt(reply or _why_cut_off(cut_off_by, expired))

    def begin_pause(self, pause: float) -> None:
        observer = self._journal.observer
        if observer is not None:
            fact = PauseBegan(self._request.operation, pause)
            self._journal.tell(observer.pause_began, fact, self._secret)
        text = "%s: rate limited, all calls of the client pause for %.2f s"
        self._log(logging.WARNING, text, pause)

    def end(self, error: BaseException | None = None) -> None:
        """Record the end of the call; no error means success."""
        journal = self._journal
        if error is None:
            journal.last_success = self._clock.monotonic()
        elif isinstance(error, FlashbackError):
            journal.last_error = error
        if journal.observer is not None or logger.isEnabledFor(logging.DEBUG):
            self._tell_call(error)

    @property
    def secret(self) -> Secret:
        """The token that the last attempt sent, and that its answer may echo."""
        assert self._secret is not None  # noqa: S101 - an attempt has begun
        return self._secret

    @property
    def doubts_idle_connections(self) -> bool:
        """Whether the last attempt got no byte over a used connection, so others may be dead."""
        attempt = self.attempt
        return attempt is not None and attempt.reused and attempt.phase == "headers"

    # The call's errors.

    def complete(self, error: FlashbackError, response: Response | None = None) -> FlashbackError:
        """Add the facts of the call, and of an answer, to an error; return the error."""
        error.operation = self._request.operation
        error.bucket_id = self._request.bucket_id
        error.attempts = self.attempts
        error.elapsed = self._elapsed()
        if response is None and isinstance(error, DecodeError) and self.attempt is not None:
            response = self.attempt.head
        if response is not None:
            answers.complete(error, response, self.secret, self._clock.wall())
        if len(self._request_ids) > 1:
            shown = ", ".join(answers.escape(i, 80) for i in self._request_ids)
            error._remark(f"request ids {shown}")
        return error

    def timed_out(self, limit: float) -> NoAnswer:
        """Return the failure of an attempt that took too long."""
        assert self.attempt is not None  # noqa: S101 - one is in flight
        text = f"the attempt took longer than {seconds(limit)}, {self.attempt.progress()}"
        return NoAnswer(RequestTimeoutError(text), Retry.TRANSIENT)

    def paused(self, pause: float) -> NoAnswer:
        """Return the failure of a call that has less time than the server's pause."""
        return NoAnswer(self._after_last_error(outlasting_pause(pause)))

    def cut_off(self, cause: Cause | None, total: float) -> FlashbackError:
        """Return the error of a call that ran out of time, or whose client was closed."""
        where = self.phase.value
        if self.phase is Phase.ATTEMPT and self.attempt is not None:
            where = f"in attempt {self.attempts}, {self.attempt.progress()}"
        if cause is Cause.CLOSED:
            return self.complete(ClientClosedError(f"client closed {where}"))
        text = f"the total time of {seconds(total)} is used up, {where}"
        return self.complete(self._after_last_error(DeadlineExceededError(text)))

    def _after_last_error(self, error: FlashbackError) -> FlashbackError:
        if self.last_error is not None:
            error._remark(f"before that: {self.last_error}")
        return error

    # The call's log lines.

    def log_retry(self, failure: NoAnswer, wait: float) -> None:
        if logger.isEnabledFor(logging.INFO):
            text = "%s: retried in %.2f s: %s"
            self._log(logging.INFO, text, wait, failure.error, error=failure.error)

    def log_pace(self, rate: float) -> None:
        text = (
            "%s: the server throttles: all calls of the client are paced, first at %.3g requests/s"
        )
        self._log(logging.WARNING, text, rate)

    def log_end_of_pace(self) -> None:
        text = "%s: the server no longer throttles: calls are not paced any more"
        self._log(logging.INFO, text)

    def log_rejected_token(self, error: FlashbackError) -> None:
        self._log(logging.WARNING, "%s: token rejected", error=error)

    def log_empty_budget(self) -> None:
        self._log(logging.WARNING, "%s: retry budget empty, no call is retried for now")

    def _tell_attempt(self, reply: Response | NoAnswer | str) -> None:
        """Report an ended attempt to the observer and the log; text is the class of an error."""
        attempt = self.attempt
        assert attempt is not None  # noqa: S101 - one has ended
        took = self._clock.monotonic() - attempt.began
        # A failure may have come after the start of an answer.
        answer = reply if isinstance(reply, Response) else attempt.head
        name = type(reply.error).__name__ if isinstance(reply, NoAnswer) else None
        self._observe_attempt(answer, reply if isinstance(reply, str) else name, took)
        what: tuple[object, ...]
        if isinstance(reply, Response):
            text, what = "%s: answer %d in %.3f s", (reply.status, took)
        elif isinstance(reply, NoAnswer):
            text, what = "%s: failed in %.3f s: %s", (took, reply.error)
        else:
            text, what = "%s: cut off after %.3f s: %s", (took, reply)
        self._log(logging.DEBUG, text, *what, response=answer, elapsed=took)

    def _observe_attempt(self, answer: Response | None, error: str | None, took: float) -> None:
        observer, request = self._journal.observer, self._request
        if observer is None:
            return
        address, port = self._journal.server
        fact = AttemptEnded(
            operation=request.operation,
            method=request.method,
            url_template=url_template(request.target),
            server_address=address,
            server_port=port,
            bucket_id=request.bucket_id,
            attempt=self.attempts,
            status=None if answer is None else answer.status,
            error=error,
            request_id=None if answer is None else self._request_id(answer),
            elapsed=took,
        )
        self._journal.tell(observer.attempt_ended, fact, self._secret)

    def _tell_call(self, error: BaseException | None) -> None:
        """Report the end of the call to the observer and the log."""
        request, observer = self._request, self._journal.observer
        name = None if error is None else type(error).__name__
        took = self._elapsed()
        if observer is not None:
            fact = CallEnded(request.operation, request.bucket_id, self.attempts, name, took)
            self._journal.tell(observer.call_ended, fact, self._secret)
        how = "succeeded" if name is None else f"ended with {name}"
        ours = error if isinstance(error, FlashbackError) else None
        text = "%s: %s after %.3f s, attempts: %d"
        self._log(logging.DEBUG, text, how, took, self.attempts, error=ours, elapsed=took)

    def _request_id(self, answer: Response) -> str | None:
        request_id = answers.request_id(answer, self.secret)
        return None if request_id is None else ascii(request_id)[1:-1]

    def _log(
        self,
        level: int,
        text: str,
        *values: object,
        error: FlashbackError | None = None,
        response: Response | None = None,
        elapsed: float | None = None,
    ) -> None:
        """Log a line that begins with the operation; the record carries the facts.

        ``elapsed`` is by default that of the call.

        They are not passed as ``extra``, which raises KeyError for a name that the application's
        record factory has set.
        """
        if not logger.isEnabledFor(level):
            return
        if response is not None:
            request_id = self._request_id(response)
        else:
            request_id = getattr(error, "request_id", None)
            request_id = None if request_id is None else ascii(request_id)[1:-1]
        facts = {
            "operation": self._request.operation,
            "bucket_id": self._request.bucket_id,
            "attempt": self.attempts,
            "status": getattr(response or error, "status", None),
            "elapsed": self._elapsed() if elapsed is None else elapsed,
            "request_id": request_id,
        }
        path, line, function, _ = logger.findCaller(stacklevel=2)
        record = logger.makeRecord(
            logger.name, level, path, line, text, (self._request.operation, *values), None, function
        )
        taken = {*dir(type(record)), *record.__dict__}
        record.__dict__ |= {name: fact for name, fact in facts.items() if name not in taken}
        record.__dict__["flashback"] = facts
        logger.handle(record)

    def _elapsed(self) -> float:
        return self._clock.monotonic() - self._began
