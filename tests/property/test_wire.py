"""Whatever a server sends is a model or one of the documented ends, and nothing else."""

import json
import math
from datetime import UTC, datetime

import attrs
from hypothesis import example, given
from hypothesis import strategies as st

from flashback_async.api import stats, wire
from flashback_async.api.urls import fold
from flashback_async.errors import APIError, DecodeError
from flashback_async.models import BucketStats, BucketStatus, DailyNodeStats, NodeStatus
from tests.property import strategies

COUNTS = {"total_count", "total_upload_bytes", "total_download_bytes", "total_size_change"}
NUMBERS = {"latency_ms", "uptime_percent", "avg_latency_ms", "last_latency_ms"}


def assert_model(model):
    """Every field of a model is of its documented type."""
    for field in attrs.fields(type(model)):
        value = getattr(model, field.name)
        if field.name == "nodes":
            assert isinstance(value, tuple)
            for node in value:
                assert type(node) is NodeStatus
                assert_model(node)
        elif value is None:
            assert field.name != "bucket_id"
        elif field.name in COUNTS:
            assert type(value) is int
            assert abs(value) < 10**100
        elif field.name in NUMBERS:
            assert type(value) is float
            assert math.isfinite(value)
        elif field.name == "last_updated":
            assert type(value) is datetime
            assert value.tzinfo is UTC
        else:
            assert isinstance(value, str)
            value.encode()  # no lone surrogate


def assert_error(error):
    assert type(error) is DecodeError
    assert error.path.startswith("$")
    assert len(str(error)) < 300
    assert error.__cause__ is None


def assert_unsuccessful(error, body):
    """It holds JSON that reports a failure: the whole answer, or an item of it."""
    assert type(error) is APIError
    assert json.loads(error.body)["success"] is False
    assert error.body in body.decode()


def is_json(value):
    """Return whether it has no NaN and no infinity, which Python writes but JSON has not."""
    try:
        return bool(json.dumps(value, allow_nan=False))
    except ValueError:
        return False


@given(strategies.bodies)
@example(b'{"nodeStatus":[{"lastUpdated":"9999-12-31T23:59:59.9999999Z"}]}')
def test_a_status_is_a_model_or_a_documented_end(body):
    try:
        model = wire.decode_status(body, "b")
    except DecodeError as error:
        assert_error(error)
    except APIError as error:
        assert_unsuccessful(error, body)
    else:
        assert type(model) is BucketStatus
        assert fold(model.bucket_id) == "b"
        assert_model(model)


@given(strategies.bodies)
def test_stats_are_models_or_a_documented_end(body):
    try:
        models = stats.decode_stats(body)
    except DecodeError as error:
        assert_error(error)
    except APIError as error:
        assert_unsuccessful(error, body)
    else:
        for model in models:
            assert type(model) is BucketStats
            assert_model(model)
        assert stats.decode_stats_apart(body) == [(m.bucket_id, m) for m in models]


@given(strategies.bodies)
def test_stats_apart_are_models_or_errors_one_by_one(body):
    try:
        pairs = stats.decode_stats_apart(body)
    except DecodeError as error:
        assert_error(error)
        return
    except APIError as error:
        assert_unsuccessful(error, body)
        return
    for n, (bucket_id, item) in enumerate(pairs):
        if isinstance(item, BucketStats):
            assert item.bucket_id == bucket_id
            assert_model(item)
        else:
            if isinstance(item, APIError):
                assert_unsuccessful(item, body)
            else:
                assert_error(item)
                assert item.path.startswith(f"$.stats[{n}]")
            assert bucket_id is None or isinstance(bucket_id, str)


@given(strategies.bodies)
def test_node_stats_are_models_or_a_documented_end(body):
    try:
        models = stats.decode_node_stats(body)
    except DecodeError as error:
        assert_error(error)
    except APIError as error:
        assert_unsuccessful(error, body)
    else:
        for model in models:
            assert type(model) is DailyNodeStats
            assert_model(model)


@given(st.lists(strategies.items.filter(is_json), max_size=8))
def test_a_corrupt_item_spoils_no_other(items):
    """Each item has the same result as alone."""
    together = stats.decode_stats_apart(strategies.encoded({"stats": items}))
    assert len(together) == len(items)
    for n, (item, (bucket_id, result)) in enumerate(zip(items, together, strict=True)):
        ((alone_id, alone),) = stats.decode_stats_apart(strategies.encoded({"stats": [item]}))
        assert bucket_id == alone_id
        if isinstance(result, BucketStats):
            assert result == alone
        elif isinstance(result, APIError):
            assert result.body == alone.body
        else:
            assert result.path == alone.path.replace("[0]", f"[{n}]")


@given(st.integers(1 - 10**100, 10**100 - 1))
def test_a_count_in_text_is_exact(count):
    body = strategies.encoded({"stats": [{"bucketId": "b", "totalSizeChange": str(count)}]})
    assert stats.decode_stats(body)[0].total_size_change == count


@given(st.integers(-(2**63), 2**64 - 1))
def test_a_count_as_a_number_is_exact(count):
    body = strategies.encoded({"stats": [{"bucketId": "b", "totalCount": count}]})
    assert stats.decode_stats(body)[0].total_count == count


@given(st.datetimes(timezones=strategies.zones).filter(lambda at: 1 < at.year < 9999))
def test_a_time_names_the_same_moment_in_utc(moment):
    body = strategies.encoded({"nodeStatus": [{"lastUpdated": moment.isoformat()}]})
    found = wire.decode_status(body, "b").nodes[0].last_updated
    assert found == moment
    assert found.tzinfo is UTC


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_latency_is_the_number_that_was_sent(latency):
    body = strategies.encoded({"nodeStatus": [{"latency_ms": latency}]})
    assert wire.decode_status(body, "b").nodes[0].latency_ms == latency


@given(st.text(max_size=50))
def test_text_comes_as_it_was_sent(text):
    for escaped in (True, False):
        body = json.dumps({"nodeStatus": [{"ip": text}]}, ensure_ascii=escaped).encode()
        assert wire.decode_status(body, "b").nodes[0].ip == text
