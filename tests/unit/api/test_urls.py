"""Base URLs, proxies of the environment, and ids in a URL."""

from urllib.parse import unquote, urlsplit

import pytest
from yarl import URL

from flashback_async.api import urls
from flashback_async.errors import ConfigurationError, InvalidArgumentError
from flashback_async.values import Secret


def check_proxy(name, text):
    assert name == "proxy"
    return urls.proxy_for("https://a.b", Secret(text)).reveal()


def environment_proxy(base_url):
    found = urls.proxy_for(base_url, None)
    return found and found.reveal()


def canonical(text, **kwargs):
    return urls.canonical_base_url(text, **{"allow_insecure_http": False} | kwargs)


# Base URLs.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://backend.flashback.tech", "https://backend.flashback.tech"),
        ("https://backend.flashback.tech/", "https://backend.flashback.tech"),
        ("https://backend.flashback.tech///", "https://backend.flashback.tech"),
        ("HTTPS://API.Example.COM", "https://api.example.com"),
        ("https://a.b:443", "https://a.b"),
        ("https://a.b:8443/", "https://a.b:8443"),
        ("https://a.b:", "https://a.b"),
        ("https://a.b/prefix/v1/", "https://a.b/prefix/v1"),
        ("https://a.b/pre fix".replace(" ", "%20"), "https://a.b/pre%20fix"),
        ("https://a.b/é", "https://a.b/%C3%A9"),
        ("https://a.b/a;b=c,d", "https://a.b/a;b=c,d"),
        ("https://a.b/x:y@z", "https://a.b/x:y@z"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("https://[2001:DB8::1]/", "https://[2001:db8::1]"),
        ("https://[2001:db8::1]:8443/p", "https://[2001:db8::1]:8443/p"),
        ("https://10.0.0.1", "https://10.0.0.1"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.1.2.3", "http://127.1.2.3"),
        ("http://localhost:80/", "http://localhost"),
        ("http://api.localhost", "http://api.localhost"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_a_base_url_has_one_form(text, expected):
    assert canonical(text) == expected
    assert canonical(expected) == expected
    assert str(URL(expected + "/bucket/stats", encoded=True)) == expected + "/bucket/stats"


@pytest.mark.parametrize(
    "text",
    [
        None,
        5,
        b"https://a.b",
        "",
        "a.b",
        "//a.b",
        "/path",
        "ftp://a.b",
        "file:///etc/passwd",
        "ws://a.b",
        "https:",
        "https://",
        "https:///path",
        "https://:8080",
        "https://.",
        "https://user@a.b",
        "https://user:pw@a.b",
        "https://@a.b",
        "https://a.b?x=1",
        "https://a.b?",
        "https://a.b/#f",
        "https://a.b#",
        "https://a.b:0",
        "https://a.b:70000",
        "https://a.b:-1",
        "https://a.b:x",
        "https://a.b:٣",
        " https://a.b",
        "https://a.b ",
        "https://a.b\n",
        "https://a .b",
        "https://a.b/a b",
        "https://a.b\\c",
        "https://a.b/\x7f",
        "https://[::1",
        "https://[bad]",
        "https://a..b",
        "https://" + "x" * 64 + ".example",
        "https://a.b/../c",
        "https://a.b/./c",
        "https://a.b/..",
        "https://a.b/\ud800",
        "https://\ud800.b",
        "https://a\u00a0b.example",
        "https://a<b.example",
        'https://a"b.example',
        "https://a%2fb.example",
        "https://a_b\u200b.example:x",
    ],
)
def test_what_is_no_base_url_is_refused(text):
    with pytest.raises(ConfigurationError, match="base_url") as caught:
        canonical(text)
    assert str(caught.value).isascii()


@pytest.mark.parametrize(
    "text",
    [
        "http://a.b",
        "http://10.0.0.1",
        "http://localhost.example",
        "http://127.0.0.1.example",
        "http://[2001:db8::1]",
        "http://0.0.0.0",
        "http://notlocalhost",
    ],
)
def test_clear_text_to_another_machine_must_be_asked_for(text):
    with pytest.raises(ConfigurationError, match="https required") as caught:
        canonical(text)
    assert "allow_insecure_http" in str(caught.value)
    assert canonical(text, allow_insecure_http=True) == text


def test_a_user_info_is_never_shown():
    for text in ("https://user:hunter2@a.b", "ftp://user:hunter2@a.b", "http://u:hunter2@a.b"):
        with pytest.raises(ConfigurationError) as caught:
            canonical(text)
        assert "hunter2" not in str(caught.value)


# Proxies.


@pytest.mark.parametrize("text", ["http://proxy:3128", "https://u:p@proxy.example", "http://[::1]"])
def test_a_proxy_is_taken_as_it_is(text):
    assert check_proxy("proxy", text) == text


@pytest.mark.parametrize("text", ["", "proxy:3128", "socks5://p", "http://", "http://p:0", "x y"])
def test_what_is_no_proxy_is_refused(text):
    with pytest.raises(ConfigurationError, match=r"proxy must|proxy is"):
        check_proxy("proxy", text)


def test_the_credentials_of_a_proxy_are_never_shown():
    with pytest.raises(ConfigurationError) as caught:
        check_proxy("proxy", "http://user:hunter2@:3128")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
def test_the_environment_names_the_proxy(monkeypatch, name):
    monkeypatch.setenv(name, "http://proxy:3128")
    assert environment_proxy("https://a.b") == "http://proxy:3128"
    assert environment_proxy("http://127.0.0.1:1") is None
    monkeypatch.setenv(name, "proxy:3128")
    assert environment_proxy("https://a.b") == "http://proxy:3128"
    monkeypatch.setenv(name, "")
    assert environment_proxy("https://a.b") is None


@pytest.mark.parametrize(
    ("exceptions", "used"),
    [("a.b", False), ("b", False), ("*", False), ("c.b", True), ("a.b:444", True), ("", True)],
)
def test_the_environment_names_exceptions(monkeypatch, exceptions, used):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", exceptions)
    assert (environment_proxy("https://a.b:443/x") is not None) is used


def test_without_a_proxy_in_the_environment_there_is_none(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
    assert environment_proxy("https://a.b") is None


def test_a_wrong_proxy_in_the_environment_is_told_by_its_name(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "socks5://user:hunter2@proxy")
    with pytest.raises(ConfigurationError, match="HTTPS_PROXY") as caught:
        environment_proxy("https://a.b")
    assert "hunter2" not in str(caught.value)


# Ids.

GOOD_IDS = [
    "550e8400-e29b-41d4-a716-446655440000",
    "a",
    "...",
    ".a",
    "~",
    "a?x=1",
    "a#f",
    "a%2Fb",
    "%2e%2e",
    "a;b",
    "a&b=c",
    "a:b@c",
    "a b",
    "a+b",
    "üñí",
    "日本",
    "１２３",
    "a'b\"c<>{}|^`",
    "x" * 256,
    "日" * 256,
    "😀",
    "A",
]
BAD_IDS = [
    ("", "empty"),
    (" ", "white space"),
    (" a", "white space"),
    ("a ", "white space"),
    ("\u00a0a", "white space"),
    ("a\u3000", "white space"),
    (".", "dot segment"),
    ("..", "dot segment"),
    ("../admin", "slash"),
    ("a/b", "slash"),
    ("/x", "slash"),
    ("//evil/x", "slash"),
    ("\\..\\x", "backslash"),
    ("http://evil/x", "slash"),
    ("a\rb", "control"),
    ("a\nb", "control"),
    ("a\tb", "control"),
    ("a\x00b", "control"),
    ("a\x7fb", "control"),
    ("a\x85b", "control"),
    ("a\u200bb", "format"),
    ("a\u202eb", "format"),
    ("a\ufeffb", "format"),
    ("a\u2028b", "separator"),
    ("a\u2029b", "separator"),
    ("a\ud800b", "control, format or separator"),
    ("a\ue000b", "control, format or separator"),
    ("a\uffffb", "control, format or separator"),
    ("x" * 257, "256"),
    ("日" * 257, "256"),
]


@pytest.mark.parametrize("bucket_id", GOOD_IDS)
def test_an_id_is_one_segment_that_says_the_same(bucket_id):
    assert urls.check_bucket_id(bucket_id) is bucket_id
    segment = urls.segment(bucket_id)
    assert unquote(segment) == bucket_id
    assert segment.isascii()
    path = urlsplit(f"https://h/bucket/{segment}/status").path
    assert path.split("/") == ["", "bucket", segment, "status"]
    assert str(URL(f"https://h/{segment}", encoded=True)) == f"https://h/{segment}"


def test_a_plain_id_stands_in_the_url_as_it_is():
    assert urls.segment("a-b_c.d~E9") == "a-b_c.d~E9"
    assert urls.segment("a:b") == "a%3Ab"
    assert urls.segment("ü") == "%C3%BC"


@pytest.mark.parametrize(("bucket_id", "rule"), BAD_IDS)
@pytest.mark.parametrize("listed", [False, True])
def test_an_id_that_breaks_a_rule_is_refused_by_its_name(bucket_id, rule, listed):
    with pytest.raises(InvalidArgumentError, match=r"^bucket_id must") as caught:
        urls.check_bucket_id(bucket_id, listed=listed)
    assert rule in str(caught.value)
    assert str(caught.value).isascii()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 130


@pytest.mark.parametrize("bucket_id", [None, 5, b"a", ["a"], True])
def test_an_id_is_text(bucket_id):
    with pytest.raises(InvalidArgumentError, match=type(bucket_id).__name__):
        urls.check_bucket_id(bucket_id)


def test_a_comma_is_refused_only_where_it_would_make_two_ids():
    assert urls.check_bucket_id("a,b") == "a,b"
    assert urls.segment("a,b") == "a%2Cb"
    with pytest.raises(InvalidArgumentError, match="comma"):
        urls.check_bucket_id("a,b", listed=True)


# Lists.


@pytest.mark.parametrize("more", [[], ["a-b_c~E9"], ["a.b"], ["ü", "x" * 256]])
def test_listed_ids_are_given_as_they_are(more):
    assert urls.check_listed_ids(["b", *more], "x") == ["b", *more]
    assert urls.check_listed_ids(iter(more), "x") == more


@pytest.mark.parametrize("bad", [bad for bad, _ in BAD_IDS] + ["a,b", None, 5, b"a", ["a"], True])
@pytest.mark.parametrize("others", [["b", "c"], ["b", "ü.:"]])
def test_one_bad_id_among_listed_ones_is_refused_as_it_would_be_alone(bad, others):
    with pytest.raises(InvalidArgumentError) as alone:
        urls.check_bucket_id(bad, "x", listed=True)
    with pytest.raises(InvalidArgumentError) as among:
        urls.check_listed_ids([*others, bad, *others], "x")
    assert str(among.value) == str(alone.value)
    assert among.value.operation == "x"


def test_the_target_of_a_list():
    assert urls.list_target(None) == "/bucket/stats"
    assert urls.list_target(["a"]) == "/bucket/stats?bucketId=a"
    assert urls.list_target(["a", "b/c", "ü&="]) == (
        "/bucket/stats?bucketId=a%2Cb%2Fc%2C%C3%BC%26%3D"
    )


@pytest.mark.parametrize(
    "base_url", ["https://a.b", "https://a.b/some/prefix", "https://" + "x" * 99]
)
def test_ids_that_fit_the_room_make_a_url_within_the_limit(base_url):
    room = urls.list_room(base_url)
    ids = []
    for bucket_id in ("a", "bb", "ü", "a b", "x" * 20) * 1000:
        if sum(map(urls.listed_size, [*ids, bucket_id])) > room:
            break
        ids.append(bucket_id)
    length = len(base_url + urls.list_target(ids))
    assert length <= urls.MAX_URL_BYTES
    assert length > urls.MAX_URL_BYTES - 40


@pytest.mark.parametrize("bucket_id", [None, 5, "\ud800", ["a"]])
def test_an_id_that_is_yet_to_be_checked_has_a_size(bucket_id):
    assert urls.listed_size(bucket_id) >= 3
