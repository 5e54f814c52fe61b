"""The answers of one connection, read from its bytes."""

from __future__ import annotations

import httptools

from flashback_async import errors
from flashback_async.api import answers
from flashback_async.net import failures
from flashback_async.net.body import Body
from flashback_async.values import Attempt, Headers, NoAnswer, Response, Secret

Reply = Response | NoAnswer
Fields = list[tuple[bytes, bytes]]

LIBRARY = ("httptools", httptools.__version__)

# aiohttp's limits; llhttp, which httptools wraps, has none of its own.
MOST_FIELDS = 128
LONGEST_FIELD = 8190  # bytes

_SHOWN = 32  # bytes of an answer that is not HTTP

_CODINGS = (b"content-encoding", b"transfer-encoding")


class AnswerReader:
    """A reader that turns the bytes of a connection into one reply after the other.

    Nearly every answer arrives in one packet. State that only the others need is made when a
    packet has left an answer incomplete. The parser calls the methods named ``on_*``.
    """

    is_reusable = False  # whether the connection may carry another exchange after the reply
    _reply: Reply | None = None  # set as soon as the answer is complete
    _head: Headers | None = None  # set as soon as the head is complete
    _partial: _Partial | None = None

    def __init__(self, max_response_bytes: int) -> None:
        self._max_response_bytes = max_response_bytes
        # A body up to this size is not too large, whatever it is.
        self._always_fits = min(max_response_bytes, answers.SNIPPET_BYTES)
        self._packet = 0  # bytes
        self._fields: Fields = []
        self._blocks: list[bytes] = []
        self._parser = httptools.HttpResponseParser(self)

    def expect(self, attempt: Attempt, secret: Secret) -> None:
        """Begin to read the answer to an attempt."""
        self._attempt, self._secret = attempt, secret
        self.is_reusable = False

    def feed(self, data: bytes) -> Reply | None:
        """Return the reply if these bytes complete the answer, or make it unusable."""
        self._packet = len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return self._malformed("the server switches protocols")
        except httptools.HttpParserError as error:
            return self._not_understood(str(error), data)
        reply = self._reply
        if reply is None:
            return self._go_on(data)
        self._reply = self._head = self._partial = None
        self._blocks = []
        return reply

    def end(self) -> Reply | None:
        """Return the reply if the end of the connection completes the answer."""
        body = None if self._partial is None else self._partial.body
        if body is None or body.is_framed:
            return None
        return body.complete(self._secret)

    @property
    def has_begun(self) -> bool:
        """Whether any byte of an incomplete answer has arrived."""
        return self._partial is not None

    def note_progress(self) -> None:
        """Record in the attempt how much of an incomplete body has arrived."""
        if self._partial is not None and self._partial.body is not None:
            self._attempt.received = self._partial.body.received

    def close(self) -> None:
        """Release the parser, which refers to the reader."""
        del self._parser

    # What the parser reports, within ``feed``.

    def on_message_begin(self) -> None:
        self._fields = []
        if self._reply is not None:  # another answer, for which nobody has asked
            self.is_reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name, value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        if self._reply is None:
            self._head = tuple(self._fields)

    def on_body(self, data: bytes) -> None:
        if self._reply is None:
            self._blocks.append(data)

    def on_message_complete(self) -> None:
        if self._reply is not None:
            return
        status = self._parser.get_status_code()
        if status < 200:
            # An informational answer precedes the final one. No status below 100 is known.
            self._reply = None if status >= 100 else self._unknown(status)
            self._head = None
            return
        # Before and after this moment the parser does not know it.
        self.is_reusable = self._parser.should_keep_alive()
        self._reply = self._whole(status)

    # The reply.

    def _whole(self, status: int) -> Reply:
        """Return the reply to an answer that is complete."""
        head, blocks = self._head, self._blocks
        assert head is not None  # noqa: S101 - it comes before the end
        if self._partial is None and self._packet <= LONGEST_FIELD and not _has_codings(head):
            data = blocks[0] if len(blocks) == 1 else b"".join(blocks)
            if len(head) <= MOST_FIELDS and len(data) <= self._always_fits:
                return Response(status, head, data)
        partial = self._partial or _Partial()
        rule = partial.broken_rule(self._fields, self._packet, has_body=True)
        if rule is not None:
            return self._malformed(rule)
        reply = self._read(partial, status, head)
        if reply is not None:
            return reply
        assert partial.body is not None  # noqa: S101 - it has been read
        reply = partial.body.complete(self._secret)
        if isinstance(reply, NoAnswer):
            self.is_reusable = False
        return reply

    def _go_on(self, data: bytes) -> Reply | None:
        """Take in a packet that does not end the answer; return the reply if no more is wanted."""
        partial = self._partial
        if partial is None:
            partial = self._partial = _Partial()
        rule = partial.broken_rule(self._fields, len(data), has_body=bool(self._blocks))
        if rule is not None:
            return self._malformed(rule)
        if self._head is None:
            partial.start = (partial.start + data[:_SHOWN])[:_SHOWN]
            return None
        return self._read(partial, self._parser.get_status_code(), self._head)

    def _read(self, partial: _Partial, status: int, head: Headers) -> Reply | None:
        """Read what has arrived of the body; return the reply if no more of it is wanted."""
        body, blocks = partial.body, self._blocks
        self._blocks = []
        if body is None:
            if status < 100:  # such an answer may have no end
                return self._unknown(status)
            attempt = self._attempt
            body = partial.body = Body(status, head, self._max_response_bytes)
            attempt.head, attempt.expected = Response(status, head, b""), body.expected
            attempt.phase = "body"
            refusal = body.refusal(self._secret)
            if refusal is not None:
                self.is_reusable = False
                return refusal
        reply = body.add(blocks, self._secret)
        if reply is not None:
            self.is_reusable = False
        return reply

    def _unknown(self, status: int) -> Response:
        """Return an answer that the call refuses because of its status."""
        self.is_reusable = False
        return Response(status, self._head or (), b"")

    def _not_understood(self, rule: str, data: bytes) -> NoAnswer:
        """Return the failure of bytes that the parser refused because of a rule."""
        if self._reply is not None:
            return self._malformed("more bytes follow the answer")
        if not rule.startswith("Expected HTTP/"):
            return self._malformed(rule)
        start = data if self._partial is None else self._partial.start + data
        self.is_reusable = False
        return NoAnswer(errors.ProtocolError(failures.not_http_text(start, self._secret)))

    def _malformed(self, rule: str) -> NoAnswer:
        self.is_reusable = False
        return failures.malformed(rule, self._secret)


class _Partial:
    """What is known of an answer that did not arrive in one packet."""

    body: Body | None = None
    start = b""  # the first bytes of the answer
    _fields: Fields | None = None
    _checked = 0  # header fields that earlier packets ended
    _unbroken = 0  # bytes that neither ended a field nor held any of the body, in a row

    def broken_rule(self, fields: Fields, packet: int, *, has_body: bool) -> str | None:
        """Return the limit that the head, a chunk's extensions or the trailers pass, if any.

        A line without an end is refused once packets that hold nothing else exceed twice that.
        """
        is_new = fields is not self._fields  # an answer has begun, perhaps after informational ones
        if is_new:
            self._fields, self._checked = fields, 0
        if len(fields) > MOST_FIELDS:
            return f"Too many headers: more than {MOST_FIELDS}"
        new = fields[self._checked :]
        self._checked = len(fields)
        self._unbroken = 0 if is_new or new or has_body else self._unbroken + packet
        longest = max((len(name) + len(value) for name, value in new), default=0)
        if longest > LONGEST_FIELD or self._unbroken > 2 * LONGEST_FIELD:
            return f"a header field, or another line, is longer than {LONGEST_FIELD} bytes"
        return None


def _has_codings(head: Headers) -> bool:
    """Return whether a head may say that the body is encoded or chunked."""
    for name, _ in head:  # noqa: SIM110 - each answer passes here, and ``any`` costs twice as much
        if 16 <= len(name) <= 17 and name.lower() in _CODINGS:
            return True
    return False
