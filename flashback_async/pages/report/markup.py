"""HTML as text: everything is escaped unless it was made here."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TypeAlias

from flashback_async.pages.look import Look

# Elements that have no end tag.
_VOID = frozenset({"br", "meta", "link"})
_LONGEST = 160  # characters of a text from the API, as far as a page shows it


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


class Room:
    """The bytes that a part of a page may still take.

    Attributes:
        left: How many they are.
    """

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, text: str, more: int = 0) -> bool:
        """Take the bytes of a text, and ``more``; return False if there are not so many."""
        fits = (needed := size(text) + more) <= self.left
        if fits:
            self.left -= needed
        return fits


Child: TypeAlias = "str | Iterable[Child] | None"
Value: TypeAlias = str | int | float | bool | None


def tag(name: str, /, *children: Child, **attributes: Value) -> Markup:
    """Return an element.

    Args:
        name: Its name.
        children: What it holds: text, which is escaped, `Markup`, which is not, or iterables of
            both. None is nothing.
        attributes: Its attributes. A trailing underscore is dropped, and the others become hyphens.
            True is an attribute without a value; False and None are none.
    """
    shown = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return Markup(f"<{name}{shown}>")
    return Markup(f"<{name}{shown}>{join(children)}</{name}>")


def join(children: Child) -> Markup:
    """Return children one after the other."""
    if children is None:
        return Markup()
    if isinstance(children, Markup):
        return children
    if isinstance(children, str):
        return Markup(escape(printable(children), quote=False))
    return Markup("".join(map(join, children)))


def size(text: str) -> int:
    """Return how many bytes a text takes in the file."""
    return len(text.encode())


def section(name: str, title: str, *children: Child, is_wide: bool = False) -> Markup:
    """Return a section of a page.

    Args:
        name: Its id.
        title: Its heading.
        children: What follows the heading.
        is_wide: Whether it takes a page in landscape format when it is printed.
    """
    heading = tag("h2", title, id=name)
    css = "panel wide" if is_wide else "panel"
    return tag("section", heading, *children, class_=css, aria_labelledby=name)


def scroll(table: Markup, label: str, *, at_end: bool = False) -> Markup:
    """Return a table in a box of its own that scrolls, so that the page does not.

    Args:
        table: The table.
        label: What it holds, for screen readers.
        at_end: Whether its right end is in sight first.
    """
    css = "scroll newest" if at_end else "scroll"
    # With the keyboard, a box scrolls only if it can have the focus.
    return tag("div", table, class_=css, tabindex=0, role="region", aria_label=label)


def state(look: Look, number: int | None = None) -> Markup:
    """Return a state as glyph and word, with a number before the word if there is one."""
    count = "" if number is None else f"{number:,} "
    glyph = tag("i", look.glyph, aria_hidden="true")
    return tag("span", glyph, f" {count}", foreign(look.word, 40), class_=f"state s-{look.css}")


def foreign(text: str, most: int = _LONGEST) -> Markup:
    """Return text that the API sent, cut to a length, and kept from turning the text around it."""
    shown = join(shortened(text, most))
    return shown if shown.isascii() else tag("bdi", shown)


def shortened(text: str, most: int = _LONGEST) -> str:
    """Return printable text of a limited length."""
    # The rest is cut off first, so that escaping it costs nothing.
    shown = printable(text[: most + 1])
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def printable(text: str) -> str:
    """Return text with every character escaped that has no picture: control characters and such."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _attribute(key: str, value: Value) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    return f' {name}="{escape(printable(str(value)))}"'
