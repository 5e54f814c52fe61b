"""What users can rely on: names, signatures, defaults, docstrings."""

import ast
import importlib
import importlib.metadata
import importlib.resources
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType

import attrs
import pytest

import flashback_async
from flashback_async import bulk, resources, sandbox  # noqa: F401 - loaded, to be looked at
from flashback_async.dask import (
    ClusterRun,
    ClusterStats,
    WorkerSettings,
    node_stats_on_cluster,
    status_on_cluster,
)
from flashback_async.resources.bucket_stats import BucketStatsResource
from flashback_async.resources.node_stats import NodeStatsResource
from flashback_async.resources.status import StatusResource
from flashback_async.sandbox import Sandbox
from flashback_async.web import HTTPAnswer, http_answer

NAMES = """
    APIError AttemptEnded AuthenticationError BadRequestError BucketDay BucketStats BucketStatus
    BucketView Cache CachePolicy CacheStats Cached CallEnded CertificateError Change ChangeKind
    ClientClosedError ClusterLostError ConfigurationError ConnectError ConnectionLostError
    DailyNodeStats DeadlineExceededError DecodeError EventLoopError Failure FlashbackClient
    FlashbackError InvalidArgumentError Limits NodeState NodeStatus NodeView NotFoundError Observer
    Outcome PauseBegan PermissionDeniedError ProtocolError RateLimitError RedirectError Report
    RequestTimeoutError ResponseTooLargeError RetryPolicy ServerError Snapshot Success Timeout
    TokenFile TokenProvider TokenProviderError TransportError Watch WatchStats day_range fan_out
    from_dict from_json to_dict to_json
""".split()  # noqa: SIM905 - a table of names reads better so

ALIASES = {"Outcome", "TokenProvider"}

CLUSTER = (
    "settings: WorkerSettings = WorkerSettings(base_url=None, token_from=None, "
    "timeout=Timeout(total=30.0, attempt=10.0, connect=5.0), "
    "retry=RetryPolicy(max_attempts=3, backoff_base=0.05, throttle_base=1.0, backoff_max=8.0, "
    "max_retry_after=60.0), "
    "limits=Limits(max_concurrency=64, max_rate=None, max_response_bytes=33554432)), *, "
    "shard_size: int = 500, ahead: int = 2, rate: float | None = None, "
    "deadline: float | None = None, patience: float = 30.0"
)
BULK = "concurrency: int | None = None, deadline: float | None = None"
IDS = "Iterable[str]"
IDS_OR_ASYNC = "Iterable[str] | AsyncIterable[str]"
PAIRS = "Iterable[BucketDay]"
PAIRS_OR_ASYNC = "Iterable[BucketDay] | AsyncIterable[BucketDay]"
DAY = "date | datetime | str"
DAYS = f"{DAY} | Iterable[{DAY}]"
SIGNATURES = {
    flashback_async.FlashbackClient: (
        "(token: str | TokenProvider | TokenFile | None = None, *, base_url: str | None = None, "
        "timeout: Timeout = Timeout(total=30.0, attempt=10.0, connect=5.0), "
        "retry: RetryPolicy = RetryPolicy(max_attempts=3, backoff_base=0.05, throttle_base=1.0, "
        "backoff_max=8.0, max_retry_after=60.0), "
        "limits: Limits = Limits(max_concurrency=64, max_rate=None, max_response_bytes=33554432), "
        "proxy: str | None = None, ssl_context: ssl.SSLContext | None = None, "
        "session: aiohttp.ClientSession | None = None, allow_insecure_http: bool = False, "
        "observer: Observer | None = None, "
        'transport: "Literal[auto, aiohttp, direct]" = auto) -> None'
    ),
    flashback_async.FlashbackClient.with_options: (
        "(self, *, timeout: Timeout | None = None, retry: RetryPolicy | None = None)"
        " -> FlashbackClient"
    ),
    flashback_async.FlashbackClient.close: "(self) -> None",
    flashback_async.FlashbackClient.cached: (
        "(self, policy: CachePolicy = CachePolicy(fresh=10.0, stale=60.0, stale_if_error=300.0, "
        "not_found=5.0, max_entries=10000)) -> Cache"
    ),
    BucketStatsResource.get: "(self, bucket_id: str) -> BucketStats",
    BucketStatsResource.list: (
        f"(self, bucket_ids: {IDS} | None = None) -> builtins.list[BucketStats]"
    ),
    BucketStatsResource.get_many: (
        f"(self, bucket_ids: {IDS}, *, {BULK}) -> Report[str, BucketStats]"
    ),
    BucketStatsResource.iter_many: (
        f"(self, bucket_ids: {IDS_OR_ASYNC}, *, {BULK})"
        " -> AsyncGenerator[Outcome[str, BucketStats], None]"
    ),
    NodeStatsResource.get: f"(self, bucket_id: str, day: {DAY}) -> list[DailyNodeStats]",
    NodeStatsResource.get_many: (
        f"(self, bucket_ids: {IDS} | {PAIRS}, days: {DAYS} | None = None, *, {BULK})"
        " -> Report[BucketDay, list[DailyNodeStats]]"
    ),
    NodeStatsResource.iter_many: (
        f"(self, bucket_ids: {IDS_OR_ASYNC} | {PAIRS_OR_ASYNC}, days: {DAYS} | None = None, *,"
        f" {BULK})"
        " -> AsyncGenerator[Outcome[BucketDay, list[DailyNodeStats]], None]"
    ),
    StatusResource.get: "(self, bucket_id: str) -> BucketStatus",
    StatusResource.get_many: (f"(self, bucket_ids: {IDS}, *, {BULK}) -> Report[str, BucketStatus]"),
    StatusResource.iter_many: (
        f"(self, bucket_ids: {IDS_OR_ASYNC}, *, {BULK})"
        " -> AsyncGenerator[Outcome[str, BucketStatus], None]"
    ),
    StatusResource.watch: (
        f"(self, bucket_ids: {IDS} | Callable[[], Awaitable[{IDS}]] | None = None, *, "
        "interval: float = 60.0, fall: int = 2, rise: int = 2, unknown_after: int = 2, "
        "refresh: float = 300.0, concurrency: int | None = None, "
        "state: str | os.PathLike[str] | None = None) -> Watch"
    ),
    StatusResource.wait_until: (
        "(self, bucket_id: str, predicate: Callable[[BucketStatus], bool], *, timeout: float, "
        "interval: float = 5.0, times: int = 1) -> BucketStatus"
    ),
    status_on_cluster: (
        f"(cluster: Client, bucket_ids: {IDS_OR_ASYNC}, {CLUSTER}) -> ClusterRun[str, BucketStatus]"
    ),
    node_stats_on_cluster: (
        f"(cluster: Client, bucket_ids: {IDS_OR_ASYNC} | {PAIRS_OR_ASYNC}, "
        f"days: {DAYS} | None = None, {CLUSTER}) -> ClusterRun[BucketDay, list[DailyNodeStats]]"
    ),
    flashback_async.day_range: f"(first: {DAY}, last: {DAY} | None = None) -> list[date]",
    flashback_async.fan_out: (
        "(func: Callable[[K], Awaitable[V]], keys: Iterable[K] | AsyncIterable[K], *, "
        "concurrency: int = 64, deadline: float | None = None)"
        " -> AsyncGenerator[Outcome[K, V], None]"
    ),
    flashback_async.Timeout: (
        "(total: float = 30.0, attempt: float = 10.0, connect: float = 5.0) -> None"
    ),
    flashback_async.RetryPolicy: (
        "(max_attempts: int = 3, backoff_base: float = 0.05, throttle_base: float = 1.0, "
        "backoff_max: float = 8.0, max_retry_after: float = 60.0) -> None"
    ),
    flashback_async.RetryPolicy.none: "() -> RetryPolicy",
    flashback_async.Limits: (
        "(max_concurrency: int = 64, max_rate: float | None = None, "
        "max_response_bytes: int = 33554432) -> None"
    ),
    flashback_async.Success: "(index: int, key: K, value: V, elapsed: float) -> None",
    flashback_async.Success.unwrap: "(self) -> V",
    flashback_async.Failure: "(index: int, key: K, error: FlashbackError, elapsed: float) -> None",
    flashback_async.Failure.unwrap: "(self) -> NoReturn",
    flashback_async.Report.raise_for_errors: "(self) -> None",
    flashback_async.BucketDay: "(bucket_id: str, day: date)",
}
FIELDS = {
    flashback_async.BucketStats: (
        "bucket_id total_count total_upload_bytes total_download_bytes total_size_change"
    ),
    flashback_async.BucketStatus: "bucket_id nodes",
    flashback_async.NodeStatus: "ip region version state latency_ms last_updated",
    flashback_async.DailyNodeStats: (
        "ip host uptime_percent avg_latency_ms version state last_updated last_latency_ms"
    ),
    flashback_async.Change: "kind bucket_id ip before after node at since merged error",
    flashback_async.Cached: "value age stale error",
    flashback_async.CacheStats: (
        "hits stale_hits misses joined refreshes refresh_failures evicted entries in_flight"
    ),
    flashback_async.BucketView: "bucket_id nodes answered error asked_at",
    flashback_async.NodeView: "node ip state since",
    flashback_async.AttemptEnded: (
        "operation method url_template server_address server_port bucket_id attempt status error "
        "request_id elapsed"
    ),
    flashback_async.CallEnded: "operation bucket_id attempts error elapsed",
    flashback_async.PauseBegan: "operation seconds",
    flashback_async.Snapshot: (
        "in_flight waiting slots paused_for retry_budget requests retries last_success_age "
        "last_error"
    ),
    ClusterStats: "keys failed shards_again workers_lost workers",
    WorkerSettings: "base_url token_from timeout retry limits",
    flashback_async.WatchStats: "buckets asked failed waiting lag shifted",
    flashback_async.Success: "index key value elapsed",
    flashback_async.Failure: "index key error elapsed",
}


def in_a_new_process(code):
    """Run code in a fresh interpreter and return its output."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr == ""
    return done.stdout.split()


def public_callables() -> Iterator[tuple[str, object]]:
    """Every class and function that a user calls, with its public methods."""
    owners = [
        *(getattr(flashback_async, n) for n in flashback_async.__all__ if n not in ALIASES),
        *(BucketStatsResource, NodeStatsResource, StatusResource, Sandbox, HTTPAnswer, http_answer),
        *(ClusterRun, ClusterStats, WorkerSettings, node_stats_on_cluster, status_on_cluster),
    ]
    for owner in owners:
        yield owner.__qualname__, owner
        if inspect.isclass(owner):
            for name, member in vars(owner).items():
                if not name.startswith("_") and (
                    inspect.isroutine(member) or isinstance(member, property | classmethod)
                ):
                    yield f"{owner.__qualname__}.{name}", member


# Names.


def test_the_public_names_are_the_documented_ones_in_order():
    assert flashback_async.__all__ == sorted(NAMES)


def test_the_stub_for_type_checkers_names_the_same():
    stub = importlib.resources.files(flashback_async) / "__init__.pyi"
    body = ast.parse(stub.read_text(encoding="utf-8")).body
    imported = {
        (node.module, alias.name)
        for node in body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    homes = {(f"flashback_async.{home}", name) for name, home in flashback_async._HOMES.items()}
    assert imported == homes - {("flashback_async._version", "__version__")}
    (listed,) = [ast.literal_eval(node.value) for node in body if isinstance(node, ast.Assign)]
    assert listed == flashback_async.__all__


def test_every_public_name_is_there_and_says_where_it_lives():
    for name in NAMES:
        value = getattr(flashback_async, name)
        assert value is getattr(flashback_async, name)
        if name not in ALIASES:
            home = importlib.import_module(value.__module__)
            assert getattr(home, value.__name__) is value
            assert value.__module__.startswith("flashback_async.")


def test_nothing_but_the_public_names_is_public():
    for name in flashback_async.__all__:
        getattr(flashback_async, name)
    beside = {
        name
        for name, value in vars(flashback_async).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert beside - {"TYPE_CHECKING", "annotations", "import_module"} == set(NAMES)


def test_dir_lists_the_public_names_also_before_they_are_loaded():
    assert set(NAMES) <= set(dir(flashback_async))
    listed = in_a_new_process("import flashback_async; print(*dir(flashback_async))")
    assert set(NAMES) <= set(listed)
    assert listed == sorted(listed)


def test_without_the_metadata_of_the_package_its_version_is_unknown(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    assert re.fullmatch(r"\d+\.\d+\.\d+", flashback_async.__version__)
    monkeypatch.setattr(importlib.metadata, "version", missing)
    module = importlib.import_module("flashback_async._version")
    try:
        assert importlib.reload(module).__version__ == "0.0"
    finally:
        monkeypatch.undo()
        importlib.reload(module)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'flashback_async' has no attribute 'nonsense'"):
        flashback_async.nonsense  # noqa: B018
    assert not hasattr(flashback_async, "__wrapped__")


def test_a_star_import_gives_the_public_names():
    printed = in_a_new_process(
        "before = set(globals()); from flashback_async import *; "
        "print(*sorted(set(globals()) - before - {'before'}))"
    )
    assert printed == sorted(NAMES)


@pytest.mark.parametrize(
    "statement",
    ["import flashback_async", "from flashback_async import DecodeError, Timeout, fan_out"],
)
def test_importing_the_package_does_not_load_aiohttp(statement):
    loaded = in_a_new_process(
        f"import sys; {statement}; print(*sorted(m for m in sys.modules if '.' not in m))"
    )
    assert "flashback_async" in loaded
    assert not {"aiohttp", "msgspec", "cattrs", "tenacity", "aiolimiter"} & set(loaded)


def test_using_models_does_not_load_pydantic():
    loaded = in_a_new_process(
        "import sys; from flashback_async import BucketStats, FlashbackClient, to_json, web; "
        "to_json(BucketStats('b')); print(*sorted(m for m in sys.modules if '.' not in m))"
    )
    assert "flashback_async" in loaded
    assert not {"pydantic", "pydantic_core"} & set(loaded)


def test_importing_the_package_alone_loads_no_module_of_it():
    loaded = in_a_new_process(
        "import sys, flashback_async; "
        "print(*(m for m in sys.modules if m.startswith('flashback_async.')))"
    )
    assert loaded == []


def test_the_logger_of_the_package_is_silent_unless_listened_to():
    printed = in_a_new_process(
        "import flashback_async, logging; from flashback_async import FlashbackClient;"
        "logging.getLogger('flashback_async').error('unheard');"
        "print(*map(type, logging.getLogger('flashback_async').handlers))"
    )
    assert printed == ["<class", "'logging.NullHandler'>"]


# Signatures.


def name_of(value):
    return value.__qualname__ if hasattr(value, "__qualname__") else None


@pytest.mark.parametrize(("function", "expected"), SIGNATURES.items(), ids=name_of)
def test_signatures_are_the_documented_ones(function, expected):
    signature = inspect.signature(function)
    if function is flashback_async.BucketDay:
        assert [(p.name, p.default) for p in signature.parameters.values()] == [
            ("bucket_id", inspect.Parameter.empty),
            ("day", inspect.Parameter.empty),
        ]
        return
    assert str(signature).replace("'", "") == expected


@pytest.mark.parametrize(("model", "fields"), FIELDS.items(), ids=name_of)
def test_models_have_the_documented_fields_and_never_change(model, fields):
    assert [field.name for field in attrs.fields(model)] == fields.split()
    assert model.__attrs_props__.is_frozen
    assert model.__attrs_props__.is_slotted


def test_a_client_has_the_three_resources():
    client = flashback_async.FlashbackClient("token")
    assert isinstance(client.bucket_stats, BucketStatsResource)
    assert isinstance(client.node_stats, NodeStatsResource)
    assert isinstance(client.status, StatusResource)
    public = {name for name in dir(client) if not name.startswith("_")}
    assert public == {
        *("bucket_stats", "cached", "close", "node_stats", "pace"),
        *("snapshot", "status", "with_options"),
    }


@pytest.mark.parametrize(
    ("resource", "calls"),
    [
        (BucketStatsResource, {"get", "get_many", "iter_many", "list"}),
        (NodeStatsResource, {"get", "get_many", "iter_many"}),
        (StatusResource, {"get", "get_many", "iter_many", "wait_until", "watch"}),
    ],
)
def test_a_resource_has_the_documented_calls_and_no_more(resource, calls):
    assert {name for name in vars(resource) if not name.startswith("_")} == calls
    for name in calls - {"iter_many", "watch"}:
        assert inspect.iscoroutinefunction(getattr(resource, name))
    assert not inspect.iscoroutinefunction(resource.iter_many)


def test_the_sandbox_has_the_documented_arguments_and_members():
    parameters = inspect.signature(Sandbox).parameters
    assert list(parameters)[:3] == ["buckets", "nodes", "seed"]
    documented = {"buckets": 100, "nodes": 3, "seed": 0, "latency": 0.0, "error_rate": 0.0}
    assert {name: parameters[name].default for name in documented} == documented
    assert parameters["rate_limit"].default is None
    for name in ("latency", "error_rate", "rate_limit"):
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
    for name in ("token", "base_url", "bucket_ids", "forbidden_ids", "requests"):
        assert isinstance(getattr(Sandbox, name), property)
    assert str(inspect.signature(Sandbox.set_state)).startswith(
        "(self, bucket_id: 'str', ip: 'str', state: 'str')"
    )
    assert str(inspect.signature(Sandbox.fail)).startswith(
        "(self, bucket_id: 'str', status: 'int' = 503, times: 'int' = 1"
    )


def test_outcomes_and_reports_have_the_documented_members():
    for kind in (flashback_async.Success, flashback_async.Failure):
        assert {n for n in dir(kind) if not n.startswith("_")} == {
            *("index", "key", "value", "error", "elapsed", "ok", "unwrap")
        }
    assert {n for n in vars(flashback_async.Report) if not n.startswith("_")} == {
        *("ok", "succeeded", "failed", "raise_for_errors")
    }


# Documentation.

CALLABLES = list(public_callables())


@pytest.mark.parametrize(("name", "member"), CALLABLES, ids=[name for name, _ in CALLABLES])
def test_everything_public_has_a_docstring_that_begins_with_one_sentence(name, member):
    text = inspect.getdoc(member)
    assert text, f"{name} has no docstring"
    first = text.split("\n\n")[0]
    assert first.rstrip().endswith("."), f"{name}: {first}"
    assert first[0].isupper()


@pytest.mark.parametrize(
    "name", [n for n, m in CALLABLES if n.endswith((".get", ".list", "_many", ".close", "fan_out"))]
)
def test_every_call_says_what_it_raises(name):
    text = inspect.getdoc(dict(CALLABLES)[name])
    assert name == "Sandbox.close" or "Raises:" in text


def test_the_package_is_typed():
    package = importlib.resources.files("flashback_async")
    assert package.joinpath("py.typed").is_file()
