"""The reader of answers, beside aiohttp's."""

import gzip
import random
import zlib

import pytest

from flashback_async.api.answers import SNIPPET_BYTES
from flashback_async.errors import DecodeError, ProtocolError, ResponseTooLargeError
from flashback_async.net.reader import LONGEST_FIELD, MOST_FIELDS
from flashback_async.values import Attempt, Response, Secret
from tests.faults.harness.answers import chunked
from tests.unit.net.oracle import MOST, REFUSED, fed, new_reader, ours, refusal, theirs

JSON = b'{"success": true, "nodeStatus": []}'
NOISE = random.Random(7).randbytes(150_000)
GZIP = gzip.compress(JSON, mtime=0)
ZLIB = zlib.compress(JSON)
DEFLATE = ZLIB[2:-4]


def answer(*fields, body=JSON, line="HTTP/1.1 200 OK", length=True):
    """Return an answer; ``length`` is whether it has a Content-Length."""
    lines = [line, *fields, *([f"Content-Length: {len(body)}"] if length else ())]
    return "\r\n".join((*lines, "", "")).encode("latin-1") + body


def in_chunks(*fields, body=None, **options):
    """Return an answer in chunks."""
    body = chunked(JSON[:5], JSON[5:]) if body is None else body
    return answer(*fields, "Transfer-Encoding: chunked", body=body, length=False, **options)


def encoded(coding, body):
    return answer(f"Content-Encoding: {coding}", body=body)


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: close\r\n\r\n"
UNAVAILABLE = "HTTP/1.1 503 Service Unavailable"
OLD = "HTTP/1.0 200 OK"

# Both read the same.
SAME = {
    "length": answer(),
    "length_zero": answer(body=b""),
    "length_with_zeros_in_front": answer("Content-Length: 00002", body=b"{}", length=False),
    "length_with_5000_zeros": answer(f"Content-Length: {'0' * 5000}2", body=b"{}", length=False),
    "length_between_spaces": answer("Content-Length: \t 2 \t", body=b"{}", length=False),
    "chunks": in_chunks(),
    "no_chunk": in_chunks(body=b"0\r\n\r\n"),
    "chunks_with_extensions": in_chunks(body=b'2;a=b;c="d;e"\r\n{}\r\n0;last\r\n\r\n'),
    "chunk_sizes_with_zeros": in_chunks(body=b"0002\r\n{}\r\n0000\r\n\r\n"),
    "chunk_size_in_capitals": in_chunks(body=b"1A\r\n" + b"x" * 26 + b"\r\n0\r\n\r\n"),
    "chunks_with_trailers": in_chunks(
        "Trailer: X-Sum", body=chunked(JSON, end=b"0\r\nX-Sum: 9\r\nX-Other: a b \r\n\r\n")
    ),
    "chunked_in_other_words": answer(
        "TRANSFER-encoding:\tChunkeD ", body=chunked(JSON), length=False
    ),
    "continue_first": CONTINUE + answer(),
    "informational_first": CONTINUE + HINTS + CONTINUE + answer(),
    "informational_with_a_length": answer(line="HTTP/1.1 102 Processing", body=b"") + answer(),
    "line_ends_first": b"\r\n\r\n" + answer(),
    "no_content": answer(line="HTTP/1.1 204 No Content", length=False, body=b""),
    "no_content_with_a_length": answer(
        "Content-Length: 5", line="HTTP/1.1 204 No Content", length=False, body=b""
    ),
    "no_content_in_chunks": in_chunks(line="HTTP/1.1 204 No Content", body=b""),
    "not_modified_with_a_length": answer(
        "Content-Length: 5", line="HTTP/1.1 304 Not Modified", length=False, body=b""
    ),
    "reset_content": answer(line="HTTP/1.1 205 Reset Content", body=b""),
    "gzip": encoded("gzip", GZIP),
    "gzip_in_capitals": encoded("GZip ", GZIP),
    "gzip_in_chunks": in_chunks("Content-Encoding: gzip", body=chunked(GZIP[:9], GZIP[9:])),
    "gzip_of_several_members": encoded("gzip", GZIP + gzip.compress(b" ") + GZIP),
    "gzip_without_a_body": encoded("gzip", b""),
    "gzip_of_nothing": encoded("gzip", gzip.compress(b"")),
    "gzip_that_is_none": encoded("gzip", JSON),
    "gzip_and_more": encoded("gzip", GZIP + JSON),
    "deflate_with_a_header": encoded("deflate", ZLIB),
    "deflate_without_a_header": encoded("deflate", DEFLATE),
    "deflate_without_a_body": encoded("deflate", b""),
    "deflate_cut_short": encoded("deflate", ZLIB[:-2]),
    "deflate_and_more": encoded("deflate", ZLIB + b"x"),
    "deflate_that_is_none": encoded("deflate", b"\xff" + JSON),
    "identity": encoded("identity", JSON),
    "encoding_without_a_name": encoded("", JSON),
    "character_set_as_encoding": encoded("utf-8", JSON),
    "brotli": encoded("br", b"\x0b\x02\x80{}\x03"),
    "http_1_0": answer(line=OLD),
    "http_1_0_kept_alive": answer("Connection: Keep-Alive", line=OLD),
    "http_1_0_in_chunks": in_chunks(line=OLD),
    "http_1_0_in_chunks_kept_alive": in_chunks("Connection: keep-alive", line=OLD),
    "http_1_2": answer(line="HTTP/1.2 200 OK"),
    "http_2_0": answer(line="HTTP/2.0 200 OK"),
    "close": answer("Connection: close"),
    "close_in_capitals": answer("connection: CLOSE "),
    "close_among_others": answer("Connection: x, close", "Connection: keep-alive"),
    "close_for_a_proxy": answer("Proxy-Connection: close"),
    "offers_an_upgrade": answer("Connection: Upgrade", "Upgrade: h2,h2c"),
    "wants_an_upgrade": answer(
        "Connection: upgrade", "Upgrade: h2c", line="HTTP/1.1 426 Upgrade Required"
    ),
    "no_reason": answer(line="HTTP/1.1 200"),
    "empty_reason": answer(line="HTTP/1.1 200 "),
    "reason_of_other_letters": answer(line="HTTP/1.1 200 Tr\xe8s bien"),
    "reason_with_a_nul": answer(line="HTTP/1.1 200 O\0K"),
    "two_spaces": answer(line="HTTP/1.1  200 OK"),
    "values_with_spaces": answer("X-A:b", "X-B: \t c d  \t ", "X-C:", "X-D:  ", "X-E: e"),
    "values_of_other_letters": answer("X-A: \xff\xfe\x80"),
    "names_twice": answer("Set-Cookie: a=1", "Set-Cookie: b=2", "set-cookie: c"),
    "many_fields": answer(*(f"X-{n}: {n}" for n in range(MOST_FIELDS - 1))),
    "too_many_fields": answer(*(f"X-{n}: {n}" for n in range(MOST_FIELDS))),
    "too_many_with_trailers": in_chunks(body=b"0\r\n" + b"X: y\r\n" * 150 + b"\r\n"),
    "long_field": answer(f"X: {'a' * (LONGEST_FIELD - 1)}"),
    "too_long_a_field": answer(f"X: {'a' * (LONGEST_FIELD + 1)}"),
    "too_long_a_name": answer(f"{'X' * (LONGEST_FIELD + 1)}: a"),
    "too_long_a_trailer": in_chunks(body=b"0\r\nX: %b\r\n\r\n" % (b"a" * 9000)),
    "large": answer(body=NOISE),
    "large_in_chunks": in_chunks(body=chunked(NOISE[:70_000], NOISE[70_000:])),
    "large_gzip": encoded("gzip", gzip.compress(NOISE, mtime=0)),
    "large_error": answer("Content-Type: text/html", line=UNAVAILABLE, body=b"<p>" * 30_000),
    "large_error_in_chunks": in_chunks(line=UNAVAILABLE, body=chunked(*[b"<p>" * 9000] * 4)),
    "large_error_with_gzip": answer(
        "Content-Encoding: gzip", line=UNAVAILABLE, body=gzip.compress(b"<p>" * 30_000, mtime=0)
    ),
    "error_up_to_the_limit": answer(line=UNAVAILABLE, body=b"x" * SNIPPET_BYTES),
    "status_99": answer(line="HTTP/1.1 99 Low"),
    "status_999": answer(line="HTTP/1.1 999 High"),
    "status_1000": answer(line="HTTP/1.1 1000 Higher"),
    "status_in_letters": answer(line="HTTP/1.1 abc OK"),
    "another_protocol": b"SSH-2.0-OpenSSH_9.6p1\r\n\r\n",
}

# The connection ends after them.
SAME_AT_THE_END = {
    "nothing": b"",
    "no_length": answer(length=False),
    "no_length_and_no_body": answer(length=False, body=b""),
    "no_length_but_kept_alive": answer("Connection: keep-alive", length=False),
    "no_length_with_http_1_0": answer(line=OLD, length=False),
    "no_length_with_gzip": answer("Content-Encoding: gzip", body=GZIP, length=False),
    "no_length_with_gzip_of_nothing": answer("Content-Encoding: gzip", body=b"", length=False),
    "large_without_a_length": answer(body=NOISE, length=False),
    "large_error_without_a_length": answer(line=UNAVAILABLE, body=NOISE, length=False),
    "half_a_head": b"HTTP/1.1 200 OK\r\nContent-Len",
    "half_a_body": answer()[:-3],
    "no_last_chunk": in_chunks(body=chunked(JSON, end=b"")),
    "half_a_last_chunk": in_chunks(body=chunked(JSON, end=b"0\r\n")),
    "informational_only": CONTINUE,
}

# Ours refuses what aiohttp reads, for a reason.
STRICTER = {
    # Who reads it in another way than a proxy before it can be made to take one answer for two.
    "two_codings_of_the_transfer": answer(
        "Transfer-Encoding: gzip, chunked", body=chunked(JSON), length=False
    ),
    "chunked_twice": in_chunks("Transfer-Encoding: chunked"),
    "folded_field": answer("X-A: a", " b"),
    "folded_first_field": answer(" X-A: a"),
    "folded_with_a_tab": answer("X-A: a", "\tb"),
    "folded_length": answer("Content-Length:", f" {len(JSON)}", length=False),
    "space_before_the_colon": answer(f"Content-Length : {len(JSON)}", length=False),
    "lines_without_cr": answer().replace(b"\r\n", b"\n"),
    "one_line_without_cr": answer("X-A: a\nX-B: b"),
    "control_character": answer("X-A: a\x01b"),
    "delete_character": answer("X-A: a\x7fb"),
    "space_after_a_chunk_size": in_chunks(body=b"2 \r\n{}\r\n0\r\n\r\n"),
    "chunk_that_ends_without_cr": in_chunks(body=b"2\r\n{}\n0\r\n\r\n"),
    "end_without_cr": in_chunks(body=b"2\r\n{}\r\n0\r\n\n"),
    # What is cut short must not pass for whole.
    "gzip_cut_short": encoded("gzip", GZIP[:-9]),
    "gzip_without_its_sum": encoded("gzip", GZIP[:-3]),
    # The Accept-Encoding asked for neither; aiohttp passes on the bytes as they are.
    "x_gzip": encoded("x-gzip", GZIP),
    "gzip_twice": encoded("gzip, gzip", gzip.compress(GZIP)),
    "gzip_in_two_fields": answer(
        "Content-Encoding: gzip", "Content-Encoding: gzip", body=gzip.compress(GZIP)
    ),
    "deflate_twice_over": encoded("deflate", ZLIB + ZLIB),  # aiohttp joins the two
    "switching_protocols": answer(  # aiohttp returns the 101, which the call then refuses
        "Connection: upgrade", "Upgrade: x", line="HTTP/1.1 101 Go", length=False, body=b""
    ),
    "switching_protocols_silently": answer(line="HTTP/1.1 101 Go", length=False, body=b""),
}

STRICTER_AT_THE_END = {
    "gzip_cut_short": answer("Content-Encoding: gzip", body=GZIP[:-3], length=False),
    # aiohttp takes all until the end for the body.
    "identity": answer("Transfer-Encoding: identity", length=False),
    "chunked_and_more": answer("Transfer-Encoding: chunked, gzip", length=False),
    "unknown_transfer": answer("Transfer-Encoding: xchunked", length=False),
}

# Ours reads what aiohttp refuses, without harm.
LAXER = {
    # Whether the body could be decoded does not matter.
    "brotli_without_a_body": encoded("br", b""),
    # They arrived in one packet, so that they took no more room than that, and are dropped.
    "long_reason": answer(line=f"HTTP/1.1 200 {'a' * 20_000}"),
    "many_fields_before": b"HTTP/1.1 103 Hints\r\n%b\r\n" % (b"X: y\r\n" * 200) + answer(),
}


def splits(data):
    """Yield an answer in two packets, split at every byte, or at many if it is large."""
    step = 1 if len(data) < 1000 else len(data) // 200
    for at in {*range(1, len(data), step), *range(1, min(len(data), 200)), len(data) - 1}:
        if 0 < at < len(data):
            yield [data[:at], data[at:]]


def one_by_one(data):
    return [data[at : at + 1] for at in range(len(data))]


def cases(same, stricter):
    both = [(data, None, name) for name, data in same.items()]
    only_theirs = [(data, REFUSED, f"stricter_{name}") for name, data in stricter.items()]
    return [pytest.param(data, ours, id=name) for data, ours, name in both + only_theirs]


@pytest.mark.parametrize(("data", "expected"), cases(SAME, STRICTER))
async def test_an_answer_is_read_as_aiohttp_reads_it_or_listed(data, expected):
    whole, other = ours([data]), await theirs([data])
    if expected is None:
        assert whole == other
    else:
        assert whole.answer == expected
        assert other.answer != expected


@pytest.mark.parametrize(("data", "expected"), cases(SAME_AT_THE_END, STRICTER_AT_THE_END))
async def test_an_answer_that_the_connection_ends_is_read_as_aiohttp_reads_it_or_listed(
    data, expected
):
    whole, other = ours([data], ended=True), await theirs([data], ended=True)
    if expected is None:
        assert whole == other
    else:
        assert whole.answer == expected
        assert other.answer != expected


@pytest.mark.parametrize("data", LAXER.values(), ids=LAXER)
async def test_little_that_aiohttp_refuses_is_read(data):
    assert isinstance(ours([data]).answer, Response)
    assert (await theirs([data])).answer == REFUSED


@pytest.mark.parametrize("data", (SAME | STRICTER).values(), ids=SAME | STRICTER)
def test_packets_make_no_difference(data):
    whole = ours([data])
    for parts in splits(data):
        assert ours(parts) == whole, parts[0][-40:]
    assert ours(one_by_one(data)) == whole


AT_THE_END = SAME_AT_THE_END | STRICTER_AT_THE_END


@pytest.mark.parametrize("data", AT_THE_END.values(), ids=AT_THE_END)
def test_packets_make_no_difference_before_the_end_of_the_connection(data):
    whole = ours([data], ended=True)
    for parts in splits(data):
        assert ours(parts, ended=True) == whole, parts[0][-40:]
    assert ours(one_by_one(data), ended=True) == whole


def test_a_connection_is_read_answer_after_answer():
    reader = new_reader()
    kept = [data for data in SAME.values() if ours([data]).is_kept]
    assert len(kept) > 30
    for data in kept:
        for parts in ([data], one_by_one(data) if len(data) < 5000 else [data[:50], data[50:]]):
            reader.expect(Attempt(5.0), Secret("another"))
            assert not reader.is_reusable
            assert not reader.has_begun
            assert fed(reader, parts) == ours([data]).answer
            assert reader.is_reusable


def test_bytes_behind_an_answer_cost_the_connection():
    good = answer()
    for more in (good, good[:1], good[:40], b"\r\nH", CONTINUE):
        assert ours([good + more]) == (ours([good]).answer, False)
    for more in (b"stray", b"\0", b"{}\r\n\r\n"):
        error = refusal([good + more]).error
        assert type(error) is ProtocolError
        assert "more bytes follow the answer" in str(error)


def test_line_ends_behind_an_answer_are_ignored():
    assert ours([answer() + b"\r\n"]) == ours([answer()])


@pytest.mark.parametrize("parts", [[b"ICY 200 OK\r\n\r\n"], one_by_one(b"ICY 200 OK\r\n\r\n")])
def test_what_is_not_http_is_shown_from_its_first_byte(parts):
    error = refusal(parts).error
    assert type(error) is ProtocolError
    assert str(error).startswith("not HTTP: the answer starts with 'ICY")


def test_a_head_and_progress_are_noted_for_an_answer_that_takes_several_packets():
    reader, attempt = new_reader(), Attempt(5.0)
    attempt.phase = "headers"
    reader.expect(attempt, Secret("another"))
    data = answer("X-A: b ")
    at = data.index(JSON)
    assert reader.feed(data[:5]) is None
    assert reader.has_begun
    assert (attempt.phase, attempt.head) == ("headers", None)
    assert reader.feed(data[5:at]) is None
    assert (attempt.phase, attempt.expected) == ("body", len(JSON))
    length = (b"Content-Length", str(len(JSON)).encode())
    assert attempt.head == Response(200, ((b"X-A", b"b"), length), b"")
    assert reader.feed(data[at : at + 7]) is None
    reader.note_progress()
    assert attempt.received == 7
    assert reader.feed(data[at + 7 :]) == attempt.head._replace(body=JSON)
    assert not reader.has_begun


@pytest.mark.parametrize("body", [gzip.compress(bytes(MOST + 1)), bytes(MOST + 1)])
@pytest.mark.parametrize("length", [True, False])
def test_a_body_over_the_limit_is_refused(body, length):
    coding = ["Content-Encoding: gzip"] if len(body) < MOST else []
    data = answer(*coding, body=body, length=length)
    for parts in ([data], [data[:1000], data[1000:]]):
        assert type(refusal(parts).error) is ResponseTooLargeError


def test_a_body_up_to_the_limit_is_read():
    data = answer(body=bytes(500))
    for parts in ([data], one_by_one(data)):
        assert ours(parts, most=500).answer.body == bytes(500)
        assert type(refusal(parts, most=499).error) is ResponseTooLargeError


@pytest.mark.parametrize("data", [encoded("gzip", GZIP[:-3]), encoded("deflate", ZLIB[:-2])])
def test_an_encoding_that_ended_early_costs_the_connection(data):
    for parts in ([data], one_by_one(data)):
        error = refusal(parts).error
        assert type(error) is DecodeError
        assert "ended early" in str(error)


@pytest.mark.parametrize("twice", [False, True])
def test_every_coding_that_cannot_be_undone_is_named(twice):
    codings = ["br", "zstd"] if twice else ["br"]
    data = answer(*(f"Content-Encoding: {coding}" for coding in codings))
    assert ", ".join(codings) in str(refusal([data]).error)


@pytest.mark.parametrize("length", [True, False])
def test_a_status_below_100_is_known_before_its_body_ends(length):
    data = answer(line="HTTP/1.1 099 None", length=length)
    for parts in ([data], *splits(data)):
        read = ours(parts)
        assert (read.answer.status, read.answer.body, read.is_kept) == (99, b"", False)
