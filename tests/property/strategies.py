"""Answers that a server may send, from the documented to the absurd."""

import json
import string
from datetime import timedelta, timezone

from hypothesis import strategies as st

# Any Python text, lone surrogates included.
any_text = st.text(st.characters(codec=None, exclude_categories=()), max_size=40)

_KEYS = st.sampled_from(
    [
        *("success", "message", "error", "error_code", "code", "bucketId", "nodeStatus"),
        *("nodeStats", "stats", "ip", "region", "version", "status", "latency_ms", "latencyMs"),
        *("lastUpdated", "last_updated", "perc_uptime", "avg_latency_ms", "node_status", "host"),
        *("last_latency_ms", "totalCount", "totalUploadBytes", "totalSizeChange"),
    ]
)
zones = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
_TIMES = st.one_of(
    st.datetimes().map(lambda at: at.isoformat() + "Z"),
    st.datetimes(timezones=zones).map(lambda at: at.isoformat()),
    st.from_regex(
        r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.]{5,20}(Z|[+-][0-9]{2}:[0-9]{2})?", fullmatch=True
    ),
)
_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**65), 2**65),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["b", "B", "ONLINE", "OFFLINE", "odd", "false", "1.5", ""]),
    st.from_regex(r"-?[0-9]{1,110}", fullmatch=True),
    _TIMES,
)
any_json = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(_KEYS, st.text(max_size=5)), inner, max_size=6),
    ),
    max_leaves=20,
)


def objects(fields, junk=_SCALARS):
    """Objects with some of these fields, whose values are mostly right."""
    return st.fixed_dictionaries(
        {}, optional={k: st.one_of(v, v, v, junk) for k, v in fields.items()}
    )


_text = st.one_of(st.text(max_size=10), st.none())
_number = st.one_of(st.integers(0, 10_000), st.floats(allow_nan=False, allow_infinity=False))
_count = st.one_of(st.integers(-(2**63), 2**64 - 1), st.integers().map(str))
_state = st.sampled_from(["ONLINE", "OFFLINE", "DISCONNECTED", "DEGRADED"])
_id = st.sampled_from(["b", "B", "c", "d"])

nodes = objects(
    {
        "ip": _text,
        "region": _text,
        "version": _text,
        "status": _state,
        "latency_ms": _number,
        "latencyMs": _number,
        "lastUpdated": _TIMES,
    }
)
items = objects(
    {
        "bucketId": _id,
        "success": st.sampled_from([True, None, False]),
        "totalCount": _count,
        "totalUploadBytes": _count,
        "totalDownloadBytes": _count,
        "totalSizeChange": _count,
    }
)
days = objects(
    {
        "ip": _text,
        "host": _text,
        "perc_uptime": _number,
        "avg_latency_ms": _number,
        "version": _text,
        "node_status": _state,
        "last_updated": _TIMES,
        "last_latency_ms": _number,
    }
)
# Answers that are nearly right: most of the interesting mistakes are one field deep.
answers = objects(
    {
        "success": st.sampled_from([True, True, True, None, False]),
        "bucketId": _id,
        "nodeStatus": st.lists(nodes, max_size=4),
        "stats": st.lists(items, max_size=4),
        "nodeStats": st.lists(days, max_size=4),
        "message": _text,
    },
    junk=any_json,
)


def _damaged(draw_from):
    """Bytes of JSON with something cut out, put in, or changed."""

    @st.composite
    def damage(draw):
        body = bytearray(draw(draw_from))
        for _ in range(draw(st.integers(1, 3))):
            at = draw(st.integers(0, len(body)))
            body[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
        return bytes(body)

    return damage()


def encoded(value):
    return json.dumps(value).encode()


_proper = st.one_of(answers, any_json).map(encoded)
bodies = st.one_of(
    _proper,
    _proper,
    _damaged(_proper),
    st.binary(max_size=60),
    any_text.map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.text(string.printable, max_size=60).map(str.encode),
    st.tuples(st.sampled_from([b"[", b'{"a":', b'[{"x":']), st.integers(0, 3000)).map(
        lambda deep: deep[0] * deep[1]
    ),
)
_header_values = st.one_of(
    st.binary(max_size=40),
    any_text.map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from(
        [b"application/json", b"text/html", b"Text/HTML; x", b"3", b"0", b"-1", b"1e9", b""]
    ),
    st.datetimes().map(lambda at: at.strftime("%a, %d %b %Y %H:%M:%S GMT").encode()),
)
headers = st.lists(
    st.tuples(
        st.sampled_from(
            [
                b"Content-Type",
                b"content-type",
                b"Retry-After",
                b"Date",
                b"X-Request-Id",
                b"Location",
            ]
        ),
        _header_values,
    ),
    max_size=6,
).map(tuple)
statuses = st.one_of(st.integers(-5, 1000), st.sampled_from([200, 200, 204, 401, 429, 503]))


def assert_harmless(text):
    """Text for a message or a log: printable ASCII on one line."""
    assert text.isascii()
    assert text.isprintable()
