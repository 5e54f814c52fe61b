"""Answers that two readers might understand in different ways, and those without an end."""

import itertools
import tracemalloc

import pytest

from flashback_async.errors import ProtocolError
from flashback_async.net.reader import LONGEST_FIELD, MOST_FIELDS
from flashback_async.values import NoAnswer
from tests.unit.net.oracle import MOST, new_reader, refusal

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
CHUNKS = b"2\r\n{}\r\n0\r\n\r\n"


def with_fields(*fields, body=b"{}"):
    return OK + b"".join(field + b"\r\n" for field in fields) + b"\r\n" + body


def with_length(value):
    return with_fields(b"Content-Length:" + value)


def with_transfer(*values, body=CHUNKS):
    return with_fields(*(b"Transfer-Encoding: " + value for value in values), body=body)


def with_field(field):
    return with_fields(b"Content-Length: 2", field, b"X-Last: z")


LENGTHS = {
    "signed": with_length(b" +2"),
    "negative": with_length(b" -2"),
    "with_a_space_inside": with_length(b" 0 2"),
    "with_a_tab_inside": with_length(b" 0\t2"),
    "hexadecimal": with_length(b" 0x2"),
    "list": with_length(b" 2, 2"),
    "empty": with_length(b""),
    "only_spaces": with_length(b"  "),
    "underscore": with_length(b" 0_2"),
    "fraction": with_length(b" 2.0"),
    "letters": with_length(b" two"),
    "other_digits": with_length(b" \xd9\xa2"),
    "vertical_tab": with_length(b" \x0b2"),
    "overflow": with_length(b" 18446744073709551618"),
    "same_twice": with_fields(b"Content-Length: 2", b"Content-Length: 2"),
    "two": with_fields(b"Content-Length: 2", b"content-length: 1"),
    "and_chunked": with_fields(b"Content-Length: 12", b"Transfer-Encoding: chunked", body=CHUNKS),
    "after_chunked": with_fields(b"Transfer-Encoding: chunked", b"Content-Length: 12", body=CHUNKS),
    "and_identity": with_fields(b"Content-Length: 2", b"Transfer-Encoding: identity"),
    "after_identity": with_fields(b"Transfer-Encoding: identity", b"Content-Length: 2"),
    "and_empty_transfer": with_fields(b"Content-Length: 2", b"Transfer-Encoding:"),
    "in_a_trailer": CHUNKED + b"2\r\n{}\r\n0\r\nContent-Length: 2\r\n\r\n",
}

TRANSFERS = {
    "gzip_first": with_transfer(b"gzip, chunked"),
    "gzip_first_in_another_field": with_transfer(b"gzip", b"chunked"),
    "gzip_last": with_transfer(b"chunked, gzip"),
    "gzip_last_in_another_field": with_transfer(b"chunked", b"gzip"),
    "gzip": with_transfer(b"gzip"),
    "unknown": with_transfer(b"xchunked"),
    "unknown_ending": with_transfer(b"chunkedx"),
    "identity": with_transfer(b"identity"),
    "identity_first": with_transfer(b"identity, chunked"),
    "identity_in_another_field": with_transfer(b"chunked", b"identity"),
    "twice": with_transfer(b"chunked", b"chunked"),
    "twice_in_one": with_transfer(b"chunked, chunked"),
    "comma_first": with_transfer(b", chunked"),
    "comma_last": with_transfer(b"chunked,"),
    "parameter": with_transfer(b"chunked;q=1"),
    "quoted": with_transfer(b'"chunked"'),
    "vertical_tab": with_transfer(b"\x0bchunked"),
    "no_break_space": with_transfer(b"chunked\xa0"),
    "empty": with_transfer(b""),
}

FIELDS = {
    "folded": with_field(b"X-A: a\r\n b"),
    "folded_with_a_tab": with_field(b"X-A: a\r\n\tb"),
    "folded_in_front": with_fields(b" X-A: a", b"Content-Length: 2"),
    "folded_length": with_fields(b"Content-Length:\r\n 2"),
    "folded_transfer": with_fields(b"Transfer-Encoding:\r\n chunked", body=CHUNKS),
    "nul_in_a_value": with_field(b"X-A: a\0b"),
    "nul_in_a_name": with_field(b"X\0A: a"),
    "cr_in_a_value": with_field(b"X-A: a\rContent-Length: 1"),
    "cr_in_a_name": with_field(b"X\rA: a"),
    "cr_before_the_end": with_field(b"X-A: a\r"),
    "lf_in_a_value": with_field(b"X-A: a\nContent-Length: 1"),
    "lf_in_a_name": with_field(b"X\nA: a"),
    "lf_only": with_field(b"X-A: a").replace(b"\r\n", b"\n"),
    "cr_only": with_field(b"X-A: a").replace(b"\r\n", b"\r"),
    "lf_after_the_status": with_field(b"X-A: a").replace(b"\r\n", b"\n", 1),
    "lf_before_the_body": OK + b"Content-Length: 2\r\n\n{}",
    "cr_in_the_reason": b"HTTP/1.1 200 O\rK\r\nContent-Length: 2\r\n\r\n{}",
    "escape_in_a_value": with_field(b"X-A: \x1b[31m"),
    "space_before_the_colon": with_field(b"X-A : a"),
    "tab_before_the_colon": with_field(b"X-A\t: a"),
    "space_before_the_colon_of_the_length": with_fields(b"Content-Length : 2"),
    "space_in_a_name": with_field(b"X A: a"),
    "empty_name": with_field(b": a"),
    "no_colon": with_field(b"X-A"),
    "other_letters_in_a_name": with_field(b"X-\xc3\xa9: a"),
    "too_long": with_field(b"X-A: " + b"a" * LONGEST_FIELD),
    "too_long_a_name": with_field(b"X" * LONGEST_FIELD + b": a"),
    "too_many": with_fields(b"Content-Length: 2", *[b"X-A: a"] * MOST_FIELDS),
    "too_many_in_trailers": CHUNKED + b"0\r\n" + b"X: y\r\n" * MOST_FIELDS + b"\r\n",
    "too_long_in_trailers": CHUNKED + b"0\r\nX: %b\r\n\r\n" % (b"y" * LONGEST_FIELD),
    "space_before_the_colon_in_trailers": CHUNKED + b"0\r\nX : y\r\n\r\n",
    "folded_in_trailers": CHUNKED + b"0\r\nX: y\r\n z\r\n\r\n",
    "nul_in_trailers": CHUNKED + b"0\r\nX: \0\r\n\r\n",
    "lf_in_trailers": CHUNKED + b"0\r\nX: y\nZ: z\r\n\r\n",
}

CHUNK_FAULTS = {
    "letters": b"zz\r\n{}\r\n0\r\n\r\n",
    "negative": b"-2\r\n{}\r\n0\r\n\r\n",
    "signed": b"+2\r\n{}\r\n0\r\n\r\n",
    "prefix": b"0x2\r\n{}\r\n0\r\n\r\n",
    "underscore": b"0_2\r\n{}\r\n0\r\n\r\n",
    "space_in_front": b" 2\r\n{}\r\n0\r\n\r\n",
    "space_behind": b"2 \r\n{}\r\n0\r\n\r\n",
    "space_before_an_extension": b"2 ;a\r\n{}\r\n0\r\n\r\n",
    "empty": b"\r\n{}\r\n0\r\n\r\n",
    "overflow": b"10000000000000002\r\n{}\r\n0\r\n\r\n",
    "lf_after_the_size": b"2\n{}\r\n0\r\n\r\n",
    "cr_after_the_size": b"2\r{}\r\n0\r\n\r\n",
    "two_cr_after_the_size": b"2\r\r\n{}\r\n0\r\n\r\n",
    "lf_after_the_data": b"2\r\n{}\n0\r\n\r\n",
    "nothing_after_the_data": b"2\r\n{}0\r\n\r\n",
    "bytes_after_the_data": b"2\r\n{}X\r\n0\r\n\r\n",
    "lf_at_the_end": b"2\r\n{}\r\n0\r\n\n",
    "lf_in_an_extension": b"2;a\nb\r\n{}\r\n0\r\n\r\n",
    "nul_in_an_extension": b"2;a\0\r\n{}\r\n0\r\n\r\n",
    "cr_in_an_extension": b"2;a\rb\r\n{}\r\n0\r\n\r\n",
    "open_quote_in_an_extension": b'2;a="b\r\n{}\r\n0\r\n\r\n',
    "bad_size_later": b"2\r\n{}\r\nzz\r\n{}\r\n0\r\n\r\n",
}
CHUNKS_BAD = {name: CHUNKED + body for name, body in CHUNK_FAULTS.items()}


def named(**groups):
    return [
        pytest.param(data, id=f"{group}_{name}")
        for group, cases in groups.items()
        for name, data in cases.items()
    ]


@pytest.mark.parametrize(
    "data", named(length=LENGTHS, transfer=TRANSFERS, field=FIELDS, chunk=CHUNKS_BAD)
)
def test_an_ambiguous_answer_is_refused(data):
    one_by_one = [data[at : at + 1] for at in range(len(data))]
    for parts in ([data], one_by_one, [data[:60], data[60:]]):
        failure = refusal(parts)
        assert type(failure.error) is ProtocolError
        assert str(failure.error).startswith("malformed HTTP: ")
        assert len(str(failure.error)) < 120


@pytest.mark.parametrize("data", named(length=LENGTHS, transfer=TRANSFERS))
def test_an_ambiguous_answer_is_refused_on_a_connection_that_was_used(data):
    reader = new_reader()
    assert reader.feed(with_length(b"2")) is not None
    assert reader.is_reusable
    reader.expect(reader._attempt, reader._secret)
    assert isinstance(reader.feed(data), NoAnswer)
    assert not reader.is_reusable


SPACE = 4 * LONGEST_FIELD  # bytes that a line without an end may take before it is refused

ENDLESS = {
    "reason": (b"HTTP/1.1 200 ", b"a"),
    "line_ends": (b"", b"\r\n"),
    "name": (OK, b"X"),
    "value": (OK + b"X: ", b"a"),
    "spaces": (OK + b"X:", b" "),
    "trailing_spaces": (OK + b"X: a", b" "),
    "length": (OK + b"Content-Length: ", b"0"),
    "transfer": (OK + b"Transfer-Encoding: ", b"chunked, "),
    "connection": (OK + b"Connection: ", b"close, "),
    "value_after_others": (with_field(b"X-A: a")[: -len(b"\r\n{}")] + b"X-B: ", b"b"),
    "value_of_informational": (b"HTTP/1.1 103 Hints\r\nX: ", b"a"),
    "value_after_informational": (b"HTTP/1.1 103 Hints\r\n\r\n" + OK + b"X: ", b"a"),
    "chunk_size": (CHUNKED, b"0"),
    "second_chunk_size": (CHUNKED + b"2\r\n{}\r\n", b"0"),
    "extension_name": (CHUNKED + b"2;", b"a"),
    "extensions": (CHUNKED + b"2", b";a=b"),
    "extension_value": (CHUNKED + b"2;a=", b"b"),
    "quoted_extension_value": (CHUNKED + b'2;a="', b"b"),
    "extension_of_the_last_chunk": (CHUNKED + b"2\r\n{}\r\n0;", b"a"),
    "trailer_name": (CHUNKED + b"0\r\n", b"X"),
    "trailer_value": (CHUNKED + b"0\r\nX: ", b"a"),
}


@pytest.mark.parametrize("size", [1, 100, 5000])
@pytest.mark.parametrize(("start", "more"), ENDLESS.values(), ids=ENDLESS)
def test_a_line_without_an_end_is_refused(start, more, size):
    packets = itertools.repeat(more * (size // len(more) or 1))
    reader = new_reader()
    assert not start or reader.feed(start) is None
    taken = 0
    for packet in packets:
        taken += len(packet)
        reply = reader.feed(packet)
        if reply is not None:
            break
        assert taken < SPACE
    assert isinstance(reply, NoAnswer)
    assert type(reply.error) is ProtocolError
    assert not reader.is_reusable


@pytest.mark.parametrize("start", [OK, CHUNKED + b"0\r\n", CHUNKED + b"2\r\n{}\r\n0\r\n"])
@pytest.mark.parametrize("size", [1, 3, 50])
def test_fields_without_an_end_are_refused(start, size):
    reader = new_reader()
    assert reader.feed(start) is None
    packets = itertools.cycle([b"X: y\r\n"[at : at + size] for at in range(0, 6, size)])
    replies = map(reader.feed, packets)
    reply = next(reply for reply in itertools.islice(replies, 7 * MOST_FIELDS) if reply is not None)
    assert type(reply.error) is ProtocolError
    assert "Too many headers" in str(reply.error)


@pytest.mark.parametrize(
    ("start", "packet"),
    [
        pytest.param(b"", b"HTTP/1.1 103 Hints\r\nX: y\r\n\r\n", id="informational"),
        pytest.param(b"HTTP/1.1 103 Hints\r\n", b"\r\nHTTP/1.1 103 Hints\r\n", id="overlapping"),
        pytest.param(CHUNKED, b"1;a=%b\r\nx\r\n" % (b"a" * 1000), id="chunks_with_extensions"),
    ],
)
def test_what_is_passed_over_takes_no_room(start, packet):
    reader = new_reader()
    assert not start or reader.feed(start) is None
    tracemalloc.start()
    try:
        for _ in range(2000):
            assert reader.feed(packet) is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


def test_a_chunk_without_an_end_is_refused_at_the_limit_of_the_body():
    reader = new_reader()
    assert reader.feed(CHUNKED + b"fffffffffffffff\r\n") is None
    block = bytes(2**16)
    replies = [reader.feed(block) for _ in range(MOST // len(block) + 1)]
    assert replies[:-1] == [None] * (len(replies) - 1)
    assert isinstance(replies[-1], NoAnswer)


def test_tiny_chunks_take_little_more_room_than_the_body():
    most = 2**17
    reader = new_reader(most)
    assert reader.feed(CHUNKED) is None
    packet = b"2\r\n{}\r\n" * 1000
    tracemalloc.start()
    try:
        for _ in range(most // 2000):
            assert reader.feed(packet) is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * most
