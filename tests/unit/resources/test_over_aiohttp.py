"""The documented calls and answers, from the client down to aiohttp's session."""

import errno
from datetime import UTC, date, datetime

import pytest
from yarl import URL

from flashback_async.errors import (
    BadRequestError,
    ConnectionLostError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
)
from flashback_async.models import BucketStats, DailyNodeStats, NodeState, NodeStatus
from tests import inside
from tests.unit.support import TOKEN

ID = "550e8400-e29b-41d4-a716-446655440000"
OTHER = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
MOMENT = datetime(2024, 1, 15, 10, 30, tzinfo=UTC)
STATUS_URL = f"https://api.test/v1/bucket/{ID}/status"
NODE_STATS_URL = f"https://api.test/v1/bucket/{ID}/stats"
LIST_URL = "https://api.test/v1/bucket/stats"
STATUS = {
    "bucketId": ID,
    "nodeStatus": [
        {
            "ip": "192.168.1.100",
            "region": "us-east-1",
            "version": "1.2.3",
            "status": "DISCONNECTED",
            "latencyMs": 45,
            "lastUpdated": "2024-01-15T10:30:00Z",
        }
    ],
}


def sent(answers):
    """The one request that was sent: method, URL, and what was given to aiohttp."""
    ((key, calls),) = answers.requests.items()
    (call,) = calls
    return (*key, call.kwargs)


async def test_status_get_returns_the_nodes_of_a_bucket(answers, client):
    answers.get(STATUS_URL, payload=STATUS)
    status = await client.status.get(ID)
    assert status.nodes == (
        NodeStatus("192.168.1.100", "us-east-1", "1.2.3", NodeState.DISCONNECTED, 45.0, MOMENT),
    )
    method, url, options = sent(answers)
    assert (method, url) == ("GET", URL(STATUS_URL))
    assert options["headers"]["Authorization"] == f"Bearer {TOKEN}"
    assert options["allow_redirects"] is False
    assert options["data"] is None
    assert options["ssl"] is True
    assert options["proxy"] is None


async def test_bucket_stats_list_returns_the_counters_of_each_bucket(answers, client):
    body = {
        "success": True,
        "stats": [
            {
                "bucketId": OTHER,
                "totalCount": "1250",
                "totalUploadBytes": "1073741824",
                "totalDownloadBytes": "536870912",
                "totalSizeChange": "-5",
            },
            {"bucketId": ID},
        ],
    }
    answers.get(f"{LIST_URL}?bucketId={ID}%2C{OTHER}", payload=body)
    assert await client.bucket_stats.list([ID, OTHER]) == [
        BucketStats(ID, None, None, None, None),
        BucketStats(OTHER, 1250, 1073741824, 536870912, -5),
    ]
    method, _, options = sent(answers)
    assert method == "GET"
    assert options["data"] is None


async def test_bucket_stats_list_of_all(answers, client):
    answers.get(LIST_URL, payload={"success": True, "stats": [{"bucketId": ID}]})
    assert [s.bucket_id for s in await client.bucket_stats.list()] == [ID]


async def test_bucket_stats_get_returns_the_counters_of_one_bucket(answers, client):
    answers.get(f"{LIST_URL}?bucketId={ID}", payload={"stats": [{"bucketId": ID}]})
    assert (await client.bucket_stats.get(ID)).bucket_id == ID


async def test_node_stats_get_returns_the_figures_of_a_day(answers, client):
    body = {
        "success": True,
        "nodeStats": [
            {
                "ip": "192.168.1.100",
                "host": "*-us-east-1-aws.flashback.tech",
                "perc_uptime": 99.9,
                "avg_latency_ms": 45.2,
                "version": "1.2.3",
                "node_status": "ONLINE",
                "last_updated": "2024-01-15T10:30:00Z",
                "last_latency_ms": 42,
            }
        ],
    }
    answers.post(NODE_STATS_URL, payload=body)
    assert await client.node_stats.get(ID, date(2024, 1, 15)) == [
        DailyNodeStats(
            "192.168.1.100",
            "*-us-east-1-aws.flashback.tech",
            99.9,
            45.2,
            "1.2.3",
            NodeState.ONLINE,
            MOMENT,
            42.0,
        )
    ]
    method, url, options = sent(answers)
    assert (method, url) == ("POST", URL(NODE_STATS_URL))
    assert options["data"] == b'{"day":"2024-01-15T00:00:00.000Z"}'
    assert options["headers"]["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, "Invalid date format", BadRequestError),
        (403, "Insufficient permissions", PermissionDeniedError),
        (404, "Bucket or user not found", NotFoundError),
    ],
)
async def test_a_documented_error_has_its_class(answers, client, status, message, kind):
    answers.post(
        NODE_STATS_URL,
        status=status,
        payload={"success": False, "message": message},
        headers={"x-request-id": "r1"},
    )
    with pytest.raises(kind) as caught:
        await client.node_stats.get(ID, "2024-01-15")
    error = caught.value
    assert (error.status, error.message, error.request_id) == (status, message, "r1")
    assert (error.operation, error.bucket_id, error.attempts) == ("node_stats.get", ID, 1)


async def test_a_server_that_is_busy_is_asked_again(answers, client):
    answers.get(STATUS_URL, status=429, headers={"Retry-After": "2"})
    answers.get(STATUS_URL, status=503)
    answers.get(STATUS_URL, payload=STATUS)
    assert (await client.status.get(ID)).bucket_id == ID
    assert inside.clock(client).slept == pytest.approx([0.0, 2.0, 0.05, 0.05])  # the last, a turn


async def test_a_server_that_stays_busy_is_given_up(answers, client):
    answers.get(STATUS_URL, status=429, repeat=True)
    with pytest.raises(RateLimitError) as caught:
        await client.status.get(ID)
    assert caught.value.attempts == 3


async def test_a_lost_connection_becomes_our_error(answers, client):
    answers.get(STATUS_URL, exception=ConnectionResetError(errno.ECONNRESET, "peer"), repeat=True)
    with pytest.raises(ConnectionLostError, match="reset") as caught:
        await client.status.get(ID)
    assert caught.value.__cause__ is None


async def test_many_buckets_are_asked_for_at_once(answers, client):
    answers.get(STATUS_URL, payload=STATUS)
    answers.get(STATUS_URL.replace(ID, OTHER), status=404)
    report = await client.status.get_many([ID, OTHER])
    assert [o.ok for o in report] == [True, False]
    assert isinstance(report.failed[OTHER], NotFoundError)
