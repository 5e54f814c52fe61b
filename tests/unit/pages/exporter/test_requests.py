"""What the exporter records of its client."""

from flashback_async import AttemptEnded, CallEnded
from flashback_async.pages.exporter.requests import Requests


def attempt(operation, error=None):
    template = "/bucket/{bucketId}/status"
    return AttemptEnded(
        operation, "GET", template, "127.0.0.1", 80, "a", 1, 200, error, None, elapsed=0.1
    )


def test_requests_are_counted_by_operation_and_result():
    requests = Requests()
    for operation, error in (
        ("status.get", None),
        ("status.get", None),
        ("status.get", "ServerError"),
        ("bucket_stats.list", None),
    ):
        requests.attempt_ended(attempt(operation, error))
    assert requests.counts == {
        ("status.get", "success"): 2,
        ("status.get", "ServerError"): 1,
        ("bucket_stats.list", "success"): 1,
    }


def test_the_last_answer_of_a_bucket_is_kept_until_it_is_gone():
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
