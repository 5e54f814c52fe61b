"""Whatever bytes a server sends, they are an answer, a refusal or not enough, and nothing else."""

import gzip
import zlib

from hypothesis import given
from hypothesis import strategies as st

from flashback_async.api.answers import SNIPPET_BYTES
from flashback_async.net.reader import LONGEST_FIELD, MOST_FIELDS, AnswerReader
from flashback_async.values import Attempt, NoAnswer, Response, Secret
from tests.property.strategies import assert_harmless

SECRET = Secret("canary-9f1c")
MOST = 200  # bytes of a body

_names = st.from_regex(r"[A-Za-z][A-Za-z0-9!#$%&'*+.^_`|~-]{0,12}", fullmatch=True).map(str.encode)
_values = st.binary(max_size=20).map(
    lambda data: bytes(byte for byte in data if byte >= 0x20 and byte != 0x7F).strip()
)
_FRAMING = {b"connection", b"content-length", b"transfer-encoding", b"content-encoding", b"upgrade"}
_fields = st.lists(
    st.tuples(_names.filter(lambda name: name.lower() not in _FRAMING), _values), max_size=6
)
_bodies = st.one_of(st.binary(max_size=MOST), st.integers(0, MOST).map(bytes), st.just(bytes(MOST)))
_reasons = st.sampled_from([b" OK", b" Not Found at all", b" ", b""])


@st.composite
def _framed(draw, body):
    """The fields and the bytes of a body whose length is declared, or which comes in chunks."""
    if draw(st.booleans()):
        return [(b"Content-Length", b"%d" % len(body))], body
    chunks, rest = [], body
    while rest:
        size = draw(st.integers(1, len(rest)))
        extension = draw(st.sampled_from([b"", b";a", b";a=b", b';a="b;c"']))
        chunks.append(b"%x%b\r\n%b\r\n" % (size, extension, rest[:size]))
        rest = rest[size:]
    trailers = draw(st.sampled_from([b"", b"X-Sum: 9\r\n"]))
    data = b"".join((*chunks, b"0\r\n", trailers, b"\r\n"))
    return [(b"Transfer-Encoding", b"chunked")], data


@st.composite
def valid_answers(draw):
    """The bytes of an answer, and what it says."""
    status = draw(st.sampled_from([200, 201, 299, 301, 400, 404, 429, 503, 999]))
    body = draw(_bodies)
    coding, packed = draw(
        st.sampled_from(
            [
                (None, body),
                (b"gzip", gzip.compress(body[:9], mtime=0) + gzip.compress(body[9:], mtime=0)),
                (b"deflate", zlib.compress(body)),
            ]
        )
    )
    framing, data = draw(_framed(packed))
    fields = [*draw(_fields), *framing, *([(b"Content-Encoding", coding)] if coding else [])]
    fields = draw(st.permutations(fields))
    before = draw(st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n"]))
    head = b"".join(b"%b: %b\r\n" % field for field in fields)
    line = b"HTTP/1.1 %d%b\r\n" % (status, draw(_reasons))
    return before + line + head + b"\r\n" + data, Response(status, tuple(fields), body)


@st.composite
def damaged(draw):
    """The bytes of answers, with something cut out, put in, or changed."""
    data = bytearray(b"".join(answer for answer, _ in draw(st.lists(valid_answers(), max_size=2))))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        put_in = draw(st.one_of(st.binary(max_size=4), _TRICKS))
        data[at : at + draw(st.integers(0, 20))] = put_in
    return bytes(data)


_TRICKS = st.sampled_from(
    [
        *(b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\0", b" ", b":", b";", b"0\r\n\r\n"),
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 101 Go\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"\r\nContent-Length: 5\r\n",
        b"\r\nContent-Length: 99999999999999999999\r\n",
        b"\r\nContent-Length: " + b"0" * 5000 + b"\r\n",
        b"\r\nTransfer-Encoding: chunked\r\n",
        b"\r\nTransfer-Encoding: gzip\r\n",
        b"\r\nContent-Encoding: gzip\r\n",
        b"\r\nContent-Encoding: canary-9f1c\r\n",
        b"\r\nContent-Encoding: br\r\n",
        b"\r\nConnection: close\r\n",
        b"\r\nConnection: upgrade\r\nUpgrade: x\r\n",
        b"X: y\r\n" * 130,
        b"X" * 9000,
        b"x" * 300,
    ]
)

cuts = st.lists(st.integers(0, 2000), max_size=8)


def packets(data, cuts):
    """Yield the bytes in packets, which are never empty."""
    start = 0
    for end in sorted({*(cut for cut in cuts if 0 < cut < len(data)), len(data)}):
        if data:
            yield data[start:end]
        start = end


def read(parts, most=MOST):
    """Return the reply to packets, or to the end of the connection, and whether it is kept."""
    reader, attempt = AnswerReader(most), Attempt(5.0)
    reader.expect(attempt, SECRET)
    for part in parts:
        reply = reader.feed(part)
        if reply is not None:
            return reply, reader.is_reusable
        reader.note_progress()
        assert attempt.received >= 0
    return reader.end(), False


@given(valid_answers(), cuts)
def test_an_answer_says_the_same_in_any_packets(answer, cuts):
    data, expected = answer
    assert read([data]) == (expected, True)
    assert read(packets(data, cuts)) == (expected, True)
    assert read(data[at : at + 1] for at in range(len(data))) == (expected, True)


@given(valid_answers(), cuts, st.integers(1, 400))
def test_an_answer_that_is_cut_short_is_never_taken_for_whole(answer, cuts, missing):
    data, _ = answer
    cut = data[: max(len(data) - missing, 0)]
    assert read(packets(cut, cuts)) == (None, False)


@given(valid_answers(), cuts, st.integers(0, MOST))
def test_a_body_is_never_larger_than_the_limit(answer, cuts, most):
    data, expected = answer
    reply, _ = read(packets(data, cuts), most)
    if 200 <= expected.status < 300 and len(expected.body) > most:
        assert isinstance(reply, NoAnswer)
    elif isinstance(reply, Response):
        assert reply == expected
    else:  # the declared length of a packed body may exceed that of the body
        assert b"Content-Encoding" in dict(expected.headers)


@given(st.one_of(damaged(), damaged(), st.binary(max_size=300)), cuts)
def test_any_bytes_are_an_answer_or_a_refusal_or_not_enough(data, cuts):
    for parts in ([data] if data else [], packets(data, cuts)):
        reply, is_kept = read(parts)
        if isinstance(reply, Response):
            assert len(reply.body) <= (MOST if 200 <= reply.status < 300 else SNIPPET_BYTES)
            assert len(reply.headers) <= MOST_FIELDS
            assert all(len(name) + len(value) <= LONGEST_FIELD for name, value in reply.headers)
        else:
            assert not is_kept
            if reply is not None:
                text = str(reply.error)
                assert_harmless(text)
                assert SECRET.reveal() not in text
                assert "callback" not in text  # the parser has met no exception of ours
                assert len(text) < 300


@given(st.lists(valid_answers(), min_size=1, max_size=4), cuts)
def test_answers_come_one_after_the_other(answers, cuts):
    reader = AnswerReader(MOST)
    for data, expected in answers:
        reader.expect(Attempt(5.0), SECRET)
        assert not reader.is_reusable
        *first, last = packets(data, cuts)
        assert [reader.feed(part) for part in first] == [None] * len(first)
        assert reader.feed(last) == expected
        assert reader.is_reusable
