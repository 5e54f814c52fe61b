"""Bodies: framed, inflated, and within a limit."""

import gzip
import zlib

import pytest

from flashback_async.api.answers import SNIPPET_BYTES
from flashback_async.errors import DecodeError, ProtocolError, ResponseTooLargeError
from flashback_async.net.body import Body
from flashback_async.values import NoAnswer, Response, Secret

SECRET = Secret("canary-9f1c")
LIMIT = 1000
TEXT = b'{"success": true}' * 10


def body(status=200, most=LIMIT, **fields):
    """Return a body; the names of header fields are written with underscores."""
    headers = tuple(
        (name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()
    )
    return Body(status, headers, most)


def read(one, *blocks):
    """Return the reply to a body that arrives in blocks, each in a packet of its own."""
    reply = one.refusal(SECRET)
    for block in blocks:
        reply = reply or one.add([block], SECRET)
    return reply or one.complete(SECRET)


def bytewise(data):
    return [data[at : at + 1] for at in range(len(data))]


def error_of(reply, kind):
    assert isinstance(reply, NoAnswer)
    assert type(reply.error) is kind
    return str(reply.error)


def test_a_body_knows_what_its_head_declares():
    one = body(content_length="0012", CONTENT_ENCODING="GZIP")
    assert (one.expected, one.is_framed) == (12, True)
    one = body(Transfer_Encoding="Chunked")
    assert (one.expected, one.is_framed) == (None, True)
    one = body(content_type="application/json")
    assert (one.expected, one.is_framed) == (None, False)
    assert body(content_length="0" * 5000).expected == 0


def test_a_body_comes_in_any_blocks_and_packets():
    for blocks in ([TEXT], bytewise(TEXT), [TEXT[:50], TEXT[50:]]):
        one = body(content_length=str(len(TEXT)))
        assert read(one, *blocks) == Response(200, one._headers, TEXT)
        assert one.received == len(TEXT)
        one = body()
        assert one.add(blocks, SECRET) is None
        assert one.complete(SECRET) == Response(200, (), TEXT)


PACKED = {
    "gzip": ("gzip", gzip.compress(TEXT)),
    "members": ("gzip", gzip.compress(TEXT[:40]) + gzip.compress(b"") + gzip.compress(TEXT[40:])),
    "zlib": ("deflate", zlib.compress(TEXT)),
    "raw": ("deflate", zlib.compress(TEXT)[2:-4]),
}


@pytest.mark.parametrize(("coding", "packed"), PACKED.values(), ids=PACKED)
def test_a_packed_body_is_inflated(coding, packed):
    for blocks in ([packed], bytewise(packed), [packed[:11], packed[11:]]):
        one = body(content_encoding=coding)
        assert read(one, *blocks).body == TEXT
        assert one.received == len(packed)


@pytest.mark.parametrize("name", ["gzip", "zlib", "raw"])  # whole up to the end of one
def test_a_packed_body_that_is_cut_short_is_refused(name):
    coding, packed = PACKED[name]
    for end in range(1, len(packed)):
        text = error_of(read(body(content_encoding=coding), packed[:end]), DecodeError)
        assert f"'{coding}, which ended early'" in text


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_packed_body_may_be_empty(coding):
    assert read(body(content_encoding=coding)) == Response(
        200, ((b"content-encoding", coding.encode()),), b""
    )


@pytest.mark.parametrize(("coding", "packed"), PACKED.values(), ids=PACKED)
def test_bytes_after_a_packed_body_are_refused(coding, packed):
    for blocks in ([packed + b"junk"], bytewise(packed + b"junk"), [packed, b"junk"]):
        error_of(read(body(content_encoding=coding), *blocks), DecodeError)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_body_that_is_not_packed_as_declared_is_refused(coding):
    for start in (b"\x1f", b"\x78", b"\xff"):
        text = error_of(read(body(content_encoding=coding), start + TEXT), DecodeError)
        assert coding in text


@pytest.mark.parametrize("coding", ["br", "zstd", "x-gzip", "gzip, gzip", "br, canary-9f1c"])
def test_an_encoding_that_nobody_asked_for_is_refused_before_the_body_is_read(coding):
    text = error_of(body(content_encoding=coding).refusal(SECRET), DecodeError)
    assert SECRET.reveal() not in text
    assert coding in text or SECRET.reveal() in coding
    assert body(content_encoding=coding, content_length="0").refusal(SECRET) is None


@pytest.mark.parametrize("coding", ["gzip, chunked", "xchunked", "identity", ""])
def test_an_encoding_of_the_transfer_is_refused(coding):
    text = error_of(body(transfer_encoding=coding).refusal(SECRET), ProtocolError)
    assert "Transfer-Encoding" in text


def test_a_declared_length_over_the_limit_is_refused_before_the_body_is_read():
    assert body(content_length=str(LIMIT)).refusal(SECRET) is None
    text = error_of(body(content_length=str(LIMIT + 1)).refusal(SECRET), ResponseTooLargeError)
    assert f"{LIMIT} bytes: {LIMIT + 1} bytes are declared" in text


def test_a_body_over_the_limit_is_refused_as_soon_as_it_is():
    one = body()
    assert one.add([bytes(LIMIT)], SECRET) is None
    text = error_of(one.add([b"x"], SECRET), ResponseTooLargeError)
    assert "more bytes follow" in text
    one = body()
    assert one.add([bytes(LIMIT)], SECRET) is None
    assert len(one.complete(SECRET).body) == LIMIT


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_bomb_is_inflated_no_further_than_the_limit(coding):
    pack = gzip.compress if coding == "gzip" else zlib.compress
    one = body(content_encoding=coding)
    error_of(one.add([pack(bytes(10_000_000))], SECRET), ResponseTooLargeError)
    assert len(one._data) == LIMIT + 1
    one = body(content_encoding=coding)
    packed = pack(bytes(LIMIT))
    assert one.add([packed], SECRET) is None
    assert one.complete(SECRET).body == bytes(LIMIT)


def test_many_small_members_of_gzip_are_inflated_no_further_than_the_limit():
    member = gzip.compress(b"x")
    one = body(content_encoding="gzip")
    error_of(one.add([member * 5000], SECRET), ResponseTooLargeError)
    one = body(content_encoding="gzip")
    assert one.add([member * LIMIT], SECRET) is None
    assert one.complete(SECRET).body == b"x" * LIMIT


ERRORS = {
    "status": {"status": 503},
    "redirect": {"status": 302},
    "html": {"content_type": "text/html; charset=utf-8"},
    "declared": {"status": 400, "content_length": "1000000"},
}


@pytest.mark.parametrize("head", ERRORS.values(), ids=ERRORS)
def test_only_the_start_of_what_is_no_data_is_read(head):
    one = body(most=10, **head)
    assert one.refusal(SECRET) is None
    assert one.add([bytes(SNIPPET_BYTES)], SECRET) is None
    reply = one.add([b"xyz"], SECRET)
    assert (len(reply.body), reply.status) == (SNIPPET_BYTES, head.get("status", 200))
    packed = gzip.compress(bytes(10 * SNIPPET_BYTES))
    reply = body(content_encoding="gzip", **head).add([packed], SECRET)
    assert reply.body == bytes(SNIPPET_BYTES)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
@pytest.mark.parametrize("status", [301, 401, 404, 429, 503])
def test_a_status_counts_whatever_became_of_the_body(status, coding):
    for blocks in ([TEXT], [gzip.compress(TEXT)[:-8]]):
        reply = read(body(status, content_encoding=coding), *blocks)
        assert isinstance(reply, Response)
        assert reply.status == status


def test_the_limit_is_that_of_the_inflated_body():
    packed = gzip.compress(b"0123456789")
    one = body(most=10, content_encoding="gzip", content_length=str(len(packed)))
    assert read(one, packed).body == b"0123456789"
    error_of(read(body(most=9, content_encoding="gzip"), packed), ResponseTooLargeError)


def test_a_token_among_the_encodings_does_not_show():
    secret = Secret("Canary-9F1C")
    text = error_of(body(content_encoding="br, Canary-9F1C").refusal(secret), DecodeError)
    assert "canary" not in text.lower()
