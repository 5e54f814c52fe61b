"""HTML that nothing from outside can change."""

import pytest

from flashback_async.pages.report.markup import Markup, foreign, shortened, tag
from tests.pages import parsed


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "</title>", "a & b &lt;", "\"'", "]]>", "<!--"]
)
def test_text_stays_text(text):
    page = parsed(tag("p", text, title=text))
    assert page.one("p").children == [text]
    assert page.one("p")["title"] == text


def test_what_was_made_here_is_not_escaped_again():
    assert tag("p", tag("b", "1 < 2"), ["a", None, ["&"]]) == "<p><b>1 &lt; 2</b>a&amp;</p>"
    assert tag("br") == "<br>"


def test_attributes_are_named_as_in_html():
    made = tag("a", class_="x", aria_label="y", open=True, hidden=False, id=None, tabindex=0)
    assert made == '<a class="x" aria-label="y" open tabindex="0"></a>'


def test_characters_without_a_picture_are_written_out():
    assert foreign("a\x00b\r\n\u202ec\ud800\ufffe") == r"a\x00b\r\n\u202ec\ud800\ufffe"
    tag("p", "\ud800").encode()


def test_text_that_may_run_from_right_to_left_does_not_turn_its_neighbours():
    assert foreign("אב") == "<bdi>אב</bdi>"
    assert foreign("plain") == "plain"
    assert isinstance(foreign("plain"), Markup)


def test_text_is_cut_to_a_length():
    assert shortened("x" * 10_000, 5) == "xxxx…"
    assert shortened("xxxxx", 5) == "xxxxx"
    assert len(shortened("\x00" * 10, 5)) == 5
