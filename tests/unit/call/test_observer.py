"""What an observer is told, that the log says the same, and the view of a client's state."""

import asyncio
import copy
import gc
import logging
import re
import weakref
from contextlib import nullcontext, suppress

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.virtual_time import VirtualLoop
from flashback_async import (
    AttemptEnded,
    CallEnded,
    ConfigurationError,
    ConnectError,
    ConnectionLostError,
    DeadlineExceededError,
    FlashbackClient,
    FlashbackError,
    Limits,
    NotFoundError,
    Observer,
    PauseBegan,
    RetryPolicy,
    ServerError,
    Snapshot,
    Timeout,
    TokenProviderError,
)
from tests.unit.support import (
    RECALLED,
    TOKEN,
    Bench,
    after,
    answer,
    echo_status,
    hang,
    lost,
    no,
    status_body,
    turns,
)

OK = answer(status_body())


class Witness(Observer):
    """Keeps what it is told."""

    def __init__(self):
        self.told = []

    def attempt_ended(self, fact):
        self.told.append(fact)

    call_ended = pause_began = attempt_ended

    def of(self, kind):
        return [fact for fact in self.told if isinstance(fact, kind)]

    @property
    def attempts(self):
        return [(f.attempt, f.status, f.error) for f in self.of(AttemptEnded)]

    @property
    def calls(self):
        return [(f.attempts, f.error) for f in self.of(CallEnded)]


_LINES = {
    "attempt": re.compile(r"\S+: (?:answer \d+ in|failed in|cut off after) ([\d.]+) s"),
    "call": re.compile(r"\S+: (succeeded|ended with (\w+)) after ([\d.]+) s, attempts: (\d+)"),
    "pause": re.compile(r"\S+: rate limited, all calls of the client pause for ([\d.]+) s"),
}


def from_log(records):
    """What the log lines say, in the form of ``from_facts``."""
    said = []
    for record in records:
        text, facts = record.getMessage(), getattr(record, "flashback", {})
        subject = (facts.get("operation"), facts.get("bucket_id"))
        if found := _LINES["attempt"].match(text):
            rest = (facts["attempt"], facts["status"], facts["request_id"])
            said.append(("attempt", *subject, *rest, found[1]))
        elif found := _LINES["call"].match(text):
            said.append(("call", *subject, int(found[4]), found[2], found[3]))
        elif found := _LINES["pause"].match(text):
            said.append(("pause", subject[0], found[1]))
    return said


def from_facts(facts):
    said = []
    for fact in facts:
        match fact:
            case AttemptEnded():
                about = (fact.operation, fact.bucket_id, fact.attempt, fact.status)
                said.append(("attempt", *about, fact.request_id, f"{fact.elapsed:.3f}"))
            case CallEnded():
                about = (fact.operation, fact.bucket_id, fact.attempts, fact.error)
                said.append(("call", *about, f"{fact.elapsed:.3f}"))
            case PauseBegan():
                said.append(("pause", fact.operation, f"{fact.seconds:.2f}"))
    return said


class Records(logging.Handler):
    def __init__(self):
        super().__init__()
        self.kept = []

    def emit(self, record):
        self.kept.append(record)


@pytest.fixture
def log():
    logger, handler = logging.getLogger("flashback_async"), Records()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    return handler.kept  # the fixture of all tests removes the handler


def lost_connection():
    return lost(ConnectionLostError("reset"))


def stale():
    return lost(ConnectionLostError("closed"), stale=True)


def cut_body(request, attempt):
    """The start of an answer, and then nothing."""
    attempt.phase, attempt.head = "body", answer(b"", x_request_id="r\n1")
    return lost_connection()


CASES = {
    "success": ([OK], [(1, 200, None)], [(1, None)]),
    "503 first": ([no(503), OK], [(1, 503, "ServerError"), (2, 200, None)], [(2, None)]),
    "404": ([no(404)], [(1, 404, "NotFoundError")], [(1, "NotFoundError")]),
    "a redirect": ([answer(status=302)], [(1, 302, "RedirectError")], [(1, "RedirectError")]),
    "a pause": (
        [no(429, retry_after=2), OK],
        [(1, 429, "RateLimitError"), (2, 200, None)],
        [(2, None)],
    ),
    "a long pause": (
        [no(429, retry_after=61)],
        [(1, 429, "RateLimitError")],
        [(1, "RateLimitError")],
    ),
    "no connection": (
        [lost(ConnectError("refused"))],
        [(n, None, "ConnectError") for n in (1, 2, 3)],
        [(3, "ConnectError")],
    ),
    "stale, sent again": (
        [stale(), OK],
        [(1, None, "ConnectionLostError"), (2, 200, None)],
        [(2, None)],
    ),
    "recalled": ([RECALLED, RECALLED, OK], [(1, 200, None)], [(1, None)]),
    "a body cut": (
        [cut_body, OK],
        [(1, 200, "ConnectionLostError"), (2, 200, None)],
        [(2, None)],
    ),
    "a hang": (
        [hang],
        [(n, None, "RequestTimeoutError") for n in (1, 2)] + [(3, None, "DeadlineExceededError")],
        [(3, "DeadlineExceededError")],
    ),
    "not what is documented": ([answer(b"[]")], [(1, 200, None)], [(1, "DecodeError")]),
    "an HTML page": (
        [answer(b"<html>", content_type="text/html")],
        [(1, 200, "DecodeError")],
        [(1, "DecodeError")],
    ),
    "a token rejected": (
        [no(401)],
        [(1, 401, "AuthenticationError")],
        [(1, "AuthenticationError")],
    ),
    "a bug": ([RuntimeError("a hook's")], [(1, None, "RuntimeError")], [(1, "RuntimeError")]),
}


@pytest.mark.parametrize("case", CASES)
async def test_every_attempt_and_call_is_told_and_logged_alike(case, log):
    script, attempts, calls = CASES[case]
    witness = Witness()
    async with Bench(*script, observer=witness, timeout=Timeout(total=25)) as bench:
        with pytest.raises(Exception) if calls[0][1] else nullcontext():
            await bench.status.get("b")
        snapshot = bench.state.snapshot()
    assert witness.attempts == attempts
    assert witness.calls == calls
    assert from_log(log) == from_facts(witness.told)
    assert snapshot.requests == len(attempts)
    assert snapshot.retries == len(attempts) - 1
    assert TOKEN not in repr(witness.told)


async def test_an_attempt_tells_where_and_what():
    witness = Witness()
    base_url = "https://api.test:8443/prefix"
    script = [after(1.5, no(503, x_request_id="r1\n")), OK]
    async with Bench(*script, observer=witness, base_url=base_url) as bench:
        await bench.status.get("b")
    first, *_ = witness.of(AttemptEnded)
    assert attrs.asdict(first) | {"elapsed": None} == {
        "operation": "status.get",
        "method": "GET",
        "url_template": "/bucket/{bucketId}/status",
        "server_address": "api.test",
        "server_port": 8443,
        "bucket_id": "b",
        "attempt": 1,
        "status": 503,
        "error": "ServerError",
        "request_id": first.request_id,
        "elapsed": None,
    }
    assert first.request_id.startswith("r1")
    assert "\n" not in first.request_id
    assert first.elapsed == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("ask", "method", "template"),
    [
        (lambda b: b.status.get("a/b".replace("/", "é")), "GET", "/bucket/{bucketId}/status"),
        (lambda b: b.status.get("stats"), "GET", "/bucket/{bucketId}/status"),
        (lambda b: b.node_stats.get("b", "2024-01-15"), "POST", "/bucket/{bucketId}/stats"),
        (lambda b: b.bucket_stats.get("b"), "GET", "/bucket/stats"),
        (lambda b: b.bucket_stats.list(), "GET", "/bucket/stats"),
        (lambda b: b.bucket_stats.list(["b", "c"]), "GET", "/bucket/stats"),
    ],
)
async def test_a_url_template_holds_no_id(ask, method, template):
    witness = Witness()
    async with Bench(no(404), observer=witness) as bench:
        with pytest.raises(NotFoundError):
            await ask(bench)
    (fact,) = witness.of(AttemptEnded)
    assert (fact.method, fact.url_template) == (method, template)


@pytest.mark.parametrize(
    ("base_url", "server"),
    [
        ("https://api.test", ("api.test", 443)),
        ("http://127.0.0.1", ("127.0.0.1", 80)),
        ("http://[::1]:99/x", ("::1", 99)),
    ],
)
async def test_the_server_is_that_of_the_base_url(base_url, server):
    witness = Witness()
    async with Bench(OK, observer=witness, base_url=base_url) as bench:
        await bench.status.get("b")
    (fact,) = witness.of(AttemptEnded)
    assert (fact.server_address, fact.server_port) == server


async def test_a_cancelled_call_is_told_with_its_attempt(log):
    witness = Witness()
    async with Bench(hang, observer=witness) as bench:
        task = asyncio.create_task(bench.status.get("b"))
        await turns()
        task.cancel()
        await asyncio.wait([task])
        assert bench.state.snapshot().last_error is None
    assert witness.attempts == [(1, None, "CancelledError")]
    assert witness.calls == [(1, "CancelledError")]
    assert from_log(log) == from_facts(witness.told)


async def test_a_call_that_is_cancelled_as_it_waits_made_no_attempt(log):
    witness = Witness()
    limits = Limits(max_concurrency=1)
    async with Bench(hang, observer=witness, limits=limits) as bench:
        tasks = [asyncio.create_task(bench.status.get(name)) for name in "ab"]
        await turns()
        tasks[1].cancel()
        await turns()
        assert witness.attempts == []
        assert witness.calls == [(0, "CancelledError")]
    await asyncio.gather(*tasks, return_exceptions=True)
    assert witness.attempts == [(1, None, "ClientClosedError")]
    assert witness.calls == [(0, "CancelledError"), (1, "ClientClosedError")]
    assert from_log(log) == from_facts(witness.told)


async def test_the_deadline_of_a_run_is_told_as_the_reason(log):
    witness = Witness()
    async with Bench(hang, observer=witness, limits=Limits(max_concurrency=2)) as bench:
        report = await bench.status.get_many(["a", "b", "c"], deadline=3)
    assert len(report.failed) == 3
    assert witness.attempts == [(1, None, "DeadlineExceededError")] * 2
    assert {error for _, error in witness.calls} == {"DeadlineExceededError"}
    assert from_log(log) == from_facts(witness.told)


async def test_a_pause_is_told_once_for_all_who_meet_it(log):
    witness = Witness()
    script = [*[after(0.1, no(429, retry_after=2))] * 3, echo_status]
    async with Bench(*script, observer=witness) as bench:
        await bench.status.get_many(["a", "b", "c"])
    (pause,) = witness.of(PauseBegan)
    assert (pause.operation, pause.seconds) == ("status.get", pytest.approx(2))
    assert from_log(log) == from_facts(witness.told)


async def test_a_renewed_token_is_an_attempt_of_its_own(log):
    witness = Witness()
    tokens = iter(["old-token", "new-token"])

    async def provider():
        return next(tokens)

    async with Bench(no(401), OK, observer=witness, token=provider) as bench:
        await bench.status.get("b")
    assert witness.attempts == [(1, 401, "AuthenticationError"), (2, 200, None)]
    assert witness.calls == [(2, None)]
    assert from_log(log) == from_facts(witness.told)
    assert "old-token" not in repr(witness.told)


_STEPS = {
    "ok": lambda: echo_status,
    "busy": lambda: no(503, x_request_id="r"),
    "throttled": lambda: no(429, retry_after=1),
    "throttled, no time": lambda: no(429),
    "lost": lost_connection,
    "stale": stale,
    "recalled": lambda: RECALLED,
    "missing": lambda: no(404),
    "hang": lambda: hang,
    "cut": lambda: cut_body,
    "slow": lambda: after(4, OK),
    "broken": lambda: answer(b"{"),
}


@given(
    script=st.lists(st.sampled_from(sorted(_STEPS)), min_size=1, max_size=12),
    keys=st.integers(1, 6),
    slots=st.integers(1, 3),
    deadline=st.none() | st.floats(0.1, 30),
)
def test_the_log_and_the_observer_always_agree(script, keys, slots, deadline):
    witness, handler = Witness(), Records()
    logger = logging.getLogger("flashback_async")
    level = logger.level

    async def run():
        # The last step is repeated, and no client stops asking while its requests are recalled.
        steps = [_STEPS[name]() for name in [*script, "ok"]]
        limits, timeout = Limits(max_concurrency=slots), Timeout(total=12, attempt=5)
        async with Bench(*steps, observer=witness, limits=limits, timeout=timeout) as bench:
            await bench.status.get_many(map(str, range(keys)), deadline=deadline)
            snapshot = bench.state.snapshot()
            recalled = script.count("recalled")
            assert len(bench.sent) - recalled <= snapshot.requests <= len(bench.sent)
            return snapshot

    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            snapshot = runner.run(run())
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    assert from_log(handler.kept) == from_facts(witness.told)
    assert snapshot.requests == len(witness.of(AttemptEnded))
    assert sum(fact.attempts for fact in witness.of(CallEnded)) == snapshot.requests
    assert (snapshot.in_flight, snapshot.waiting) == (0, 0)


# An observer that fails.


@pytest.mark.parametrize("method", ["attempt_ended", "call_ended", "pause_began"])
@pytest.mark.parametrize("last", [OK, no(404)], ids=["success", "failure"])
async def test_an_observer_that_raises_changes_no_result_and_is_left_out(method, last, log):
    raised = []

    def fail(fact):
        raised.append(fact)
        raise ValueError("out of order")

    witness = Witness()
    setattr(witness, method, fail)
    async with Bench(no(429, retry_after=1), last, observer=witness) as bench:
        if last is OK:
            await bench.status.get("b")
            assert (await bench.status.get("b")).bucket_id == "b"
        else:
            with pytest.raises(NotFoundError):
                await bench.status.get("b")
        assert bench.state.snapshot().requests >= 2
    assert len(raised) == 1
    (line,) = (record for record in log if record.levelno == logging.ERROR)
    assert "the observer raised, and is left out from now on" in line.getMessage()
    assert "ValueError: out of order" in line.getMessage()
    assert line.exc_info is None


async def test_an_observer_that_raises_a_cancellation_changes_no_result(log):
    witness = Witness()

    def fail(fact):
        raise asyncio.CancelledError

    witness.attempt_ended = fail
    async with Bench(OK, observer=witness) as bench:
        assert await bench.status.get("b")
        await bench.status.get_many(["b", "c"])
    assert [record.levelno for record in log].count(logging.ERROR) == 1


async def test_a_method_that_returns_a_coroutine_is_left_out_with_a_word(log):
    async def facts(fact):
        raise AssertionError

    witness = Witness()
    witness.call_ended = lambda fact: facts(fact)
    async with Bench(OK, observer=witness) as bench:
        await bench.status.get("b")
        await bench.status.get("b")
    assert len(witness.told) == 1
    assert sum("async" in record.getMessage() for record in log) == 1


async def test_the_log_of_an_observer_that_raised_shows_no_token(log):
    witness = Witness()

    def quote(fact):
        raise ValueError(f"no row for {TOKEN}")

    witness.attempt_ended = quote
    async with Bench(OK, observer=witness) as bench:
        await bench.status.get("b")
    assert any("no row for ***" in record.getMessage() for record in log)
    assert not any(TOKEN in record.getMessage() for record in log)


async def test_a_log_handler_that_raises_costs_no_fact():
    class Broken(logging.Handler):
        def emit(self, record):
            raise OSError("the disk is full")

    witness, broken = Witness(), Broken()
    logger = logging.getLogger("flashback_async")
    before = logger.level
    logger.addHandler(broken)
    logger.setLevel(logging.DEBUG)
    try:
        async with Bench(OK, observer=witness) as bench:
            with pytest.raises(OSError, match="disk"):
                await bench.status.get("b")
    finally:
        logger.removeHandler(broken)
        logger.setLevel(before)
    assert witness.of(AttemptEnded)


async def test_log_and_facts_agree_on_the_seconds_of_each_attempt(log):
    witness = Witness()
    async with Bench(no(503), no(503), OK, observer=witness, share=1.0) as bench:
        await bench.status.get("b")
    logged = [
        record.flashback["elapsed"]
        for record in log
        if "answer" in record.msg or "failed in" in record.msg
    ]
    assert logged == [fact.elapsed for fact in witness.of(AttemptEnded)]


@pytest.mark.parametrize(
    ("reply", "options"),
    [
        (no(404), {}),
        (no(503), {"retry": RetryPolicy(max_attempts=2)}),
        (hang, {"retry": RetryPolicy(max_attempts=1)}),
        (hang, {"timeout": Timeout(total=3)}),
    ],
    ids=["refused", "retried", "too slow", "out of time"],
)
async def test_a_failed_call_keeps_nothing_of_its_caller_alive(reply, options):
    class Big:
        pass

    async def visit(status):
        big = Big()
        with suppress(FlashbackError):
            await status.get("b")
        return weakref.ref(big)

    async with Bench(reply, **options) as bench:
        gc.collect()
        gc.disable()
        try:
            big = await visit(bench.status)
            await asyncio.sleep(0)  # the loop itself holds the cancelled future for this step
            assert big() is None
        finally:
            gc.enable()


async def test_an_observer_that_raises_in_a_cancelled_attempt_leaves_the_cancellation(log):
    witness = Witness()
    witness.attempt_ended = lambda fact: 1 / 0
    async with Bench(hang, observer=witness, timeout=Timeout(total=3)) as bench:
        with pytest.raises(DeadlineExceededError):
            await bench.status.get("b")
    assert sum("ZeroDivisionError" in record.getMessage() for record in log) == 1
    assert "CancelledError" not in log[-1].getMessage()


def test_an_observer_must_be_one():
    class Late(Observer):
        async def call_ended(self, fact):
            raise AssertionError

    for wrong, words in [
        (print, "observer must be an Observer, not builtin_function_or_method"),
        (Observer, "observer must be an Observer, not type"),
        (Late(), "observer must not have an async call_ended"),
    ]:
        with pytest.raises(ConfigurationError, match=words):
            FlashbackClient("t", observer=wrong)


def test_the_base_class_takes_note_of_nothing():
    observer = Observer()
    for name in ("attempt_ended", "call_ended", "pause_began"):
        assert getattr(observer, name)(None) is None


# The view of now.


async def test_a_client_that_was_never_used_has_done_nothing():
    expected = Snapshot(0, 0, 64, 0.0, 500, 0, 0, None, None)
    client = FlashbackClient("t")
    assert client.snapshot() == expected
    assert client.with_options(timeout=Timeout(total=1)).snapshot() == expected
    assert await asyncio.to_thread(client.snapshot) == expected
    await client.close()
    assert client.snapshot() == expected


async def test_calls_in_flight_and_those_that_wait_for_a_slot():
    async with Bench(after(1, OK), limits=Limits(max_concurrency=2)) as bench:
        tasks = [asyncio.create_task(bench.status.get("b")) for _ in range(5)]
        await turns()
        snapshot = bench.state.snapshot()
        assert (snapshot.in_flight, snapshot.waiting, snapshot.slots) == (2, 3, 2)
        assert await asyncio.to_thread(bench.state.snapshot) == snapshot
        tasks[-1].cancel()
        await turns()
        assert bench.state.snapshot().waiting == 2
        await asyncio.gather(*tasks, return_exceptions=True)
        snapshot = bench.state.snapshot()
        assert (snapshot.in_flight, snapshot.waiting, snapshot.requests) == (0, 0, 4)


async def test_calls_that_wait_for_their_turn_under_a_rate_are_not_in_flight():
    async with Bench(after(0.2, OK), limits=Limits(max_rate=1)) as bench:
        tasks = [asyncio.create_task(bench.status.get("b")) for _ in range(4)]
        await turns()
        snapshot = bench.state.snapshot()
        assert (snapshot.in_flight, snapshot.waiting) == (1, 3)
        for task in tasks[1:]:
            task.cancel()
        await asyncio.wait(tasks)
        snapshot = bench.state.snapshot()
        assert (snapshot.in_flight, snapshot.waiting) == (0, 0)


async def test_a_pause_counts_down_and_holds_calls_up():
    async with Bench(no(429, retry_after=10), OK) as bench:
        task = asyncio.create_task(bench.status.get("b"))
        await asyncio.sleep(4)
        snapshot = bench.state.snapshot()
        assert snapshot.paused_for == pytest.approx(6)
        assert (snapshot.in_flight, snapshot.waiting) == (0, 1)
        await task
        assert bench.state.snapshot().paused_for == 0.0


async def test_the_budget_and_the_age_of_the_last_success():
    async with Bench(OK, no(503), retry=RetryPolicy(max_attempts=2)) as bench:
        await bench.status.get("b")
        await asyncio.sleep(7)
        with pytest.raises(ServerError):
            await bench.status.get("b")
        snapshot = bench.state.snapshot()
        assert snapshot.last_success_age == pytest.approx(7.05)
        assert (snapshot.retry_budget, snapshot.requests, snapshot.retries) == (486, 3, 1)


async def test_the_last_error_is_a_copy_that_keeps_nothing_alive():
    class Canary:
        pass

    seen = []

    async def provider():
        raise OSError("no service")

    async def visit(bench):
        canary = Canary()
        seen.append(weakref.ref(canary))
        await bench.status.get("b")

    async with Bench(OK, token=provider) as bench:
        try:
            await visit(bench)
        except TokenProviderError as error:
            raised = copy.copy(error)
        last = bench.state.snapshot().last_error
        assert raised.__cause__ is not None
        assert type(last) is TokenProviderError
        assert str(last) == str(raised)
        assert last.bucket_id == "b"
        assert last.__cause__ is last.__context__ is last.__traceback__ is None
        del raised
        gc.collect()
        assert seen[0]() is None
        # One that a reader raises does not mark the next one.
        with pytest.raises(TokenProviderError):
            raise last
        again = bench.state.snapshot().last_error
        assert again is not last
        assert again.__traceback__ is None


async def test_a_closed_client_keeps_its_totals():
    bench = Bench(no(404))
    async with bench:
        with pytest.raises(NotFoundError):
            await bench.status.get("b")
    snapshot = bench.state.snapshot()
    assert (snapshot.requests, snapshot.in_flight) == (1, 0)
    assert isinstance(snapshot.last_error, NotFoundError)
