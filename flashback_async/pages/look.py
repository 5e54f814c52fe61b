"""The common look of the pages: a word, a glyph, a shape and a CSS class for each state.

No state is told by its colour alone. The colours are in ``static/look.css``, under the same names.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from flashback_async import NodeState


class Look(NamedTuple):
    """How a state looks.

    Attributes:
        css: Its name in the style sheet: the class ``s-<css>`` and the colour ``--<css>``.
        glyph: One character for text, which every common font has.
        word: What people read.
        shape: The same as a picture: an SVG path of relative commands that starts in the middle
            of a cell of 12 × 12. Draw it with a stroke of 2.2 in the colour of the state, round
            caps and joins; fill it as well if ``filled`` is set.
        filled: Whether the shape is an area.
    """

    css: str
    glyph: str
    word: str
    shape: str
    filled: bool


ONLINE = Look("online", "●", "ONLINE", "m-2 0a2 2 0 1 1 4 0a2 2 0 1 1-4 0z", True)
OFFLINE = Look("offline", "×", "OFFLINE", "m-3.2-3.2l6.4 6.4m0-6.4l-6.4 6.4", False)
DISCONNECTED = Look("disconnected", "▲", "DISCONNECTED", "m0-3.2l3.4 6h-6.8z", True)
OTHER = Look("other", "■", "other state", "m-2.6-2.6h5.2v5.2h-5.2z", True)
UNKNOWN = Look("unknown", "?", "UNKNOWN", "m-2.2-2a2.2 2.2 0 1 1 2.2 2.3v1m0 2.7v.1", False)
NOT_REPORTED = Look("none", "○", "not reported", "m-3 0a3 3 0 1 1 6 0a3 3 0 1 1-6 0z", False)

# The worst first. A bucket that did not answer may be down as a whole, or not at all.
LOOKS = (OFFLINE, DISCONNECTED, OTHER, UNKNOWN, NOT_REPORTED, ONLINE)

_KNOWN: dict[str, Look] = {
    NodeState.ONLINE: ONLINE,
    NodeState.OFFLINE: OFFLINE,
    NodeState.DISCONNECTED: DISCONNECTED,
}


def look_of(state: str | None, *, answered: bool = True) -> Look:
    """Return the look of a state.

    Args:
        state: That of a node, as the API reported it; None if it reported none. A text that is no
            `NodeState` is the word of its look as it is, and must be escaped on a page.
        answered: Whether the bucket answered. If not, the state counts for nothing.
    """
    if not answered:
        return UNKNOWN
    if state is None:
        return NOT_REPORTED
    return _KNOWN.get(state) or OTHER._replace(word=str(state))


def worst(looks: Iterable[Look]) -> Look | None:
    """Return the worst of some looks, the first of equal ones; None if there are none."""
    return min(looks, key=lambda look: _RANKS[look.css], default=None)


@cache
def static_text(name: str) -> str:
    """Return the text of a file in ``static/``, which is a part of the package."""
    return files(__package__).joinpath("static", name).read_text(encoding="utf-8")


_RANKS = {look.css: rank for rank, look in enumerate(LOOKS)}
