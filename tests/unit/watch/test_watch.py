"""The watch as a whole, in virtual time: what it asks, reports, and survives."""

import asyncio
import contextlib
import logging
import pickle

import pytest

from flashback_async import (
    AuthenticationError,
    ChangeKind,
    ClientClosedError,
    InvalidArgumentError,
    NodeState,
    RetryPolicy,
    ServerError,
    TokenProviderError,
    to_dict,
)
from tests.unit.support import answer, no, now, turns
from tests.unit.watch.conftest import text_of

sleep = asyncio.sleep


async def after(watch, count):
    """Return the texts of the next changes."""
    return [text_of(await anext(watch)) for _ in range(count)]


# What is reported.


async def test_the_first_answer_is_reported_at_once_as_appeared(make):
    _, bench = make("b", states=("ONLINE", "OFFLINE"))
    async with bench, bench.status.watch(["b"]) as watch:
        assert await after(watch, 2) == [
            "b 10.0.0.1 APPEARED ONLINE",
            "b 10.0.0.2 APPEARED OFFLINE",
        ]


async def test_a_change_says_what_it_was_and_since_when(make):
    api, bench = make("b")
    async with bench, bench.status.watch(["b"], interval=10) as watch:
        appeared = await anext(watch)
        api.nodes["b"]["10.0.0.1"] = "OFFLINE"
        change = await anext(watch)
    assert (change.kind, change.before, change.after) == ("STATE", "ONLINE", "OFFLINE")
    assert change.since == appeared.at
    assert (change.at - change.since).total_seconds() == pytest.approx(20, abs=0.01)
    assert change.node.state is NodeState.OFFLINE
    assert (change.is_problem, change.is_recovery) == (True, False)
    assert (change.merged, change.error) == (0, None)
    assert (appeared.since, appeared.before, appeared.is_problem) == (None, None, False)
    assert pickle.loads(pickle.dumps(change)) == change
    assert to_dict(change)["before"] == "ONLINE"
    assert to_dict(change)["node"]["ip"] == "10.0.0.1"


async def test_a_node_falls_and_rises_after_so_many_answers_in_a_row(make, consume):
    api, bench = make("b")
    async with bench, bench.status.watch(["b"], interval=1, fall=3, rise=2) as watch:
        consumer = consume(watch)
        await sleep(0.5)
        consumer.take()
        for states in ("OFFLINE DISCONNECTED ONLINE", "OFFLINE OFFLINE ONLINE"):
            for state in states.split():
                api.nodes["b"]["10.0.0.1"] = state
                await sleep(1)
        assert consumer.take() == []
        for state in ("OFFLINE", "DISCONNECTED", "OFFLINE", "DISCONNECTED", "ONLINE"):
            api.nodes["b"]["10.0.0.1"] = state
            await sleep(1)
        assert consumer.take() == [
            "b 10.0.0.1 STATE ONLINE OFFLINE",
            "b 10.0.0.1 STATE OFFLINE DISCONNECTED",  # from bad to bad at once
        ]
        await sleep(1)
        assert consumer.take() == ["b 10.0.0.1 STATE DISCONNECTED ONLINE"]


async def test_a_node_without_a_state_stays_as_it_was(make, consume):
    api, bench = make("b", states=(None,))
    async with bench, bench.status.watch(["b"], interval=1, fall=1, rise=1) as watch:
        consumer = consume(watch)
        for state in (None, "OFFLINE", None, None):
            api.nodes["b"]["10.0.0.1"] = state
            await sleep(1)
        assert consumer.take() == ["b 10.0.0.1 APPEARED", "b 10.0.0.1 STATE OFFLINE"]
        assert watch.view["b"].nodes[0].state == "OFFLINE"
        assert watch.view["b"].nodes[0].node.state is None


async def test_a_failed_poll_changes_no_node_and_makes_the_bucket_unknown_after_some(make, consume):
    api, bench = make("b", "c")
    async with bench, bench.status.watch(["b", "c"], interval=1, fall=1) as watch:
        consumer = consume(watch)
        await sleep(0.9)
        consumer.take()
        api.nodes["b"]["10.0.0.1"] = "OFFLINE"
        api.refusals["b"] = no(403)
        await sleep(1)
        assert consumer.take() == []
        await sleep(1)
        (unknown,) = consumer.changes
        assert (unknown.kind, unknown.ip, unknown.is_problem) == ("UNKNOWN", None, True)
        assert unknown.error.status == 403
        assert unknown.since < unknown.at
        await sleep(3)
        assert len(consumer.changes) == 1
        view = watch.view["b"]
        assert (view.answered, view.error.status, view.nodes[0].state) == (False, 403, "ONLINE")
        del api.refusals["b"]
        await sleep(1)
        known = consumer.changes[1]
        assert (known.kind, known.error, known.is_recovery) == ("KNOWN", None, True)
        assert known.since == unknown.at
        assert consumer.take()[1:] == ["b - KNOWN", "b 10.0.0.1 STATE ONLINE OFFLINE"]
        assert watch.view["b"].answered


async def test_a_missing_node_is_gone_after_so_many_answers_and_appears_again(make, consume):
    api, bench = make("b", states=("ONLINE", "OFFLINE"))
    async with bench, bench.status.watch(["b"], interval=1, fall=2) as watch:
        consumer = consume(watch)
        await sleep(0.5)
        consumer.take()
        del api.nodes["b"]["10.0.0.2"]
        await sleep(1)
        api.nodes["b"]["10.0.0.2"] = "OFFLINE"
        await sleep(1)
        del api.nodes["b"]["10.0.0.2"]
        await sleep(1)
        assert consumer.take() == []
        await sleep(1)
        assert consumer.take() == ["b 10.0.0.2 GONE OFFLINE"]
        assert [node.ip for node in watch.view["b"].nodes] == ["10.0.0.1"]
        api.nodes["b"]["10.0.0.2"] = "ONLINE"
        await sleep(1)
        assert consumer.take() == ["b 10.0.0.2 APPEARED ONLINE"]


# Membership.


async def test_a_bucket_is_gone_after_two_listings_without_it_and_its_nodes_before_it(
    make, consume
):
    api, bench = make("a", "b")
    async with bench, bench.status.watch(interval=1, refresh=5) as watch:
        consumer = consume(watch)
        await sleep(2)
        consumer.take()
        api.listed = ["a"]
        await sleep(5)
        assert consumer.take() == []
        await sleep(5)
        assert consumer.take() == ["b 10.0.0.1 GONE ONLINE", "b - GONE"]
        assert list(watch.view) == ["a"]
        assert watch.stats.buckets == 1
        asked = len(api.times("b"))
        await sleep(5)
        assert len(api.times("b")) == asked
        api.listed = None
        await sleep(7)
        assert consumer.take() == ["b 10.0.0.1 APPEARED ONLINE"]


async def test_one_listing_without_a_bucket_means_nothing(make, consume):
    api, bench = make("a", "b")
    async with bench, bench.status.watch(interval=1, refresh=5) as watch:
        consumer = consume(watch)
        await sleep(1)
        consumer.take()
        for listed in (["a"], None, ["a"], None):
            api.listed = listed
            await sleep(5)
        assert consumer.take() == []


async def test_a_failed_listing_changes_nothing_and_is_tried_again_soon(make, consume, caplog):
    api, bench = make("a", "b")
    api.refusals["list"] = no(500)
    async with bench, bench.status.watch(interval=2, refresh=100) as watch:
        consumer = consume(watch)
        await sleep(3)
        assert api.listings == 2
        assert "could not be listed" in caplog.text
        del api.refusals["list"]
        await watch.ready()
        assert sorted(consumer.take()) == [f"{b} 10.0.0.1 APPEARED ONLINE" for b in "ab"]


@pytest.mark.parametrize(
    "problem", [ValueError("no"), AuthenticationError("theirs"), asyncio.CancelledError()]
)
async def test_whatever_the_callers_own_listing_raises_it_is_tried_again(make, problem, caplog):
    _, bench = make("a")
    results = [problem, "text", [3], None, {"a"}]

    async def listed():
        result = results.pop(0) if len(results) > 1 else results[0]
        if isinstance(result, BaseException):
            raise result
        return result

    async with bench, bench.status.watch(listed, interval=1) as watch:
        assert await after(watch, 1) == ["a 10.0.0.1 APPEARED ONLINE"]
    assert caplog.text.count("could not be listed") == 4


async def test_a_bucket_of_a_fixed_list_that_is_gone_is_asked_on(make, consume):
    api, bench = make("a", "b")
    gone = api.nodes.pop("b")
    async with bench, bench.status.watch(["a", "b"], interval=1, fall=3) as watch:
        consumer = consume(watch)
        await sleep(1.9)
        consumer.take()
        await sleep(1)
        assert consumer.take() == ["b - GONE"]
        await sleep(5)
        assert consumer.take() == []
        assert watch.view["b"].nodes == ()
        assert watch.view["b"].answered
        api.nodes["b"] = gone
        await sleep(1)
        assert consumer.take() == ["b 10.0.0.1 APPEARED ONLINE"]


async def test_a_404_counts_towards_gone_and_not_towards_unknown(make, consume):
    api, bench = make("a", "b")
    async with bench, bench.status.watch(["a", "b"], interval=1, unknown_after=2) as watch:
        consumer = consume(watch)
        await sleep(0.9)
        consumer.take()
        api.refusals["b"] = no(500)
        await sleep(1)
        api.refusals["b"] = no(404)
        await sleep(1)
        api.refusals["b"] = no(500)
        await sleep(1)
        assert consumer.take() == []
        api.refusals["b"] = no(404)
        await sleep(1)
        assert consumer.take() == ["b 10.0.0.1 GONE ONLINE", "b - GONE"]


# The consumer.


async def test_changes_of_a_node_merge_while_nobody_takes_them(make):
    api, bench = make("b", "c")
    async with bench, bench.status.watch(["b", "c"], interval=1, fall=1, rise=1) as watch:
        await after(watch, 2)
        for state in ("OFFLINE", "ONLINE", "DISCONNECTED", "OFFLINE"):
            api.nodes["b"]["10.0.0.1"] = state
            await sleep(1)
        assert watch.stats.waiting == 1
        change = await anext(watch)
        assert text_of(change) == "b 10.0.0.1 STATE ONLINE OFFLINE"
        assert change.merged == 1  # the first OFFLINE had come back


async def test_a_change_that_came_back_is_not_reported(make):
    api, bench = make("b", "c")
    async with bench, bench.status.watch(["b", "c"], interval=1, fall=1, rise=1) as watch:
        await after(watch, 2)
        api.nodes["b"]["10.0.0.1"] = "OFFLINE"
        await sleep(1.2)
        assert watch.stats.waiting == 1
        api.nodes["b"]["10.0.0.1"] = "ONLINE"
        await sleep(1.2)
        assert watch.stats.waiting == 0
        api.nodes["c"]["10.0.0.1"] = "OFFLINE"
        assert await after(watch, 1) == ["c 10.0.0.1 STATE ONLINE OFFLINE"]


async def test_a_cancelled_wait_loses_nothing(make):
    api, bench = make("b")
    async with bench, bench.status.watch(["b"], interval=1, fall=1) as watch:
        await anext(watch)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(watch), 2)
        api.nodes["b"]["10.0.0.1"] = "OFFLINE"
        assert await after(watch, 1) == ["b 10.0.0.1 STATE ONLINE OFFLINE"]


async def test_a_new_loop_starts_with_the_change_that_is_not_done(make):
    _, bench = make("b", states=("ONLINE", "OFFLINE"))
    async with bench, bench.status.watch(["b"]) as watch:
        first = [change async for change in _one(watch)]
        again = [change async for change in _one(watch)]
        assert again[0] is first[0]
        assert (await anext(watch)).ip == "10.0.0.2"


async def _one(watch):
    """Yield the first change of a new loop."""
    async for change in watch:
        yield change
        return


async def test_two_waits_at_once_are_an_error_of_the_second(make):
    _, bench = make("b")
    async with bench, bench.status.watch(["b"]) as watch:
        await anext(watch)
        first = asyncio.create_task(anext(watch))
        await turns()
        with pytest.raises(RuntimeError, match="another task waits"):
            await anext(watch)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


async def test_a_watch_is_used_within_its_block_and_only_once(make):
    _, bench = make("b")
    async with bench:
        watch = bench.status.watch(["b"])
        with pytest.raises(RuntimeError, match="enter it with 'async with'"):
            await anext(watch)
        with pytest.raises(RuntimeError, match="not open"):
            await watch.ready()
        assert watch.stats.buckets == watch.stats.lag == 0
        async with watch:
            await watch.ready()
        with pytest.raises(StopAsyncIteration):
            await anext(watch)
        with pytest.raises(RuntimeError, match="only once"):
            async with watch:
                pass


async def test_leaving_the_block_ends_a_wait_in_another_task(make, consume):
    _, bench = make("b")
    async with bench:
        async with bench.status.watch(["b"]) as watch:
            consumer = consume(watch)
            await sleep(1)
        await turns()
        assert consumer._task.done()
        assert consumer.error is None


async def test_leaving_the_block_cancels_what_is_under_way(make):
    api, bench = make("b")

    async def slow(request, attempt):
        await sleep(5)
        return answer({"bucketId": "b", "nodeStatus": []})

    api.refusals["b"] = slow
    async with bench:
        async with bench.status.watch(["b"]):
            await sleep(1)
            assert bench.script.under_way == 1
        assert bench.script.under_way == 0
        await sleep(100)
        assert len(api.asked) == 1


# Polling.


async def test_polls_are_spread_evenly_and_do_not_drift(make):
    ids = [f"b{n}" for n in range(40)]
    api, bench = make(*ids)
    async with bench, bench.status.watch(ids, interval=10) as watch:
        await sleep(100.5)
        assert watch.stats.asked == len(api.asked)
    steps = {}
    for _, at in api.asked:
        steps[round(at * 10)] = steps.get(round(at * 10), 0) + 1
    assert max(steps.values()) == 1
    for bucket_id in ids:
        times = api.times(bucket_id)
        assert len(times) in (10, 11)
        gaps = [times[n] - times[0] - 10 * n for n in range(len(times))]
        assert max(map(abs, gaps)) < 0.11


async def test_polling_that_is_too_slow_is_slow_and_never_a_burst(make, caplog):
    caplog.set_level(logging.INFO, "flashback_async")
    ids = [f"b{n}" for n in range(20)]
    api, bench = make(*ids)

    async def slow(request, attempt):
        await sleep(1.0)
        return answer({"bucketId": request.bucket_id, "nodeStatus": []})

    api.refusals[""] = slow
    async with bench, bench.status.watch(ids, interval=2, concurrency=4) as watch:
        await sleep(30)
        assert 100 <= len(api.asked) <= 124
        assert bench.script.most_under_way == 4
        assert watch.stats.shifted > 10
        assert watch.stats.lag <= 0.5
        assert caplog.text.count("too slow") == 1
        api.refusals.clear()
        before = len(api.asked)
        await sleep(10)
        assert 95 <= len(api.asked) - before <= 110
        assert "keeps up again, 1" in caplog.text


async def test_a_bucket_whose_poll_takes_longer_than_the_interval_is_not_asked_twice_at_once(make):
    api, bench = make("b")

    async def slow(request, attempt):
        await sleep(3.5)
        return answer({"bucketId": "b", "nodeStatus": []})

    api.refusals["b"] = slow
    async with bench, bench.status.watch(["b"], interval=1) as watch:
        await sleep(20)
        assert bench.script.most_under_way == 1
        assert len(api.asked) == 5
        assert watch.stats.shifted == 0


async def test_a_pause_of_the_server_holds_up_only_as_many_polls_as_there_may_be(make):
    ids = [f"b{n}" for n in range(100)]
    api, bench = make(*ids, retry=RetryPolicy())
    async with bench, bench.status.watch(ids, interval=10, concurrency=8) as watch:
        await watch.ready()
        api.refusals[""] = no(429, retry_after=5)
        await sleep(0.2)
        api.refusals.clear()
        await sleep(4)
        before = len(api.asked)
        await sleep(1)
        assert len(api.asked) - before <= 8 + 2 * 10
        await sleep(20)
        assert watch.stats.failed == 0


async def test_in_an_outage_one_bucket_a_second_is_asked(make, consume):
    ids = [f"b{n:03}" for n in range(200)]
    api, bench = make(*ids)
    async with bench, bench.status.watch(ids, interval=10) as watch:
        consumer = consume(watch)
        await watch.ready()
        await turns()
        consumer.take()
        api.refusals[""] = no(500)
        await sleep(10)
        asked = len(api.asked)
        failed = watch.stats.failed
        await sleep(20)
        assert 19 <= len(api.asked) - asked <= 21
        assert 395 <= watch.stats.failed - failed <= 405
        assert sorted(consumer.take()) == [f"{b} - UNKNOWN" for b in ids]
        assert watch.view["b000"].error.bucket_id == "b000"
        api.refusals.clear()
        asked = len(api.asked)
        await sleep(11)
        assert 190 <= len(api.asked) - asked <= 215
        assert sorted(consumer.take()) == [f"{b} - KNOWN" for b in ids]


async def test_refusals_that_are_answers_make_no_outage(make):
    ids = [f"b{n:03}" for n in range(100)]
    api, bench = make(*ids)
    api.refusals[""] = no(403)
    async with bench, bench.status.watch(ids, interval=10) as watch:
        await sleep(30.05)
        assert 300 <= len(api.asked) <= 301
        assert watch.stats.failed == watch.stats.asked


async def test_ready_counts_first_polls_that_failed(make):
    api, bench = make("a", "b")
    api.refusals[""] = no(500)
    async with bench, bench.status.watch(interval=4) as watch:
        await watch.ready()
        assert watch.stats.asked == watch.stats.failed == 2
        assert not watch.view["a"].answered


async def test_leaving_ends_a_listing_that_hangs(make):
    api, bench = make("a")

    async def hang(request, attempt):
        await asyncio.Event().wait()

    api.refusals["list"] = hang
    async with bench:
        async with bench.status.watch() as watch:
            waiting = asyncio.create_task(watch.ready())
            await sleep(1)
        with pytest.raises(RuntimeError, match="not open"):
            await waiting


async def test_ready_needs_no_bucket(make):
    _, bench = make()
    async with bench, bench.status.watch() as watch:
        await watch.ready()
        assert dict(watch.view) == {}


# The end.


async def test_a_rejected_token_ends_the_watch_after_what_waited(make):
    api, bench = make("a", "b")
    async with bench, bench.status.watch(["a", "b"], interval=2) as watch:
        await watch.ready()
        api.refusals[""] = no(401)
        await sleep(5)
        asked = len(api.asked)
        await after(watch, 2)
        for _ in range(2):
            with pytest.raises(AuthenticationError):
                await anext(watch)
        await watch.ready()
        await sleep(10)
        assert len(api.asked) == asked
        assert watch.stats.lag == 0


async def test_a_rejected_token_ends_also_a_watch_that_knows_no_bucket_yet(make):
    api, bench = make("a")
    api.refusals["list"] = no(401)
    async with bench, bench.status.watch() as watch:
        with pytest.raises(AuthenticationError):
            await watch.ready()
        with pytest.raises(AuthenticationError):
            await anext(watch)


async def test_closing_the_client_ends_the_watch(make):
    _, bench = make("a")
    async with bench.status.watch(["a"], interval=1) as watch:
        await anext(watch)
        await bench.state.close()
        with pytest.raises(ClientClosedError):
            await anext(watch)
    with pytest.raises(ClientClosedError):
        bench.status.watch(["a"])


async def test_closing_the_client_ends_a_watch_that_waits_for_its_next_step(make):
    _, bench = make("a")
    async with bench.status.watch(["a"], interval=3600) as watch:
        await anext(watch)
        waiting = asyncio.create_task(anext(watch))
        await sleep(1)
        began = now()
        await bench.state.close()
        with pytest.raises(ClientClosedError):
            await waiting
        assert now() == began


async def test_a_listing_that_swallows_its_cancellation_does_not_hold_up_the_end(make):
    calls = 0

    async def listed():
        nonlocal calls
        calls += 1
        if calls > 1:
            with contextlib.suppress(asyncio.CancelledError):
                await sleep(3600)
        return ["a"]

    _, bench = make("a")
    async with bench:
        async with bench.status.watch(listed, interval=1, refresh=1) as watch:
            await watch.ready()
            await sleep(2)
            began = now()
        assert now() == began
        await sleep(10)
        assert calls == 2


class Odd(BaseException):
    pass


async def test_a_listing_that_raises_what_is_no_exception_ends_the_watch(make):
    async def listed():
        raise Odd

    _, bench = make("a")
    async with bench, bench.status.watch(listed) as watch:
        with pytest.raises(Odd):
            await watch.ready()
        with pytest.raises(Odd):
            await anext(watch)


async def test_one_failure_among_answers_is_no_outage(make, consume):
    api, bench = make("a")
    async with bench, bench.status.watch(["a"], interval=0.2) as watch:
        consumer = consume(watch)
        await sleep(1)
        consumer.take()
        for _ in range(5):
            api.refusals["a"] = no(500)
            await sleep(0.2)
            del api.refusals["a"]
            await sleep(0.2)
        assert consumer.take() == []
        assert len(api.asked) == 15


async def test_an_api_that_answers_nobody_from_the_start_is_in_an_outage_at_once(make):
    api, bench = make(*(f"b{n}" for n in range(50)))
    api.refusals[""] = no(500)
    async with bench, bench.status.watch(interval=5) as watch:
        await watch.ready()
        await sleep(5)
        assert 9 <= len(api.asked) <= 11
        assert watch.stats.failed == watch.stats.asked


async def test_a_token_provider_that_fails_is_a_failed_poll(make):
    async def provider():
        raise OSError("no token")

    _, bench = make("a", token=provider)
    async with bench, bench.status.watch(["a"], interval=1) as watch:
        change = await anext(watch)
        assert change.kind is ChangeKind.UNKNOWN
        assert isinstance(change.error, TokenProviderError)


async def test_a_task_that_is_cancelled_from_elsewhere_ends_the_watch(make):
    _, bench = make("a")
    async with bench, bench.status.watch(["a"]) as watch:
        await anext(watch)
        watch._tasks[0].cancel()
        with pytest.raises(RuntimeError, match="cancelled from elsewhere"):
            await anext(watch)


async def test_a_change_of_the_buckets_while_one_looks_at_them_is_no_error(make):
    api, bench = make("a", "b", "c")
    async with bench, bench.status.watch(interval=1, refresh=1) as watch:
        await watch.ready()
        api.listed = ["a"]
        seen = []
        for bucket_id, view in watch.view.items():
            seen.append((bucket_id, view.bucket_id))
            await sleep(5)
        assert seen[0][0] == seen[0][1]
        assert len(seen) <= 2
        assert list(watch.view) == ["a"]
        assert repr(watch.view) == "<view of 1 buckets>"
        with pytest.raises(KeyError):
            watch.view["b"]


# Arguments.


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"interval": 0}, "interval must be from 0.1 to 1e9 s, not 0"),
        ({"interval": float("nan")}, "interval must be from"),
        ({"interval": "60"}, "interval must be seconds, not '60'"),
        ({"refresh": True}, "refresh must be seconds, not True"),
        ({"fall": 0}, "fall must be a whole number of at least 1, not 0"),
        ({"rise": 1.5}, "rise must be"),
        ({"unknown_after": None}, "unknown_after must be"),
        ({"concurrency": 0}, "concurrency must be"),
        ({"state": 5}, "state must be the path of a file, not 5"),
        ({"state": ""}, "state must be the path of a file, not ..$"),
        ({"state": "\ud800"}, "state must be the path of a file"),
        ({"state": b"file"}, "state must be the path of a file"),
        ({"state": "a\0b"}, "state must be the path of a file"),
        ({"bucket_ids": "abc"}, "bucket_ids must be an iterable of ids, not a string"),
        ({"bucket_ids": 5}, "bucket_ids must be an iterable of ids, not int"),
        ({"bucket_ids": ["a/b"]}, "bucket_id must not hold a slash"),
    ],
)
async def test_what_is_wrong_is_named_before_anything_is_sent(make, options, rule):
    api, bench = make("a")
    async with bench:
        with pytest.raises(InvalidArgumentError, match=rule.replace("'", ".")):
            bench.status.watch(**options)
        assert api.asked == []


async def test_an_id_of_a_listing_that_breaks_a_rule_makes_its_bucket_unknown(make):
    _, bench = make("a")

    async def listed():
        return ["a/b"]

    async with bench, bench.status.watch(listed, interval=1) as watch:
        change = await anext(watch)
        assert change.kind is ChangeKind.UNKNOWN
        assert isinstance(change.error, InvalidArgumentError)


async def test_a_failing_server_does_not_fail_the_entry(make):
    api, bench = make("a")
    api.refusals["list"] = api.refusals[""] = no(500)
    async with bench, bench.status.watch(interval=1) as watch:
        await sleep(3)
        del api.refusals["list"]
        change = await anext(watch)
        assert isinstance(change.error, ServerError)
