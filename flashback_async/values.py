"""What passes between the steps of a call."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Literal, NamedTuple, NoReturn, Protocol

from attrs import frozen

from flashback_async.errors import FlashbackError


class Secret:
    """A token, or another text that no message, log, pickle or traceback may show."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "Secret('***')"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret cannot be pickled")


class Request(NamedTuple):
    """What to ask: all of it safe to send again, for every call of the API is a read."""

    operation: str
    method: str
    target: str  # path and query below the base URL, percent-encoded
    bucket_id: str | None = None
    body: bytes | None = None


Headers = tuple[tuple[bytes, bytes], ...]


class Response(NamedTuple):
    """What came back; of a long body that is no data, the start."""

    status: int
    headers: Headers
    body: bytes


class Retry(Enum):
    """Whether a failed request may be sent again, and as what it then counts."""

    NEVER = "never"
    TRANSIENT = "transient"
    THROTTLED = "throttled"


@frozen(slots=True)
class NoAnswer:
    """Why an exchange gave no answer to decode.

    ``stale`` says that a connection used before was gone before any byte of an answer: the
    server has most likely not seen the request. ``sent`` is False where nothing could be sent.
    """

    error: FlashbackError
    retry: Retry = Retry.NEVER
    stale: bool = False
    sent: bool = True


class Connection(Protocol):
    """A connection that an attempt was given."""

    def force_close(self) -> None:
        """Keep the connection from being used again."""


class Attempt:
    """How far one exchange has come; the transport writes, the call reads it.

    ``connect`` is the seconds that a new connection may take; with ``fresh`` no connection is
    taken that was used before; ``began`` is on the clock of the call.
    """

    # Set on an attempt only once it has come so far.
    reused = False
    phase: Literal["connect", "connect or headers", "headers", "body"] = "connect"
    received = 0  # bytes of the body
    expected: int | None = None
    head: Response | None = None  # how an answer began; set before any failure that is about it
    connection: Connection | None = None
    recalled = False  # it is not to leave any more

    def __init__(self, connect: float, fresh: bool = False, began: float = 0.0) -> None:
        self.connect = connect
        self.fresh = fresh
        self.began = began

    def progress(self) -> str:
        """Say how far the exchange has come."""
        if self.phase != "body":
            return f"phase {self.phase}"
        expected = "" if self.expected is None else f" of {self.expected}"
        return f"phase body, {self.received}{expected} bytes received"


class Clock(Protocol):
    """Time, sleep and chance, so that a test can stand in for them."""

    def monotonic(self) -> float: ...
    def wall(self) -> float: ...
    def uniform(self, low: float, high: float) -> float: ...
    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's own time and chance."""

    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)
    uniform = staticmethod(random.uniform)
    sleep = staticmethod(asyncio.sleep)


class Transport(Protocol):
    """One exchange over the network; the seam beside which another transport can stand."""

    def open(self) -> None:
        """Make what belongs to the running loop; nothing is sent, and no file is opened."""

    async def send(
        self, request: Request, secret: Secret, attempt: Attempt
    ) -> Response | NoAnswer | None:
        """Make one exchange, without any retry; only cancellation is raised.

        None where the request was recalled before it left.
        """
        ...

    def recall(self) -> None:
        """Call back the requests that have not left yet."""

    async def close(self) -> None:
        """Close every connection; closing twice is fine."""


TransportFactory = Callable[[], Transport]
TokenProvider = Callable[[], Awaitable[str]]
