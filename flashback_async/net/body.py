"""The body of an answer as it arrives: framed, inflated, and within a limit."""

from __future__ import annotations

import zlib
from typing import Protocol

from flashback_async.api import answers
from flashback_async.net import failures
from flashback_async.values import Headers, NoAnswer, Response, Secret

# Those registered for HTTP.
_COMPRESSIONS = {"gzip", "x-gzip", "deflate", "compress", "x-compress", "br", "zstd", "dcb", "dcz"}

_PIECE = 16 * 1024  # bytes; bounds what is copied for each member of a gzip stream


class Body:
    """The body of one answer, from its head to its last byte.

    Attributes:
        expected: The declared length in bytes; None if none is declared.
        is_framed: Whether the answer says where its body ends. If not, the connection's end does.
        received: Bytes received, before they are inflated.
    """

    def __init__(self, status: int, headers: Headers, most: int) -> None:
        self._status = status
        self._headers = headers
        self._is_data = answers.is_data(status, headers)
        self._limit = most if self._is_data else answers.SNIPPET_BYTES
        self.expected: int | None = None
        self.is_framed = False
        self.received = 0
        self._codings: list[str] = []
        self._transfer: list[bytes] = []
        self._data = bytearray()  # which takes less room than a part for each tiny chunk
        self._read_headers()
        self._inflater = _inflater(self._codings)

    def _read_headers(self) -> None:
        for name, value in self._headers:
            lowered = name.lower()
            if lowered == b"content-length":
                # The parser has checked it; Python converts at most 4,300 digits.
                self.expected, self.is_framed = int(value.lstrip(b"0") or b"0"), True
            elif lowered == b"transfer-encoding":
                self._transfer.append(value.lower())
                self.is_framed = True
            elif lowered == b"content-encoding":
                codings = value.decode("latin-1").split(",")
                self._codings += [coding.strip() for coding in codings]

    def refusal(self, secret: Secret) -> Response | NoAnswer | None:
        """Return the reply if the body is not read at all."""
        if self._transfer not in ([], [b"chunked"]):
            return failures.malformed("a Transfer-Encoding other than chunked", secret)
        is_plain = isinstance(self._inflater, _Plain)
        if self._is_data and is_plain and (self.expected or 0) > self._limit:
            return failures.too_large(f"{self.expected} bytes are declared", self._limit)
        if self._inflater is None and self.expected != 0:
            return self._badly_encoded("", secret)
        return None

    def add(self, blocks: list[bytes], secret: Secret) -> Response | NoAnswer | None:
        """Add what was received; return the reply if no more of the body is wanted."""
        for block in blocks:
            self.received += len(block)
            try:
                self._keep(block)
            except zlib.error:
                return self._badly_encoded("", secret)
            if len(self._data) > self._limit:
                if self._is_data:
                    return failures.too_large("more bytes follow", self._limit)
                return self._response()
        return None

    def complete(self, secret: Secret) -> Response | NoAnswer:
        """Return the reply with the whole body."""
        if self.received and self._inflater is not None and not self._inflater.is_done:
            return self._badly_encoded(", which ended early", secret)
        return self._response()

    def _response(self) -> Response:
        return Response(self._status, self._headers, bytes(self._data[: self._limit]))

    def _badly_encoded(self, how: str, secret: Secret) -> Response | NoAnswer:
        """Return the failure of data; any other answer counts by its status, without the rest."""
        if not self._is_data:
            return self._response()
        return failures.badly_encoded(f"{', '.join(self._codings)}{how}", secret)

    def _keep(self, block: bytes) -> None:
        assert self._inflater is not None  # noqa: S101 - else the answer was refused
        for start in range(0, len(block), _PIECE):
            room = self._limit + 1 - len(self._data)
            if room <= 0:
                return
            self._data += self._inflater.inflate(block[start : start + _PIECE], room)


class _Inflater(Protocol):
    """A way to undo a content encoding."""

    @property
    def is_done(self) -> bool:
        """Whether what was received may be all."""

    def inflate(self, data: bytes, most: int) -> bytes:
        """Return at most so many bytes of what the data holds; raise ``zlib.error`` if it is bad.

        What is beyond that is lost, because the caller wants no more than that.
        """
        ...


def _inflater(codings: list[str]) -> _Inflater | None:
    """Return what undoes content codings; None if nothing does.

    What is no compression is ignored, because some servers name a character set here.
    """
    lowered = [coding.lower() for coding in codings]
    compressions = [coding for coding in lowered if coding in _COMPRESSIONS]
    if not compressions:
        return _Plain()
    if compressions == ["gzip"]:
        return _Gzip()
    return _Deflate() if compressions == ["deflate"] else None


class _Plain:
    """No encoding."""

    is_done = True

    def inflate(self, data: bytes, most: int) -> bytes:
        return data


class _Gzip:
    """Gzip, which may have several members."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(zlib.MAX_WBITS + 16)

    @property
    def is_done(self) -> bool:
        return self._member.eof

    def inflate(self, data: bytes, most: int) -> bytes:
        parts = []
        while data and most > 0:
            if self._member.eof:
                self._member = zlib.decompressobj(zlib.MAX_WBITS + 16)
            parts.append(self._member.decompress(data, most))
            most -= len(parts[-1])
            data = self._member.unused_data
        return b"".join(parts)


class _Deflate:
    """Deflate, with the header of zlib or, as some servers send it, without."""

    _stream: zlib._Decompress | None = None

    @property
    def is_done(self) -> bool:
        return self._stream is not None and self._stream.eof

    def inflate(self, data: bytes, most: int) -> bytes:
        if self._stream is None:
            has_header = data[0] & 0x0F == 8
            self._stream = zlib.decompressobj(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)
        if self._stream.eof:
            raise zlib.error("data after the end of the stream")
        inflated = self._stream.decompress(data, most)
        if self._stream.unused_data:
            raise zlib.error("data after the end of the stream")
        return inflated
