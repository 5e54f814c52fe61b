"""The poll of the traffic counters, in virtual time."""

import asyncio
import itertools
import logging
import re

import pytest

from flashback_async import (
    AuthenticationError,
    BucketStats,
    Failure,
    NotFoundError,
    Report,
    ServerError,
    Success,
)
from flashback_async.pages.exporter.totals import Totals
from tests.unit.support import now


class Client:
    """A client whose bucket_stats answers with what it is given, in order."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []
        self.bucket_stats = self

    async def list(self):
        return self._next(None)

    async def get_many(self, bucket_ids):
        return self._next(bucket_ids)

    def _next(self, bucket_ids):
        self.asked.append((now(), bucket_ids))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def report(**outcomes):
    return Report(
        Failure(n, key, value, 0.0) if isinstance(value, Exception) else Success(n, key, value, 0.0)
        for n, (key, value) in enumerate(outcomes.items())
    )


def stats(bucket_id, count=1):
    return BucketStats(bucket_id, count)


async def polled(totals, seconds):
    """Poll for so long, or until it ends by itself."""
    task = asyncio.create_task(totals.poll())
    await asyncio.wait([task], timeout=seconds)
    if task.done():
        return task.exception()
    task.cancel()
    await asyncio.wait([task])
    return None


async def test_the_counters_of_all_buckets_are_listed_every_300_seconds():
    client = Client([stats("a"), stats("b")], [stats("b", 2), stats("c")])
    totals, began = Totals(client, None, 300.0), now()
    await polled(totals, 10)
    assert totals.by_bucket == {"a": stats("a"), "b": stats("b")}
    client.answers.insert(0, [stats("a")])
    await polled(totals, 310)
    assert totals.by_bucket == {"b": stats("b", 2), "c": stats("c")}
    assert [at - began for at, _ in client.asked] == pytest.approx([0, 10, 310])


async def test_named_buckets_are_asked_for_and_those_that_fail_stay_as_they_were(caplog):
    broken = ServerError("503 Service Unavailable")
    client = Client(
        report(a=stats("a"), b=stats("b"), c=stats("c")),
        report(a=stats("a", 2), b=broken, c=NotFoundError("404 Not Found")),
    )
    totals = Totals(client, ["a", "b", "c"], 300.0)
    with caplog.at_level(logging.WARNING, "flashback_async"):
        await polled(totals, 310)
    assert totals.by_bucket == {"a": stats("a", 2), "b": stats("b")}
    assert client.asked[1][1] == ["a", "b", "c"]
    assert [record.getMessage() for record in caplog.records] == [
        "exporter: the counters of 1 of 3 buckets could not be read, and are asked for again in "
        "15 s: ServerError: 503 Service Unavailable"
    ]


async def test_counters_that_could_not_be_read_are_asked_for_again_soon(caplog):
    broken = ServerError("503 Service Unavailable")
    client = Client(broken, [stats("a")], broken, [stats("a", 2)])
    totals, began = Totals(client, None, 300.0), now()
    with caplog.at_level(logging.WARNING, "flashback_async"):
        await polled(totals, 16)
        assert totals.by_bucket == {"a": stats("a")}
        assert [record.getMessage() for record in caplog.records] == [
            "exporter: the counters could not be read, and are asked for again in 15 s: "
            "ServerError: 503 Service Unavailable"
        ]
        await polled(totals, 16)
    assert totals.by_bucket == {"a": stats("a", 2)}
    assert [at - began for at, _ in client.asked] == pytest.approx([0, 15, 16, 31])


@pytest.mark.parametrize(
    ("every", "waits"), [(300, [15, 30, 60, 120, 240, 300, 300]), (20, [15, 20, 20]), (5, [5, 5])]
)
async def test_a_failure_that_lasts_is_asked_about_and_logged_less_often(every, waits, caplog):
    broken = ServerError("503 Service Unavailable")
    client, began = Client(*[broken] * (len(waits) + 1)), now()
    with caplog.at_level(logging.WARNING, "flashback_async"):
        await polled(Totals(client, None, float(every)), sum(waits) + 1)
    asked = [at - began for at, _ in client.asked]
    assert [b - a for a, b in itertools.pairwise(asked)] == pytest.approx(waits)
    said = [int(re.search(r"again in (\d+) s", r.getMessage())[1]) for r in caplog.records]
    assert said[:-1] == waits


async def test_a_rejected_token_ends_it():
    rejected = AuthenticationError("401 Unauthorized")
    assert await polled(Totals(Client(rejected), None, 300.0), 10) is rejected
    client = Client(report(a=stats("a"), b=rejected))
    assert await polled(Totals(client, ["a", "b"], 300.0), 10) is rejected
