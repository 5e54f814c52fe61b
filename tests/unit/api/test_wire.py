"""Bytes into models: lenient about what is missing, strict about what is there."""

import json
from datetime import UTC, datetime

import msgspec
import pytest

from flashback_async.api import fields, wire
from flashback_async.api import stats as stats_wire
from flashback_async.errors import APIError, DecodeError
from flashback_async.models import BucketStats, BucketStatus, DailyNodeStats, NodeState, NodeStatus

NODE = {
    "ip": "192.168.1.100",
    "region": "us-east-1",
    "version": "1.2.3",
    "status": "ONLINE",
    "latency_ms": 45,
    "lastUpdated": "2024-01-15T10:30:00Z",
}
STATS = {
    "bucketId": "b",
    "totalCount": "1250",
    "totalUploadBytes": "1073741824",
    "totalDownloadBytes": "536870912",
    "totalSizeChange": "-17",
}
DAILY = {
    "ip": "192.168.1.100",
    "host": "*-us-east-1-aws.flashback.tech",
    "perc_uptime": 99.5,
    "avg_latency_ms": 45.25,
    "version": "1.2.3",
    "node_status": "OFFLINE",
    "last_updated": "2024-01-15T10:30:00Z",
    "last_latency_ms": 42,
}
MOMENT = datetime(2024, 1, 15, 10, 30, tzinfo=UTC)


def body_of(value):
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def status(value, asked="b"):
    return wire.decode_status(body_of(value), asked)


def stats(value):
    return stats_wire.decode_stats(body_of(value))


def apart(value):
    return stats_wire.decode_stats_apart(body_of(value))


def daily(value):
    return stats_wire.decode_node_stats(body_of(value))


def node(**fields):
    return status({"nodeStatus": [fields]}).nodes[0]


def bucket(**fields):
    return stats({"stats": [{"bucketId": "b", **fields}]})[0]


def day(**fields):
    return daily({"nodeStats": [fields]})[0]


DECODERS = {"status": status, "stats": stats, "apart": apart, "daily": daily}
every_decoder = pytest.mark.parametrize("decode", DECODERS.values(), ids=DECODERS)


# As the API documents them.


def test_a_documented_status_is_read():
    assert status({"bucketId": "b", "nodeStatus": [NODE]}) == BucketStatus(
        "b", (NodeStatus("192.168.1.100", "us-east-1", "1.2.3", NodeState.ONLINE, 45.0, MOMENT),)
    )


def test_documented_stats_are_read():
    expected = BucketStats("b", 1250, 1073741824, 536870912, -17)
    assert stats({"success": True, "stats": [STATS]}) == [expected]
    assert apart({"success": True, "stats": [STATS]}) == [("b", expected)]


def test_documented_node_stats_are_read():
    assert daily({"success": True, "nodeStats": [DAILY]}) == [
        DailyNodeStats(
            "192.168.1.100",
            "*-us-east-1-aws.flashback.tech",
            99.5,
            45.25,
            "1.2.3",
            NodeState.OFFLINE,
            MOMENT,
            42.0,
        )
    ]


def test_the_day_is_encoded():
    assert wire.encode_day("2024-01-15T00:00:00.000Z") == b'{"day":"2024-01-15T00:00:00.000Z"}'


def test_items_keep_their_order_and_number():
    many = [{**NODE, "ip": str(n)} for n in range(300)]
    assert [n.ip for n in status({"nodeStatus": many}).nodes] == [str(n) for n in range(300)]


# Lenient about what is missing.


@pytest.mark.parametrize("fields", [{}, dict.fromkeys(NODE)])
def test_what_is_missing_or_null_of_a_node_is_none(fields):
    assert node(**fields) == NodeStatus(None, None, None, None, None, None)


@pytest.mark.parametrize("fields", [{}, dict.fromkeys(set(STATS) - {"bucketId"})])
def test_what_is_missing_or_null_of_counters_is_none(fields):
    assert bucket(**fields) == BucketStats("b", None, None, None, None)


@pytest.mark.parametrize("fields", [{}, dict.fromkeys(DAILY)])
def test_what_is_missing_or_null_of_a_day_is_none(fields):
    assert day(**fields) == DailyNodeStats(*[None] * 8)


def test_what_is_not_known_is_left_out():
    extra = {"new": [1, {"a": None}], "nodeStatus": "unrelated"}
    assert stats({"stats": [{**STATS, **extra}], "extra": extra}) == stats({"stats": [STATS]})
    assert node(**NODE, extra=extra) == node(**NODE)
    assert day(**DAILY, extra=extra) == day(**DAILY)


def test_empty_lists_are_empty_answers():
    assert status({"nodeStatus": []}) == BucketStatus("b", ())
    assert stats({"stats": []}) == apart({"stats": []}) == daily({"nodeStats": []}) == []


@pytest.mark.parametrize(
    ("decode", "name"),
    [(status, "nodeStatus"), (stats, "stats"), (apart, "stats"), (daily, "nodeStats")],
)
def test_a_missing_list_is_not_an_empty_one(decode, name):
    for broken, rule in (
        ({}, "is missing"),
        ({"success": True}, "is missing"),
        ({"success": None}, "is missing"),
        ({name: None}, "expected array, got null"),
        ({name: {}}, "expected array, got object"),
        ({name: "x"}, "expected array, got str"),
        ({name: 0}, "expected array, got int"),
    ):
        with pytest.raises(DecodeError) as caught:
            decode(broken)
        assert caught.value.path == f"$.{name}"
        assert f"$.{name}" in str(caught.value)
        assert rule in str(caught.value)


def test_of_the_same_key_twice_the_last_counts():
    assert status(b'{"nodeStatus":[{"ip":"a"}],"nodeStatus":[{"ip":"b","ip":"c"}]}').nodes == (
        NodeStatus("c", None, None, None, None, None),
    )


# Whose answer it is.


@pytest.mark.parametrize("named", [{}, {"bucketId": None}])
def test_an_answer_that_names_no_bucket_is_about_the_one_asked_for(named):
    assert status({"nodeStatus": [], **named}, "the-one").bucket_id == "the-one"


def test_an_id_in_other_letters_is_the_same_and_given_as_it_came():
    assert status({"bucketId": "ABC", "nodeStatus": []}, "abc").bucket_id == "ABC"


@pytest.mark.parametrize(
    ("asked", "other"),
    [
        ("b", ""),
        ("b", "c"),
        ("b", "b "),
        ("b", "bb"),
        ("straße", "STRASSE"),
        ("ä", "Ä"),
        ("k", "\u212a"),
    ],
)
def test_an_answer_about_another_bucket_is_none(asked, other):
    with pytest.raises(DecodeError) as caught:
        status({"bucketId": other, "nodeStatus": []}, asked)
    assert caught.value.path == "$.bucketId"
    assert str(caught.value) == f"$.bucketId: expected {asked!a}, got {other!a}"


# Strict about what is there: (decoder of one field, JSON, what it becomes).

TEXT = ["", "x", "null", "üñí", "日本", "a\x00b", "\u202e", "\r\n", "x" * 10_000]
WRONG_TEXT = ["1", "1.5", "true", "[]", "{}", '["x"]']


def one_field(decode, around, name, text):
    """Decode one item whose only field is this JSON text."""
    item = f'{{"bucketId":"b","{name}":{text}}}' if name != "bucketId" else f'{{"{name}":{text}}}'
    return decode(f'{{"{around}":[{item}]}}'.encode())


FIELDS = {
    "node": (lambda body: status(body).nodes[0], "nodeStatus"),
    "stats": (lambda body: stats(body)[0], "stats"),
    "daily": (lambda body: daily(body)[0], "nodeStats"),
}
TEXT_FIELDS = [
    ("node", "ip", "ip"),
    ("node", "region", "region"),
    ("node", "version", "version"),
    ("node", "status", "state"),
    ("stats", "bucketId", "bucket_id"),
    ("daily", "ip", "ip"),
    ("daily", "host", "host"),
    ("daily", "version", "version"),
    ("daily", "node_status", "state"),
]
NUMBER_FIELDS = [
    ("node", "latency_ms", "latency_ms"),
    ("node", "latencyMs", "latency_ms"),
    ("daily", "perc_uptime", "uptime_percent"),
    ("daily", "avg_latency_ms", "avg_latency_ms"),
    ("daily", "last_latency_ms", "last_latency_ms"),
]
TIME_FIELDS = [
    ("node", "lastUpdated", "last_updated"),
    ("daily", "last_updated", "last_updated"),
]
COUNT_FIELDS = [
    ("stats", "totalCount", "total_count"),
    ("stats", "totalUploadBytes", "total_upload_bytes"),
    ("stats", "totalDownloadBytes", "total_download_bytes"),
    ("stats", "totalSizeChange", "total_size_change"),
]


def read(kind, name, attribute, text):
    decode, around = FIELDS[kind]
    return getattr(one_field(decode, around, name, text), attribute)


def rejected(kind, name, text):
    decode, around = FIELDS[kind]
    with pytest.raises(DecodeError) as caught:
        one_field(decode, around, name, text)
    return caught.value, f"$.{around}[0].{name}"


@pytest.mark.parametrize(("kind", "name", "attribute"), TEXT_FIELDS)
def test_text_is_taken_as_it_came(kind, name, attribute):
    for text in TEXT:
        assert read(kind, name, attribute, json.dumps(text)) == text
        assert read(kind, name, attribute, json.dumps(text, ensure_ascii=False)) == text


@pytest.mark.parametrize(("kind", "name", "attribute"), TEXT_FIELDS)
@pytest.mark.parametrize("text", WRONG_TEXT)
def test_nothing_else_becomes_text(kind, name, attribute, text):
    error, path = rejected(kind, name, text)
    assert error.path == path
    assert str(error).startswith(f"{path}: expected str")
    assert "got" in str(error)


@pytest.mark.parametrize(("kind", "name", "attribute"), NUMBER_FIELDS)
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0.0),
        ("45", 45.0),
        ("45.25", 45.25),
        ("-1", -1.0),
        ("1e3", 1000.0),
        ("1e-400", 0.0),
        ("18446744073709551616", 2.0**64),
        ("1e308", 1e308),
    ],
)
def test_a_number_becomes_a_float(kind, name, attribute, text, value):
    found = read(kind, name, attribute, text)
    assert found == value
    assert type(found) is float


@pytest.mark.parametrize(("kind", "name", "attribute"), NUMBER_FIELDS)
@pytest.mark.parametrize("text", ['"45"', '""', "true", "false", "[]", "{}", "1e400", "-1e400"])
def test_nothing_else_becomes_a_number(kind, name, attribute, text):
    error, path = rejected(kind, name, text)
    assert error.path == path
    assert path in str(error)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "nan", "01", "1.", ".5", "+1"])
def test_what_is_no_json_number_is_malformed(text):
    error, _ = rejected("node", "latency_ms", text)
    assert error.path == "$"
    assert "malformed" in str(error)
    assert "byte" in str(error)


@pytest.mark.parametrize(
    ("fields", "latency"),
    [
        ({"latency_ms": 1}, 1.0),
        ({"latencyMs": 2}, 2.0),
        ({"latency_ms": 1, "latencyMs": 2}, 1.0),
        ({"latency_ms": 0, "latencyMs": 2}, 0.0),
        ({"latency_ms": None, "latencyMs": 2}, 2.0),
        ({"latency_ms": 1, "latencyMs": None}, 1.0),
        ({"latency_ms": None, "latencyMs": None}, None),
    ],
)
def test_either_name_of_the_latency_will_do(fields, latency):
    assert node(**fields).latency_ms == latency


@pytest.mark.parametrize(("kind", "name", "attribute"), COUNT_FIELDS)
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("1250", 1250),
        ("-5", -5),
        (str(2**63 - 1), 2**63 - 1),
        (str(2**64 - 1), 2**64 - 1),
        (str(-(2**63)), -(2**63)),
        ('"0"', 0),
        ('"1250"', 1250),
        ('"-1250"', -1250),
        ('"007"', 7),
        (f'"{2**80}"', 2**80),
        (f'"{"9" * 100}"', 10**100 - 1),
        (f'"-{"9" * 100}"', 1 - 10**100),
    ],
)
def test_a_count_is_exact(kind, name, attribute, text, value):
    found = read(kind, name, attribute, text)
    assert found == value
    assert type(found) is int


@pytest.mark.parametrize(("kind", "name", "attribute"), COUNT_FIELDS)
@pytest.mark.parametrize(
    "text",
    [
        "1.0",
        "1.9",
        "1e2",
        "1e400",
        "true",
        "[]",
        "{}",
        str(2**64),
        str(-(2**63) - 1),
        "1" * 5000,
        '""',
        '"-"',
        '"+1"',
        '" 1"',
        '"1 "',
        '"1.0"',
        '"1e3"',
        '"1_000"',
        '"1,000"',
        '"0x10"',
        '"٣"',
        '"１"',
        '"1\\n"',
        '"NaN"',
        '"null"',
        f'"{"1" * 101}"',
        f'"-{"1" * 101}"',
    ],
    ids=lambda text: text[:12],
)
def test_nothing_else_becomes_a_count(kind, name, attribute, text):
    error, path = rejected(kind, name, text)
    assert error.path == path
    assert path in str(error)
    assert len(str(error)) < 150


@pytest.mark.parametrize(("kind", "name", "attribute"), TIME_FIELDS)
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2024-01-15T10:30:00Z", MOMENT),
        ("2024-01-15T10:30:00.000Z", MOMENT),
        ("2024-01-15T10:30:00+00:00", MOMENT),
        ("2024-01-15T10:30:00-00:00", MOMENT),
        ("2024-01-15T16:00:00+05:30", MOMENT),
        ("2024-01-14T22:30:00-12:00", MOMENT),
        ("2024-01-15T10:30:00", MOMENT),
        ("2024-01-15 10:30:00Z", MOMENT),
        ("2024-01-15T10:30:00.123456Z", MOMENT.replace(microsecond=123456)),
        ("2024-02-29T00:00:00Z", datetime(2024, 2, 29, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_a_time_is_aware_and_in_utc(kind, name, attribute, text, value):
    found = read(kind, name, attribute, json.dumps(text))
    assert found == value
    assert found.tzinfo is UTC


@pytest.mark.parametrize(("kind", "name", "attribute"), TIME_FIELDS)
@pytest.mark.parametrize(
    "text",
    [
        "1705312200",
        "1705312200.5",
        "true",
        "[]",
        '""',
        '"now"',
        '"1705312200"',
        '"2024-01-15"',
        '"10:30:00Z"',
        '"2024-02-30T00:00:00Z"',
        '"2023-02-29T00:00:00Z"',
        '"2024-01-15T10:30:60Z"',
        '"2024-01-15T24:00:00Z"',
        '"10000-01-01T00:00:00Z"',
        '"0000-01-01T00:00:00Z"',
        '"2024-01-15T10:30:00+24:00"',
        '"9999-12-31T23:59:59.9999999Z"',
        '"0001-01-01T00:00:00+05:00"',
        '"9999-12-31T23:59:59-05:00"',
    ],
)
def test_nothing_else_becomes_a_time(kind, name, attribute, text):
    error, path = rejected(kind, name, text)
    assert error.path == path
    assert path in str(error)


@pytest.mark.parametrize(("kind", "name", "attribute"), TIME_FIELDS)
@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00"])
def test_a_time_that_utc_cannot_hold_is_told_with_the_years_that_can_be(
    kind, name, attribute, text
):
    error, _ = rejected(kind, name, json.dumps(text))
    assert "1 to 9999" in str(error)


@pytest.mark.parametrize(("kind", "name"), [("node", "status"), ("daily", "node_status")])
def test_known_states_are_members_and_others_stay_text(kind, name):
    for state in NodeState:
        found = read(kind, name, "state", f'"{state.value}"')
        assert found is state
    for text in ("DEGRADED", "online", "ONLINE ", "", "Offline"):
        found = read(kind, name, "state", json.dumps(text))
        assert found == text
        assert not isinstance(found, NodeState)


def test_a_state_that_is_not_known_leaves_the_others_as_they_are():
    states = ["ONLINE", "DEGRADED", None, "OFFLINE"]
    answer = {"bucketId": "b", "nodeStatus": [{"status": state} for state in states]}
    found = [node.state for node in wire.decode_status(json.dumps(answer).encode(), "b").nodes]
    assert found == states
    assert [type(state) for state in found] == [NodeState, str, type(None), NodeState]


# Where in the answer.


def test_the_path_names_the_item_and_the_field():
    for broken, path in (
        ([NODE] * 3 + [{**NODE, "latency_ms": "45"}], "$.nodeStatus[3].latency_ms"),
        ([NODE, None], "$.nodeStatus[1]"),
        ([NODE, NODE, 5], "$.nodeStatus[2]"),
        ([[]], "$.nodeStatus[0]"),
        (
            [NODE, {**NODE, "lastUpdated": "0001-01-01T00:00:00+01:00"}],
            "$.nodeStatus[1].lastUpdated",
        ),
    ):
        with pytest.raises(DecodeError) as caught:
            status({"nodeStatus": broken})
        assert caught.value.path == path
        assert str(caught.value).startswith(f"{path}: ")


def test_the_first_of_several_bad_values_is_named():
    items = [STATS, {**STATS, "totalCount": "x"}, {**STATS, "totalUploadBytes": "y"}]
    with pytest.raises(DecodeError) as caught:
        stats({"stats": items})
    assert caught.value.path == "$.stats[1].totalCount"


def test_a_bucket_without_its_id_is_named():
    for broken in ({}, {"totalCount": "1"}):
        with pytest.raises(DecodeError) as caught:
            stats({"stats": [STATS, broken]})
        assert caught.value.path == "$.stats[1].bucketId"
        assert str(caught.value) == "$.stats[1].bucketId is missing"
    with pytest.raises(DecodeError) as caught:
        stats({"stats": [{"bucketId": None}]})
    assert caught.value.path == "$.stats[0].bucketId"
    assert "expected str, got null" in str(caught.value)


def test_a_value_is_never_shown():
    for broken in (
        {"stats": [{**STATS, "totalCount": "hidden"}]},
        {"stats": [{**STATS, "totalCount": {"hidden": 1}}]},
        {"stats": "hidden"},
        {"success": "hidden"},
    ):
        with pytest.raises(DecodeError) as caught:
            stats(broken)
        assert "hidden" not in str(caught.value)


def test_an_error_has_no_other_behind_it():
    for body in (b"{", b"[]", b"\xff", b'{"stats":[{"bucketId":"b","totalCount":"x"}]}'):
        with pytest.raises(DecodeError) as caught:
            stats(body)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None


# Failures under status 200.


@every_decoder
@pytest.mark.parametrize(
    "body",
    [
        {"success": False},
        {"success": False, "message": "no"},
        {"success": False, "stats": 5, "nodeStats": 5, "nodeStatus": 5},
        b'{"stats":5,"nodeStats":5,"nodeStatus":5,"success":false}',
        b'{"success":true,"success":false}',
        {"success": False, "stats": [], "nodeStats": [], "nodeStatus": []},
    ],
)
def test_an_answer_without_success_is_an_error_of_the_api(decode, body):
    with pytest.raises(APIError) as caught:
        decode(body)
    # Its body is read by the caller, which knows the token.
    assert caught.value.body == body_of(body).decode()
    assert caught.value.message is None


@every_decoder
@pytest.mark.parametrize("value", ["false", "true", "", 0, 1, 0.0, [], {}])
def test_success_that_is_no_bool_is_a_broken_answer(decode, value):
    lists = {"stats": [], "nodeStats": [], "nodeStatus": []}
    with pytest.raises(DecodeError) as caught:
        decode({"success": value, **lists})
    assert caught.value.path == "$.success"
    assert "expected bool" in str(caught.value)


@every_decoder
@pytest.mark.parametrize("value", [True, None])
def test_success_that_is_true_or_null_is_no_failure(decode, value):
    lists = {"stats": [], "nodeStats": [], "nodeStatus": []}
    assert decode({"success": value, **lists}) in ([], BucketStatus("b", ()))


# What is no JSON object.


@every_decoder
@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "empty body"),
        (b" \r\n\t", "empty body"),
        (b"{", "the JSON ended early, after 1 bytes"),
        (b'{"stats":[{"bucketId":"b"', "ended early"),
        (b"{}x", "trailing characters"),
        (b"{} {}", "trailing characters"),
        (b"{'a':1}", "malformed"),
        (b'{"a":1,}', "malformed"),
        (b"hello", "malformed"),
        (b"\xef\xbb\xbf{}", "malformed"),
        (b"\xff\xfe{\x00}\x00", "not UTF-8: byte 0"),
        (b'{"a":"\xe9"}', "not UTF-8: byte 6"),
        (b'{"ignored":"\xff"}', "not UTF-8: byte 12"),
        (b'{"a":"\xed\xa0\x80"}', "not UTF-8: byte 6"),
        (b'{"ip":"\\ud800"}', "malformed"),
        (b"null", "expected object, got null"),
        (b"[]", "expected object, got array"),
        (b"[{}]", "expected object, got array"),
        (b'"x"', "expected object, got str"),
        (b"1", "expected object, got int"),
        (b"1.5", "expected object, got float"),
        (b"true", "expected object, got bool"),
        (b'{"a":' * 100_000, "nesting"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nesting"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else repr(value[:20]),
)
def test_what_is_no_json_object_is_an_error_that_says_why(decode, body, text):
    with pytest.raises(DecodeError) as caught:
        decode(body)
    assert caught.value.path == "$"
    assert text in str(caught.value)
    assert len(str(caught.value)) < 120


@every_decoder
def test_deep_nesting_in_what_is_left_out_does_no_harm(decode):
    deep = b'{"a":' + b"[" * 900 + b"]" * 900
    assert decode(deep + b',"stats":[],"nodeStats":[],"nodeStatus":[]}') in (
        [],
        BucketStatus("b", ()),
    )


def test_a_failure_too_deeply_nested_to_read_is_a_broken_answer():
    with pytest.raises(DecodeError):
        stats(b'{"stats":5,"x":' + b"[" * 100_000 + b"]" * 100_000 + b',"success":false}')


# A list of which one item is corrupt.


def test_a_corrupt_item_spoils_only_itself():
    items = [{**STATS, "bucketId": f"b{n}"} for n in range(500)]
    items[7]["totalCount"] = "1.5"
    items[9]["totalSizeChange"] = True
    items[11] = {**items[11], "totalUploadBytes": 2**64}
    found = apart({"stats": items})
    assert [i for i, _ in found] == [f"b{n}" for n in range(500)]
    bad = {n: item for n, (_, item) in enumerate(found) if isinstance(item, DecodeError)}
    assert {n: error.path for n, error in bad.items()} == {
        7: "$.stats[7].totalCount",
        9: "$.stats[9].totalSizeChange",
        11: "$.stats[11].totalUploadBytes",
    }
    for error in bad.values():
        assert str(error).startswith(f"{error.path}: expected ")
        assert str(error).count("$") == 1
    assert all(item.total_count == 1250 for _, item in found if isinstance(item, BucketStats))


@pytest.mark.parametrize(
    ("broken", "path"),
    [
        ({}, "$.stats[1].bucketId"),
        ({"bucketId": None}, "$.stats[1].bucketId"),
        ({"bucketId": 5}, "$.stats[1].bucketId"),
        (None, "$.stats[1]"),
        (5, "$.stats[1]"),
        ([], "$.stats[1]"),
        ("b", "$.stats[1]"),
    ],
)
def test_an_item_whose_id_cannot_be_read_has_none(broken, path):
    (_, good), (name, error) = apart({"stats": [STATS, broken]})
    assert isinstance(good, BucketStats)
    assert name is None
    assert isinstance(error, DecodeError)
    assert error.path == path
    assert str(error).startswith(path)


@pytest.mark.parametrize(
    "item",
    [
        {"bucketId": "bad", "success": False, "message": "m"},
        {"success": False, "message": "m", "bucketId": "bad", "totalCount": 1.5},
        {"bucketId": "bad", "success": False, "stats": 5, "totalCount": None},
    ],
)
def test_an_item_without_success_is_an_error_of_the_api_and_spoils_only_itself(item):
    (_, one), (name, error), (_, two) = apart({"success": True, "stats": [STATS, item, STATS]})
    assert isinstance(one, BucketStats)
    assert isinstance(two, BucketStats)
    assert name == "bad"
    assert type(error) is APIError
    assert error.status == 200
    assert json.loads(error.body) == item
    assert error.__traceback__ is None
    with pytest.raises(APIError) as caught:
        stats({"stats": [STATS, item, STATS]})
    assert json.loads(caught.value.body) == item


def test_an_item_without_success_and_without_an_id_has_none():
    for item in ({"success": False}, {"success": False, "bucketId": 5}):
        (name, error), (_, good) = apart({"stats": [item, STATS]})
        assert name is None
        assert type(error) is APIError
        assert isinstance(good, BucketStats)
        with pytest.raises(APIError):
            stats({"stats": [item, STATS]})


def test_an_item_with_success_is_an_item():
    for success in (True, None):
        assert stats({"stats": [{**STATS, "success": success}]}) == stats({"stats": [STATS]})


@pytest.mark.parametrize("success", ["false", 0, 1, [], {}])
def test_success_of_an_item_that_is_no_bool_is_a_broken_item(success):
    (name, error), (_, good) = apart({"stats": [{**STATS, "success": success}, STATS]})
    assert name == "b"
    assert isinstance(error, DecodeError)
    assert error.path == "$.stats[0].success"
    assert isinstance(good, BucketStats)


def test_the_first_bad_item_is_raised_whatever_is_wrong_with_it():
    unsuccessful, broken = {**STATS, "success": False}, {**STATS, "totalCount": "x"}
    with pytest.raises(APIError):
        stats({"stats": [STATS, unsuccessful, broken]})
    with pytest.raises(DecodeError) as caught:
        stats({"stats": [STATS, broken, unsuccessful]})
    assert caught.value.path == "$.stats[1].totalCount"


def test_a_list_that_is_no_json_is_spoilt_as_a_whole():
    for body in (b'{"stats":[{"bucketId":"a"},{]}', b'{"stats":[1,]}', b'{"stats":[{"a":1}'):
        with pytest.raises(DecodeError) as caught:
            apart(body)
        assert caught.value.path == "$"


def test_an_item_nested_too_deeply_spoils_no_more_than_the_list():
    deep = b"[" * 100_000 + b"]" * 100_000
    with pytest.raises(DecodeError, match="nesting"):
        apart(b'{"stats":[{"bucketId":"a"},{"bucketId":"b","x":' + deep + b"}]}")


# Models.


def test_models_compare_by_value_and_never_change():
    one, two = node(**NODE), node(**NODE)
    assert one == two
    assert hash(one) == hash(two)
    with pytest.raises(AttributeError):
        one.ip = "x"
    with pytest.raises(AttributeError):
        one.other = "x"


def test_the_error_of_a_parser_that_names_no_place_is_about_the_whole():
    error = fields.misfit(str(msgspec.ValidationError("Some `rule` broken")))
    assert (error.path, str(error)) == ("$", "$: some rule broken")


def test_a_list_that_is_decoded_item_by_item_becomes_the_same_models(monkeypatch):
    body = json.dumps({"stats": [{"bucketId": "a", "totalCount": "7"}, {"bucketId": "b"}]}).encode()
    at_once = stats_wire.decode_stats(body)
    monkeypatch.setattr(stats_wire, "_decode_at_once", lambda body: None)
    assert stats_wire.decode_stats(body) == at_once
    assert [item for _, item in stats_wire.decode_stats_apart(body)] == at_once
