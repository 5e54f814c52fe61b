"""The sandbox: a local server that can be started, told what goes wrong, and closed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Self, TypedDict, Unpack

from aiohttp import web

from flashback_async.sandbox import checks
from flashback_async.sandbox.connections import Connections
from flashback_async.sandbox.data import Account
from flashback_async.sandbox.faults import Down
from flashback_async.sandbox.outages import Outages
from flashback_async.sandbox.script import Script, Stage
from flashback_async.sandbox.scripted import Scripted
from flashback_async.sandbox.threads import call_in_loop, served_by_thread
from flashback_async.sandbox.world import World

_HOST = "127.0.0.1"
_MAX_BUCKETS = 1_000_000
_MAX_NODES = 10_000
_MAX_CHURN = 3_600


class Options(TypedDict, total=False):
    """The keyword arguments of ``Sandbox``."""

    healthy: bool
    churn: float
    latency: float
    error_rate: float
    rate_limit: float | None
    port: int
    now: Callable[[], datetime] | None


class Sandbox(Scripted):
    """A Flashback API on this machine, with an account that is generated from a seed.

    It serves HTTP on the loopback interface and needs no network. The same seed and the same time
    give the same buckets, nodes and figures on every machine. Use it as an asynchronous context
    manager, or call ``start`` and ``close``. ``Sandbox.in_thread`` runs it without asyncio. Every
    other method may be called from any thread while it serves.

    Args:
        buckets: Number of buckets in the workspace, 0 to 1,000,000.
        nodes: Number of nodes of each bucket, 0 to 10,000.
        seed: Selects the account; any whole number.
        healthy: Whether every node is ONLINE on every day, until it is told otherwise.
        churn: How often an hour the state of each node changes, 0 to 3,600. Seed and time decide
            when, and an outage lasts five minutes at most. Not together with ``healthy``.
        latency: Seconds by which every answer is delayed, 0 or more. May be set at any time.
        error_rate: Share of requests that are answered with 503, 0 to 1. Seed and number of a
            request decide whether it is one of them. May be set at any time.
        rate_limit: Requests per second, 0.001 or more. Further requests are answered with 429 and
            `Retry-After`; bursts of one second's worth are allowed. None sets no limit. May be set
            at any time.
        port: Port to listen on, 0 to 65535; 0 selects a free one, which it then keeps.
        now: Returns the time, with a time zone. None is the real time.

    Raises:
        ValueError: An argument is out of its range; the message names it.
    """

    __slots__ = (
        "__weakref__",
        "_base_url",
        "_loop",
        "_options",
        "_outages",
        "_port",
        "_server",
        "_start_lock",
    )

    def __init__(
        self,
        buckets: int = 100,
        nodes: int = 3,
        seed: int = 0,
        *,
        healthy: bool = False,
        churn: float = 0.0,
        latency: float = 0.0,
        error_rate: float = 0.0,
        rate_limit: float | None = None,
        port: int = 0,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        checks.whole("buckets", buckets, 0, _MAX_BUCKETS)
        checks.whole("nodes", nodes, 0, _MAX_NODES)
        checks.whole("seed", seed)
        checks.flag("healthy", healthy)
        checks.number("churn", churn, 0, _MAX_CHURN)
        if healthy and churn:
            raise ValueError("churn must be 0 in a healthy sandbox, whose nodes never change")
        checks.whole("port", port, 0, 65_535)
        if now is not None:
            if not callable(now):
                raise ValueError(f"now must be a function that returns the time, not {now!r}")
            checks.moment("the result of now", now())
        world = World(Account(seed, nodes, healthy=healthy, churn=churn), buckets)
        super().__init__(world, Stage(self._plan_outages), seed=seed, now=now or _real_time)
        self._outages = Outages(self._go_down, self._go_up)
        self._api.outage = self._outages.begin
        self._options = (latency, error_rate, rate_limit)
        self.latency, self.error_rate, self.rate_limit = self._options
        self._port = port
        self._server: Connections | None = None
        self._base_url: str | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # the last one that it served in
        self._start_lock = asyncio.Lock()

    @classmethod
    @contextmanager
    def in_thread(
        cls, buckets: int = 100, nodes: int = 3, seed: int = 0, **options: Unpack[Options]
    ) -> Iterator[Self]:
        """Run a sandbox on a thread for the length of a ``with`` block, without asyncio.

        Args:
            buckets: As in the class.
            nodes: As in the class.
            seed: As in the class.
            options: The other arguments of the class.

        Raises:
            ValueError: An argument is out of its range; the message names it.
            OSError: The port is taken.
        """
        sandbox = cls(buckets, nodes, seed, **options)
        with served_by_thread(sandbox):
            yield sandbox

    @property
    def base_url(self) -> str:
        """The `base_url` for a client; after `close`, the last one that was served.

        Raises:
            RuntimeError: The sandbox has never been started, so it has no port yet.
        """
        if self._base_url is None:
            raise RuntimeError("the sandbox has no base_url before it is started")
        return self._base_url

    # Serving.

    async def start(self) -> None:
        """Start to listen. A sandbox that was closed starts again on the same port.

        Raises:
            RuntimeError: The sandbox is already running.
            OSError: The port is taken.
        """
        async with self._one_at_a_time():
            if self._server is not None:
                raise RuntimeError("the sandbox is already running")
            server = Connections(self._handle)
            self._port = server.listen(_HOST, self._port)
            self._server = server
            self._base_url = f"http://{_HOST}:{self._port}"
            if self._outages.in_force:
                server.go_down()

    async def close(self) -> None:
        """Stop listening and abort every connection, including requests in flight.

        A start in progress finishes first. Closing a sandbox that is not running does nothing.

        Raises:
            RuntimeError: It runs in another event loop, such as that of its thread.
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
        if self._loop is not loop:
            if self._server is not None and _runs(self._loop):
                raise RuntimeError("the sandbox runs in another event loop")
            self._loop, self._start_lock = loop, asyncio.Lock()
        return self._start_lock

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

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        return await self._api.handle(request)

    def reset(self) -> None:
        """Be as when it was made.

        Buckets, states, settings and the first token are back. The log is empty, no request is
        counted, and scripts are lifted.
        """
        self._stage.lift_all()
        with self._lock:
            self._world.reset()
            self._api.failures.clear()
            self.latency, self.error_rate, self.rate_limit = self._options
            self.log.clear()
            self._api.requests = 0

    def _plan_outages(self, script: Script, begins: bool) -> None:
        if not any(isinstance(fault.effect, Down) for fault in script.faults):
            return
        if begins and (self._server is None or not _runs(self._loop)):
            raise RuntimeError("Fault.down() needs a sandbox that is running")
        plan = self._outages.schedule if begins else self._outages.cancel
        if self._loop is not None and _runs(self._loop):
            call_in_loop(self._loop, lambda: plan(script))

    def _go_down(self) -> None:
        if self._server is not None:
            self._server.go_down()

    def _go_up(self) -> None:
        if self._server is not None:
            self._server.go_up()


def _runs(loop: asyncio.AbstractEventLoop | None) -> bool:
    return loop is not None and loop.is_running()


def _real_time() -> datetime:
    return datetime.now(UTC)
