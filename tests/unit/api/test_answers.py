"""What an answer means: pure functions of status, headers and body."""

import json
import math
import time
from urllib.parse import quote

import pytest

from flashback_async.api import answers, wire
from flashback_async.errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    DecodeError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    RedirectError,
    ServerError,
)
from flashback_async.values import Response, Retry, Secret
from tests.unit.support import NOON, TOKEN, answer

SECRET = Secret(TOKEN)
DATE = "Mon, 15 Jan 2024 12:00:00 GMT"


def failure(response, secret=SECRET):
    return answers.interpret(response, secret, NOON)


def error_of(body=b"", status=400, secret=SECRET, **headers):
    return answers.api_error(answer(body, status, **headers), secret, NOON)


def completed(error, response, secret=SECRET):
    answers.complete(error, response, secret, NOON)
    return error


def raw(*headers, status=200, body=b""):
    return Response(status, tuple(headers), body)


# Data or not.


@pytest.mark.parametrize(
    ("status", "content_type", "data"),
    [
        (200, "application/json", True),
        (200, "application/json; charset=utf-8", True),
        (200, "text/plain", True),
        (204, "application/json", True),
        (299, "application/json", True),
        (199, "application/json", False),
        (300, "application/json", False),
        (404, "application/json", False),
        (200, "text/html", False),
        (200, "TEXT/HTML; charset=utf-8", False),
        (200, "application/xhtml", True),
    ],
)
def test_success_that_is_no_web_page_is_data(status, content_type, data):
    response = answer(b"x", status, content_type=content_type)
    assert answers.is_data(response.status, response.headers) is data


def test_an_answer_without_a_content_type_is_data():
    assert answers.is_data(200, ())
    assert answers.is_data(200, ((b"x-content-type", b"text/html"), (b"Date", b"x")))
    assert not answers.is_data(200, ((b"Content-Type", b"text/html"),))


# Which error, and whether to try again.


@pytest.mark.parametrize(
    ("status", "kind", "retry"),
    [
        (300, RedirectError, Retry.NEVER),
        (301, RedirectError, Retry.NEVER),
        (304, RedirectError, Retry.NEVER),
        (308, RedirectError, Retry.NEVER),
        (399, RedirectError, Retry.NEVER),
        (400, BadRequestError, Retry.NEVER),
        (401, AuthenticationError, Retry.NEVER),
        (402, APIError, Retry.NEVER),
        (403, PermissionDeniedError, Retry.NEVER),
        (404, NotFoundError, Retry.NEVER),
        (405, APIError, Retry.NEVER),
        (407, APIError, Retry.NEVER),
        (408, APIError, Retry.TRANSIENT),
        (409, APIError, Retry.NEVER),
        (410, APIError, Retry.NEVER),
        (413, APIError, Retry.NEVER),
        (414, APIError, Retry.NEVER),
        (415, APIError, Retry.NEVER),
        (418, APIError, Retry.NEVER),
        (422, APIError, Retry.NEVER),
        (425, APIError, Retry.TRANSIENT),
        (429, RateLimitError, Retry.THROTTLED),
        (451, APIError, Retry.NEVER),
        (499, APIError, Retry.NEVER),
        (500, ServerError, Retry.TRANSIENT),
        (501, ServerError, Retry.NEVER),
        (502, ServerError, Retry.TRANSIENT),
        (503, ServerError, Retry.TRANSIENT),
        (504, ServerError, Retry.TRANSIENT),
        (505, ServerError, Retry.NEVER),
        (511, ServerError, Retry.NEVER),
        (599, ServerError, Retry.NEVER),
    ],
)
def test_each_status_is_an_error_of_its_own(status, kind, retry):
    failed = failure(answer({"success": False, "message": "why"}, status))
    assert type(failed.error) is kind
    assert failed.retry is retry
    assert failed.error.status == status
    assert failed.error.message == "why"
    assert str(failed.error).startswith(f"{status} ")
    assert failed.sent


@pytest.mark.parametrize("status", [-1, 0, 99, 100, 102, 199, 600, 999, 10**6])
def test_a_status_that_means_nothing_is_an_error_of_the_protocol(status):
    failed = failure(answer(b"x", status))
    assert type(failed.error) is ProtocolError
    assert failed.retry is Retry.NEVER
    assert str(status) in str(failed.error)


def test_a_web_page_in_place_of_data_says_so():
    page = answer(b"<html>Sign in", content_type="text/html; charset=x", x_request_id="r1")
    failed = failure(page)
    assert type(failed.error) is DecodeError
    assert failed.retry is Retry.NEVER
    error = completed(failed.error, page)
    assert (error.status, error.request_id) == (200, "r1")
    assert "HTML" in str(error)
    assert "'<html>Sign in'" in str(error)


@pytest.mark.parametrize(
    ("status", "after", "retry"),
    [
        (503, "3", Retry.THROTTLED),
        (503, "0", Retry.TRANSIENT),
        (503, "soon", Retry.TRANSIENT),
        (502, "3", Retry.TRANSIENT),
        (429, "3", Retry.THROTTLED),
        (429, "soon", Retry.THROTTLED),
        (404, "3", Retry.NEVER),
    ],
)
def test_a_time_to_wait_makes_a_503_a_throttling(status, after, retry):
    assert failure(answer(b"", status, retry_after=after)).retry is retry


# Retry-After.


def after(*values, date=None, now=NOON):
    headers = [(b"Retry-After", v.encode("utf-8", "surrogateescape")) for v in values]
    if date is not None:
        headers.append((b"date", date.encode()))
    return answers.retry_after(raw(*headers), now)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2", 2.0),
        ("1", 1.0),
        ("007", 7.0),
        (" 5\t", 5.0),
        ("0.5", 0.5),
        ("2.000000001", 2.000000001),
        ("999999999999", 999999999999.0),
        # The three forms of an HTTP date, each of them GMT.
        ("Mon, 15 Jan 2024 12:00:30 GMT", 30.0),
        ("Monday, 15-Jan-24 12:00:30 GMT", 30.0),
        ("Mon Jan 15 12:00:30 2024", 30.0),
        # A zone that is not known is taken for GMT.
        ("Mon, 15 Jan 2024 12:00:30 -0000", 30.0),
        ("Mon, 15 Jan 2024 12:00:30", 30.0),
        ("Mon, 15 Jan 2024 13:00:30 +0100", 30.0),
        ("Mon, 15 Jan 2024 12:00:30 EST", 5 * 3600 + 30.0),
    ],
)
def test_a_usable_time_to_wait_is_read(value, seconds):
    assert after(value) == seconds


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone of the process cannot be set")
@pytest.mark.parametrize("zone", ["JST-9", "EST5"])
@pytest.mark.parametrize(
    "value",
    ["Mon Jan 15 12:00:30 2024", "Mon, 15 Jan 2024 12:00:30", "Mon, 15 Jan 2024 12:00:30 -0000"],
)
def test_a_date_without_a_zone_is_gmt_wherever_the_client_runs(value, zone):
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TZ", zone)
            time.tzset()
            assert time.timezone != 0
            assert after(value) == 30.0
    finally:
        time.tzset()


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "0",
        "0.0",
        "00",
        "-5",
        "+5",
        "nan",
        "inf",
        "-inf",
        "Infinity",
        "1e999",
        "1e3",
        "1_000",
        "٣",
        "5,6",
        "5;6",
        "5 s",
        "0x10",
        "1.",
        ".5",
        "1" * 10_000,
        "soon",
        "\udcff",
        "Mon, 15 Jan 2024 12:00:00 GMT",  # now
        "Mon, 15 Jan 2024 11:59:59 GMT",  # past
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Mon, 15 Jan 100000 12:00:30 GMT",
        "Mon, 99 Jan 2024 12:00:30 GMT",
        "Mon, 15 Foo 2024 12:00:30 GMT",
        "Mon, 15 Jan 2024 99:00:30 GMT",
        "Mon, 15 Jan 0000 12:00:30 GMT",
        "Mon, 15 Jan 2024 12:00:30 +99999999",
        ",",
    ],
)
def test_what_is_no_usable_time_to_wait_counts_as_none(value):
    assert after(value) is None


def test_a_date_far_ahead_is_read_for_what_it_says():
    assert after("Fri, 31 Dec 9999 23:59:59 GMT") > 2**37
    assert after("Fri, 31 Dec 9999 23:59:59 -2359") > 2**37


def test_no_header_and_two_headers_are_none():
    assert after() is None
    assert after("2", "2") is None
    assert after("2", "") is None


def test_a_date_is_read_against_the_clock_of_the_server_where_it_shows_it():
    later = "Mon, 15 Jan 2024 12:00:30 GMT"
    assert after(later, date=DATE, now=NOON + 86_400) == 30.0
    assert after(later, date=DATE, now=NOON - 86_400) == 30.0
    assert after(later, date="garbage") == 30.0
    assert after("7", date="garbage") == 7.0


def test_the_name_of_a_header_is_read_in_any_case():
    assert answers.retry_after(raw((b"RETRY-AFTER", b"4")), NOON) == 4.0
    assert answers.header(raw((b"X-Y", b"1"), (b"x-y", b"2")), b"x-y") == "1"
    assert answers.header(raw((b"X-Y", b"1")), b"x-z") is None


def test_what_the_error_carries_is_the_time_that_was_read():
    assert error_of(b"", 429, retry_after="4").retry_after == 4.0
    assert error_of(b"", 429, retry_after="never").retry_after is None
    assert math.isfinite(error_of(b"", 429, retry_after="999999999999").retry_after)


# What an error says.


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        ({"message": "m"}, "m", None),
        ({"error_message": "m"}, "m", None),
        ({"errorMessage": "m"}, "m", None),
        ({"error": "m"}, "m", "m"),
        ({"message": "m", "error": "E1"}, "m", "E1"),
        ({"message": "m", "error_code": "E1", "error": "x"}, "m", "E1"),
        ({"message": "m", "errorCode": "E1"}, "m", "E1"),
        ({"message": "m", "code": "E1"}, "m", "E1"),
        ({"message": "m", "code": 17}, "m", "17"),
        ({"message": 17}, "17", None),
        ({"message": "", "error_message": "m"}, "m", None),
        ({"message": None, "error": None}, None, None),
        ({"message": {"a": 1}, "error": ["x"]}, None, None),
        ({"message": True, "code": False}, None, None),
        ({"message": 1.5}, None, None),
        ({}, None, None),
        ([], None, None),
        ("text", None, None),
        (None, None, None),
    ],
)
def test_message_and_code_are_read_from_any_of_their_names(body, message, code):
    error = error_of(body, 404)
    assert (error.message, error.code) == (message, code)
    assert error.body == json.dumps(body)
    if message is not None:
        assert f"'{message}'" in str(error)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"{",
        b'{"message": ',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"message": ' + b"1" * 5000 + b"}",
        b"\x00\x01",
        "\ud800".encode("utf-8", "surrogatepass"),
        b'{"message": "\\ud800"}',
        b'{"message": NaN, "code": Infinity}',
        b"\xef\xbb\xbf{}",
    ],
    ids=lambda b: repr(b[:12]),
)
def test_no_body_is_too_broken_for_an_error(body):
    error = error_of(body, 500)
    assert type(error) is ServerError
    assert len(error.body) <= 500
    assert str(error).isascii()
    assert str(error).isprintable()


def test_what_an_error_keeps_is_cut():
    long = {"message": "m" * 5000, "code": "c" * 5000}
    error = error_of(long, 400, x_request_id="r" * 5000)
    assert error.message == "m" * 500
    assert error.code == "c" * 200
    assert error.request_id == "r" * 200
    assert error.body == json.dumps(long)[:500]
    text = str(error)
    assert "m" * 200 in text
    assert "m" * 201 not in text
    assert "c" * 201 not in text
    assert "r" * 81 not in text
    assert len(text) < 700


def test_a_body_that_is_no_json_is_shown_at_its_start():
    text = str(error_of(b"plain\ntext" + b"x" * 5000, 500))
    assert r"plain\ntext" in text
    assert "\n" not in text
    assert len(text) < 300


def test_the_body_of_a_redirect_is_not_shown():
    assert "'plain'" in str(error_of(b"plain", 400))
    assert "plain" not in str(error_of(b"plain", 399))


def test_an_empty_body_is_not_shown():
    assert str(error_of(b"", 500)) == "500 Internal Server Error"
    assert str(error_of(b"", 499)) == "499 (no standard status)"


def test_the_code_is_told_unless_it_is_the_message():
    assert str(error_of({"message": "m", "code": "E"}, 400)) == "400 Bad Request, 'm', code 'E'"
    assert str(error_of({"error": "m"}, 400)) == "400 Bad Request, 'm'"


def test_a_rejected_token_is_called_so():
    assert "token rejected" in str(error_of({"message": "m"}, 401))
    assert "token rejected" not in str(error_of({"message": "m"}, 403))


def test_the_request_id_is_told():
    error = error_of({"message": "m"}, 400, x_request_id="r-1")
    assert error.request_id == "r-1"
    assert str(error).endswith("request id 'r-1'")
    assert error_of(b"", 400).request_id is None


@pytest.mark.parametrize(
    ("page", "shown"),
    [
        (b"<html><head><title>502 Bad Gateway</title></head>", "'502 Bad Gateway'"),
        (b"<TITLE lang=en>\n  A &amp; B\n</TITLE>", "'A & B'"),
        (b"<html>no title here", "'no title'|no title"),
        (b"<title>" + b"x" * 300 + b"</title>", "'" + "x" * 80 + "'"),
        (b"<title>" + b"x" * 600 + b"</title>", "no title"),
        (b"<title>a\r\nb\x1b[31m</title>", r"'a\r\nb\x1b[31m'"),
    ],
)
def test_of_a_web_page_only_the_title_is_told(page, shown):
    page += b"<p>" + b"secret details " * 700
    text = str(error_of(page, 502, content_type="text/html; charset=utf-8"))
    assert "text/html" in text
    assert any(part in text for part in shown.split("|"))
    assert "secret details" not in text


def test_text_from_the_wire_is_escaped_in_the_message_and_kept_as_it_is_beside_it():
    evil = "a\r\nb\x00\x1b[31m\u202ec\ud800'\""
    error = error_of(json.dumps({"message": evil, "code": evil}).encode(), 400, x_request_id="é")
    assert error.message == evil
    assert error.code == evil
    text = str(error)
    assert text.isascii()
    assert text.isprintable()
    assert r"a\r\nb\x00\x1b[31m\u202ec\ud800" in text


# Redirects.


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://evil.example/path?token=x", "to 'evil.example'"),
        ("https://user:pw@evil.example/", "to 'evil.example'"),
        ("//evil.example/path", "to 'evil.example'"),
        ("/relative/path", "that names no host"),
        ("file:///etc/passwd", "that names no host"),
        ("https://[bad/", "that names no host"),
        ("", "that names no host"),
        (None, "that names no host"),
        ("https://a\x1bb.example/", r"to 'a\x1bb.example'"),
    ],
)
def test_of_a_redirect_only_the_host_is_told(location, shown):
    headers = {} if location is None else {"location": location}
    text = str(error_of(b"moved to https://evil.example/path", 302, **headers))
    assert f"a redirect {shown} was not followed" in text
    for hidden in ("path", "token=", "pw@", "etc"):
        assert hidden not in text


# Errors of decoding.


def test_an_error_of_decoding_tells_which_answer_it_was():
    error = DecodeError("$.a is missing", path="$.a")
    completed(error, answer(b"body", 203, content_type="Text/JSON; x=y", x_request_id="r\n1"))
    assert (error.status, error.request_id, error.path) == (203, "r\n1", "$.a")
    assert "status 203, text/json" in str(error)
    assert r"request id 'r\n1'" in str(error)
    assert "body" not in str(error), "the path says enough"


def test_an_error_about_the_whole_body_shows_its_start():
    error = completed(DecodeError("malformed"), raw(body=b"x\n" * 100 + TOKEN.encode()))
    assert "status 200, no content type" in str(error)
    assert r"the body starts with 'x\nx\n" in str(error)
    assert len(str(error)) < 200, "it shows no more than the start"
    assert "\n" not in str(error)
    assert "request id" not in str(error)
    empty = completed(DecodeError("empty body"), raw())
    assert "starts with" not in str(empty)


def test_a_long_host_or_request_id_is_cut_in_the_message():
    redirect = str(error_of(b"", 302, location=f"https://{'h' * 500}.example/"))
    assert "h" * 80 in redirect
    assert "h" * 81 not in redirect
    error = completed(DecodeError("no"), answer(x_request_id="r" * 150))
    assert error.request_id == "r" * 150
    assert "r" * 80 in str(error)
    assert "r" * 81 not in str(error)


def test_a_media_type_is_told_without_its_parameters():
    response = raw((b"content-type", b"Text/JSON ; charset=utf-8"))
    assert answers.media_type(response, SECRET) == "text/json"


def test_a_media_type_is_escaped_and_cut():
    response = raw((b"content-type", b"a\x1bb" + b"x" * 200 + b";y"))
    assert answers.media_type(response, SECRET).startswith(r"a\x1bbxxx")
    assert len(answers.media_type(response, SECRET)) == 80
    assert answers.media_type(raw(), SECRET) is None


# Escaping and redaction.


@pytest.mark.parametrize(
    ("text", "limit", "shown"),
    [
        ("abc", 10, "'abc'"),
        ("abc", 2, "'ab'"),
        ("a'b\"c", 10, r"""'a\'b"c'"""),
        ("\n\t\\", 10, r"'\n\t\\'"),
        ("é日", 20, r"'\xe9\u65e5'"),
        ("\n" * 10, 5, r"'\n\n\'"),
        ("", 5, "''"),
    ],
)
def test_text_is_shown_quoted_in_ascii_on_one_line_and_cut(text, limit, shown):
    assert answers.escape(text, limit) == shown


@pytest.mark.parametrize("token", [TOKEN, "a/b+c==", 'quo"te', "back\\slash", "per%cent", "~!*()"])
def test_a_token_that_comes_back_is_taken_out_in_each_form(token):
    secret = Secret(token)
    for form in (token, quote(token, safe=""), json.dumps(token)[1:-1]):
        text = f"before {form} after {form}"
        assert answers.redact(text, secret) == "before *** after ***"
        error = error_of(text.encode(), 500, secret, x_request_id=form)
        assert form not in str(error)
        assert form not in error.body
        assert error.request_id == "***"
    assert answers.redact("nothing here", secret) == "nothing here"


@pytest.mark.parametrize("token", [TOKEN, "a/b+c=="])
@pytest.mark.parametrize(
    "escaped",
    [
        lambda token: "".join(f"\\u{ord(c):04x}" for c in token),
        lambda token: token.replace("/", "\\/"),
        lambda token: f"\\u{ord(token[0]):04x}{token[1:]}",
    ],
)
def test_a_token_that_comes_back_escaped_is_taken_out_too(token, escaped):
    body = f'{{"message": "bad {escaped(token)}", "code": "{escaped(token)}"}}'.encode()
    error = error_of(body, 400, Secret(token))
    for seen in (str(error), error.message, error.code, repr(vars(error))):
        assert token not in seen
    assert error.message == "bad ***"


def test_a_token_in_the_title_of_a_page_is_taken_out():
    token = "".join(f"&#{ord(c)};" for c in TOKEN)
    page = f"<title>no {token}</title>".encode()
    assert TOKEN not in str(error_of(page, 502, content_type="text/html"))


def test_a_token_in_the_host_of_a_redirect_is_taken_out():
    assert TOKEN not in str(error_of(b"", 302, location=f"https://{TOKEN}.example/"))


def test_a_token_cut_in_two_by_the_end_of_what_is_kept_is_taken_out():
    error = error_of(b"x" * 495 + TOKEN.encode(), 500)
    assert error.body == "x" * 495 + "***"
    message = json.dumps({"message": "y" * 195 + TOKEN}).encode()
    assert TOKEN[:5] not in str(error_of(message, 500))


def test_a_token_at_the_edge_of_an_excerpt_is_taken_out():
    error = completed(DecodeError("no"), raw(body=b"x" * 75 + TOKEN.encode()))
    assert TOKEN[:4] not in str(error)


@pytest.mark.parametrize("token", ["message", "e", '":"', "{", "code"])
def test_a_token_that_is_a_word_of_the_answer_leaves_its_message_readable(token):
    body = b'{"success":false,"message":"no bucket {x}","code":"E1"}'
    error = error_of(body, 404, Secret(token))
    assert error.message == "no bucket {x}".replace(token, "***")
    assert error.code == "E1"
    for shown in (error.message, error.code, error.body):
        assert token not in shown


def test_a_number_that_is_the_token_is_taken_out():
    error = error_of({"message": "m", "code": 123456}, 400, Secret("123456"))
    assert error.code == "***"


def test_a_token_in_a_media_type_is_taken_out_in_lower_case_too():
    response = raw((b"content-type", b"text/CANARY; x=y"))
    assert answers.media_type(response, Secret("canary")) == "text/***"


def test_an_error_that_holds_an_item_is_completed_with_what_the_item_says():
    body = json.dumps({"success": False, "message": f"not {TOKEN}", "code": "E7"})
    error = APIError(status=200, body=body)
    completed(error, answer(b"the whole answer", 200, x_request_id="r1", retry_after="3"))
    assert (error.status, error.message, error.code) == (200, "not ***", "E7")
    assert (error.request_id, error.retry_after) == ("r1", 3.0)
    assert error.body == body.replace(TOKEN, "***")
    assert str(error) == "200 OK, success is false, 'not ***', code 'E7', request id 'r1'"


def test_an_error_with_a_text_of_its_own_is_completed_with_the_request_id_alone():
    error = completed(
        NotFoundError("the answer does not hold 'b'", status=200), answer(b"{}", x_request_id="r1")
    )
    assert error.request_id == "r1"
    assert str(error) == "the answer does not hold 'b'"


def test_the_id_in_a_misdirected_answer_is_redacted_before_it_is_cut():
    with pytest.raises(DecodeError) as caught:
        wire.decode_status(answer({"bucketId": "x" * 160 + TOKEN, "nodeStatus": []}).body, "b")
    assert TOKEN in str(caught.value)
    assert TOKEN[:4] not in str(completed(caught.value, answer(b"{}")))


def test_an_error_of_another_kind_says_nothing_of_the_answer():
    error = InvalidArgumentError("wrong")
    before = dict(vars(error))
    answers.complete(error, answer(b"{}", 500), SECRET, NOON)
    assert vars(error) == before
