"""Text from the wire without the token, however the server spelled it.

A server may echo the token percent-encoded, as JSON escapes or as HTML entities. It may mix these
encodings, or apply them more than once. So the search is among the readings of the text.
Each place has a list of them. The token is found if a chain of readings spells it.
"""

from __future__ import annotations

from collections.abc import Iterator
from html.entities import html5
from itertools import chain

from flashback_async.values import Secret

# One character, and the index at which the text continues after it.
_Reading = tuple[str, int]

_INTRODUCERS = frozenset("%&\\")
_NAMES: dict[str, str] = {
    name.rstrip(";"): char for name, char in html5.items() if len(char) == 1 and "!" <= char <= "~"
}
_NAMES_BY_INITIAL: dict[str, list[str]] = {}
for _name in _NAMES:
    _NAMES_BY_INITIAL.setdefault(_name[0], []).append(_name)
_HEX = frozenset("0123456789abcdefABCDEF")
_LAST_VISIBLE = 0x7E
# Characters beyond the limit and the length of the token that are searched too.
_MARGIN = 64
# A text that takes more steps is not shown at all. They take some 50 ms, a hundred times as long as
# the page of a gateway.
_MOST_STEPS = 50_000


def redact(text: str, secret: Secret, limit: int | None = None) -> str:
    """Return a text, or its first ``limit`` characters, with a mark in place of each token.

    The tokens that ``secret`` has replaced are hidden too.
    """
    tokens = [known.reveal() for known in (secret, *secret.earlier)]
    last = len(text) if limit is None else limit
    window = text[: last + max(map(len, tokens)) + _MARGIN]
    cut = len(window) < len(text)
    mark = _mark_for([token.replace("\\", "") for token in tokens])
    kept, done = [], 0
    try:
        spans = sorted(span for token in tokens for span in _spans(window, token, cut=cut))
    except _TooAmbiguous:
        return mark[:limit]
    for start, end in spans:
        if start < last and end > done:  # one token may overlap another
            kept += [window[done:start], mark]
            done = end
    return "".join([*kept, window[done:last]])[:limit]


def _mark_for(tokens: list[str]) -> str:
    """Return a mark that cannot form one of the tokens together with the text around it."""
    ends = {end for token in tokens for end in token[:1] + token[-1:]}
    marks = ("***", "###", "   ")  # no token holds a space
    return next(m for m in marks if m[0] not in ends and not any(m in token for token in tokens))


def _spans(text: str, token: str, *, cut: bool) -> Iterator[tuple[int, int]]:
    """Yield the start and the end of each token, from left to right."""
    if not _INTRODUCERS.isdisjoint(text):
        yield from _Search(text, token, cut).spans()
        return
    end = 0
    while (start := text.find(token, end)) >= 0:
        end = start + len(token)
        yield start, end


class _TooAmbiguous(Exception):
    """A text with too many readings to examine all of them."""


class _Search:
    """The readings of a text, and the places at which they spell a token.

    A backslash can be read as nothing, because it may escape any character. So the backslashes of
    the token are left out of the search. If the text is cut, its end may be that of a token.
    """

    def __init__(self, text: str, token: str, cut: bool) -> None:
        self._text = text
        self._token = token.replace("\\", "")
        if not self._token:
            raise _TooAmbiguous  # a token of backslashes, which can be read anywhere
        self._cut = cut
        self._steps_left = _MOST_STEPS
        self._encoded: dict[int, list[_Reading]] = {}
        for place in reversed(range(len(text))):
            if text[place] in _INTRODUCERS:
                self._encoded[place] = self._read(place)

    def spans(self) -> Iterator[tuple[int, int]]:
        starts, end = self._starts(), 0
        for place in range(len(self._text)):
            if place >= end and starts[place] & 1:
                end = self._end(place)
                yield place, end

    def _starts(self) -> list[int]:
        """Return for each place a bit for each rest of the token that can be read from there.

        Bit 0 is the whole token; the bit after the last is the empty rest.
        """
        found_at: dict[str, int] = {}
        for n, char in enumerate(self._token):
            found_at[char] = found_at.get(char, 0) | 1 << n
        nothing = 1 << len(self._token)
        anything = 2 * nothing - 1
        rests = [nothing] * len(self._text)
        rests.append(anything if self._cut else nothing)
        for place in reversed(range(len(self._text))):
            for char, end in self._readings(place):
                if char in found_at:
                    rests[place] |= found_at[char] & rests[end] >> 1
            if self._cut and place in self._encoded and place > len(self._text) - _MARGIN // 2:
                rests[place] = anything  # this character may continue after the cut
        return rests

    def _end(self, start: int) -> int:
        """Return the end of the longest spelling of the token that begins at a place."""
        places = {start}
        for char in self._token:
            ends = {end for place in places for c, end in self._readings(place) if c == char}
            if not ends:
                return len(self._text)  # which is cut, and ends within the token
            places = ends
        return max(places)

    def _readings(self, place: int) -> list[_Reading]:
        """Return what can be read at a place: its own character first, unless the text ends."""
        if place in self._encoded:
            return self._encoded[place]
        return [(char, place + 1) for char in self._text[place : place + 1]]

    def _read(self, place: int) -> list[_Reading]:
        """Return the readings of a place, given those of all later ones."""
        readings = dict.fromkeys([(self._text[place], place + 1)])
        waiting = list(readings)
        while waiting:
            for reading in self._decoded(*waiting.pop()):
                self._count(1)
                if reading not in readings:
                    readings[reading] = None
                    waiting.append(reading)
        return list(readings)

    def _decoded(self, char: str, end: int) -> Iterator[_Reading]:
        """Yield what a character introduces, such as "+" if "2b" follows after "%"."""
        if char == "%":
            yield from chain(self._code(end, 16, 2), self._after("u", end, 4))
        elif char == "\\":
            yield from chain(self._after("u", end, 4), self._after("x", end, 2))
            yield from (reading for reading in self._readings(end) if reading[0] != "\\")
        elif char == "&":
            for decoded, after in chain(self._number(end), self._name(end)):
                yield decoded, after
                yield from ((decoded, stop) for stop in self._spelled(";", after))

    def _number(self, place: int) -> Iterator[_Reading]:
        for after in self._spelled("#", place):
            yield from self._code(after, 10)
            for letter in "xX":
                yield from self._after(letter, after)

    def _name(self, place: int) -> Iterator[_Reading]:
        initials = {char for char, _ in self._readings(place)}
        for initial in initials & _NAMES_BY_INITIAL.keys():
            for name in _NAMES_BY_INITIAL[initial]:
                yield from ((_NAMES[name], end) for end in self._spelled(name, place))

    def _after(self, letter: str, place: int, digits: int | None = None) -> Iterator[_Reading]:
        for after in self._spelled(letter, place):
            yield from self._code(after, 16, digits)

    def _code(self, place: int, base: int, digits: int | None = None) -> Iterator[_Reading]:
        """Yield the characters whose code begins at a place; None permits any number of digits."""
        states = {(place, 0)}
        length = 0
        while states and length != digits:
            length += 1
            states = {
                (end, code)
                for at, value in states
                for char, end in self._readings(at)
                if char in _HEX and (digit := int(char, 16)) < base
                if (code := value * base + digit) <= _LAST_VISIBLE
            }
            self._count(len(states))
            if digits in (None, length):
                yield from ((chr(code), end) for end, code in states if code > ord(" "))

    def _spelled(self, word: str, place: int) -> set[int]:
        """Return the possible ends of a word that begins at a place."""
        places = {place}
        for char in word:
            places = {end for at in places for c, end in self._readings(at) if c == char}
            if not places:
                break
        self._count(1 + len(places))
        return places

    def _count(self, steps: int) -> None:
        self._steps_left -= steps
        if self._steps_left < 0:
            raise _TooAmbiguous
