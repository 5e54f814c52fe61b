"""Faults: what goes wrong, and for which requests."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Self, TypeAlias

from attrs import evolve, frozen

from flashback_async.sandbox import checks

OPERATIONS = ("status.get", "node_stats.get", "bucket_stats.list")


@frozen
class Answer:
    """Another answer than the API's; without a body, it is the documented one of the status."""

    code: int
    retry_after: str | None = None
    body: bytes | None = None
    content_type: str = "application/json"


@frozen
class Slow:
    """The API's answer, later."""

    seconds: float


@frozen
class Hang:
    """No answer, on a connection that stays open."""


@frozen
class Reset:
    """A reset of the connection instead of an answer."""


@frozen
class Cut:
    """The first bytes of the answer's body; then the connection is closed."""

    length: int


@frozen
class Drip:
    """The answer's body, so many bytes a second."""

    rate: float


@frozen
class TokenExpired:
    """A 401, and a new token from then on."""


@frozen
class Down:
    """An outage: connections are refused, and open ones are cut."""


Effect: TypeAlias = Answer | Slow | Hang | Reset | Cut | Drip | TokenExpired | Down


@frozen(repr=False)
class Fault:
    """One thing that goes wrong, and for which requests; see ``Sandbox.script``.

    Make one with a class method, and choose its requests with the other methods. Each returns a
    new fault. Without a choice, it strikes every request. A fault may stand in several scripts,
    which count for themselves.
    """

    _made: str  # the call that made it, for ``repr``
    effect: Effect
    skipped: int = 0  # requests that it lets pass first
    step: int = 1  # it strikes every so many requests
    limit: float = math.inf  # how often it strikes
    bucket_id: str | None = None
    operation: str | None = None
    # In seconds since the script began.
    window: tuple[float, float] = (-math.inf, math.inf)

    # What goes wrong.

    @classmethod
    def status(cls, status: int, *, retry_after: float | datetime | str | None = None) -> Self:
        """Answer with a status and the API's documented body.

        Args:
            status: The HTTP status, 200 to 599.
            retry_after: A ``Retry-After`` header: seconds of 0 or more, a time with a time zone, or
                raw text. None sends no header.

        Raises:
            ValueError: An argument is out of its range.
        """
        checks.whole("status", status, 200, 599)
        made = f"status({status}"
        made += ")" if retry_after is None else f", retry_after={retry_after!r})"
        return cls(made, Answer(status, _header("retry_after", retry_after)))

    @classmethod
    def body(
        cls, body: bytes, *, status: int = 200, content_type: str = "application/json"
    ) -> Self:
        """Answer with these bytes.

        Raises:
            ValueError: ``body`` is not bytes, ``status`` not from 200 to 599, or ``content_type``
                is not text for a header.
        """
        if not isinstance(body, bytes):
            raise ValueError(f"body must be bytes, not {type(body).__name__}")
        checks.whole("status", status, 200, 599)
        checks.header("content_type", content_type)
        shown = repr(body if len(body) <= 40 else body[:40] + b"...")
        return cls(f"body({shown}, status={status})", Answer(status, None, body, content_type))

    @classmethod
    def slow(cls, seconds: float) -> Self:
        """Answer as the API does, so many seconds later.

        Raises:
            ValueError: ``seconds`` is not a number of 0 or more.
        """
        checks.number("seconds", seconds, 0)
        return cls(f"slow({seconds!r})", Slow(seconds))

    @classmethod
    def hang(cls) -> Self:
        """Never answer, on a connection that stays open."""
        return cls("hang()", Hang())

    @classmethod
    def reset(cls) -> Self:
        """Reset the connection instead of an answer.

        A client sends a request again, at no cost, if that happens on a connection that it has used
        before. So ``first(n)`` may strike once more than the client makes attempts.
        """
        return cls("reset()", Reset())

    @classmethod
    def cut(cls, length: int) -> Self:
        """Close the connection after so many bytes of the answer's body, but before its last.

        Raises:
            ValueError: ``length`` is not a whole number of 0 or more.
        """
        checks.whole("length", length, 0)
        return cls(f"cut({length})", Cut(length))

    @classmethod
    def drip(cls, rate: float) -> Self:
        """Send the answer's body slowly, so many bytes a second.

        Raises:
            ValueError: ``rate`` is not a number of 0.001 or more.
        """
        checks.number("rate", rate, 0.001)
        return cls(f"drip({rate!r})", Drip(rate))

    @classmethod
    def token_expired(cls) -> Self:
        """Refuse a request and the token from then on; ``Sandbox.token`` is a new one.

        It strikes once.
        """
        return cls("token_expired()", TokenExpired(), limit=1)

    @classmethod
    def down(cls) -> Self:
        """Refuse connections and cut the open ones.

        It is in force as soon as the ``with`` line of its script is passed, or when ``after`` and
        ``between`` say. The same port answers again once the block is left. It takes no other
        condition.
        """
        return cls("down()", Down())

    # For which requests.

    def after(self, requests: int) -> Self:
        """Let so many requests pass first.

        Raises:
            ValueError: ``requests`` is not a whole number of 0 or more.
        """
        checks.whole("requests", requests, 0)
        return self._with(f"after({requests})", skipped=requests)

    def first(self, strikes: int) -> Self:
        """Strike at most so often.

        Raises:
            ValueError: ``strikes`` is not a whole number of 1 or more, or the fault is ``down``.
        """
        checks.whole("strikes", strikes, 1)
        limit = min(strikes, self.limit) if isinstance(self.effect, TokenExpired) else strikes
        return self._with(f"first({strikes})", limit=limit)

    def every(self, requests: int) -> Self:
        """Strike the n-th request, the 2n-th, and so on.

        Raises:
            ValueError: ``requests`` is not a whole number of 1 or more, or the fault is ``down``.
        """
        checks.whole("requests", requests, 1)
        return self._with(f"every({requests})", step=requests)

    def for_bucket(self, bucket_id: str) -> Self:
        """Strike requests for one bucket alone, and lists that name it.

        Raises:
            ValueError: ``bucket_id`` is not text, or the fault is ``down``.
        """
        checks.text("bucket_id", bucket_id)
        return self._with(f"for_bucket({bucket_id!r})", bucket_id=bucket_id)

    def for_operation(self, operation: str) -> Self:
        """Strike requests of one operation alone.

        Args:
            operation: ``status.get``, ``node_stats.get`` or ``bucket_stats.list``.

        Raises:
            ValueError: There is no such operation, or the fault is ``down``.
        """
        if operation not in OPERATIONS:
            raise ValueError(f"operation must be one of {', '.join(OPERATIONS)}, not {operation!r}")
        return self._with(f"for_operation({operation!r})", operation=operation)

    def between(self, begin: float, end: float) -> Self:
        """Strike only within these seconds since the script began.

        Raises:
            ValueError: One is not a number of 0 or more, or ``end`` is not after ``begin``.
        """
        checks.number("begin", begin, 0)
        checks.number("end", end, 0)
        if end <= begin:
            raise ValueError(f"end must be more than begin, {begin!r}, not {end!r}")
        return self._with(f"between({begin!r}, {end!r})", window=(begin, end))

    def fits(self, operation: str | None, bucket_ids: tuple[str, ...], age: float) -> bool:
        """Return whether it is about a request; ``age`` is in seconds since the script began."""
        if self.operation is not None and operation != self.operation:
            return False
        if self.bucket_id is not None and self.bucket_id.lower() not in bucket_ids:
            return False
        return self.window[0] <= age < self.window[1]

    def strikes(self, count: int, struck: int) -> bool:
        """Return whether it strikes the n-th request that it fits, after so many strikes."""
        number = count - self.skipped
        return number > 0 and number % self.step == 0 and struck < self.limit

    def __repr__(self) -> str:
        return f"Fault.{self._made}"

    def _with(self, call: str, **conditions: Any) -> Self:
        name = call.partition("(")[0]
        if isinstance(self.effect, Down) and name not in ("after", "between"):
            raise ValueError(f"Fault.down() takes after() and between() only, not {name}()")
        return evolve(self, made=f"{self._made}.{call}", **conditions)


def _header(name: str, value: float | datetime | str | None) -> str | None:
    """Return the value of a ``Retry-After`` header.

    Raises:
        ValueError: It is none.
    """
    if value is None:
        return None
    if isinstance(value, str):
        checks.header(name, value)
        return value
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{name} must be a time with a time zone, not {value!r}")
        return format_datetime(value.astimezone(UTC), usegmt=True)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} must be seconds, a datetime or text, not {value!r}")
    checks.number(name, value, 0)
    return f"{value}"
