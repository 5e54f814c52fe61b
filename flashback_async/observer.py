"""What an application is told about its client: facts as they happen, and a view of now."""

from __future__ import annotations

from attrs import field, frozen

from flashback_async.errors import FlashbackError


@frozen(slots=True)
class AttemptEnded:
    """The end of one try to send a request, whatever came of it.

    A repeat on a new connection, or with a new token, is an attempt of its own. So is a try that
    found no connection or was cancelled. A request that the client withdrew before it was sent is
    none.

    Attributes:
        operation: The call, such as ``"status.get"``.
        method: The HTTP method.
        url_template: The path below the base URL, such as ``"/bucket/{bucketId}/status"``.
        server_address: The host of the base URL.
        server_port: Its port; 443 or 80 if the URL names none.
        bucket_id: The bucket asked for; None if the request is about several or all.
        attempt: The number of the attempt within its call, from 1.
        status: The HTTP status, also of an answer that broke off; None if none arrived.
        error: The class of the error, such as ``"ServerError"``, or ``"CancelledError"``. None if
            an answer with data arrived; whether that can be decoded is known at the call's end.
        request_id: The answer's ``x-request-id``, escaped; None if there is none.
        elapsed: Seconds from the start of the attempt, once it held a slot and a token.
    """

    operation: str
    method: str
    url_template: str
    server_address: str
    server_port: int
    bucket_id: str | None
    attempt: int
    status: int | None
    error: str | None
    request_id: str | None
    elapsed: float


@frozen(slots=True)
class CallEnded:
    """The end of one call, after all of its attempts.

    A call that is refused at once, for its arguments or because the client is closed, is none. In
    a bulk run, each request with its retries is a call, also one that asks for many buckets. So is
    each request of ``bucket_stats.list`` for more ids than fit into one.

    Attributes:
        operation: The call, such as ``"status.get"``.
        bucket_id: The bucket asked for; None if the call is about several or all.
        attempts: Attempts that the call made; 0 if it never came to send anything.
        error: The class of the error that ended it, or ``"CancelledError"``; None after success.
        elapsed: Seconds from the start of the call, its waits included.
    """

    operation: str
    bucket_id: str | None
    attempts: int
    error: str | None
    elapsed: float


@frozen(slots=True)
class PauseBegan:
    """The start of a pause that the API asked for, which holds up all calls of the client.

    An answer that only prolongs the pause is not told.

    Attributes:
        operation: The call whose answer asked for it.
        seconds: How long the pause lasts.
    """

    operation: str
    seconds: float


class Observer:
    """A base class for what wants to be told about a client; its methods do nothing.

    Override those that you need. They are called in the event loop's thread, between two steps of
    a call, in the task that makes the call. So return at once, and await nothing. If one raises an
    exception, the client logs that and leaves the observer out from then on. The call's result
    stays the same.
    """

    def attempt_ended(self, fact: AttemptEnded) -> None:
        """Record that an attempt has ended."""

    def call_ended(self, fact: CallEnded) -> None:
        """Record that a call has ended."""

    def pause_began(self, fact: PauseBegan) -> None:
        """Record that the API asked for a pause."""


@frozen(slots=True)
class Snapshot:
    """What a client is doing at one moment, and what it has done so far.

    Attributes:
        in_flight: Calls that hold a slot: their request is under way, or the token for it.
        waiting: Calls that wait for a slot, for their turn under a rate, or for a pause to end.
            Keys that a bulk run has not taken up yet are not among them.
        slots: Calls that may hold a slot at once, at least 1.
        paused_for: Seconds until the pause ends that the API asked for; 0.0 if there is none.
        retry_budget: Tokens left for retries, from 0 to 500. A retry costs 14, or 5 after a 429.
        requests: Attempts that have ended, over the life of the client.
        retries: Those among them that repeated an earlier one of the same call.
        last_success_age: Seconds since a call last succeeded; None if none has.
        last_error: A copy of the last error that ended a call; None if there was none. It has no
            traceback, cause or context. A cancelled call leaves none.
    """

    in_flight: int
    waiting: int
    slots: int
    paused_for: float
    retry_budget: int
    requests: int
    retries: int
    last_success_age: float | None
    last_error: FlashbackError | None = field(eq=False)
