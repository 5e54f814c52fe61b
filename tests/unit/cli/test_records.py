"""Outcomes as JSON and as CSV: nothing rounded, nothing lost, nothing that a terminal acts on."""

import csv
import io
import json
from datetime import UTC, date, datetime, timedelta

import pytest

from flashback_async import (
    BucketDay,
    BucketStats,
    BucketStatus,
    DailyNodeStats,
    Failure,
    NodeState,
    NodeStatus,
    ServerError,
    Success,
)
from flashback_async.cli.output import make_writer
from flashback_async.cli.records import NODE_STATS, STATS, STATUS, reason

SEEN = datetime(2024, 1, 15, 10, 30, 0, 250_000, tzinfo=UTC)
ASKED = datetime(2025, 6, 30, 12, 0, tzinfo=UTC)
NODE = NodeStatus("10.0.0.1", "us-east-1", "1.8.2", NodeState.ONLINE, 14.5, SEEN)
BLANK = NodeStatus(None, None, None, None, None, None)
FAILURE = ServerError(
    "503 Service Unavailable", status=503, request_id="req-1", attempts=3, operation="status.get"
)


def ok(key, value):
    return Success(0, key, value, 0.1)


def failed(key, error=FAILURE):
    return Failure(0, key, error, 0.1)


@pytest.fixture
def json_line(capfdbinary):
    """A function that returns the line which the command line writes for an outcome."""

    async def write(view, outcome):
        writer = make_writer("jsonl", view)
        await writer.add(outcome)
        await writer.drain()
        return capfdbinary.readouterr().out.decode()

    return write


@pytest.fixture
def through_json(json_line):
    async def write(view, outcome):
        return json.loads(await json_line(view, outcome))

    return write


def through_csv(view, outcome):
    text = io.StringIO()
    csv.writer(text).writerows([view.csv_header(), *view.csv_lines(outcome, ASKED)])
    return list(csv.DictReader(io.StringIO(text.getvalue())))


async def test_a_status_is_a_record_with_its_nodes(through_json):
    record = await through_json(STATUS, ok("b1", BucketStatus("B1", (NODE, BLANK))))
    asked_at = record.pop("asked_at")
    assert asked_at.endswith("Z")
    assert datetime.now(UTC) - datetime.fromisoformat(asked_at) < timedelta(minutes=1)
    assert record == {
        "bucket_id": "b1",  # as it was asked for
        "nodes": [
            {
                "ip": "10.0.0.1",
                "region": "us-east-1",
                "version": "1.8.2",
                "state": "ONLINE",
                "latency_ms": 14.5,
                "last_updated": "2024-01-15T10:30:00.250000Z",
            },
            dict.fromkeys(("ip", "region", "version", "state", "latency_ms", "last_updated")),
        ],
    }


async def test_counts_stay_exact_whatever_their_size(through_json):
    stats = BucketStats("b1", 10**99 + 1, 2**63, None, -5)
    record = await through_json(STATS, ok("b1", stats))
    assert list(record) == [
        "bucket_id",
        "total_count",
        "total_upload_bytes",
        "total_download_bytes",
        "total_size_change",
    ]
    assert record["total_count"] == 10**99 + 1
    (line,) = through_csv(STATS, ok("b1", stats))
    assert line["total_count"] == str(10**99 + 1)
    assert (line["total_download_bytes"], line["total_size_change"]) == ("", "-5")


async def test_daily_figures_name_their_day(through_json):
    node = DailyNodeStats("10.0.0.1", "*-a", 99.5, 14.25, "1.8.2", "ODD", SEEN, 13.0)
    outcome = ok(BucketDay("b1", date(2024, 1, 15)), [node])
    record = await through_json(NODE_STATS, outcome)
    assert (record["bucket_id"], record["day"]) == ("b1", "2024-01-15")
    assert record["nodes"][0]["uptime_percent"] == 99.5
    (line,) = through_csv(NODE_STATS, outcome)
    assert (line["day"], line["state"], line["error"]) == ("2024-01-15", "ODD", "")
    assert NODE_STATS.label(outcome.key) == "b1 2024-01-15"


async def test_a_failure_is_a_record_that_says_why(through_json):
    record = await through_json(STATUS, failed("b1"))
    assert record["bucket_id"] == "b1"
    assert record["error"] == {
        "type": "ServerError",
        "message": str(FAILURE),
        "status": 503,
        "code": None,
        "request_id": "req-1",
        "retry_after": None,
        "attempts": 3,
    }
    assert record["asked_at"].endswith("Z")
    (line,) = through_csv(STATUS, failed("b1"))
    assert line["bucket_id"] == "b1"
    assert line["asked_at"] == "2025-06-30T12:00:00Z"
    assert line["error"] == "ServerError: 503 Service Unavailable, after 3 requests"


def test_a_bucket_without_nodes_has_a_line_all_the_same():
    (line,) = through_csv(STATUS, ok("b1", BucketStatus("b1", ())))
    assert (line["bucket_id"], line["ip"], line["error"]) == ("b1", "", "")
    assert line["asked_at"] == "2025-06-30T12:00:00Z"


async def test_only_the_records_of_a_status_say_when_it_was_asked_for(through_json):
    stats = ok("b1", BucketStats("b1", 1, 2, 3, 4))
    assert "asked_at" not in await through_json(STATS, stats)
    assert "asked_at" not in STATS.csv_header()
    assert "asked_at" in STATUS.csv_header()
    widths = {len(STATUS.csv_header()), *map(len, STATUS.csv_lines(failed("b1"), ASKED))}
    assert len(widths) == 1


async def test_no_control_character_gets_through(json_line):
    evil = "\x1b]0;x\x07\x7f\u202e\x9b\udcff\n"
    node = NodeStatus(evil, evil, evil, evil, 1.0, SEEN)
    outcomes = [ok(evil, BucketStatus(evil, (node,))), failed(evil, ServerError(evil))]
    texts = [await json_line(STATUS, outcome) for outcome in outcomes]
    for outcome, line in zip(outcomes, texts, strict=True):
        text = line.removesuffix("\n")
        assert text.isprintable()
        assert text.isascii()
        lines = [map(str, line) for line in STATUS.csv_lines(outcome, ASKED)]
        assert all(cell.isprintable() for line in lines for cell in line)
    assert json.loads(texts[0])["bucket_id"] == evil


def test_an_error_without_text_is_named():
    assert reason(ServerError()) == "ServerError: "
    bare = ServerError()
    bare.args = ()
    assert reason(bare) == "ServerError: ServerError"


async def test_a_json_array_is_in_the_order_of_the_input(capsys):
    writer = make_writer("json", STATUS)
    for place in (2, 0, 1):
        status = BucketStatus(f"b{place}", ())
        await writer.add(Success(place, f"b{place}", status, 0.1))
    await writer.drain()
    assert capsys.readouterr().out == ""
    writer.finish()
    records = json.loads(capsys.readouterr().out)
    assert [record["bucket_id"] for record in records] == ["b0", "b1", "b2"]


async def test_a_json_array_may_be_empty(capsys):
    make_writer("json", STATUS).finish()
    assert json.loads(capsys.readouterr().out) == []
