"""Wrong input: refused by name before anything is sent, or sent exactly as it is."""

from __future__ import annotations

import asyncio
import functools
import json
import re
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from datetime import UTC, date, datetime, timedelta, timezone
from urllib.parse import parse_qs, unquote, urlsplit

import aiohttp
import pytest

from flashback_async import (
    ConfigurationError,
    FlashbackClient,
    InvalidArgumentError,
    Limits,
    RetryPolicy,
    Timeout,
    fan_out,
)
from tests.faults.harness import server
from tests.faults.harness.fault import Fault

DAY = date(2026, 1, 2)


async def test_I01_to_I05_every_single_call_refuses_a_bad_id(fault: Fault, bad_id: BadId):
    await fault.serve()
    client = fault.client()
    for call in (
        client.status.get(bad_id.value),
        client.node_stats.get(bad_id.value, DAY),
        client.bucket_stats.get(bad_id.value),
        client.bucket_stats.list([bad_id.value]),
        client.bucket_stats.list(["bucket-1", bad_id.value]),
    ):
        refused = await fault.error(
            call, InvalidArgumentError, attempts=0, says=("bucket_id", bad_id.rule)
        )
        must_show_little(refused)
    fault.wire(0, connections=0)


async def test_I01_to_I05_in_a_run_a_bad_id_is_an_outcome(fault: Fault, bad_id: BadId):
    await fault.serve()
    client = fault.client()
    outcomes = [
        *await fault.result(client.status.get_many([bad_id.value])),
        *await fault.result(client.node_stats.get_many([bad_id.value], DAY)),
        *await fault.result(client.bucket_stats.get_many([bad_id.value])),
        *[o async for o in client.status.iter_many([bad_id.value])],
        *[o async for o in client.node_stats.iter_many([bad_id.value], DAY)],
        *[o async for o in client.bucket_stats.iter_many([bad_id.value])],
    ]
    assert len(outcomes) == 6
    for outcome in outcomes:
        refused = fault.check(
            outcome.error, InvalidArgumentError, attempts=0, says=("bucket_id", bad_id.rule)
        )
        must_show_little(refused)
    fault.wire(0, connections=0)


class BadId:
    def __init__(self, value: object, rule: str) -> None:
        self.value = value
        self.rule = rule


UNSEEN = "no control, format or separator"
BAD_IDS = {
    "I01_empty": BadId("", "must not be empty"),
    "I01_space": BadId(" ", "white space"),
    "I01_space_at_the_ends": BadId(" a ", "white space"),
    "I01_ideographic_space": BadId("a\u3000", "white space"),
    "I01_none": BadId(None, "must be text, not NoneType"),
    "I01_int": BadId(5, "must be text, not int"),
    "I01_bytes": BadId(b"bucket-1", "must be text, not bytes"),
    "I01_list": BadId(["bucket-1"], "must be text, not list"),
    "I02_dot": BadId(".", "dot segment"),
    "I02_dots": BadId("..", "dot segment"),
    "I02_up": BadId("../admin", "slash"),
    "I02_two_segments": BadId("a/b", "slash"),
    "I02_absolute": BadId("/x", "slash"),
    "I02_authority": BadId("//evil/x", "slash"),
    "I02_backslashes": BadId("\\..\\x", "backslash"),
    "I02_url": BadId("http://evil/x", "slash"),
    "I05_cr": BadId("a\rb", UNSEEN),
    "I05_lf": BadId("a\nb", UNSEEN),
    "I05_crlf_header": BadId("a\r\nX-Evil: 1", UNSEEN),
    "I05_lf_at_the_end": BadId("a\n", "white space"),
    "I05_tab": BadId("a\tb", UNSEEN),
    "I05_nul": BadId("a\0b", UNSEEN),
    "I05_delete": BadId("a\x7fb", UNSEEN),
    "I05_line_separator": BadId("a\u2028b", UNSEEN),
    "I05_right_to_left": BadId("a\u202eb", UNSEEN),
    "I05_zero_width": BadId("a\u200bb", UNSEEN),
    "I05_lone_surrogate": BadId("a\ud800b", UNSEEN),
    "I05_private_use": BadId("a\ue000b", UNSEEN),
    "I07_257_characters": BadId("a" * 257, "at most 256 characters"),
    "I07_257_wide_characters": BadId("\u65e5" * 257, "at most 256 characters"),
}


@pytest.fixture(params=BAD_IDS.values(), ids=BAD_IDS)
def bad_id(request: pytest.FixtureRequest) -> BadId:
    return request.param


def must_show_little(error: Exception) -> None:
    """Check that a message is one line of ASCII with at most 32 characters of the value."""
    text = str(error)
    assert text.isascii()
    assert text.isprintable()
    shown = re.search(r"not ((?:naive )?['\"b\[(<-].*)", text)
    if shown:
        assert len(shown[1]) <= 32, text


async def test_I01_what_is_shown_of_a_value_is_its_start(fault: Fault):
    await fault.serve()
    client = fault.client()
    error = await fault.error(client.status.get("\u65e5" * 257), InvalidArgumentError)
    assert str(error).endswith(r", not '\u65e5\u65e5\u65e5\u65e5\u65...")
    error = await fault.error(client.status.get("a/b"), InvalidArgumentError)
    assert str(error).endswith(", not 'a/b'")
    fault.wire(0)


@pytest.mark.parametrize("ids", ["bucket-1", b"bucket-1", bytearray(b"b"), "", None, 5])
@pytest.mark.parametrize("resource", ["status", "node_stats", "bucket_stats"])
async def test_I01_ids_that_are_one_text_or_nothing(fault: Fault, resource: str, ids: object):
    await fault.serve()
    used = getattr(fault.client(), resource)
    more = (DAY,) if resource == "node_stats" else ()
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: used.get_many(ids, *more),
        lambda: first_of(used.iter_many(ids, *more)),
    ]
    if resource == "bucket_stats" and ids is not None:
        calls.append(lambda: used.list(ids))
    for call in calls:
        rule = "letters" if isinstance(ids, str | bytes | bytearray) else "iterable"
        await fault.error(
            called(call), InvalidArgumentError, attempts=0, says=("bucket_ids must be", rule)
        )
    fault.wire(0, connections=0)


async def called(call: Callable[[], Awaitable[object]]) -> object:
    return await call()


async def first_of(outcomes: AsyncIterator[object]) -> object:
    return await anext(outcomes)


PLAIN = [
    "a?x=1",
    "a#f",
    "a%2Fb",
    "%2e%2e",
    "a;b",
    "a&b=c",
    "a:b@c",
    "a+b",
    "a b",
    "a'\"<>|^`{}[]b",
    "...",
    "A-z.0_~",
    "a" * 256,
]
FOREIGN = [
    "üñí",
    "u\u0308n\u0303",  # decomposed: must not be composed on the way
    "日本",
    "\uff11\uff12\uff13",  # full-width digits: must not become 123
    "\ufb01",  # a ligature
    "\U0001f600" * 256,
]


@pytest.mark.parametrize(
    "bucket_id",
    [*(pytest.param(i, id=f"I03_{i[:20]}") for i in PLAIN)]
    + [pytest.param(i, id=f"I06_{i[:8]!a}") for i in FOREIGN],
)
async def test_I03_I06_any_other_id_is_one_segment_and_the_same_text_again(
    fault: Fault, bucket_id: str
):
    await fault.serve()
    client = fault.client()
    status = await fault.result(client.status.get(bucket_id))
    assert status.bucket_id == bucket_id
    await fault.result(client.node_stats.get(bucket_id, DAY))
    for target, last in zip(fault.server.targets, ("status", "stats"), strict=True):
        assert "?" not in target
        assert "#" not in target
        root, bucket, segment, end = target.split("/")
        assert (root, bucket, end) == ("", "bucket", last)
        assert segment == encoded(bucket_id)
        assert unquote(segment, errors="strict") == bucket_id
    fault.wire(2, connections=1, after="reused")


@pytest.mark.parametrize("bucket_id", [i for i in PLAIN + FOREIGN if "," not in i])
async def test_I03_I06_in_a_list_call_an_id_is_the_same_text_again(fault: Fault, bucket_id: str):
    await fault.serve()
    client = fault.client()
    stats = await fault.result(client.bucket_stats.get(bucket_id))
    assert stats.bucket_id == bucket_id
    listed = await fault.result(client.bucket_stats.list(["x", bucket_id]))
    assert [item.bucket_id for item in listed] == ["x", bucket_id]
    one, two = (urlsplit(target) for target in fault.server.targets)
    assert one.path == two.path == "/bucket/stats"
    assert one.query == f"bucketId={encoded(bucket_id)}"
    assert parse_qs(one.query, errors="strict") == {"bucketId": [bucket_id]}
    assert parse_qs(two.query, errors="strict") == {"bucketId": [f"x,{bucket_id}"]}
    fault.wire(2, connections=1)


def encoded(text: str) -> str:
    """Percent-encode all but what RFC 3986 leaves unreserved."""
    return re.sub(r"[^A-Za-z0-9._~-]", lambda m: "".join(f"%{b:02X}" for b in m[0].encode()), text)


async def test_I04_comma_in_a_list_call(fault: Fault):
    await fault.serve()
    client = fault.client()
    says = ("bucket_id", "comma", "two ids", "'a,b'")
    await fault.error(client.bucket_stats.get("a,b"), InvalidArgumentError, says=says)
    await fault.error(client.bucket_stats.list(["x", "a,b"]), InvalidArgumentError, says=says)
    report = await fault.result(client.bucket_stats.get_many(["a,b"]))
    fault.check(report[0].error, InvalidArgumentError, says=says)
    assert fault.server.targets == []
    # Where it is alone in a path it is one id like any other.
    assert (await fault.result(client.status.get("a,b"))).bucket_id == "a,b"
    assert fault.server.targets == ["/bucket/a%2Cb/status"]
    fault.wire(1)


async def test_I04_comma_beside_good_ids_is_that_ids_outcome(fault: Fault):
    await fault.serve()
    report = await fault.result(fault.client().bucket_stats.get_many(["x", "a,b", "y"]))
    assert [outcome.ok for outcome in report] == [True, False, True]
    fault.check(report[1].error, InvalidArgumentError, says="comma")
    assert fault.server.targets == ["/bucket/stats?bucketId=x%2Cy"]
    fault.wire(1)


@pytest.mark.parametrize("letter", ["x", "日"])
async def test_I07_long_list_is_cut_into_several_requests(fault: Fault, letter: str):
    await fault.serve()
    client = fault.client(base_url=f"{fault.server.url}/a/prefix")
    ids = [f"{n}-{letter * 99}" for n in range(100)]
    stats = await fault.result(client.bucket_stats.list(ids))
    assert [item.bucket_id for item in stats] == ids
    report = await fault.result(client.bucket_stats.get_many(ids))
    assert [(o.key, o.unwrap().bucket_id) for o in report] == [(i, i) for i in ids]
    found = [o.unwrap().bucket_id async for o in client.bucket_stats.iter_many(ids)]
    assert sorted(found) == sorted(ids)
    lengths = [len(fault.server.url + target) for target in fault.server.targets]
    assert max(lengths) <= 4000
    size = len(encoded("," + ids[-1]))
    expected = -(-len(ids) // ((4000 - 60) // size))  # as few as may be
    assert len(lengths) in (3 * expected, 3 * expected - 3)
    fault.wire(len(lengths))


@pytest.mark.parametrize(
    "day",
    [
        datetime(2026, 1, 2, 3),  # noqa: DTZ001 - a naive one is what is tested
        "2026-02-30",
        "2026-1-1",
        "2026-13-01",
        "0000-01-01",
        "20260102",
        "2026-W01-1",
        "2026-01-02T25:00",
        "2026-01-02T00:00:00+99:00",
        "\uff12026-01-02",
        " 2026-01-02",
        "2026-01-02\n",
        "",
        "today",
        "x" * 300,
        None,
        0,
        True,
        b"2026-01-02",
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
    ],
    ids=str,
)
async def test_I08_wrong_day(fault: Fault, day: object):
    await fault.serve()
    client = fault.client()
    calls = [
        lambda: client.node_stats.get("bucket-1", day),
        lambda: client.node_stats.get_many(["bucket-1"], day),
        lambda: client.node_stats.get_many(["bucket-1"], [DAY, day]),
        lambda: first_of(client.node_stats.iter_many(["bucket-1"], day)),
    ]
    if isinstance(day, bytes):
        del calls[1], calls[-1]  # an iterable of numbers there, refused as such below
    for call in calls:
        error = await fault.error(called(call), InvalidArgumentError, attempts=0, says="day must ")
        must_show_little(error)
    if isinstance(day, bytes):
        many = client.node_stats.get_many(["bucket-1"], day)
        await fault.error(many, InvalidArgumentError, says="not int")
    fault.wire(0, connections=0)


@pytest.mark.parametrize(
    ("day", "sent"),
    [
        (date(2026, 1, 2), "2026-01-02"),
        ("2026-01-02", "2026-01-02"),
        (datetime(2026, 1, 2, 23, 59, tzinfo=UTC), "2026-01-02"),
        (datetime(2026, 1, 2, 1, tzinfo=timezone(timedelta(hours=5, minutes=30))), "2026-01-01"),
        ("2026-01-02T23:30:00-01:00", "2026-01-03"),
        (date(1, 1, 1), "0001-01-01"),
    ],
    ids=str,
)
async def test_I08_right_day_is_sent_as_its_day_in_utc(fault: Fault, day: object, sent: str):
    await fault.serve()
    await fault.result(fault.client().node_stats.get("bucket-1", day))
    assert json.loads(fault.server.requests[0].body) == {"day": f"{sent}T00:00:00.000Z"}
    fault.wire(1)


def made_with(fault: Fault, wrong: Callable[[str], object]) -> Exception:
    """Return the constructor's error for a token, which no frame of this test then holds."""
    try:
        FlashbackClient(wrong("".join(list(fault.token))))
    except ConfigurationError as error:
        return error
    raise AssertionError("the token was taken")


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        pytest.param(lambda t: t + "\r\nX-Evil: 1", "visible ASCII", id="crlf"),
        pytest.param(lambda t: t + "\n", "visible ASCII", id="lf"),
        pytest.param(lambda t: t[:20] + "\0" + t[20:], "visible ASCII", id="nul"),
        pytest.param(lambda t: t[:20] + " " + t[20:], "visible ASCII", id="space"),
        pytest.param(lambda t: " " + t, "visible ASCII", id="space_first"),
        pytest.param(lambda t: t + "ü", "visible ASCII", id="latin"),
        pytest.param(lambda t: t + "\ud800", "visible ASCII", id="surrogate"),
        pytest.param(lambda t: "Bearer " + t, "must not start with 'Bearer '", id="bearer"),
        pytest.param(lambda t: "bearer " + t, "must not start with 'Bearer '", id="bearer_small"),
        pytest.param(lambda t: "", "must not be empty", id="empty"),
        pytest.param(lambda t: t.encode(), "not bytes", id="bytes"),
        pytest.param(lambda t: [t], "not list", id="list"),
        pytest.param(lambda t: 5, "not int", id="int"),
    ],
)
async def test_I09_token_that_cannot_be_sent(
    fault: Fault, wrong: Callable[[str], object], rule: str
):
    error = made_with(fault, wrong)
    fault.check(error, ConfigurationError, says=("token", rule), never="X-Evil")


@pytest.mark.parametrize("where", ["variable", "file"])
async def test_I09_token_of_the_environment_that_cannot_be_sent(
    fault: Fault, monkeypatch: pytest.MonkeyPatch, tmp_path, where: str
):
    path = tmp_path / "token"
    path.write_text(f"two lines\n{fault.token}\n")
    if where == "variable":
        monkeypatch.setenv("FLASHBACK_TOKEN", f"two words {fault.token}")
    else:
        monkeypatch.setenv("FLASHBACK_TOKEN_FILE", str(path))
    error = made_with(fault, lambda _: None)
    fault.check(error, ConfigurationError, says=("token", "visible ASCII"))


async def test_I09_no_token_at_all(fault: Fault):
    error = made_with(fault, lambda _: None)
    fault.check(error, ConfigurationError, says=("FLASHBACK_TOKEN", "FLASHBACK_TOKEN_FILE"))


@pytest.mark.parametrize(
    ("base_url", "rule"),
    [
        ("ftp://api.example", "must start with https:// or http://"),
        ("api.example", "must start with https:// or http://"),
        ("//api.example", "must start with https:// or http://"),
        ("", "must start with https:// or http://"),
        ("https://user:word@api.example", "user info"),
        ("https://user@api.example", "user info"),
        ("https://@api.example", "user info"),
        ("https://api.example#part", "no fragment"),
        ("https://api.example#", "no fragment"),
        ("https://api.example?a=b", "no query"),
        ("https://api.example?", "no query"),
        ("https://", "must name a host"),
        ("https:///path", "must name a host"),
        ("https://:443", "must name a host"),
        ("https://.", "must name a host"),
        ("https://api.example:0", "not from 1 to 65535"),
        ("https://api.example:70000", "not from 1 to 65535"),
        ("https://api.example:x", "not from 1 to 65535"),
        ("https://[::1", "not a URL"),
        ("https://api.example/\r\nX-Evil: 1", "no white space"),
        ("https://api.example\\@evil.example", "backslashes"),
        (" https://api.example", "no white space"),
        ("https://api.example/a/../b", "'..' segment"),
        ("https://" + "a" * 64 + ".example", "must name a host"),
        ("http://api.example", "https required"),
        ("http://10.0.0.1", "https required"),
        ("http://localhost.example", "https required"),
        ("http://127.0.0.1.example", "https required"),
        ("http://" + "api." * 30 + "example", "https required"),
        (b"https://api.example", "must be text, not bytes"),
        (5, "must be text, not int"),
    ],
    ids=ascii,
)
async def test_I10_wrong_base_url(fault: Fault, base_url: object, rule: str):
    error = refused(fault, base_url=base_url)
    fault.check(
        error, ConfigurationError, says=("base_url", rule), never=("word", "X-Evil", "a" * 33)
    )
    must_show_little(error)


async def test_I10_wrong_base_url_of_the_environment(fault: Fault, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FLASHBACK_BASE_URL", "ftp://api.example")
    fault.check(refused(fault), ConfigurationError, says=("base_url", "https://"))


@pytest.mark.parametrize(
    ("base_url", "canonical"),
    [
        ("https://api.example/", "https://api.example"),
        ("https://api.example///", "https://api.example"),
        ("HTTPS://API.Example:443/V1/", "https://api.example/V1"),
        ("https://api.example:8443/a/b", "https://api.example:8443/a/b"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("https://api.example/ü%2F", "https://api.example/%C3%BC%2F"),
        ("https://[::1]:8443/", "https://[::1]:8443"),
        ("https://[2001:DB8::1]", "https://[2001:db8::1]"),
        ("http://[::1]:80", "http://[::1]"),
        ("http://localhost:8000", "http://localhost:8000"),
        ("http://api.localhost", "http://api.localhost"),
        ("http://127.8.9.1", "http://127.8.9.1"),
    ],
    ids=ascii,
)
async def test_I10_right_base_url_has_one_form(fault: Fault, base_url: str, canonical: str):
    client = fault.client(base_url=base_url, ssl_context=None)
    assert repr(client) == f"<FlashbackClient {canonical}>"
    fault.must_be_safe(client)


async def test_I10_prefix_of_the_base_url_is_kept_on_the_wire(fault: Fault):
    await fault.serve()
    client = fault.client(base_url=f"{fault.server.url}/proxied/v1//")
    await fault.result(client.status.get("bucket-1"))
    await fault.result(client.bucket_stats.list(["bucket-1"]))
    assert fault.server.targets == [
        "/proxied/v1/bucket/bucket-1/status",
        "/proxied/v1/bucket/stats?bucketId=bucket-1",
    ]
    assert {request.headers["host"] for request in fault.server.requests} == {
        f"127.0.0.1:{fault.server.port}"
    }
    fault.wire(2, connections=1, after="reused")


NO_SECONDS = (0, -1, -0.0, float("nan"), float("inf"), -float("inf"), True, "5", None, 10**400)
NO_COUNT = (0, -1, 1.5, float("nan"), True, "5", None, -(10**400))
NO_WAIT = (-1, float("nan"), float("inf"), True, "5", None)


@pytest.mark.parametrize(
    ("settings", "field", "values"),
    [
        *((Timeout, field, NO_SECONDS) for field in ("total", "attempt", "connect")),
        (RetryPolicy, "max_attempts", NO_COUNT),
        (RetryPolicy, "backoff_base", NO_WAIT),
        (RetryPolicy, "throttle_base", NO_WAIT),
        (RetryPolicy, "backoff_max", NO_WAIT),
        (RetryPolicy, "max_retry_after", NO_WAIT),
        (Limits, "max_concurrency", NO_COUNT),
        (Limits, "max_response_bytes", NO_COUNT),
        (Limits, "max_rate", [value for value in NO_SECONDS if value is not None]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_I11_wrong_setting(
    fault: Fault, settings: Callable[..., object], field: str, values: Iterable[object]
):
    for value in values:
        try:
            settings(**{field: value})
        except ConfigurationError as error:
            name = f"{settings.__name__}.{field} must"
            fault.check(error, ConfigurationError, says=name, attempts=0)
            must_show_little(error)
        else:
            raise AssertionError(f"{field} was taken")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"timeout": 5.0}, "timeout must be a Timeout, not float"),
        ({"retry": None}, "retry must be a RetryPolicy, not NoneType"),
        ({"limits": {"max_rate": 5}}, "limits must be a Limits, not dict"),
        ({"allow_insecure_http": "no"}, "allow_insecure_http must be True or False, not str"),
        ({"proxy": "ftp://proxy.example"}, "proxy must start with"),
        ({"proxy": 5}, "proxy must be text"),
        ({"ssl_context": False}, "ssl_context must be an ssl.SSLContext, not bool"),
        ({"session": object()}, "session must be an aiohttp.ClientSession, not object"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_I11_option_of_the_wrong_type(fault: Fault, options: dict, says: str):
    fault.check(refused(fault, **options), ConfigurationError, says=says, attempts=0)


async def test_I11_view_with_an_option_of_the_wrong_type(fault: Fault):
    client = fault.client(base_url="http://localhost")
    for options in ({"timeout": 5}, {"retry": 3}):
        caught = None
        try:
            client.with_options(**options)
        except ConfigurationError as error:
            caught = error
        fault.check(caught, ConfigurationError, says=f"{next(iter(options))} must be a ")


async def test_I11_session_that_would_send_other_credentials(fault: Fault):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # aiohttp is to lose it
        session = aiohttp.ClientSession(auth=aiohttp.BasicAuth("user", "word"))
    async with session:
        error = refused(fault, session=session)
    fault.check(error, ConfigurationError, says="auth", never="word")
    fault.check(refused(fault, session=session), ConfigurationError, says="session is closed")


def refused(fault: Fault, **options: object) -> Exception:
    """Return the constructor's error, with the canary as a valid token."""
    try:
        FlashbackClient("".join(list(fault.token)), **options)
    except ConfigurationError as error:
        return error
    raise AssertionError(f"{options} were taken")


VAST = pytest.param(10**400, id="vast")  # more than a float holds


@pytest.mark.parametrize("concurrency", [0, -1, True, 1.5, "5", float("nan"), -1e300])
async def test_I12_wrong_concurrency(fault: Fault, concurrency: object):
    await fault.serve()
    client = fault.client()
    for use, more in ((client.status, ()), (client.node_stats, (DAY,)), (client.bucket_stats, ())):
        for call in (
            functools.partial(use.get_many, ["bucket-1"], *more, concurrency=concurrency),
            lambda use=use, more=more: first_of(
                use.iter_many(["bucket-1"], *more, concurrency=concurrency)
            ),
            lambda: first_of(fan_out(client.status.get, ["bucket-1"], concurrency=concurrency)),
        ):
            error = await fault.error(
                called(call), InvalidArgumentError, attempts=0, says="concurrency must be"
            )
            must_show_little(error)
    fault.wire(0, connections=0)


@pytest.mark.parametrize(
    "deadline",
    [0, -1, float("nan"), float("inf"), True, "5", VAST],
)
async def test_I12_wrong_deadline(fault: Fault, deadline: object):
    await fault.serve()
    client = fault.client()
    call = client.status.get_many(["bucket-1"], deadline=deadline)
    error = await fault.error(call, InvalidArgumentError, attempts=0, says="deadline must be")
    must_show_little(error)
    fault.wire(0, connections=0)


async def test_I12_vast_concurrency_starts_no_more_than_it_needs(fault: Fault):
    under_way, most, most_tasks = 0, 0, 0

    async def counting(conn: server.Conn, request: server.Request) -> None:
        nonlocal under_way, most, most_tasks
        under_way += 1
        most = max(most, under_way)
        most_tasks = max(most_tasks, len(asyncio.all_tasks() - fault.server.tasks))
        for _ in range(20):
            await asyncio.sleep(0)
        under_way -= 1
        await server.healthy(conn, request)

    await fault.serve(then=counting)
    client = fault.client(limits=Limits(max_concurrency=4))
    ids = [f"bucket-{n}" for n in range(60)]
    report = await fault.result(client.status.get_many(ids, concurrency=10**9))
    assert report.ok
    assert most == 4
    assert most_tasks <= 4 + 2  # the workers, this test and what the loop itself runs
    fault.wire(60, connections=4)


async def test_I12_vast_concurrency_of_a_plain_fan_out_starts_a_worker_for_each_key(fault: Fault):
    before = len(asyncio.all_tasks())
    seen = 0

    async def looks(key: int) -> int:
        nonlocal seen
        for _ in range(10):
            seen = max(seen, len(asyncio.all_tasks()) - before)
            await asyncio.sleep(0)
        return key

    outcomes = [o async for o in fan_out(looks, range(5), concurrency=10**9)]
    assert sorted(outcome.unwrap() for outcome in outcomes) == [0, 1, 2, 3, 4]
    assert seen <= 6
