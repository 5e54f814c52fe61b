"""The sandbox itself: a local server that starts, can be told to fail, and stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from flashback_async.sandbox import checks
from flashback_async.sandbox.api import Api
from flashback_async.sandbox.connections import Connections
from flashback_async.sandbox.data import Account
from flashback_async.sandbox.faults import Failure

_HOST = "127.0.0.1"
_MAX_BUCKETS = 1_000_000
_MAX_NODES = 10_000
_A_TIMER = 1e-6  # seconds; asyncio.sleep(0) would set none


class Sandbox:
    """Serve the Flashback API on this machine, with an account that is made up from a seed.

    It speaks HTTP on the loopback interface and needs no network. The same seed gives the same
    buckets, nodes and figures for the same day, on every machine. Use it as an asynchronous context
    manager, or call `start` and `close`.

    Args:
        buckets: Buckets in the workspace, 0 to 1,000,000.
        nodes: Nodes of each bucket, 0 to 10,000.
        seed: Picks the account; any whole number.
        latency: Seconds that every answer takes longer, 0 or more.
        error_rate: Share of requests that are answered with 503, 0 to 1; which ones depends on the
            seed and on the number of the request.
        rate_limit: Requests per second, 0.001 or more, beyond which it answers 429 with
            `Retry-After`; one second's worth may come at once. None sets no limit.
        port: Port to listen on, 0 to 65535; 0 takes a free one.
        now: Returns the time, with a time zone, for looking at another day. None is the real time.

    Raises:
        ValueError: An argument is out of its range; the message names it.
    """

    def __init__(
        self,
        buckets: int = 100,
        nodes: int = 3,
        seed: int = 0,
        *,
        latency: float = 0.0,
        error_rate: float = 0.0,
        rate_limit: float | None = None,
        port: int = 0,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        checks.whole("buckets", buckets, 0, _MAX_BUCKETS)
        checks.whole("nodes", nodes, 0, _MAX_NODES)
        checks.whole("seed", seed)
        checks.number("latency", latency, 0)
        checks.number("error_rate", error_rate, 0, 1)
        if rate_limit is not None:
            checks.number("rate_limit", rate_limit, 0.001)
        checks.whole("port", port, 0, 65_535)
        if now is not None and not callable(now):
            raise ValueError(f"now must be a function that returns the time, not {now!r}")
        self._account = Account(seed, buckets, nodes)
        self._api = Api(
            self._account,
            seed=seed,
            now=now or _real_time,
            latency=latency,
            error_rate=error_rate,
            rate_limit=rate_limit,
        )
        self._port = port
        self._server: Connections | None = None
        self._listener: asyncio.Server | None = None
        self._base_url: str | None = None

    @property
    def token(self) -> str:
        """The one bearer token that it accepts."""
        return self._account.token

    @property
    def bucket_ids(self) -> tuple[str, ...]:
        """The ids of every bucket in the workspace."""
        return self._account.bucket_ids

    @property
    def forbidden_ids(self) -> tuple[str, ...]:
        """The ids of some buckets outside the workspace, which are answered with 403."""
        return self._account.forbidden_ids

    @property
    def requests(self) -> int:
        """How many requests it has served since it was made, refused ones included."""
        return self._api.requests

    @property
    def base_url(self) -> str:
        """The URL to give to a client; after `close` it is the one that was served last.

        Raises:
            RuntimeError: It was never started, so there is no port yet.
        """
        if self._base_url is None:
            raise RuntimeError("the sandbox has no base_url before it is started")
        return self._base_url

    async def start(self) -> None:
        """Start to listen; a sandbox that was closed can be started again.

        Raises:
            RuntimeError: It is already running.
            OSError: The port is taken.
        """
        if self._server is not None:
            raise RuntimeError("the sandbox is already running")
        self._server = Connections(self._api.handle)
        loop = asyncio.get_running_loop()
        try:
            # The backlog holds a crowd of clients that all connect at once.
            self._listener = await loop.create_server(
                self._server, _HOST, self._port, backlog=1_024
            )
        except BaseException:
            self._server = None
            raise
        self._base_url = f"http://{_HOST}:{self._listener.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Stop at once: cut every connection, calls under way included; closing twice is fine."""
        # A listener that closes between the two steps in which asyncio takes a connection loses
        # that connection's socket. A timer comes due after the first step, and who waits for it
        # goes on after the second.
        await asyncio.sleep(_A_TIMER)
        server, self._server = self._server, None
        listener, self._listener = self._listener, None
        if server is None or listener is None:
            return
        listener.close()
        await server.disconnect()
        await listener.wait_closed()

    async def __aenter__(self) -> Self:
        """Start to listen."""
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop at once."""
        await self.close()

    def node_ips(self, bucket_id: str) -> tuple[str, ...]:
        """Return the addresses of a bucket's nodes, for use with `set_state`.

        Raises:
            ValueError: The workspace holds no such bucket.
        """
        return self._account.node_ips(self._find(bucket_id))

    def set_state(self, bucket_id: str, ip: str, state: str) -> None:
        """Put a node into a state, as this bucket sees it from now on.

        It shows in the bucket's status and in today's node statistics, until it is set anew.

        Args:
            bucket_id: A bucket of the workspace.
            ip: The address of one of its nodes.
            state: Any text; the API itself says ONLINE, OFFLINE or DISCONNECTED.

        Raises:
            ValueError: There is no such bucket or node, or the state is not text.
        """
        bucket = self._find(bucket_id)
        if ip not in self._account.node_ips(bucket):
            raise ValueError(f"ip must be a node of bucket {bucket_id}, not {ip!r}")
        checks.text("state", state)
        self._api.states.setdefault(bucket, {})[ip] = state

    def fail(
        self, bucket_id: str, status: int = 503, times: int = 1, *, retry_after: int | None = None
    ) -> None:
        """Answer the next requests that concern a bucket with an error.

        These are its status, its node statistics, and lists of statistics that name it. A second
        call replaces what is left of the first.

        Args:
            bucket_id: A bucket of the workspace, or one of `forbidden_ids`.
            status: The HTTP status, 400 to 599.
            times: How many answers, 1 or more.
            retry_after: Whole seconds for a `Retry-After` header, 0 or more; None sends none.

        Raises:
            ValueError: There is no such bucket, or an argument is out of its range.
        """
        checks.text("bucket_id", bucket_id)
        if not self._account.is_forbidden(bucket_id):
            self._find(bucket_id)
        checks.whole("status", status, 400, 599)
        checks.whole("times", times, 1)
        if retry_after is not None:
            checks.whole("retry_after", retry_after, 0)
        self._api.failures.plan(bucket_id, Failure(status, retry_after, times))

    def _find(self, bucket_id: str) -> int:
        checks.text("bucket_id", bucket_id)
        bucket = self._account.find(bucket_id)
        if bucket is None:
            raise ValueError(f"bucket_id must be a bucket of the workspace, not {bucket_id!r}")
        return bucket


def _real_time() -> datetime:
    return datetime.now(UTC)
