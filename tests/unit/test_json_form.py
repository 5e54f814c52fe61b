"""The JSON form: the same as the command line's, and read back as equal models."""

import json
from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from flashback_async import (
    BucketDay,
    BucketStats,
    BucketStatus,
    ConnectError,
    DailyNodeStats,
    DecodeError,
    Failure,
    InvalidArgumentError,
    NodeState,
    NodeStatus,
    RateLimitError,
    Report,
    Success,
    Timeout,
    from_dict,
    from_json,
    to_dict,
    to_json,
)

SEEN = datetime(2024, 1, 15, 10, 30, 0, 250_000, tzinfo=UTC)
NODE = NodeStatus("10.0.0.1", "us-east-1", "1.8.2", NodeState.ONLINE, 14.5, SEEN)
NODE_RECORD = {
    "ip": "10.0.0.1",
    "region": "us-east-1",
    "version": "1.8.2",
    "state": "ONLINE",
    "latency_ms": 14.5,
    "last_updated": "2024-01-15T10:30:00.250000Z",
}
BLANK_RECORD = dict.fromkeys(NODE_RECORD)
STATUS = BucketStatus("b1", (NODE, NodeStatus()))
STATUS_RECORD = {"bucket_id": "b1", "nodes": [NODE_RECORD, BLANK_RECORD]}
STATS = BucketStats("b1", 10**59 + 1, 2**64, None, -5)
STATS_RECORD = {
    "bucket_id": "b1",
    "total_count": 10**59 + 1,
    "total_upload_bytes": 2**64,
    "total_download_bytes": None,
    "total_size_change": -5,
}
DAILY = DailyNodeStats("10.0.0.1", "*-us-east-1-aws.x", 99.5, 45.25, "1.8.2", "ODD", SEEN, 42.0)
DAILY_RECORD = {
    "ip": "10.0.0.1",
    "host": "*-us-east-1-aws.x",
    "uptime_percent": 99.5,
    "avg_latency_ms": 45.25,
    "version": "1.8.2",
    "state": "ODD",
    "last_updated": "2024-01-15T10:30:00.250000Z",
    "last_latency_ms": 42.0,
}
MODELS = [
    (NODE, NODE_RECORD),
    (STATUS, STATUS_RECORD),
    (STATS, STATS_RECORD),
    (DAILY, DAILY_RECORD),
]
models = pytest.mark.parametrize(("model", "record"), MODELS, ids=lambda v: type(v).__name__)
ERROR = RateLimitError(
    "429 Too Many Requests",
    status=429,
    code="E1",
    request_id="r1",
    retry_after=2.0,
    attempts=3,
    operation="status.get",
)
ERROR_RECORD = {
    "type": "RateLimitError",
    "message": str(ERROR),
    "status": 429,
    "code": "E1",
    "request_id": "r1",
    "retry_after": 2.0,
    "attempts": 3,
}


def succeeded(key, value):
    return Success(0, key, value, 0.1)


def failed(key, error):
    return Failure(0, key, error, 0.1)


def of_node(**fields):
    return from_dict(NodeStatus, fields)


# Out.


@models
def test_a_model_is_its_fields_in_their_order(model, record):
    assert to_dict(model) == record
    assert list(to_dict(model)) == list(record)
    assert json.loads(to_json(model)) == record
    assert to_dict([model, model]) == json.loads(to_json([model, model])) == [record, record]


def test_nothing_in_a_record_is_more_than_json_knows():
    record = to_dict(STATUS)
    assert type(record["nodes"]) is list
    assert type(record["nodes"][0]["state"]) is str


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2024, 1, 15, 10, 30, tzinfo=UTC), "2024-01-15T10:30:00Z"),
        (datetime(2024, 1, 15, 10, 30), "2024-01-15T10:30:00Z"),  # noqa: DTZ001
        (datetime(2024, 1, 15, 16, tzinfo=timezone(timedelta(hours=5.5))), "2024-01-15T10:30:00Z"),
    ],
)
def test_a_time_is_written_in_utc(moment, text):
    assert to_dict(NodeStatus(last_updated=moment))["last_updated"] == text


@pytest.mark.parametrize(
    ("outcome", "record"),
    [
        # The id is the one that the caller gave, not the one in the answer.
        (succeeded("B1", STATUS), {**STATUS_RECORD, "bucket_id": "B1"}),
        (succeeded("B1", STATS), {**STATS_RECORD, "bucket_id": "B1"}),
        (
            succeeded(BucketDay("b1", date(2024, 1, 15)), [DAILY]),
            {"bucket_id": "b1", "day": "2024-01-15", "nodes": [DAILY_RECORD]},
        ),
        (
            succeeded(BucketDay("b1", date(2024, 1, 15)), []),
            {"bucket_id": "b1", "day": "2024-01-15", "nodes": []},
        ),
        (failed("b1", ERROR), {"bucket_id": "b1", "error": ERROR_RECORD}),
        (
            failed(BucketDay("b1", date(2024, 1, 15)), ERROR),
            {"bucket_id": "b1", "day": "2024-01-15", "error": ERROR_RECORD},
        ),
    ],
)
def test_an_outcome_is_its_key_with_its_value_or_its_error(outcome, record):
    assert to_dict(outcome) == json.loads(to_json(outcome)) == record
    assert list(to_dict(outcome)) == list(record)


def test_a_report_is_a_list_of_its_outcomes():
    report = Report([succeeded("b1", STATUS), failed("b2", ERROR)])
    records = [STATUS_RECORD, {"bucket_id": "b2", "error": ERROR_RECORD}]
    assert to_dict(report) == json.loads(to_json(report)) == records
    assert to_dict(Report([])) == to_dict([]) == []


def test_an_error_has_what_is_known_of_it():
    assert to_dict(ERROR) == json.loads(to_json(ERROR)) == ERROR_RECORD
    assert to_dict(ConnectError("no connection", attempts=1)) == {
        "type": "ConnectError",
        "message": "no connection",
        **dict.fromkeys(["status", "code", "request_id", "retry_after"]),
        "attempts": 1,
    }


def test_the_text_is_one_line_that_no_terminal_acts_on():
    text = to_json(NodeStatus("\x1b[31m\n\x7f\u202eé"))
    assert text.isascii()
    assert text.isprintable()
    assert json.loads(text)["ip"] == "\x1b[31m\n\x7f\u202eé"


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (NodeStatus(latency_ms=float("nan")), "$.latency_ms: JSON cannot hold nan"),
        (
            BucketStatus("b", (NODE, NodeStatus(latency_ms=float("inf")))),
            "$.nodes[1].latency_ms: JSON cannot hold inf",
        ),
        ([STATS, BucketStats("b", 10**5000)], "$[1].total_count: JSON cannot hold a huge int"),
        (BucketStats(b"b"), "$.bucket_id: JSON cannot hold b'b'"),
        (RateLimitError("x", retry_after=float("inf")), "$.retry_after: JSON cannot hold inf"),
    ],
)
def test_what_json_cannot_hold_is_named_by_its_path(value, path):
    for convert in (to_dict, to_json):
        with pytest.raises(InvalidArgumentError) as caught:
            convert(value)
        assert str(caught.value) == path
        assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "value",
    [
        *(None, 5, "b", {"a": 1}, Timeout(), NodeState.ONLINE, SEEN, [5], [[STATS]], STATS_RECORD),
        BucketDay("b", date(2024, 1, 15)),
        BucketStats,
        succeeded(5, STATS),
        succeeded(None, STATS),
        succeeded(("b", "day"), STATS),
        succeeded(BucketDay("b", "2024-01-15"), STATS),
        failed(5, ERROR),
        succeeded("b", 5),
        succeeded("b", None),
        succeeded("b", [5]),
        succeeded("b", [STATS]),
        Report([succeeded("b", STATS), succeeded("b", {"a": 1})]),
    ],
    ids=repr,
)
def test_nothing_else_has_a_json_form(value):
    for convert in (to_dict, to_json):
        with pytest.raises(InvalidArgumentError):
            convert(value)


# And back.


@models
def test_a_model_comes_back_as_it_was(model, record):
    kind = type(model)
    assert from_dict(kind, record) == from_json(kind, to_json(model)) == model
    assert from_json(kind, to_json(model).encode()) == model
    assert from_dict(list[kind], [record, record]) == [model, model]
    assert from_json(list[kind], to_json([model])) == [model]
    assert from_json(list[kind], "[]") == []


def test_what_comes_back_has_the_documented_types():
    status = from_json(BucketStatus, to_json(STATUS))
    assert type(status.nodes) is tuple
    assert status.nodes[0].state is NodeState.ONLINE
    assert status.nodes[0].last_updated.tzinfo is UTC
    assert type(of_node(latency_ms=45).latency_ms) is float


@models
def test_unknown_fields_are_ignored_and_missing_ones_are_none(model, record):
    kind = type(model)
    assert from_dict(kind, {**record, "new": [1, {"a": None}]}) == model
    required = {name: record[name] for name in ("bucket_id", "nodes") if name in record}
    blank = from_dict(kind, required)
    assert {getattr(blank, name) for name in record if name not in required} <= {None}


def test_an_unknown_state_stays_text():
    for text in ("DEGRADED", "online", "", "name"):
        state = of_node(state=text).state
        assert state == text
        assert type(state) is str


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-01-15T10:30:00.250000Z", SEEN),
        ("2024-01-15T10:30:00.25Z", SEEN),
        ("2024-01-15T10:30:00.250000000Z", SEEN),
        ("2024-01-15T16:00:00.250+05:30", SEEN),
        ("2024-01-15 10:30:00.250", SEEN),
        ("2024-01-15T10:30:00", SEEN.replace(microsecond=0)),
    ],
)
def test_a_time_becomes_aware_and_utc(text, moment):
    found = of_node(last_updated=text).last_updated
    assert found == moment
    assert found.tzinfo is UTC


TIMES = [
    *("", "now", "2024-01-15", "20240115T103000Z", "2024-W03-1T10:30:00", "2024-01-15T10:30Z"),
    *("2024-02-30T00:00:00Z", "2024-01-15T24:00:00Z", "2024-01-15T10:30:60Z", "10:30:00Z"),
    *("2024-01-15T10:30:00+24:00", "0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00"),
    *("2024-01-15T10:30:00Z ", "٢٠٢٤-01-15T10:30:00Z", "2024-01-15T10:30:00z"),
]


@pytest.mark.parametrize(
    ("kind", "name", "values"),
    [
        (BucketStats, "bucket_id", [None, 5, 1.5, True, [], {}]),
        (BucketStats, "total_count", ["1", "", 1.0, 1.9, True, False, [], {}]),
        (NodeStatus, "ip", [5, True, ["x"], {}]),
        (NodeStatus, "state", [5, False, [], {}]),
        (NodeStatus, "latency_ms", ["1.5", "", True, [], {}, 10**400, float("nan"), float("inf")]),
        (NodeStatus, "last_updated", [5, 1.5, True, [], *TIMES]),
        (DailyNodeStats, "uptime_percent", ["99", False]),
        (BucketStatus, "nodes", [None, {}, "", 0, (NODE_RECORD,)]),
    ],
)
def test_a_value_of_another_type_is_an_error_that_names_its_path(kind, name, values):
    record = {"bucket_id": "b", "nodes": []}
    for value in values:
        with pytest.raises(DecodeError) as caught:
            from_dict(kind, {**record, name: value})
        assert caught.value.path == f"$.{name}"
        assert str(caught.value).startswith(f"$.{name}: expected ")
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("kind", "text", "path", "rule"),
    [
        (BucketStats, "{}", "$.bucket_id", " is missing"),
        (BucketStatus, '{"bucket_id":"b"}', "$.nodes", " is missing"),
        (
            BucketStatus,
            '{"bucket_id":"b","nodes":[{},{},{},{"latency_ms":"fast"}]}',
            "$.nodes[3].latency_ms",
            ": expected float, got str",
        ),
        (
            BucketStatus,
            '{"bucket_id":"b","nodes":[{},5]}',
            "$.nodes[1]",
            ": expected object, got int",
        ),
        (
            list[BucketStats],
            '[{"bucket_id":"a"},{"bucket_id":"b"},{"bucket_id":null}]',
            "$[2].bucket_id",
            ": expected str, got null",
        ),
        (list[BucketStats], '[{"bucket_id":"a"},{}]', "$[1].bucket_id", " is missing"),
        (list[BucketStats], "{}", "$", ": expected array, got object"),
        (list[BucketStats], '"x"', "$", ": expected array, got str"),
        (BucketStats, "[]", "$", ": expected object, got array"),
        (BucketStats, "null", "$", ": expected object, got null"),
        (NodeStatus, '{"latency_ms":1e400}', "$.latency_ms", ": expected a finite number"),
    ],
)
def test_the_first_difference_is_named_by_its_path(kind, text, path, rule):
    with pytest.raises(DecodeError) as caught:
        from_json(kind, text)
    assert caught.value.path == path
    assert str(caught.value) == f"{path}{rule}"


@pytest.mark.parametrize(
    "data",
    [
        *("", " ", "{", "{}x", "{'a':1}", "[" * 100_000, "NaN", '{"latency_ms":Infinity}'),
        *('{"total_count":' + "1" * 5000 + "}", b"\xff", b"\xef\xbb\xbf{}", "{}".encode("utf-16")),
    ],
    ids=lambda data: repr(data[:20]),
)
def test_what_is_no_json_is_an_error_about_the_whole(data):
    with pytest.raises(DecodeError, match="the JSON is malformed: ") as caught:
        from_json(BucketStats, data)
    assert caught.value.path == "$"
    assert caught.value.__context__ is None


@pytest.mark.parametrize("kind", [dict, list, list[int], Success, Report, str, None, "BucketStats"])
def test_only_models_and_lists_of_them_come_back(kind):
    for convert, value in ((from_dict, {}), (from_json, "{}")):
        with pytest.raises(InvalidArgumentError, match="kind must be a model or a list of one"):
            convert(kind, value)


@pytest.mark.parametrize("data", [None, 5, {}, bytearray(b"{}")])
def test_only_text_and_bytes_are_parsed(data):
    with pytest.raises(InvalidArgumentError, match="data must be text or bytes"):
        from_json(NodeStatus, data)
