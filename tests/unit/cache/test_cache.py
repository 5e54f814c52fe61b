"""Cached reads in virtual time: who asks, who waits, what is served, and what is forgotten."""

import asyncio
import contextvars
import itertools

import pytest

from flashback_async import (
    AuthenticationError,
    BucketDay,
    CachePolicy,
    ClientClosedError,
    ConfigurationError,
    ConnectError,
    DeadlineExceededError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RetryPolicy,
    ServerError,
    Timeout,
)
from flashback_async.resources.cached import Cache
from flashback_async.values import NoAnswer, Retry
from tests.unit.support import Bench, answer, no, now, status_body, turns

sleep = asyncio.sleep


class Api:
    """An API whose answers take 10 ms, and which a test breaks and mends."""

    def __init__(self):
        self.broken = None  # what answers instead
        self.asked = []
        self.latency = 0.01
        self.forbidden = None  # an id for which whole lists are refused
        self.slow = 0.0  # so much longer takes an answer about it

    async def __call__(self, request, attempt):
        self.asked.append(request)
        await sleep(self.latency)
        if self.forbidden and self.forbidden in request.target:
            await sleep(self.slow if request.target.count("%2C") < 3 else 0)
            return no(403)
        if self.broken is not None:
            return self.broken
        if request.operation == "node_stats.get":
            return answer({"success": True, "nodeStats": [{"ip": "10.0.0.1"}]})
        if request.operation == "status.get":
            return answer(status_body(request.bucket_id, count=len(self.asked)))
        ids = request.target.partition("=")[2].split("%2C")
        ids = [i for i in ids if i] or ["a", "b", "c"]
        stats = [{"bucketId": i, "totalCount": str(len(self.asked))} for i in ids if i != "gone"]
        return answer({"success": True, "stats": stats})


def cache_of(bench, **policy):
    return Cache(
        bench.caller, CachePolicy(**policy), bench.status, bench.bucket_stats, bench.node_stats
    )


@pytest.fixture
async def made():
    """Return an API, and a cache of a client of it; the policy may be changed."""
    benches = []

    def make(**options):
        policy = options.pop("policy", {})
        api = Api()
        options.setdefault("retry", RetryPolicy.none())
        bench = Bench(api, **options)
        benches.append(bench)
        return api, cache_of(bench, **policy), bench

    yield make
    for bench in benches:
        await bench.state.close()
        await turns()


def version(status):
    """Return which request a status is the answer to."""
    return len(status.nodes)


# Fresh, stale and old.


async def test_a_fresh_value_needs_no_request(made):
    api, cache, _ = made()
    first = await cache.status.get("a")
    await sleep(9.9)
    assert await cache.status.get("a") is first
    found = await cache.status.lookup("a")
    assert (found.value, found.stale, found.error) == (first, False, None)
    assert found.age == pytest.approx(9.9)
    assert len(api.asked) == 1
    assert (cache.stats.misses, cache.stats.hits, cache.stats.entries) == (1, 2, 1)


async def test_an_older_value_is_served_at_once_and_refreshed_behind(made):
    api, cache, _ = made()
    await cache.status.get("a")
    await sleep(30)
    began = now()
    for _ in range(5):
        found = await cache.status.lookup("a")
        assert (version(found.value), found.stale) == (1, True)
        assert found.age == pytest.approx(30, abs=0.1)
    assert now() == began
    await sleep(1)
    found = await cache.status.lookup("a")
    assert (version(found.value), found.stale) == (2, False)
    assert len(api.asked) == 2
    assert (cache.stats.stale_hits, cache.stats.refreshes, cache.stats.hits) == (5, 1, 1)


async def test_a_value_that_is_too_old_is_waited_for(made):
    _, cache, _ = made()
    await cache.status.get("a")
    await sleep(71)
    assert version(await cache.status.get("a")) == 2
    assert (cache.stats.misses, cache.stats.stale_hits) == (2, 0)


@pytest.mark.parametrize("broken", [no(503), no(429), answer(b"{"), None])
async def test_an_old_value_is_served_if_there_is_no_newer_one(made, broken):
    api, cache, _ = made(timeout=Timeout(total=1))
    await cache.status.get("a")
    await sleep(200)
    api.broken, api.latency = broken, 0.01 if broken else 5
    found = await cache.status.lookup("a")
    assert (version(found.value), found.stale) == (1, True)
    assert found.age == pytest.approx(200, abs=1.1)
    assert found.error is not None
    # It is not asked for again for a while, and served at once, with the error.
    asked, began = len(api.asked), now()
    again = await cache.status.lookup("a")
    assert (now(), len(api.asked)) == (began, asked)
    assert type(again.error) is type(found.error)
    assert again.error is not found.error


async def test_failed_refreshes_are_made_less_and_less_often(made):
    api, cache, _ = made(policy={"stale": 1000, "stale_if_error": 1000})
    await cache.status.get("a")
    await sleep(10)
    api.broken = no(500)
    times = []
    for _ in range(3000):
        before = len(api.asked)
        found = await cache.status.lookup("a")
        await sleep(0.1)
        if len(api.asked) > before:
            times.append(now())
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert gaps[:6] == pytest.approx([5, 10, 20, 40, 60, 60], abs=0.4)
    assert found.error.status == 500
    assert cache.stats.refresh_failures == len(times) == cache.stats.refreshes
    api.broken = None
    await sleep(61)
    await cache.status.lookup("a")
    await sleep(1)
    assert (await cache.status.lookup("a")).error is None


async def test_a_refusal_is_no_reason_to_serve_what_is_too_old(made):
    api, cache, _ = made(policy={"stale": 0})
    await cache.status.get("a")
    await sleep(11)
    api.broken = no(400)
    for _ in range(5):
        with pytest.raises(Exception, match="400"):
            await cache.status.get("a")
        await sleep(1)
    assert len(api.asked) == 6


async def test_past_stale_if_error_the_error_comes_out(made):
    api, cache, _ = made()
    await cache.status.get("a")
    await sleep(311)
    api.broken = no(503)
    with pytest.raises(ServerError):
        await cache.status.get("a")


@pytest.mark.parametrize(("status", "error"), [(404, NotFoundError), (403, PermissionDeniedError)])
async def test_a_bucket_that_is_gone_or_forbidden_has_no_old_value(made, status, error):
    api, cache, _ = made()
    await cache.status.get("a")
    await sleep(100)
    api.broken = no(status)
    with pytest.raises(error):
        await cache.status.get("a")
    await sleep(6)
    api.broken = no(503)
    with pytest.raises(ServerError):
        await cache.status.get("a")


async def test_that_there_is_no_such_bucket_is_remembered_for_a_while(made):
    api, cache, _ = made()
    api.broken = no(404)
    errors = []
    for _ in range(3):
        with pytest.raises(NotFoundError) as caught:
            await cache.status.get("a")
        errors.append(caught.value)
    assert len(api.asked) == 1
    assert len(set(map(id, errors))) == 3
    assert (cache.stats.misses, cache.stats.hits) == (1, 2)
    api.broken = None
    await sleep(5)
    assert await cache.status.get("a")


@pytest.mark.parametrize("status", [403, 500, 400])
async def test_other_errors_are_not_kept(made, status):
    api, cache, _ = made()
    api.broken = no(status)
    for count in (1, 2, 3):
        with pytest.raises(Exception, match=str(status)):
            await cache.status.get("a")
        assert len(api.asked) == count


# One request for each key.


async def test_all_who_ask_at_once_share_one_request(made):
    api, cache, _ = made()
    found = await asyncio.gather(*(cache.status.get("a") for _ in range(100)))
    assert len(api.asked) == 1
    assert len({id(status) for status in found}) == 1
    assert (cache.stats.misses, cache.stats.joined) == (1, 99)


async def test_each_waiter_gets_an_error_of_its_own(made):
    api, cache, _ = made()
    api.broken = no(500)
    errors = await asyncio.gather(
        *(cache.status.get("a") for _ in range(20)), return_exceptions=True
    )
    assert {type(error) for error in errors} == {ServerError}
    assert len({id(error) for error in errors}) == 20
    assert all(error.__traceback__ is not None for error in errors)
    assert {(error.operation, error.bucket_id) for error in errors} == {("status.get", "a")}


@pytest.mark.parametrize("which", [0, 7, 49])
async def test_cancelling_one_waiter_leaves_the_others(made, which):
    api, cache, _ = made()
    tasks = [asyncio.create_task(cache.status.get("a")) for _ in range(50)]
    await turns(3)
    tasks[which].cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(result, asyncio.CancelledError) for result in found) == 1
    assert len(api.asked) == 1


async def test_when_the_last_waiter_goes_the_request_is_cancelled(made):
    api, cache, bench = made()
    api.latency = 5
    tasks = [asyncio.create_task(cache.status.get("a")) for _ in range(3)]
    await sleep(1)
    for task in tasks:
        task.cancel()
    again = asyncio.create_task(cache.status.get("a"))
    await turns()
    assert bench.script.under_way == 1
    assert len(api.asked) == 2
    assert cache.stats.in_flight == 1
    assert version(await again) == 2


async def test_a_waiter_that_goes_before_the_request_begins_leaves_nothing(made):
    _, cache, _ = made()
    task = asyncio.create_task(cache.status.get("a"))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await turns()
    assert cache.stats.in_flight == 0
    assert await cache.status.get("a")


async def test_a_refresh_goes_on_although_nobody_waits_for_it(made):
    _, cache, _ = made()
    await cache.status.get("a")
    await sleep(20)
    await cache.status.get("a")
    await sleep(0)
    joined = asyncio.create_task(cache.status.get("a"))
    await turns()
    joined.cancel()
    await sleep(1)
    assert version(await cache.status.get("a")) == 2


async def test_a_request_runs_in_no_callers_context(made):
    tenant = contextvars.ContextVar("tenant", default="nobody")
    seen = []

    async def provider():
        seen.append(tenant.get())
        return "token"

    _, cache, _ = made(token=provider)
    tenant.set("A")
    await cache.status.get("a")
    assert seen == ["nobody"]


# Many keys.


async def test_the_age_of_each_row_is_that_of_the_end(made):
    api, cache, _ = made(policy={"fresh": 1})
    await cache.status.get("a")
    await sleep(0.5)
    api.latency = 0.8
    report = await cache.status.lookup_many(["a", "slow"])
    assert report[0].value.age == pytest.approx(1.3, abs=0.01)
    assert report[0].value.stale
    assert report[1].value.age == 0


async def test_errors_of_lists_name_the_call_and_the_bucket_of_each_reader(made):
    _api, cache, _ = made()
    report = await cache.bucket_stats.get_many(["gone", "a"])
    with pytest.raises(NotFoundError) as caught:
        await cache.bucket_stats.get("gone")
    for error in (report.failed["gone"], caught.value):
        assert (error.operation, error.bucket_id) == ("bucket_stats.get", "gone")


async def test_a_page_joins_what_is_under_way_and_asks_for_the_rest(made):
    api, cache, _ = made()
    await cache.status.get("a")
    pages = [cache.status.get_many(["a", "b", "c", "b"]), cache.status.get_many(["c", "d"])]
    first, second = await asyncio.gather(*pages)
    assert [outcome.key for outcome in first] == ["a", "b", "c", "b"]
    assert [outcome.index for outcome in first] == [0, 1, 2, 3]
    assert first.ok
    assert second.ok
    assert sorted(request.bucket_id for request in api.asked) == ["a", "b", "c", "d"]
    assert (cache.stats.hits, cache.stats.misses, cache.stats.joined) == (1, 4, 1)


async def test_counters_are_asked_for_in_lists(made):
    api, cache, _ = made()
    report = await cache.bucket_stats.get_many(["a", "b", "gone", "x,y", "c"])
    assert [outcome.ok for outcome in report] == [True, True, False, False, True]
    assert isinstance(report.failed["gone"], NotFoundError)
    assert isinstance(report.failed["x,y"], InvalidArgumentError)
    assert len(api.asked) == 1
    await cache.bucket_stats.get("a")
    await cache.bucket_stats.get_many(["a", "b", "c"])
    assert len(api.asked) == 1
    await cache.bucket_stats.get_many(["a", "d", "e"])
    assert api.asked[-1].target == "/bucket/stats?bucketId=d%2Ce"


async def test_a_list_is_cancelled_when_nobody_waits_for_any_key_of_it(made):
    api, cache, bench = made()
    api.latency = 5
    page = asyncio.create_task(cache.bucket_stats.get_many(["a", "b"]))
    await sleep(1)
    one = asyncio.create_task(cache.bucket_stats.get("b"))
    await sleep(1)
    page.cancel()
    await turns()
    assert bench.script.under_way == 1
    one.cancel()
    await turns()
    assert bench.script.under_way == 0


def halved(made, **policy):
    """Return a cache whose API refuses lists with "x", and answers for half of one slowly."""
    api, cache, bench = made(policy=policy)
    api.forbidden, api.slow = "x", 0.5
    return api, cache, bench, ["a", "b", "c", "x"]


async def test_each_value_of_a_halved_list_has_its_own_age(made):
    api, cache, _, ids = halved(made, fresh=1.0, stale=0.0)
    report = await cache.bucket_stats.lookup_many(ids)
    assert isinstance(report.failed["x"], PermissionDeniedError)
    # The half with "x" is refused after half a second, and so is "x" alone after that.
    ages = {key: found.age for key, found in report.succeeded.items()}
    assert ages == pytest.approx({"a": 1.03, "b": 1.03, "c": 0.51}, abs=0.001)
    assert [found.stale for found in report.succeeded.values()] == [True, True, False]
    asked = len(api.asked)
    await cache.bucket_stats.get("c")
    assert len(api.asked) == asked
    await cache.bucket_stats.get("a")
    assert len(api.asked) == asked + 1


async def test_what_has_arrived_of_a_halved_list_is_not_lost_at_the_deadline(made):
    api, cache, _, ids = halved(made)
    report = await cache.bucket_stats.get_many(ids, deadline=0.3)
    assert list(report.succeeded) == ["a", "b"]
    assert all(isinstance(e, DeadlineExceededError) for e in report.failed.values())
    assert cache.stats.entries == 2
    asked = len(api.asked)
    await cache.bucket_stats.get("a")
    assert len(api.asked) == asked


async def test_who_waits_for_a_key_of_a_list_waits_no_longer_than_for_its_answer(made):
    _, cache, bench, ids = halved(made)
    page = asyncio.create_task(cache.bucket_stats.get_many(ids))
    await sleep(0.005)
    began = now()
    await cache.bucket_stats.get("b")
    assert now() - began == pytest.approx(0.015)
    assert cache.stats.joined == 1
    # What nobody waits for any more is not asked for.
    page.cancel()
    await turns()
    assert (bench.script.under_way, cache.stats.in_flight) == (0, 0)
    assert cache.stats.entries == 2


async def test_who_has_the_answer_for_a_key_does_not_keep_the_rest_of_the_list_going(made):
    _, cache, bench, ids = halved(made)
    page = asyncio.create_task(cache.bucket_stats.get_many(ids))
    await sleep(0.005)
    one = asyncio.create_task(cache.bucket_stats.get("b"))
    await turns()
    page.cancel()
    began = now()
    await one
    assert now() - began == pytest.approx(0.015)
    await turns()
    assert (bench.script.under_way, cache.stats.in_flight) == (0, 0)


async def test_a_rejected_token_in_a_part_of_a_list_clears_the_cache(made):
    api, cache, _, ids = halved(made)
    page = asyncio.create_task(cache.bucket_stats.get_many(ids))
    await sleep(0.1)
    assert cache.stats.entries == 2
    api.forbidden, api.broken = None, no(401)
    report = await page
    assert list(report.succeeded) == ["a", "b"]
    assert (cache.stats.entries, cache.stats.in_flight) == (0, 0)


async def test_the_list_of_all_is_one_entry_and_each_caller_gets_a_list_of_its_own(made):
    api, cache, _ = made()
    first = await cache.bucket_stats.list()
    second = await cache.bucket_stats.list()
    assert first == second
    assert first is not second
    first.clear()
    assert len((await cache.bucket_stats.lookup_list()).value) == 3
    assert (len(api.asked), cache.stats.entries) == (1, 1)


async def test_what_is_asked_for_after_its_day_has_settled_stays_fresh(made):
    api, cache, _ = made()  # it is noon of 2024-01-15
    for day in ("2024-01-13", "2024-01-14", "2024-01-15"):
        await cache.node_stats.get("a", day)
    await sleep(1000)
    for day in ("2024-01-13", "2024-01-14"):
        found = await cache.node_stats.lookup("a", day)
        assert not found.stale
    assert len(api.asked) == 3
    await cache.node_stats.get("a", "2024-01-15")
    assert len(api.asked) == 4
    report = await cache.node_stats.get_many(["a"], ["2024-01-13", "2024-01-14"])
    assert list(report.succeeded) == [BucketDay("a", o.key.day) for o in report]
    report[0].value.clear()
    assert len(await cache.node_stats.get("a", "2024-01-13")) == 1
    assert len(api.asked) == 4


async def test_the_last_and_the_first_day_of_the_calendar_are_days_like_others(made):
    api, cache, _ = made()
    report = await cache.node_stats.get_many(["a"], ["0001-01-01", "9999-12-31"])
    assert report.ok
    assert len(await cache.node_stats.get("a", "9999-12-31")) == 1
    assert len(api.asked) == 2


# Deadlines and pauses.


async def test_a_page_that_cannot_wait_has_old_values_and_the_requests_go_on(made):
    api, cache, _ = made()
    await cache.status.get("a")
    await sleep(100)
    api.latency = 3
    began = now()
    report = await cache.status.lookup_many(["a", "b"], deadline=1)
    assert now() - began == pytest.approx(1)
    assert isinstance(report[0].value.error, DeadlineExceededError)
    assert report[0].value.stale
    assert isinstance(report.failed["b"], DeadlineExceededError)
    error = report.failed["b"]
    assert (error.operation, error.bucket_id, error.attempts) == ("status.get", "b", 1)
    assert error.elapsed == pytest.approx(1)
    await sleep(3)
    assert len(api.asked) == 3
    assert not (await cache.status.lookup("a")).stale
    assert len(api.asked) == 3


async def test_a_page_does_not_wait_for_a_pause_that_outlasts_it(made):
    api, cache, _ = made(retry=RetryPolicy())
    await cache.status.get("a")
    await sleep(100)
    api.broken = no(429, retry_after=10)
    began = now()
    page = asyncio.create_task(cache.status.lookup_many(["a", "b"], deadline=2))
    await sleep(0.02)
    api.broken = None
    report = await page
    assert now() - began < 0.1
    assert isinstance(report[0].value.error, RateLimitError)
    assert isinstance(report.failed["b"], RateLimitError)
    assert report.failed["b"].retry_after == pytest.approx(10, abs=0.1)
    later = await cache.status.lookup_many(["c"], deadline=2)
    assert now() - began < 0.1
    assert isinstance(later.failed["c"], RateLimitError)
    assert await cache.status.get("b")  # which goes on, for the longest Timeout.total
    assert now() - began == pytest.approx(10, abs=0.1)


async def test_a_pause_does_not_end_the_wait_for_requests_that_have_left(made):
    _, cache, bench = made(retry=RetryPolicy())
    await cache.status.get("old")
    await sleep(100)

    async def reply(request, attempt):
        if request.bucket_id == "b5":
            await sleep(0.1)
            return no(429, retry_after=20)
        await sleep(0.5)
        return answer(status_body(request.bucket_id))

    bench.script.answers = [reply]
    keys = [f"b{n}" for n in range(20)]
    began = now()
    report = await cache.status.lookup_many([*keys, "old"], deadline=2)
    assert now() - began == pytest.approx(0.5, abs=0.05)
    assert list(report.failed) == ["b5"]
    assert isinstance(report.failed["b5"], RateLimitError)
    assert not report[20].value.stale
    assert cache.stats.in_flight == 1


async def test_a_request_is_one_call_with_one_total_time(made):
    api, cache, _ = made(timeout=Timeout(total=2))
    api.latency = 60
    began = now()
    with pytest.raises(DeadlineExceededError):
        await cache.status.get("a")
    assert now() - began == pytest.approx(2)


# Forgetting.


async def test_what_is_forgotten_is_asked_for_again(made):
    _, cache, _ = made()
    await cache.status.get("a")
    await cache.status.get("b")
    await cache.bucket_stats.get("a")
    await cache.bucket_stats.list()
    await cache.node_stats.get("a", "2024-01-01")
    cache.forget("a")
    assert cache.stats.entries == 1
    cache.clear()
    assert cache.stats.entries == 0


async def test_those_who_wait_while_it_is_forgotten_get_an_answer_that_is_not_kept(made):
    api, cache, _ = made()
    api.latency = 2
    waiting = asyncio.create_task(cache.status.get("a"))
    await sleep(1)
    cache.forget("a")
    later = asyncio.create_task(cache.status.get("a"))
    assert version(await waiting) == 2
    assert len(api.asked) == 2
    assert cache.stats.entries == 0
    await later
    assert cache.stats.entries == 1


@pytest.mark.parametrize("how", ["forget", "clear", "rejected"])
async def test_what_was_forgotten_while_a_newer_value_was_waited_for_is_not_served(made, how):
    api, cache, _ = made()
    await cache.status.get("a")
    await sleep(100)
    api.latency, api.broken = 2, no(503)
    waiting = asyncio.create_task(cache.status.get("a"))
    await sleep(1)
    if how == "forget":
        cache.forget("a")
    elif how == "clear":
        cache.clear()
    else:
        api.latency, api.broken = 0.1, no(401)
        with pytest.raises(AuthenticationError):
            await cache.status.get("b")
        api.broken = no(503)
    with pytest.raises(ServerError):
        await waiting


async def test_what_was_used_least_recently_goes_and_what_is_under_way_stays(made):
    api, cache, _ = made(policy={"max_entries": 3})
    report = await cache.status.get_many([f"b{n}" for n in range(90)])
    assert report.ok
    assert (cache.stats.entries, cache.stats.evicted) == (3, 87)
    await cache.status.get("b87")
    await cache.status.get("new")
    asked = len(api.asked)
    await cache.status.get("b87")
    assert len(api.asked) == asked
    await cache.status.get("b88")
    assert len(api.asked) == asked + 1


async def test_a_rejected_token_clears_the_cache(made):
    api, cache, _ = made()
    await cache.status.get("a")
    await cache.bucket_stats.list()
    api.broken = no(401)
    with pytest.raises(AuthenticationError):
        await cache.status.get("b")
    assert cache.stats.entries == 0
    with pytest.raises(AuthenticationError):
        await cache.status.get("a")


# Use.


async def test_after_close_a_hit_raises_too(made):
    _, cache, bench = made()
    await cache.status.get("a")
    await bench.state.close()
    for use in (cache.status.get("a"), cache.status.lookup("a"), cache.status.get_many(["a"])):
        with pytest.raises(ClientClosedError):
            await use


async def test_closing_the_client_ends_those_who_wait(made):
    api, cache, bench = made()
    api.latency = 60
    waiting = asyncio.create_task(cache.status.get("a"))
    await sleep(1)
    await bench.state.close()
    with pytest.raises(ClientClosedError):
        await waiting


@pytest.mark.parametrize(
    ("setting", "value"),
    [("fresh", 0), ("stale", -1), ("stale_if_error", None), ("not_found", "5"), ("max_entries", 0)],
)
def test_a_policy_names_what_is_wrong(setting, value):
    with pytest.raises(ConfigurationError, match=f"CachePolicy.{setting} must be"):
        CachePolicy(**{setting: value})


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda cache: cache.status.get_many("abc"), "bucket_ids must be an iterable"),
        (lambda cache: cache.bucket_stats.get_many(5), "bucket_ids must be an iterable"),
        (lambda cache: cache.status.get_many(["a"], deadline=0), "deadline must be finite"),
        (lambda cache: cache.status.get("a/b"), "bucket_id must not hold a slash"),
        (lambda cache: cache.status.get(5), "bucket_id must be text"),
        (lambda cache: cache.status.get([]), "bucket_id must be text"),
        (lambda cache: cache.node_stats.get("a", "soon"), "day must be"),
    ],
)
async def test_what_is_wrong_is_named_and_nothing_is_sent(made, call, rule):
    api, cache, _ = made()
    with pytest.raises(InvalidArgumentError, match=rule):
        await call(cache)
    assert api.asked == []


async def test_bad_ids_are_outcomes_of_their_places(made):
    api, cache, _ = made()
    report = await cache.status.get_many(["a", "", [], "a"])
    assert [outcome.ok for outcome in report] == [True, False, False, True]
    assert len(api.asked) == 1


async def test_a_connection_that_fails_is_no_reason_to_forget(made):
    api, cache, _ = made()
    await cache.status.get("a")
    await sleep(100)
    api.broken = NoAnswer(ConnectError("refused"), Retry.TRANSIENT)
    found = await cache.status.lookup("a")
    assert isinstance(found.error, ConnectError)
