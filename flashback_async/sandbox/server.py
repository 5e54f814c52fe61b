"""The sandbox: a local server that can be started, told to fail, and closed."""

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


class Sandbox:
    """A Flashback API on this machine, with an account that is generated from a seed.

    It serves HTTP on the loopback interface and needs no network. The same seed and the same time
    give the same buckets, nodes and figures on every machine. Use it as an asynchronous context
    manager, or call `start` and `close`.

    Args:
        buckets: Number of buckets in the workspace, 0 to 1,000,000.
        nodes: Number of nodes of each bucket, 0 to 10,000.
        seed: Selects the account; any whole number.
        latency: Seconds by which every answer is delayed, 0 or more.
        error_rate: Share of requests that are answered with 503, 0 to 1. Seed and number of a
            request decide whether it is one of them.
        rate_limit: Requests per second, 0.001 or more. Further requests are answered with 429 and
            `Retry-After`; bursts of one second's worth are allowed. None sets no limit.
        port: Port to listen on, 0 to 65535; 0 selects a free one.
        now: Returns the time, with a time zone. None is the real time.

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
        self._base_url: str | None = None
        self._lock = asyncio.Lock()
        self._lock_loop: asyncio.AbstractEventLoop | None = None

    @property
    def token(self) -> str:
        """The only bearer token that is accepted."""
        return self._account.token

    @property
    def bucket_ids(self) -> tuple[str, ...]:
        """The ids of all buckets in the workspace."""
        return self._account.bucket_ids

    @property
    def forbidden_ids(self) -> tuple[str, ...]:
        """The ids of some buckets outside the workspace; requests for them get a 403."""
        return self._account.forbidden_ids

    @property
    def requests(self) -> int:
        """The number of requests received since it was created, including refused ones."""
        return self._api.requests

    @property
    def base_url(self) -> str:
        """The `base_url` for a client; after `close`, the last one that was served.

        Raises:
            RuntimeError: The sandbox has never been started, so it has no port yet.
        """
        if self._base_url is None:
            raise RuntimeError("the sandbox has no base_url before it is started")
        return self._base_url

    async def start(self) -> None:
        """Start to listen. A sandbox that was closed can be started again.

        If it is cancelled, nothing is left listening.

        Raises:
            RuntimeError: The sandbox is already running.
            OSError: The port is taken.
        """
        async with self._one_at_a_time():
            if self._server is not None:
                raise RuntimeError("the sandbox is already running")
            server = Connections(self._api.handle)
            port = await server.listen(_HOST, self._port)
            self._server = server
            self._base_url = f"http://{_HOST}:{port}"

    async def close(self) -> None:
        """Stop listening and abort every connection, including requests in flight.

        A start in progress finishes first. Closing a sandbox that is not running does nothing.
        """
        async with self._one_at_a_time():
            server, self._server = self._server, None
            if server is not None:
                await server.close()

    def _one_at_a_time(self) -> asyncio.Lock:
        """Return the lock that `start` and `close` hold.

        A lock serves one event loop only, but the sandbox may be started in one after another.
        """
        loop = asyncio.get_running_loop()
        if self._lock_loop is not loop:
            self._lock_loop, self._lock = loop, asyncio.Lock()
        return self._lock

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
        """Close the sandbox."""
        await self.close()

    def node_ips(self, bucket_id: str) -> tuple[str, ...]:
        """Return the addresses of a bucket's nodes, for use with `set_state`.

        Raises:
            ValueError: The workspace has no such bucket.
        """
        return self._account.node_ips(self._find(bucket_id))

    def set_state(self, bucket_id: str, ip: str, state: str) -> None:
        """Set the state of a node, as reported for this bucket from now on.

        It appears in the bucket's status and in today's node statistics until it is set again.

        Args:
            bucket_id: A bucket of the workspace.
            ip: The address of one of its nodes.
            state: Any text; the real API sends ONLINE, OFFLINE or DISCONNECTED.

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
        """Answer the next requests for a bucket with an error.

        They are requests for its status, its node statistics, and lists of statistics that name it.
        A second call replaces the failures that remain of the first.

        Args:
            bucket_id: A bucket of the workspace, or one of `forbidden_ids`.
            status: The HTTP status, 400 to 599.
            times: Number of answers, 1 or more.
            retry_after: Seconds for a `Retry-After` header, 0 or more; None sends no header.

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
