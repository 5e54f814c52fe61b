"""Any text as an id or as a base URL is either exactly itself on the wire, or refused."""

from itertools import zip_longest
from urllib.parse import parse_qs, unquote, urlsplit

from hypothesis import assume, example, given
from hypothesis import strategies as st
from yarl import URL

from flashback_async.api import urls
from flashback_async.bulk.batch import Cutter, cut
from flashback_async.errors import ConfigurationError, InvalidArgumentError
from flashback_async.values import Secret
from tests.property.strategies import any_text, assert_harmless

BASE = "https://api.test/v1"
ids = st.one_of(
    any_text, st.text(max_size=300), st.from_regex(r"[A-Za-z0-9._~-]{1,300}", fullmatch=True)
)
good_ids = st.text(
    st.characters(exclude_categories=("C", "Z"), exclude_characters="/\\,"), min_size=1, max_size=80
).filter(lambda text: text not in {".", ".."})


@given(ids)
def test_any_text_is_one_segment_that_says_the_same_or_is_refused(text):
    try:
        bucket_id = urls.check_bucket_id(text)
    except InvalidArgumentError as error:
        assert_harmless(str(error))
        return
    assert bucket_id is text
    segment = urls.segment(text)
    url = URL(f"{BASE}/bucket/{segment}/status", encoded=True)
    assert url.raw_path == f"/v1/bucket/{segment}/status"
    assert url.raw_path.split("/") == ["", "v1", "bucket", segment, "status"]
    assert unquote(segment, errors="strict") == text
    assert url.query_string == url.fragment == ""
    assert url.host == "api.test"


@given(st.lists(ids, min_size=1, max_size=5))
def test_any_ids_are_one_value_that_says_the_same_or_are_refused(texts):
    try:
        checked = tuple(urls.check_bucket_id(text, listed=True) for text in texts)
    except InvalidArgumentError:
        return
    target = urls.list_target(checked)
    url = URL(BASE + target, encoded=True)
    assert parse_qs(url.raw_query_string, strict_parsing=True, errors="strict") == {
        "bucketId": [",".join(texts)]
    }
    assert url.raw_path == "/v1/bucket/stats"
    assert url.raw_fragment == ""
    assert len(target) - len(urls.list_target(())) <= sum(map(urls.listed_size, texts))


@given(good_ids)
def test_an_id_that_breaks_no_rule_is_taken(text):
    assert urls.check_bucket_id(text, listed=True) is text


@given(st.lists(good_ids, max_size=300), st.integers(0, 4200))
def test_lists_lose_no_id_and_their_urls_keep_to_the_limit(keys, prefix):
    base = "https://h/" + "p" * prefix
    room = urls.list_room(base)
    batches = list(cut(keys, Cutter(urls.listed_size, room, most=1000)))
    assert [entry for batch in batches for entry in batch] == list(enumerate(keys))
    for batch in batches:
        distinct = tuple(dict.fromkeys(key for _, key in batch))
        assert distinct
        assert len(base + urls.list_target(distinct)) <= urls.MAX_URL_BYTES or len(distinct) == 1


@given(
    st.lists(st.tuples(st.text("ab", max_size=2), st.integers(1, 50)), max_size=60),
    st.integers(-5, 100),
    st.integers(1, 70),
)
def test_cutting_loses_nothing_keeps_the_order_and_respects_room_and_number(keys, room, most):
    batches = list(cut(keys, Cutter(lambda key: key[1], room, most)))
    assert [entry for batch in batches for entry in batch] == list(enumerate(keys))
    for batch, following in zip_longest(batches, batches[1:]):
        distinct = {key for _, key in batch}
        size = sum(key[1] for key in distinct)
        assert len(batch) <= most
        assert size <= room or len(distinct) == 1
        if following is not None:
            _, key = following[0]
            assert len(batch) == most or (key not in distinct and size + key[1] > room)


HOSTS = st.one_of(
    st.sampled_from(
        ["api.test", "localhost", "127.0.0.1", "[::1]", "[2001:db8::1]", "bücher.test"]
    ),
    st.from_regex(r"[a-zA-Z0-9.-]{1,20}", fullmatch=True),
    any_text,
)
base_urls = st.one_of(
    any_text,
    st.tuples(
        st.sampled_from(["https://", "http://", "HTTPS://", "https:", "ftp://", "//", ""]),
        HOSTS,
        st.sampled_from(["", ":443", ":80", ":8443", ":0", ":99999", ":", ":x"]),
        st.one_of(
            st.sampled_from(["", "/", "/v1", "/v1/", "/a/../b", "?", "#", "/%zz", "/é"]),
            any_text.map(lambda text: "/" + text),
        ),
    ).map("".join),
)


@given(base_urls, st.booleans())
@example("https://a\u00a0b", False)
@example("https://a.b/\ud800", False)
def test_any_text_is_a_base_url_in_its_one_form_or_is_refused(text, insecure):
    try:
        base = urls.canonical_base_url(text, allow_insecure_http=insecure)
    except ConfigurationError as error:
        assert_harmless(str(error))
        return
    assert urls.canonical_base_url(base, allow_insecure_http=insecure) == base
    assert base.isascii()
    assert not base.endswith("/")
    parts = urlsplit(base)
    assert parts.scheme in {"http", "https"}
    assert parts.query == parts.fragment == ""
    assert parts.username is None
    url = URL(f"{base}/bucket/stats", encoded=True)
    assert str(url) == f"{base}/bucket/stats"
    assert url.raw_path == f"{parts.path}/bucket/stats"
    assert url.host
    if parts.scheme == "http" and not insecure:
        assert urls.is_loopback(parts.hostname)


@given(any_text, st.text(max_size=10))
def test_a_password_is_never_shown(before, host):
    secret = "hunter2-hunter2"
    assume(secret not in before + host)
    refused = []
    for check in (
        lambda text: urls.canonical_base_url(text, allow_insecure_http=False),
        lambda text: urls.proxy_for("https://a.b", Secret(text)),
    ):
        try:
            check(f"{before}://user:{secret}@{host}")
        except ConfigurationError as error:
            refused.append(str(error))
    assert all(secret not in text for text in refused)
