"""The common look: every state is told by a word and a glyph, and is legible in its colours."""

import re

import pytest

from flashback_async import NodeState
from flashback_async.pages import look
from flashback_async.pages.look import LOOKS, look_of, static_text, worst

CSS = static_text("look.css")
LIGHT, DARK = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)[:2]


def colours(block):
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})\b", block))


def luminance(colour):
    parts = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    bright, dim = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def test_each_known_state_has_its_own_look():
    assert [look_of(state) for state in NodeState] == [
        look.ONLINE,
        look.OFFLINE,
        look.DISCONNECTED,
    ]
    assert look_of("ONLINE") == look.ONLINE
    assert look_of(None) == look.NOT_REPORTED
    assert look_of("OFFLINE", answered=False) == look.UNKNOWN


def test_any_other_state_keeps_the_text_of_the_api():
    found = look_of("DRAINING")
    assert (found.css, found.word) == ("other", "DRAINING")
    # What the API calls UNKNOWN is not a bucket without an answer.
    assert look_of("UNKNOWN").css == "other"


def test_no_two_looks_share_a_word_a_glyph_or_a_shape():
    for place in range(4):
        assert len({found[place] for found in LOOKS}) == len(LOOKS)
    assert all(len(found.glyph) == 1 for found in LOOKS)


def test_the_worst_look_is_found_whatever_the_order():
    assert worst([look.ONLINE, look_of("DRAINING"), look.DISCONNECTED]) == look.DISCONNECTED
    assert worst([look.ONLINE, look_of("DRAINING")]) == look_of("DRAINING")
    assert worst([]) is None


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
def test_text_is_legible_in_both_schemes(scheme):
    found = colours(scheme)
    for back in ("page", "panel", "sunken"):
        for text in ("ink", "muted", "link", *(state.css for state in LOOKS)):
            assert contrast(found[text], found[back]) >= 4.5, (text, back)
        assert contrast(found["strong-line"], found[back]) >= 3, back
    for state in LOOKS:
        assert contrast(found[state.css], found[f"{state.css}-tint"]) >= 4.5, state.css
        assert f".s-{state.css} " in CSS


def test_the_style_sheet_asks_for_nothing_from_elsewhere():
    assert "url(" not in CSS
    assert "@import" not in CSS
    assert "@font-face" not in CSS
