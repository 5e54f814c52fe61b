"""The servers, clients and clock of one fault test, and the checks that all of them share."""

from __future__ import annotations

import asyncio
import gc
import logging
import secrets
import ssl
import string
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Literal, TypeVar

import psutil

from flashback_async import FlashbackClient, FlashbackError, RetryPolicy, Timeout
from tests import inside
from tests.faults.harness import secrecy, tls
from tests.faults.harness.clock import FakeClock
from tests.faults.harness.server import Greeting, ScriptedServer, Step, healthy

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)

GUARD = 30.0  # real seconds after which a test fails instead of hanging; load must not reach it
SETTLE = 10.0  # real seconds after which what is still there counts as left behind

After = Literal["reused", "closed"]


class Fault:
    """Servers, clients and a clock for one test, which ends with a check for leaks.

    Attributes:
        token: The token of every client, which must appear nowhere.
        clock: The clock of every client.
        server: The first server.
        recovers: False if no healthy call is possible at the end.
    """

    def __init__(self) -> None:
        self.token = "".join(secrets.choice(string.ascii_letters) for _ in range(48))
        self.clock = FakeClock()
        self.servers: list[ScriptedServer] = []
        self.clients: list[FlashbackClient] = []
        self.recovers = True
        self._longest_total = 0.0
        self._seen: list[BaseException] = []
        self.expected_requests: int | None = None
        self._after: After | None = None

    # The tools of a test.

    @property
    def server(self) -> ScriptedServer:
        return self.servers[0]

    async def serve(
        self,
        *script: Step,
        then: Step = healthy,
        greet: Greeting | None = None,
        tls: ssl.SSLContext | None = None,
        listening: bool = True,
        **options: Any,
    ) -> ScriptedServer:
        """Start a server; if it does not listen, it keeps its port, which refuses connections."""
        server = ScriptedServer(
            *script, then=then, greet=greet, tls=tls, now=self.clock.monotonic, **options
        )
        self.servers.append(server)
        if listening:
            await server.start()
        return server

    def client(self, **options: Any) -> FlashbackClient:
        """Return a client of the first server, with the canary as its token and with the clock."""
        base_url = options.setdefault("base_url", self.servers[0].url if self.servers else None)
        options.setdefault("token", self.token)
        if base_url is not None and base_url.startswith("https:"):
            options.setdefault("ssl_context", tls.client())
        client = FlashbackClient(**options)
        inside.use_clock(client, self.clock)
        self._longest_total = max(self._longest_total, inside.total(client))
        self.clients.append(client)
        return client

    async def result(self, call: Awaitable[T]) -> T:
        """Return the result of a call, which must end in time."""
        async with asyncio.timeout(GUARD):
            return await call

    def idle(self) -> int:
        """Return how many open connections the first client keeps for reuse."""
        return inside.idle_connections(self.clients[0])

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds."""
        async with asyncio.timeout(GUARD):
            while not condition():
                await asyncio.sleep(0.001)

    async def error(
        self, call: Awaitable[object], kind: type[E] | tuple[type[E], ...], **expected: Any
    ) -> E:
        """Return the error that ends a call, after ``check`` has checked it."""
        caught = None
        try:
            got = await self.result(call)
        except Exception as error:
            caught = error
        if caught is None:
            raise AssertionError(f"no {kind}, but {got!r}")
        if not isinstance(caught, kind):
            raise caught
        if isinstance(caught, FlashbackError) and self._longest_total:
            late = caught.elapsed - self._longest_total
            assert late <= (GUARD if self.clock.runs else 0.0), f"ended late: {caught}"
        return self.check(caught, kind, **expected)

    def check(
        self,
        error: BaseException | None,
        kind: type[E] | tuple[type[E], ...],
        *,
        says: str | Iterable[str] = (),
        never: str | Iterable[str] = (),
        attempts: int | None = None,
        cause: type[BaseException] | None = None,
    ) -> E:
        """Check an error: its exact class, the words that it has and lacks, and that it is safe.

        If several kinds are passed, any of them is accepted.

        ``cause`` is the expected ``__cause__``; without it there must be none.
        """
        kinds = kind if isinstance(kind, tuple) else (kind,)
        assert type(error) in kinds, f"expected {kind}, got {error!r}"
        text = str(error)
        for part in [says] if isinstance(says, str) else says:
            assert part in text, f"{part!r} is missing: {text}"
        for part in [never] if isinstance(never, str) else never:
            assert part not in text, f"{part!r} shows: {text}"
        if attempts is not None:
            assert error.attempts == attempts, f"{error.attempts} attempts, not {attempts}: {text}"
        if cause is None:
            assert error.__cause__ is None, f"cause {error.__cause__!r}"
        else:
            assert isinstance(error.__cause__, cause), f"cause {error.__cause__!r}"
        assert error.__context__ in (None, error.__cause__), f"context {error.__context__!r}"
        self.must_be_safe(error, *secrecy.copies_of(error))
        self._seen.append(error)
        return error

    def must_be_safe(self, *values: object) -> None:
        """Fail if the token shows in a value in any form."""
        leaks = secrecy.find(self.token, *values)
        assert not leaks, "the token shows: " + "; ".join(leaks)

    def wire(
        self, requests: int, *, connections: int | None = None, after: After | None = None
    ) -> None:
        """Check how many requests, and connections, the first server has seen.

        ``after`` is what the pool must have done with the connection: the healthy call at the
        end uses it again ("reused") or uses a new one ("closed").
        """
        seen = self.server.requests
        assert len(seen) == requests, f"{len(seen)} requests, not {requests}: {seen}"
        if connections is not None:
            accepted = len(self.server.connections)
            assert accepted == connections, f"{accepted} connections, not {connections}"
        self.expected_requests, self._after = requests, after

    def retried(self, *, transient: int = 0, throttled: int = 0, refunded: bool = False) -> None:
        """Check the back-offs slept and the tokens spent, of one call with default settings.

        ``refunded``: the call succeeded in the end, which returns the cost of its retries.
        """
        sleeps = [0.05 * 2**n for n in range(transient)] + [1.0 * 2**n for n in range(throttled)]
        assert self.clock.sleeps == sleeps, f"slept {self.clock.sleeps}, not {sleeps}"
        cost = 0 if refunded else 14 * transient + 5 * throttled
        spent = [500 - inside.budget(client) for client in self.clients]
        assert sum(spent) == cost, f"spent {spent} tokens, not {cost}"

    # The checks around a test.

    async def __aenter__(self) -> Fault:
        gc.freeze()  # existing objects take no part in the collection at the end
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(lambda _, context: self._unhandled.append(context))
        self._unhandled: list[dict[str, Any]] = []
        self._tasks = asyncio.all_tasks()
        self._descriptors = _descriptors()
        self._log = _Records()
        self._log.attach()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        problems: list[str] = []
        try:
            await self._settle(self._left_by_calls, problems)
            if self.servers:
                await self._recover(problems)
            for client in self.clients:
                await self.result(client.close())
        finally:
            for server in self.servers:
                await server.stop()
        problems += [f"the script failed: {e!r}" for s in self.servers for e in s.errors]
        await self._settle(self._left_after_close, problems)
        gc.collect()
        gc.unfreeze()
        await asyncio.sleep(0)
        self._log.detach()
        problems += [f"unhandled: {context}" for context in self._unhandled]
        problems += [f"logged: {text}" for text in self._log.complaints()]
        problems += secrecy.find(self.token, *self._log.records, *self._unhandled, *self._seen)
        assert not problems, "\n".join(problems[:20])

    async def _settle(self, left: Callable[[], list[str]], problems: list[str]) -> None:
        ends = self._loop.time() + SETTLE
        while (still := left()) and self._loop.time() < ends:
            await asyncio.sleep(0.005)
        problems += still

    def _left_by_calls(self) -> list[str]:
        left = self._left_tasks()
        for client in self.clients:
            pool = inside.loop_state(client)
            if pool is None:
                continue
            counts = {
                "connections acquired": len(inside.connections_in_use(client)),
                "slots held": pool.admission.active,
                "calls in the queue": inside.callers_waiting(client),
                "deadlines": len(pool.timer.scopes),
            }
            left += [f"{count} {what} left" for what, count in counts.items() if count]
        return left

    def _left_after_close(self) -> list[str]:
        left = self._left_tasks()
        if (count := _descriptors() - self._descriptors) > 0:
            left.append(f"{count} descriptors left")
        return left

    def _left_tasks(self) -> list[str]:
        ours = {asyncio.current_task()}.union(*(server.tasks for server in self.servers))
        tasks = asyncio.all_tasks() - self._tasks - ours
        return [f"task left: {task!r}" for task in tasks]

    async def _recover(self, problems: list[str]) -> None:
        """Check that every client gets a good answer once the server is healthy again."""
        server = self.server
        if self.expected_requests is None:
            problems.append("the test does not say how many requests it expects: fault.wire(n)")
        elif len(server.requests) != self.expected_requests:
            problems.append(
                f"{len(server.requests)} requests in the end, not {self.expected_requests}"
            )
        if not self.recovers:
            return
        self.clock.advance(3600.0)  # past every pause that the server asked for
        for client in self.clients:
            if inside.is_closed(client):
                continue
            is_https = inside.base_url(client).startswith("https:")
            await server.become_healthy(tls.server() if is_https else None)
            before = len(server.connections)
            view = client.with_options(timeout=Timeout(), retry=RetryPolicy())
            try:
                status = await self.result(view.status.get("healthy"))
            except (Exception, asyncio.CancelledError) as error:
                problems.append(f"no healthy call: {error!r}")
                continue
            if status.bucket_id != "healthy":
                problems.append(f"the healthy call got another answer: {status}")
            how = "reused" if server.requests[-1].conn.number <= before else "closed"
            if self._after not in (None, how):
                problems.append(f"the connection was {how}, not {self._after}")


class _Records(logging.Handler):
    """A handler that keeps every record of every logger."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def attach(self) -> None:
        self._level = logging.root.level
        logging.root.setLevel(logging.DEBUG)
        logging.root.addHandler(self)

    def detach(self) -> None:
        logging.root.removeHandler(self)
        logging.root.setLevel(self._level)

    def complaints(self) -> list[str]:
        """Return the warnings and errors that asyncio or aiohttp logged."""
        return [
            record.getMessage()
            for record in self.records
            if record.levelno >= logging.WARNING and not record.name.startswith("flashback_async")
        ]


def _descriptors() -> int:
    process = psutil.Process()
    return process.num_fds() if hasattr(process, "num_fds") else 0
