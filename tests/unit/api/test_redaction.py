"""The spellings of a token that servers, gateways and their pages use."""

import html
import json
from urllib.parse import quote

import pytest

from flashback_async.api.redaction import redact
from flashback_async.values import Secret

TOKEN = "ab+/=&<'cd"
SPELLINGS = {
    "plain": TOKEN,
    "percent": "ab%2B%2F%3D%26%3C%27cd",
    "percent, lower case": "ab%2b%2f%3d%26%3c%27cd",
    "percent, some": "ab+/%3D&%3C'cd",
    "percent, twice": quote(quote(TOKEN, safe=""), safe=""),
    "percent, three times": quote(quote(quote(TOKEN, safe=""))),
    "percent, each": "".join(f"%{ord(c):02x}" for c in TOKEN),
    "percent with u": "ab%u002b/=%u0026<'cd",
    "JSON": r"ab\u002B\/\u003D\u0026\u003C\u0027cd",
    "JSON, lower case": r"ab\u002b\/\u003d\u0026\u003c\u0027cd",
    "JSON, twice": json.dumps(r"ab\u002b\/=\u0026<\u0027cd")[1:-1],
    "JSON, each": "".join(f"\\u{ord(c):04x}" for c in TOKEN),
    "JavaScript": r"ab\x2b\/\x3d\x26\x3c\x27cd",
    "HTML, by name": "ab&plus;&sol;&equals;&amp;&lt;&apos;cd",
    "HTML, as Python writes it": html.escape(TOKEN),
    "HTML, twice": html.escape(html.escape(TOKEN)),
    "HTML, decimal": "ab&#43;&#47;&#61;&#38;&#60;&#39;cd",
    "HTML, hexadecimal": "ab&#x2B;&#x2f;&#X3D;&#x26;&#x3c;&#X27;cd",
    "HTML, zeros ahead": "ab&#0043;&#000047;&#x0003D;&#00038;&#060;&#0039;cd",
    "HTML, no semicolon": "ab&#43/=&amp<'cd",
    "HTML in percent": "ab%26%2343%3B/=%26amp%3B<'cd",
    "percent in HTML": "ab&#37;2b/=&percnt;26<'cd",
    "mixed": r"ab\u002b%2F&#61;&amp;<&#x27;%63d",
}
COMMON = pytest.mark.parametrize("spelled", SPELLINGS.values(), ids=SPELLINGS)


@COMMON
def test_each_spelling_is_found_and_nothing_around_it(spelled):
    assert redact(f"before {spelled} after", Secret(TOKEN)) == "before *** after"
    assert redact(f"{spelled},{spelled}", Secret(TOKEN)) == "***,***"


@COMMON
def test_a_cut_never_goes_through_a_spelling(spelled):
    for limit in range(len(spelled) + 8):
        shown = redact(f"xxxx {spelled}", Secret(TOKEN), limit)
        assert shown == "xxxx ***"[:limit]


@pytest.mark.parametrize("start", range(480, 502))
def test_a_long_spelling_at_the_limit_is_found_too(start):
    token = "canary+" * 30
    for spelled in (token, quote(token), "".join(f"&#{ord(c):09};" for c in token)):
        shown = redact("x" * start + spelled, Secret(token), 500)
        assert shown == ("x" * start + "***")[:500]


@pytest.mark.parametrize("spelled", ["canary-9f1c" * 30, "canary%2d9f1c" * 30])
def test_marks_that_shorten_a_text_bring_no_cut_token_into_it(spelled):
    shown = redact(f'"{spelled}" "{spelled}" "{spelled}"', Secret("canary-9f1c" * 30), 80)
    assert shown == '"***"'[: len(shown)]


@pytest.mark.parametrize(
    ("token", "text", "shown"),
    [
        ("2bXY", "%2bXY", "%***"),  # its own start completes the text before it
        ("amp;x", "&amp;x", "&***"),
        ("43;x", "&#43;x", "&#***"),
        ("u002bx", r"\u002bx", "***"),
        ("a%", "a%41", "***41"),
        ("%41", "%41", "***"),
        ("%41", "A", "A"),
        ("%41", "%2541", "***"),
        ("%2541", "%2541", "***"),
        ("&lt;", "&lt;", "***"),
        ("&lt;", "&amp;lt;", "***"),
        (r"a\b", r"a\b", "***"),
        (r"a\b", r"a\\b", "***"),
        (r"a\b", "a%5Cb", "***"),
        (r"a\b", r"a\u005cb", "***"),
        ("\\", "a\\b", "***"),
        ("\\", "ab", "ab"),
        ("+1", "&#43;1", "***"),
        ("e", "one %65", "on*** ***"),
        ("*", "a*b", "a###b"),
        ("x***y", "xx***yy", "x###y"),
        ("*#", "**##", "*   #"),
        ("abab", "ababab", "***ab"),
        ("a", "", ""),
    ],
)
def test_what_can_be_read_in_two_ways_is_hidden_in_either(token, text, shown):
    assert redact(text, Secret(token)) == shown


@pytest.mark.parametrize(
    "text",
    [
        "%" + "25" * 30_000,
        "%5c" * 20_000,
        r"\u005c" * 10_000,
        "\\" * 60_000,
        "&" * 60_000,
        "&" + "amp;" * 15_000,
        "&#" + "0" * 60_000,
        "&#0" * 20_000,
        "%%" * 30_000,
    ],
    ids=lambda text: text[:6],
)
def test_a_text_of_too_many_readings_is_not_shown(text):
    """It returns at all: some of these have as many readings as the square of their length."""
    secret = Secret("canary-9f1c")
    assert redact(text, secret) in ("***", text)
    assert len(redact(text, secret, 500)) <= 500


def test_a_page_without_the_token_stays_as_it_is():
    page = '<p style="width:100%">5 &lt; 6 &amp; C:\\temp &nbsp; &copy; %20</p>\n' * 500
    assert redact(page, Secret("canary-9f1c" * 20)) == page


@pytest.mark.parametrize("start", range(300, 520, 7))
def test_replaced_tokens_do_not_uncover_the_end_of_the_current_one(start):
    secret, token = Secret("Ab+/" * 10), "Ab+/" * 10
    secret.earlier = (Secret("old-token-1"), Secret("old-token-22"))
    spelled = "".join(f"\\u{ord(char):04x}" for char in token)
    text = f"{'old-token-22':x<{start}}{spelled}{'y' * 900}"
    shown = redact(text, secret, 500)
    assert "old-token" not in shown
    assert "\\u" not in shown
    assert redact("a old-token-1 b old-token-22 c", secret) == "a *** b *** c"
