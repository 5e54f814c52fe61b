"""What the exporter records of its client."""

import asyncio
import gc
import weakref

from flashback_async import AttemptEnded, CallEnded
from flashback_async.pages.exporter.requests import Requests


def attempt(operation, error=None):
    template = "/bucket/{bucketId}/status"
    return AttemptEnded(
        operation, "GET", template, "127.0.0.1", 80, "a", 1, 200, error, None, elapsed=0.1
    )


def ended(operation="status.get", error=None, attempts=1):
    return CallEnded(operation, "a", attempts, error, 0.1)


async def test_requests_are_counted_by_operation_and_result():
    requests = Requests()
    requests.attempt_ended(attempt("status.get", "ServerError"))
    requests.attempt_ended(attempt("status.get"))
    requests.call_ended(ended(attempts=2))
    requests.attempt_ended(attempt("bucket_stats.list"))
    requests.call_ended(ended("bucket_stats.list"))
    requests.call_ended(ended(error="ClientClosedError", attempts=0))
    assert requests.counts == {
        ("status.get", "ServerError"): 1,
        ("status.get", "success"): 1,
        ("bucket_stats.list", "success"): 1,
    }


async def test_a_failed_request_counts_at_once_and_once():
    requests = Requests()
    requests.attempt_ended(attempt("status.get", "ServerError"))
    assert requests.counts == {("status.get", "ServerError"): 1}
    requests.call_ended(ended(error="ServerError"))
    assert requests.counts == {("status.get", "ServerError"): 1}


async def test_an_answer_counts_once_it_is_known_whether_it_can_be_decoded():
    requests = Requests()
    for error in ("DecodeError", "CancelledError", None):
        requests.attempt_ended(attempt("status.get"))
        assert ("status.get", error or "success") not in requests.counts
        requests.call_ended(ended(error=error))
        assert requests.counts["status.get", error or "success"] == 1
    assert requests.counts.total() == 3


async def test_equal_calls_under_way_are_counted_each_with_its_own_result():
    requests = Requests()
    answered, failed = asyncio.Event(), asyncio.Event()

    async def read():
        requests.attempt_ended(attempt("status.get"))
        answered.set()
        await failed.wait()  # as while a long answer is decoded in a thread
        requests.call_ended(ended())

    async def fail():
        await answered.wait()
        requests.attempt_ended(attempt("status.get", "ServerError"))
        requests.call_ended(ended(error="ServerError"))
        failed.set()

    await asyncio.gather(read(), fail())
    assert requests.counts == {
        ("status.get", "success"): 1,
        ("status.get", "ServerError"): 1,
    }


async def test_every_answer_of_a_call_that_asks_again_counts():
    requests = Requests()
    requests.attempt_ended(attempt("status.get"))
    requests.attempt_ended(attempt("status.get"))
    requests.call_ended(ended(attempts=2))
    assert requests.counts == {("status.get", "success"): 2}


async def test_nothing_of_a_call_is_kept_after_its_end():
    requests = Requests()

    async def call(error):
        requests.attempt_ended(attempt("status.get", error))
        requests.call_ended(ended(error=error))
        return weakref.ref(asyncio.current_task())

    tasks = [asyncio.create_task(call(error)) for error in (None, "ServerError")]
    seen = [await task for task in tasks]
    tasks.clear()
    gc.collect()
    await asyncio.sleep(0)
    assert requests.counts.total() == 2
    assert [task() for task in seen] == [None, None]


async def test_the_last_answer_of_a_bucket_is_kept_until_it_is_gone():
    clock = iter(range(10))
    requests = Requests(lambda: next(clock))
    for bucket_id, operation, error in (
        ("a", "status.get", None),
        ("a", "status.get", None),
        ("a", "status.get", "ServerError"),
        ("b", "status.get", "NotFoundError"),
        ("c", "status.get", "PermissionDeniedError"),
        ("d", "bucket_stats.list", None),
        (None, "status.get", None),
    ):
        requests.call_ended(CallEnded(operation, bucket_id, 1, error, 0.1))
    assert requests.last_answers == {"a": 1}
    requests.forget("a")
    requests.forget("unheard of")
    assert requests.last_answers == {}
