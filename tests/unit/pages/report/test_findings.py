"""What the outcomes of a run say."""

import pytest

from flashback_async import InvalidArgumentError, NotFoundError, RequestTimeoutError, ServerError
from flashback_async.pages.report.findings import find
from tests.pages import answered, bucket, silent


def test_buckets_without_a_node_online_come_before_those_with_some():
    found = find(
        answered(status)
        for status in (
            bucket("partly-disconnected", "ONLINE", "DISCONNECTED"),
            bucket("partly-offline", "ONLINE", "OFFLINE"),
            bucket("all-disconnected", "DISCONNECTED"),
            bucket("well", "ONLINE", "ONLINE"),
            bucket("all-offline", "OFFLINE", "OFFLINE"),
            bucket("b-draining", "ONLINE", "DRAINING"),
            bucket("unreported", "ONLINE", None),
            bucket("a-draining", "ONLINE", "DRAINING"),
        )
    )
    assert [problem.bucket_id for problem in found.problems] == [
        "all-offline",
        "all-disconnected",
        "partly-offline",
        "partly-disconnected",
        "a-draining",
        "b-draining",
        "unreported",
    ]
    assert (found.total, found.well, found.down) == (8, 1, 2)
    assert found.states == {
        "ONLINE": 7,
        "OFFLINE": 3,
        "DISCONNECTED": 2,
        "DRAINING": 2,
        None: 1,
    }


def test_only_nodes_that_are_not_online_are_part_of_a_problem():
    (problem,) = find([bucket("a", "ONLINE", "OFFLINE", "DRAINING")]).problems
    assert [node.state for node in problem.nodes] == ["OFFLINE", "DRAINING"]
    assert (problem.total, problem.is_total) == (3, False)


def test_failures_with_the_same_reason_are_together_the_most_frequent_first():
    def rejected(number):
        return ServerError(
            f"500, request id {number}", status=500, message="broken", request_id=str(number)
        )

    found = find(
        [
            silent("c", RequestTimeoutError("no answer within 10 s")),
            silent("b", rejected(1)),
            silent("a", rejected(2)),
            silent("d", NotFoundError("404", status=404)),
        ]
    )
    assert list(found.silent.items()) == [
        ("500 broken (ServerError)", ["a", "b"]),
        ("NotFoundError: 404", ["d"]),
        ("RequestTimeoutError: no answer within 10 s", ["c"]),
    ]
    assert (found.total, found.unanswered) == (4, 4)


def test_a_bucket_without_nodes_is_no_problem():
    found = find([bucket("a")])
    assert (found.empty, found.problems, found.total) == (["a"], [], 1)


def test_the_last_answer_of_a_bucket_counts():
    found = find([bucket("a", "OFFLINE"), bucket("a", "ONLINE")])
    assert (found.total, found.well) == (1, 1)


def test_nodes_are_counted_by_region():
    found = find([bucket("a", "ONLINE", "OFFLINE"), bucket("b", "ONLINE", region=None)])
    assert found.regions == {"us-east-1": {"ONLINE": 1, "OFFLINE": 1}, None: {"ONLINE": 1}}


@pytest.mark.parametrize("wrong", ["bucket", None, 3])
def test_what_is_no_outcome_is_refused(wrong):
    with pytest.raises(InvalidArgumentError, match="outcomes must be outcomes of status"):
        find([wrong])
