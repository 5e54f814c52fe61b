"""However a token is spelled, no reading of the redacted text holds it."""

import html
import json
import re
from html.entities import html5
from urllib.parse import unquote

from hypothesis import example, given
from hypothesis import strategies as st

from flashback_async.api import answers
from flashback_async.api.redaction import redact
from flashback_async.values import Response, Secret
from tests.property import strategies

VISIBLE = st.characters(min_codepoint=0x21, max_codepoint=0x7E)
tokens = st.text(VISIBLE, min_size=1, max_size=30)
NAMES = {}
for _name, _char in html5.items():
    NAMES.setdefault(_char, []).append(_name)


def one_layer(char):
    """The ways in which one character may be spelled."""
    code = ord(char)
    return st.sampled_from(
        [
            char,
            f"%{code:02x}",
            f"%{code:02X}",
            f"%u{code:04x}",
            f"\\u{code:04x}",
            f"\\u{code:04X}",
            f"\\x{code:02x}",
            f"\\{char}",
            f"&#{code};",
            f"&#{code:07d};",
            f"&#x{code:x};",
            f"&#X{code:05X};",
            *(f"&{name}" for name in NAMES.get(char, ())),
        ]
    )


@st.composite
def spelled(draw, text, layers=3):
    """A text with each character spelled in a way of its own, some of them several times over."""
    for _ in range(draw(st.integers(1, layers))):
        parts = [draw(one_layer(char)) if draw(st.booleans()) else char for char in text]
        # A number without its semicolon, if no digit follows that would belong to it.
        for n, part in enumerate(parts[:-1]):
            if (
                re.fullmatch("&#.*;", part)
                and not parts[n + 1][0].isalnum()
                and draw(st.booleans())
            ):
                parts[n] = part[:-1]
        text = "".join(parts)
    return text


def unescaped(text):
    """Return a text as a reader of JSON or JavaScript decodes it."""
    text = re.sub(r"\\+(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2}))", _char, text)
    return text.replace("\\", "")


def _char(match):
    return chr(int(match[1] or match[2], 16))


def unquoted(text):
    return unquote(re.sub("%u([0-9a-fA-F]{4})()", _char, text), errors="replace")


def decodings(text, depth=4):
    """The text, and all that it can be decoded to, by any decoders one after the other."""
    found, fresh = {text}, {text}
    for _ in range(depth):
        decoded = {f(t) for t in fresh for f in (unescaped, unquoted, html.unescape)}
        fresh = decoded - found
        found |= fresh
    return found


def assert_hidden(token, *shown):
    for text in shown:
        assert not [reading for reading in decodings(text) if token in reading]


@st.composite
def echoes(draw):
    """A token, and a text that holds it in some spelling."""
    token = draw(tokens)
    return token, "".join(
        [draw(strategies.any_text), draw(spelled(token)), draw(strategies.any_text)]
    )


@given(echoes())
@example(("2bXY", "%2bXY"))
@example(("+1", "&#43;1"))
@example(("a%", "a%41"))
@example(("*", "*"))
@example(("x***y", "xx***yy"))
@example(("\\", "a\\b"))
@example(("\\u0041", "\\u0041"))
def test_no_reading_of_a_redacted_text_holds_the_token(echo):
    token, text = echo
    assert_hidden(token, redact(text, Secret(token)))


@given(echoes(), st.integers(0, 60))
@example(("canary-1", "xx&#99;&#97;nary-1"), 3)
def test_a_cut_shows_no_more_than_the_whole(echo, limit):
    token, text = echo
    shown = redact(text, Secret(token), limit)
    assert len(shown) <= limit
    assert_hidden(token, shown)


@given(strategies.any_text, tokens)
def test_a_text_in_which_nothing_is_encoded_loses_the_token_alone(text, token):
    text = text.translate(dict.fromkeys(map(ord, "%&\\")))
    parts = text.split(token)
    assert all(part in redact(text, Secret(token)) for part in parts)
    if len(parts) == 1:
        assert redact(text, Secret(token)) == text


@given(echoes(), st.sampled_from([400, 401, 302, 502]), st.booleans())
def test_an_error_shows_no_reading_of_the_token(echo, status, escaped):
    token, text = echo
    wire = text.encode("utf-8", "surrogatepass")
    bodies = [
        wire,
        json.dumps({"message": text, "code": text}, ensure_ascii=escaped).encode(
            "utf-8", "surrogatepass"
        ),
        b"<html><title>" + wire + b"</title>",
    ]
    headers = ((b"x-request-id", wire), (b"location", b"https://h/" + wire))
    for body in bodies:
        error = answers.api_error(Response(status, headers, body), Secret(token), 0.0)
        assert_hidden(token, *filter(None, (error.message, error.body, error.request_id)))
        if error.code is not None:
            assert_hidden(token, error.code)
