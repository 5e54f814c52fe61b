"""Runs against simulated servers that throttle, in virtual time.

The client is the SDK's own from the resources down to the seam of its transport. Below it, a
simulated network takes the place of sockets, so that minutes of throttling take a second and come
out the same each time.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from attrs import define, field, frozen

from benchmarks.report import table
from benchmarks.virtual_time import BEGAN, VirtualClock, VirtualLoop
from flashback_async.call.auth import TokenSource
from flashback_async.call.caller import Caller
from flashback_async.call.client_state import ClientState
from flashback_async.call.journal import Journal
from flashback_async.config import Limits, RetryPolicy, Timeout
from flashback_async.resources.status import StatusResource
from flashback_async.values import Attempt, Request, Response, Secret

_JSON = (b"Content-Type", b"application/json")


class Limit(Protocol):
    """What a server allows."""

    def admits(self, now: float) -> bool:
        """Return whether a request that arrives now is served."""

    def ideal(self, requests: int) -> float:
        """Return the seconds in which the server can serve so many requests."""


@define
class TokenBucket:
    """``rate`` requests a second, and ``burst`` of them at once."""

    rate: float
    burst: float = 1.0
    _tokens: float = field(init=False, factory=lambda: math.inf)
    _at: float = field(init=False, default=0.0)

    def admits(self, now: float) -> bool:
        self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
        self._at = now
        if self._tokens < 1.0 - 1e-9:
            return False
        self._tokens -= 1.0
        return True

    def ideal(self, requests: int) -> float:
        return max(0.0, requests - self.burst) / self.rate


@define
class FixedWindow:
    """``count`` requests in each window of so many seconds; the first request opens the first."""

    count: int
    seconds: float = 1.0
    _ends: float = field(init=False, default=0.0)
    _served: int = field(init=False, default=0)

    def admits(self, now: float) -> bool:
        if now >= self._ends:
            passed = (now - self._ends) // self.seconds + 1 if self._ends else 1
            self._ends = (self._ends or now) + passed * self.seconds
            self._served = 0
        self._served += 1
        return self._served <= self.count

    def ideal(self, requests: int) -> float:
        return (math.ceil(requests / self.count) - 1) * self.seconds


@define
class SlidingWindow:
    """``count`` requests in any ``seconds``."""

    count: int
    seconds: float = 1.0
    _served: deque[float] = field(init=False, factory=deque)

    def admits(self, now: float) -> bool:
        while self._served and self._served[0] <= now - self.seconds:
            self._served.popleft()
        if len(self._served) >= self.count:
            return False
        self._served.append(now)
        return True

    def ideal(self, requests: int) -> float:
        return (math.ceil(requests / self.count) - 1) * self.seconds


@define
class Chance:
    """No limit, but a share of the requests is refused all the same."""

    share: float
    _random: random.Random = field(init=False, factory=lambda: random.Random(1))

    def admits(self, now: float) -> bool:
        return self._random.random() >= self.share

    def ideal(self, requests: int) -> float:
        return 0.0


@define
class Changing:
    """One limit, and another one some seconds after the first request."""

    first: Limit
    then: Limit
    at: float
    _began: float | None = field(init=False, default=None)

    def admits(self, now: float) -> bool:
        if self._began is None:
            self._began = now
        return (self.first if now < self._began + self.at else self.then).admits(now)

    def ideal(self, requests: int) -> float:
        served = next(n for n in range(requests + 1) if self.first.ideal(n + 1) >= self.at)
        return self.at + self.then.ideal(requests - served)


@frozen
class Case:
    """A kind of server, and how many keys each client asks it for."""

    name: str
    limit: Callable[[], Limit]
    keys: int = 500
    latency: float = 0.01  # seconds of a round trip
    retry_after: str | None = None
    clients: int = 1
    later: float = 0.0  # seconds after which the next client begins
    slots: int = 64
    max_rate: float | None = None


CASES = [
    Case("bucket, 10/s, burst 2", lambda: TokenBucket(10, 2), 300),
    Case("bucket, 50/s, burst 1", lambda: TokenBucket(50, 1)),
    Case("bucket, 50/s, burst 10", lambda: TokenBucket(50, 10)),
    Case("bucket, 50/s, burst 50", lambda: TokenBucket(50, 50)),
    Case("bucket, 200/s, burst 1", lambda: TokenBucket(200, 1), 1000),
    Case("bucket, 200/s, burst 40", lambda: TokenBucket(200, 40), 1000),
    Case("bucket, 1,000/s, burst 100", lambda: TokenBucket(1000, 100), 5000),
    Case("bucket, 1/s, burst 1", lambda: TokenBucket(1, 1), 60),
    Case("bucket, 50/s, burst 10, 50 ms", lambda: TokenBucket(50, 10), latency=0.05),
    Case("bucket, 50/s, burst 10, 200 ms", lambda: TokenBucket(50, 10), latency=0.2),
    Case("bucket, 50/s, burst 10, 2 s", lambda: TokenBucket(50, 10), latency=2.0),
    Case("bucket, 50/s, burst 10, Retry-After: 1", lambda: TokenBucket(50, 10), retry_after="1"),
    Case("bucket, 50/s, burst 1, Retry-After: 1", lambda: TokenBucket(50, 1), retry_after="1"),
    Case("bucket, 10/s, burst 2, Retry-After: 1", lambda: TokenBucket(10, 2), 300, retry_after="1"),
    Case("bucket, 50/s, burst 50, Retry-After: 1", lambda: TokenBucket(50, 50), retry_after="1"),
    Case("fixed window, 50 in 1 s", lambda: FixedWindow(50)),
    Case("fixed window, 100 in 10 s", lambda: FixedWindow(100, 10.0)),
    Case("fixed window, 600 in 60 s", lambda: FixedWindow(600, 60.0), 1800),
    Case("fixed window, 100 in 10 s, 4 at once", lambda: FixedWindow(100, 10.0), slots=4),
    Case("fixed window, 600 in 60 s, 4 at once", lambda: FixedWindow(600, 60.0), 1300, slots=4),
    Case("fixed window, 50 in 1 s, Retry-After: 1", lambda: FixedWindow(50), retry_after="1"),
    Case("sliding window, 50 in 1 s", lambda: SlidingWindow(50)),
    Case("sliding window, 100 in 10 s", lambda: SlidingWindow(100, 10.0)),
    Case("chance, 2 %", lambda: Chance(0.02), 20_000),
    Case("chance, 4 %", lambda: Chance(0.04), 20_000),
    Case("chance, 2 %, Retry-After: 1", lambda: Chance(0.02), 2000, retry_after="1"),
    Case(
        "limit falls from 200/s to 50/s after 5 s",
        lambda: Changing(TokenBucket(200, 40), TokenBucket(50, 10), 5.0),
        1500,
    ),
    Case(
        "limit rises from 50/s to 2,000/s after 5 s",
        lambda: Changing(TokenBucket(50, 10), TokenBucket(2000, 200), 5.0),
        30_000,
    ),
    Case("two clients, bucket, 50/s, burst 10", lambda: TokenBucket(50, 10), clients=2),
    Case("two clients, bucket, 50/s, burst 1", lambda: TokenBucket(50, 1), clients=2),
    Case("two clients, fixed window, 50 in 1 s", lambda: FixedWindow(50), clients=2),
    Case("max_rate 30, bucket, 50/s, burst 10", lambda: TokenBucket(50, 10), max_rate=30.0),
    Case("max_rate 100, bucket, 50/s, burst 10", lambda: TokenBucket(50, 10), max_rate=100.0),
]


@define
class Network:
    """A transport that takes requests to a simulated server."""

    case: Case
    limit: Limit
    served: list[float] = field(init=False, factory=list)
    refused: list[float] = field(init=False, factory=list)
    _random: random.Random = field(init=False, factory=lambda: random.Random(3))

    def open(self) -> None:
        """Open nothing."""

    async def close(self) -> None:
        """Close nothing."""

    def recall(self) -> None:
        """Recall nothing: every request has left."""

    async def send(self, request: Request, secret: Secret, attempt: Attempt) -> Response:
        await self._travel()
        now = asyncio.get_running_loop().time()
        admitted = self.limit.admits(now)
        (self.served if admitted else self.refused).append(now)
        await self._travel()
        if admitted:
            body = {"bucketId": request.bucket_id, "nodeStatus": []}
            return Response(200, (_JSON,), json.dumps(body).encode())
        after = self.case.retry_after
        headers = (_JSON,) if after is None else (_JSON, (b"Retry-After", after.encode()))
        return Response(429, headers, b"{}")

    async def _travel(self) -> None:
        await asyncio.sleep(self.case.latency / 2 * self._random.uniform(0.9, 1.1))


@frozen
class Result:
    """How a case went; the lists are each client's."""

    took: list[float]  # seconds
    failed: int
    served: list[list[float]]  # moments
    refused: list[list[float]]

    @property
    def asked(self) -> int:
        return sum(map(len, [*self.served, *self.refused]))

    @property
    def share_refused(self) -> float:
        return sum(map(len, self.refused)) / self.asked


def rate_of(served: Sequence[float], first: float, last: float) -> float:
    """Return how many requests a second were served between two moments of a run."""
    inside = sum(first <= at - BEGAN < last for at in served)
    return inside / (last - first)


def simulate(case: Case) -> Result:
    """Run a case in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(_run(case))


async def _run(case: Case) -> Result:
    limit = case.limit()
    networks = [Network(case, limit) for _ in range(case.clients)]
    runs = await asyncio.gather(
        *(_poll(case, network, number * case.later) for number, network in enumerate(networks))
    )
    return Result(
        took=[took for took, _ in runs],
        failed=sum(failed for _, failed in runs),
        served=[network.served for network in networks],
        refused=[network.refused for network in networks],
    )


async def _poll(case: Case, network: Network, after: float) -> tuple[float, int]:
    state = ClientState(
        make_transport=lambda: network,
        tokens=TokenSource(Secret("token")),
        limits=Limits(max_concurrency=case.slots, max_rate=case.max_rate),
        borrowed=False,
        journal=Journal(None, "https://api.test"),
    )
    state.clock = VirtualClock(seed=2)
    status = StatusResource(Caller(state, Timeout(), RetryPolicy()))
    await asyncio.sleep(after)
    began = state.clock.monotonic()
    report = await status.get_many(str(number) for number in range(case.keys))
    await state.close()
    return state.clock.monotonic() - began, len(report.failed)


def ideal(case: Case) -> float:
    """Return the seconds in which the server and the network could serve every key."""
    keys = case.keys * case.clients
    by_network = math.ceil(keys / (case.slots * case.clients)) * case.latency
    by_client = 0.0 if case.max_rate is None else keys / case.max_rate
    return max(case.limit().ideal(keys), by_network, by_client)


def line(case: Case) -> list[str]:
    """Return the row of a case in the table."""
    result = simulate(case)
    keys = case.keys * case.clients
    took = max(result.took)
    return [
        case.name,
        f"{keys - result.failed:,} of {keys:,}",
        f"{took:.1f} s",
        f"{took / ideal(case):.2f}",
        f"{result.share_refused:.0%}",
    ]


def main(cases: Iterable[Case] = CASES) -> None:
    columns = ["server", "succeeded", "took", "÷ ideal", "refused"]
    title = "64 at once, answers after 10 ms unless said otherwise"
    print(table(title, columns, [line(case) for case in cases]))


if __name__ == "__main__":
    main()
