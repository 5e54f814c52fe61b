"""Every public call as a type checker sees it. This file is checked by mypy and never run."""

import ssl
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
)
from contextlib import aclosing
from datetime import date, datetime
from pathlib import Path
from typing import Any, assert_type

import aiohttp
from distributed import Client

from flashback_async import (
    APIError,
    AttemptEnded,
    AuthenticationError,
    BadRequestError,
    BucketDay,
    BucketStats,
    BucketStatus,
    BucketView,
    Cache,
    Cached,
    CachePolicy,
    CacheStats,
    CallEnded,
    CertificateError,
    Change,
    ChangeKind,
    ClientClosedError,
    ClusterLostError,
    ConfigurationError,
    ConnectError,
    ConnectionLostError,
    DailyNodeStats,
    DeadlineExceededError,
    DecodeError,
    EventLoopError,
    Failure,
    FlashbackClient,
    FlashbackError,
    InvalidArgumentError,
    Limits,
    NodeState,
    NodeStatus,
    NodeView,
    NotFoundError,
    Observer,
    Outcome,
    PauseBegan,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    RedirectError,
    Report,
    RequestTimeoutError,
    ResponseTooLargeError,
    RetryPolicy,
    ServerError,
    Snapshot,
    Success,
    Timeout,
    TokenFile,
    TokenProvider,
    TokenProviderError,
    TransportError,
    Watch,
    WatchStats,
    day_range,
    fan_out,
    from_dict,
    from_json,
    to_dict,
    to_json,
)
from flashback_async.dask import (
    ClusterStats,
    WorkerSettings,
    node_stats_on_cluster,
    status_on_cluster,
)
from flashback_async.json_form import JsonValue
from flashback_async.sandbox import Sandbox
from flashback_async.web import HTTPAnswer, http_answer


async def provider() -> str:
    return "token"


async def ids_from_elsewhere() -> AsyncIterator[str]:
    yield "a"


async def pairs_from_elsewhere() -> AsyncIterator[BucketDay]:
    yield BucketDay("a", date(2024, 1, 15))


def settings() -> None:
    timeout = Timeout(total=30, attempt=10.0, connect=5)
    assert_type(timeout.total, float)
    assert_type(timeout.attempt, float)
    assert_type(timeout.connect, float)
    retry = RetryPolicy(
        max_attempts=3, backoff_base=0.1, throttle_base=1, backoff_max=8, max_retry_after=60
    )
    assert_type(retry.max_attempts, int)
    assert_type(retry.backoff_base, float)
    assert_type(RetryPolicy.none(), RetryPolicy)
    limits = Limits(max_concurrency=8, max_rate=None, max_response_bytes=1024)
    assert_type(limits.max_concurrency, int)
    assert_type(limits.max_rate, float | None)
    assert_type(limits.max_response_bytes, int)
    assert_type(Timeout(30.0, 10.0, 5.0), Timeout)


def clients(session: aiohttp.ClientSession, context: ssl.SSLContext) -> None:
    given: TokenProvider = provider
    assert_type(given, Callable[[], Awaitable[str]])
    FlashbackClient()
    FlashbackClient("token")
    FlashbackClient(TokenFile("token.txt"))
    FlashbackClient(None)
    client = FlashbackClient(
        given,
        base_url="https://backend.flashback.tech",
        timeout=Timeout(),
        retry=RetryPolicy(),
        limits=Limits(),
        proxy="http://proxy:3128",
        ssl_context=context,
        session=session,
        allow_insecure_http=True,
    )
    assert_type(client, FlashbackClient)
    assert_type(client.with_options(timeout=Timeout(), retry=RetryPolicy.none()), FlashbackClient)
    assert_type(client.with_options(), FlashbackClient)
    FlashbackClient("token", "https://x")  # type: ignore[call-arg] # options go by name
    FlashbackClient(5)  # type: ignore[arg-type]
    FlashbackClient(timeout=30)  # type: ignore[arg-type]
    client.with_options(limits=Limits())  # type: ignore[call-arg]


async def lifetime(client: FlashbackClient) -> None:
    async with client as entered:
        assert_type(entered, FlashbackClient)
    await client.close()


class Counter(Observer):
    def attempt_ended(self, fact: AttemptEnded) -> None:
        assert_type(fact.status, int | None)
        assert_type(fact.error, str | None)
        assert_type(fact.server_port, int)

    def call_ended(self, fact: CallEnded) -> None:
        assert_type(fact.bucket_id, str | None)
        assert_type(fact.elapsed, float)

    def pause_began(self, fact: PauseBegan) -> None:
        assert_type(fact.seconds, float)


def observed() -> None:
    client = FlashbackClient("token", observer=Counter())
    FlashbackClient("token", observer=lambda fact: None)  # type: ignore[arg-type]
    snapshot = client.snapshot()
    assert_type(snapshot, Snapshot)
    assert_type(snapshot.retry_budget, int)
    assert_type(snapshot.last_success_age, float | None)
    assert_type(snapshot.last_error, FlashbackError | None)


async def bucket_stats(client: FlashbackClient) -> None:
    assert_type(await client.bucket_stats.get("a"), BucketStats)
    assert_type(await client.bucket_stats.list(), list[BucketStats])
    assert_type(await client.bucket_stats.list(["a"]), list[BucketStats])
    assert_type(await client.bucket_stats.list(bucket_ids=None), list[BucketStats])
    report = await client.bucket_stats.get_many(("a", "b"), concurrency=4, deadline=10)
    assert_type(report, Report[str, BucketStats])
    outcomes = client.bucket_stats.iter_many(ids_from_elsewhere(), concurrency=None, deadline=1.5)
    assert_type(outcomes, AsyncGenerator[Outcome[str, BucketStats], None])
    await client.bucket_stats.get(5)  # type: ignore[arg-type]
    await client.bucket_stats.get_many(ids_from_elsewhere())  # type: ignore[arg-type]
    await client.bucket_stats.get_many(["a"], 4)  # type: ignore[call-arg]


async def node_stats(client: FlashbackClient, day: date, moment: datetime) -> None:
    for when in (day, moment, "2024-01-15"):
        assert_type(await client.node_stats.get("a", when), list[DailyNodeStats])
    report = await client.node_stats.get_many(["a"], [day, "2024-01-16"], concurrency=1)
    assert_type(report, Report[BucketDay, list[DailyNodeStats]])
    assert_type(
        await client.node_stats.get_many({"a"}, day), Report[BucketDay, list[DailyNodeStats]]
    )
    async for outcome in client.node_stats.iter_many(iter("ab"), "2024-01-15", deadline=5):
        assert_type(outcome, Outcome[BucketDay, list[DailyNodeStats]])
        assert_type(outcome.key.bucket_id, str)
        assert_type(outcome.key.day, date)
    assert_type(
        await client.node_stats.get_many(report.failed, deadline=5),
        Report[BucketDay, list[DailyNodeStats]],
    )
    assert_type(
        client.node_stats.iter_many(pairs_from_elsewhere()),
        AsyncGenerator[Outcome[BucketDay, list[DailyNodeStats]], None],
    )
    assert_type(day_range(day, moment), list[date])
    await client.node_stats.get_many(["a"], day_range("2024-01-15"))
    await client.node_stats.get_many(["a"])  # type: ignore[list-item] # no pair
    await client.node_stats.get_many(report.failed, day)  # type: ignore[arg-type]
    await client.node_stats.get("a")  # type: ignore[call-arg]
    await client.node_stats.get("a", 5)  # type: ignore[arg-type]


async def status(client: FlashbackClient) -> None:
    found = await client.status.get("a")
    assert_type(found, BucketStatus)
    assert_type(found.bucket_id, str)
    assert_type(found.nodes, tuple[NodeStatus, ...])
    report = await client.status.get_many(["a"])
    assert_type(report, Report[str, BucketStatus])
    async with aclosing(client.status.iter_many(["a"])) as outcomes:
        async for outcome in outcomes:
            assert_type(outcome, Outcome[str, BucketStatus])
    found.bucket_id = "b"  # type: ignore[misc]


async def watches(client: FlashbackClient, path: Path, ids: Iterable[str]) -> None:
    async def listed() -> set[str]:
        return {"a"}

    async with client.status.watch(state=path) as watch:
        assert_type(watch, Watch)
        async for change in watch:
            assert_type(change, Change)
            assert_type(change.kind, ChangeKind)
            assert_type(change.after, NodeState | str | None)
            assert_type(change.node, NodeStatus | None)
            assert_type(change.since, datetime | None)
            assert_type(change.error, FlashbackError | None)
            assert_type(to_json(change), str)
        assert_type(await anext(watch), Change)
        assert_type(watch.view, Mapping[str, BucketView])
        assert_type(watch.view["a"].nodes, tuple[NodeView, ...])
        assert_type(watch.stats, WatchStats)
        assert_type(await watch.ready(), None)
    client.status.watch(["a"], interval=60, fall=2, rise=2, unknown_after=2)
    client.status.watch(ids, refresh=300, concurrency=8, state="file")
    client.status.watch(listed)
    client.status.watch(5)  # type: ignore[arg-type]
    client.status.watch("a", interval="60")  # type: ignore[arg-type]
    found = await client.status.wait_until("a", lambda status: not status.nodes, timeout=5)
    assert_type(found, BucketStatus)
    await client.status.wait_until("a", lambda status: True)  # type: ignore[call-arg]


async def caches(client: FlashbackClient, ids: Iterable[str], day: date) -> None:
    cache = client.cached(CachePolicy(fresh=10, stale=60, stale_if_error=300, max_entries=100))
    assert_type(cache, Cache)
    assert_type(await cache.status.get("a"), BucketStatus)
    assert_type(await cache.status.lookup("a"), Cached[BucketStatus])
    assert_type(await cache.status.get_many(ids, deadline=2), Report[str, BucketStatus])
    assert_type(await cache.status.lookup_many(ids), Report[str, Cached[BucketStatus]])
    assert_type(await cache.bucket_stats.get("a"), BucketStats)
    assert_type(await cache.bucket_stats.list(), list[BucketStats])
    assert_type(await cache.bucket_stats.get_many(ids), Report[str, BucketStats])
    assert_type(await cache.node_stats.get("a", day), list[DailyNodeStats])
    assert_type(
        await cache.node_stats.get_many(ids, [day]), Report[BucketDay, list[DailyNodeStats]]
    )
    found = await cache.status.lookup("a")
    assert_type(found.age, float)
    assert_type(found.stale, bool)
    assert_type(found.error, FlashbackError | None)
    assert_type(cache.stats, CacheStats)
    cache.forget("a")
    cache.clear()
    client.cached(5)  # type: ignore[arg-type]


async def clusters(cluster: Client, ids: Iterable[str], day: date) -> None:
    settings = WorkerSettings(token_from="company.tokens:get", limits=Limits(max_concurrency=8))
    async with status_on_cluster(cluster, ids, settings, rate=5, deadline=60) as run:
        async for outcome in run:
            assert_type(outcome, Outcome[str, BucketStatus])
    assert_type(run.stats, ClusterStats)
    assert_type(run.stats.keys, int)
    async with node_stats_on_cluster(cluster, ids_from_elsewhere(), [day, "today"]) as pairs:
        async for pair in pairs:
            assert_type(pair, Outcome[BucketDay, list[DailyNodeStats]])
    status_on_cluster(cluster, ids, "token")  # type: ignore[arg-type] # settings hold no token
    try:
        node_stats_on_cluster(cluster, [BucketDay("id", day)])
    except ClusterLostError as error:
        assert_type(error.unfinished, Iterable[tuple[int, Any]])


async def fan_outs() -> None:
    async def length(text: str) -> int:
        return len(text)

    outcomes = fan_out(length, ["a"], concurrency=8, deadline=2.5)
    assert_type(outcomes, AsyncGenerator[Outcome[str, int], None])
    async for outcome in fan_out(length, ids_from_elsewhere()):
        assert_type(outcome, Outcome[str, int])
    fan_out(length, [1])  # type: ignore[arg-type]
    fan_out(len, ["a"])  # type: ignore[arg-type]


def outcomes_and_reports(report: Report[str, BucketStatus]) -> None:
    outcome = report[0]
    assert_type(outcome, Outcome[str, BucketStatus])
    assert_type(report[1:], Report[str, BucketStatus])
    assert_type(len(report), int)
    assert_type(report.ok, bool)
    assert_type(report.succeeded, dict[str, BucketStatus])
    assert_type(report.failed, dict[str, FlashbackError])
    report.raise_for_errors()
    assert_type(outcome.index, int)
    assert_type(outcome.key, str)
    assert_type(outcome.value, BucketStatus | None)
    assert_type(outcome.error, FlashbackError | None)
    assert_type(outcome.elapsed, float)
    assert_type(outcome.ok, bool)
    assert_type(outcome.unwrap(), BucketStatus)
    if outcome.ok:  # mypy alone follows this one
        assert_type(outcome, Success[str, BucketStatus])
    else:
        assert_type(outcome, Failure[str])
    outcome.index = 1  # type: ignore[misc]


def models(stats: BucketStats, node: NodeStatus, day: DailyNodeStats) -> None:
    assert_type(stats.bucket_id, str)
    assert_type(stats.total_count, int | None)
    assert_type(stats.total_upload_bytes, int | None)
    assert_type(stats.total_download_bytes, int | None)
    assert_type(stats.total_size_change, int | None)
    assert_type(node.ip, str | None)
    assert_type(node.region, str | None)
    assert_type(node.version, str | None)
    assert_type(node.state, NodeState | str | None)
    assert_type(node.latency_ms, float | None)
    assert_type(node.last_updated, datetime | None)
    assert_type(day.ip, str | None)
    assert_type(day.host, str | None)
    assert_type(day.uptime_percent, float | None)
    assert_type(day.avg_latency_ms, float | None)
    assert_type(day.version, str | None)
    assert_type(day.state, NodeState | str | None)
    assert_type(day.last_updated, datetime | None)
    assert_type(day.last_latency_ms, float | None)
    state: str = NodeState.ONLINE
    assert_type(NodeState("OFFLINE"), NodeState)
    assert_type(BucketDay("a", date(2024, 1, 15)), BucketDay)
    del state


def errors(error: FlashbackError, refusal: APIError, broken: DecodeError) -> None:
    assert_type(error.operation, str | None)
    assert_type(error.bucket_id, str | None)
    assert_type(error.attempts, int)
    assert_type(error.elapsed, float)
    assert_type(refusal.status, int)
    assert_type(refusal.code, str | None)
    assert_type(refusal.message, str | None)
    assert_type(refusal.request_id, str | None)
    assert_type(refusal.retry_after, float | None)
    assert_type(refusal.body, str)
    assert_type(broken.path, str)
    assert_type(broken.status, int)
    assert_type(broken.request_id, str | None)
    values: list[type[ValueError]] = [ConfigurationError, InvalidArgumentError]
    runtime: list[type[RuntimeError]] = [ClientClosedError, EventLoopError]
    timeouts: list[type[TimeoutError]] = [DeadlineExceededError, RequestTimeoutError]
    transport: list[type[TransportError]] = [
        ConnectError,
        ConnectionLostError,
        RequestTimeoutError,
        ProtocolError,
    ]
    connect: type[ConnectError] = CertificateError
    refusals: list[type[APIError]] = [
        BadRequestError,
        AuthenticationError,
        PermissionDeniedError,
        NotFoundError,
        RateLimitError,
        RedirectError,
        ServerError,
    ]
    decode: type[DecodeError] = ResponseTooLargeError
    every: list[type[FlashbackError]] = [TokenProviderError, *transport, *refusals, connect, decode]
    del values, runtime, timeouts, every


def web_answers(error: FlashbackError) -> None:
    answer = http_answer(error)
    assert_type(answer, HTTPAnswer)
    assert_type(answer.status, int)
    assert_type(answer.detail, str)
    assert_type(answer.headers, dict[str, str] | None)
    http_answer(ValueError())  # type: ignore[arg-type]


def results_of_a_wider_type(
    report: Report[str, BucketStatus], outcome: Outcome[str, BucketStatus]
) -> None:
    reports: list[Report[str, BucketStatus | BucketStats]] = [report]
    outcomes: list[Outcome[object, BucketStatus | None]] = [outcome]
    del reports, outcomes


def json_forms(
    status: BucketStatus, report: Report[BucketDay, list[DailyNodeStats]], error: FlashbackError
) -> None:
    assert_type(to_json(status), str)
    assert_type(to_json(report), str)
    assert_type(to_json([status]), str)
    record = to_dict(status)
    for value in record.values():
        assert_type(value, JsonValue)
    assert_type(to_dict(error), dict[str, JsonValue])
    assert_type(to_dict(report[0]), dict[str, JsonValue])
    assert_type(to_dict(report), list[dict[str, JsonValue]])
    assert_type(to_dict([status]), list[dict[str, JsonValue]])
    assert_type(from_dict(BucketStatus, record), BucketStatus)
    assert_type(from_json(DailyNodeStats, b"{}"), DailyNodeStats)
    assert_type(from_json(list[BucketStats], "[]"), list[BucketStats])
    to_json(5)  # type: ignore[arg-type]
    from_json(dict, "{}")  # type: ignore[type-var]
    from_json(BucketStats, 5)  # type: ignore[arg-type]


async def sandbox() -> None:
    async with Sandbox(
        buckets=5, nodes=2, seed=1, latency=0.1, error_rate=0.5, rate_limit=10
    ) as running:
        assert_type(running, Sandbox)
        assert_type(running.token, str)
        assert_type(running.base_url, str)
        assert_type(running.bucket_ids, tuple[str, ...])
        assert_type(running.forbidden_ids, tuple[str, ...])
        assert_type(running.requests, int)
        running.set_state("a", "10.0.0.1", "OFFLINE")
        running.fail("a", status=503, times=2)
