"""The wait for one bucket: when it asks, what ends it, and what it says at its end."""

import asyncio

import pytest

from flashback_async import (
    AuthenticationError,
    CertificateError,
    ClientClosedError,
    ConnectError,
    DeadlineExceededError,
    DecodeError,
    InvalidArgumentError,
    NotFoundError,
    ProtocolError,
    RetryPolicy,
    ServerError,
    Timeout,
)
from flashback_async.values import NoAnswer, Retry
from tests.unit.support import Bench, answer, hang, no, now


def status(*states):
    nodes = [{"ip": f"10.0.0.{n}", "status": state} for n, state in enumerate(states)]
    return answer({"bucketId": "b", "nodeStatus": nodes})


def lost(error, retry=Retry.TRANSIENT):
    return NoAnswer(error, retry)


def is_online(found):
    return all(node.state == "ONLINE" for node in found.nodes)


def bench(*answers, **options):
    options.setdefault("retry", RetryPolicy.none())
    options.setdefault("share", 0.5)
    return Bench(*answers, **options)


async def test_it_asks_at_once_and_then_after_each_interval():
    async with bench(status("OFFLINE"), status("OFFLINE"), status("ONLINE")) as made:
        found = await made.status.wait_until("b", is_online, timeout=60)
        assert is_online(found)
        assert made.script.times == [0, 5, 10]


@pytest.mark.parametrize(("share", "interval"), [(0.0, 9), (1.0, 11)])
async def test_the_interval_differs_by_up_to_a_tenth(share, interval):
    async with bench(status("OFFLINE"), status("ONLINE"), share=share) as made:
        await made.status.wait_until("b", is_online, timeout=60, interval=10)
        assert made.script.times == pytest.approx([0, interval])


async def test_so_many_answers_in_a_row_must_fulfil_it_and_errors_do_not_count():
    answers = [status("ONLINE"), status("OFFLINE"), status("ONLINE"), no(503), status("ONLINE")]
    async with bench(*answers, status("ONLINE")) as made:
        await made.status.wait_until("b", is_online, timeout=60, times=3)
        assert len(made.sent) == 6


@pytest.mark.parametrize(
    "failure",
    [no(500), no(502), no(429), no(408), lost(ConnectError("refused")), hang],
    ids=["500", "502", "429", "408", "refused", "hang"],
)
async def test_it_lives_through_what_is_retried(failure):
    async with bench(failure, status("ONLINE"), timeout=Timeout(total=3)) as made:
        assert await made.status.wait_until("b", is_online, timeout=60)


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (no(401), AuthenticationError),
        (no(404), NotFoundError),
        (no(501), ServerError),
        (answer(b"{"), DecodeError),
        (lost(CertificateError("bad"), Retry.NEVER), CertificateError),
        (lost(ProtocolError("bad"), Retry.NEVER), ProtocolError),
    ],
    ids=["401", "404", "501", "body", "certificate", "protocol"],
)
async def test_it_ends_at_once_with_every_other_error(failure, error):
    async with bench(failure) as made:
        with pytest.raises(error):
            await made.status.wait_until("b", is_online, timeout=60)
        assert len(made.sent) == 1


async def test_when_time_is_up_it_says_what_the_last_answer_was():
    async with bench(status("ONLINE", "OFFLINE", "OFFLINE", None), no(503)) as made:
        began = now()
        with pytest.raises(DeadlineExceededError) as caught:
            await made.status.wait_until("b", is_online, timeout=12)
        assert now() - began == pytest.approx(12)
        assert (caught.value.operation, caught.value.bucket_id) == ("status.wait_until", "b")
        text = str(caught.value)
        assert "did not hold within 12 s" in text
        assert (
            "in the last answer, the nodes were 1 'ONLINE', 2 'OFFLINE', 1 without a state" in text
        )
        assert "the last poll failed: ServerError" in text
        assert caught.value.attempts == 3
        assert caught.value.elapsed == pytest.approx(12)


async def test_without_any_answer_it_says_so():
    async with bench(hang) as made:
        with pytest.raises(DeadlineExceededError, match="no poll had an answer; the last poll"):
            await made.status.wait_until("b", is_online, timeout=2)
        assert now() - made.sent[0].at == pytest.approx(2, abs=0.01)


async def test_a_bucket_without_nodes_is_told_as_such():
    async with bench(status()) as made:
        with pytest.raises(DeadlineExceededError, match="the nodes were none"):
            await made.status.wait_until("b", lambda found: bool(found.nodes), timeout=1)


async def test_what_the_predicate_raises_comes_out():
    async with bench(status()) as made:
        with pytest.raises(ZeroDivisionError):
            await made.status.wait_until("b", lambda found: 1 / len(found.nodes) > 0, timeout=1)


async def test_a_coroutine_function_is_no_predicate():
    async def holds(found):
        return True

    async with bench(status()) as made:
        with pytest.raises(InvalidArgumentError, match="must return whether it holds"):
            await made.status.wait_until("b", holds, timeout=1)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"timeout": 0}, "timeout must be from"),
        ({"timeout": None}, "timeout must be seconds, not None"),
        ({"interval": -1}, "interval must be from"),
        ({"times": 0}, "times must be a whole number"),
        ({"bucket_id": "a/b"}, "bucket_id must not hold a slash"),
        ({"predicate": "ONLINE"}, "predicate must be a function"),
    ],
)
async def test_what_is_wrong_is_named(options, rule):
    async with bench(status()) as made:
        options = {"bucket_id": "b", "predicate": is_online, "timeout": 5} | options
        with pytest.raises(InvalidArgumentError, match=rule):
            await made.status.wait_until(**options)
        assert made.sent == []


async def test_closing_the_client_ends_it():
    async with bench(status("OFFLINE")) as made:
        waiting = asyncio.create_task(made.status.wait_until("b", is_online, timeout=60))
        await asyncio.sleep(1)
        await made.state.close()
        with pytest.raises(ClientClosedError, match=r"status\.wait_until 'b'"):
            await waiting
        assert now() - made.sent[0].at == 1
