"""Buckets, days and parsed HTML for the tests of pages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser

from flashback_async import BucketStatus, Failure, FlashbackError, NodeStatus, Success
from flashback_async.history import NodeDay

NOW = datetime(2026, 11, 22, 3, 12, tzinfo=UTC)
FIRST = date(2026, 9, 1)
VOID = {"br", "meta", "link"}


class Element:
    """An element of a page, with its text and what lies in it."""

    def __init__(self, name: str, attributes: dict[str, str | None]) -> None:
        self.name = name
        self.attributes = attributes
        self.children: list[Element | str] = []

    @property
    def text(self) -> str:
        """The text of the element, with white space as a browser shows it."""
        parts = (c if isinstance(c, str) else c.text for c in self.children)
        return re.sub(r"\s+", " ", " ".join(parts)).strip()

    def __getitem__(self, name: str) -> str:
        return self.attributes[name] or ""

    def all(self, name: str = "", css: str = "", **attributes: str) -> list[Element]:
        """Return the elements below this one of a name, a class and some attributes."""
        wanted = {key.replace("_", "-"): value for key, value in attributes.items()}
        found = []
        for child in self.children:
            if isinstance(child, Element):
                classes = (child.attributes.get("class") or "").split()
                if (
                    name in ("", child.name)
                    and (not css or css in classes)
                    and wanted.items() <= child.attributes.items()
                ):
                    found.append(child)
                found.extend(child.all(name, css, **attributes))
        return found

    def one(self, name: str = "", css: str = "", **attributes: str) -> Element:
        """Return the only such element."""
        (found,) = self.all(name, css, **attributes)
        return found


class Page(HTMLParser):
    """A parser that accepts only pages whose every element is closed where it should be."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self._open = [self.root]
        self.feed(text)
        self.close()
        assert self._open == [self.root], f"<{self._open[-1].name}> is open at the end"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        assert len(attributes) == len(attrs), f"an attribute of <{tag}> comes twice"
        element = Element(tag, attributes)
        self._open[-1].children.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self._open[-1].name == tag, f"</{tag}> in <{self._open[-1].name}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)


def parsed(text: str) -> Element:
    """Return the root of a page that is well-formed."""
    return Page(text).root


def bucket(bucket_id: str, *states: str | None, region: str | None = "us-east-1") -> BucketStatus:
    """Return a bucket with nodes of these states."""
    nodes = (NodeStatus(f"10.0.0.{n}", region, "1.8.2", s, 5, NOW) for n, s in enumerate(states))
    return BucketStatus(bucket_id, tuple(nodes))


def answered(status: BucketStatus, index: int = 0) -> Success[str, BucketStatus]:
    """Return the outcome of a bucket that answered."""
    return Success(index, status.bucket_id, status, 0.1)


def silent(bucket_id: str, error: FlashbackError, index: int = 0) -> Failure[str]:
    """Return the outcome of a bucket that did not answer."""
    return Failure(index, bucket_id, error, 0.1)


def node_day(
    bucket_id: str, day: date, uptime: float | None, place: int = 0, **facts: str | None
) -> NodeDay:
    """Return a node on a day."""
    known = {"ip": f"{bucket_id}-{place}", "region": "us-east-1", "provider": "aws"} | facts
    return NodeDay(bucket_id, day, place, uptime_percent=uptime, **known)


def days(
    uptimes: dict[str, Iterable[float | None]], first: date = FIRST
) -> Iterator[tuple[date, list[NodeDay]]]:
    """Yield days with a node for each bucket, of the given uptimes in turn."""
    for place, values in enumerate(zip(*uptimes.values(), strict=True)):
        day = first + timedelta(days=place)
        pairs = zip(uptimes, values, strict=True)
        yield day, [node_day(bucket_id, day, value) for bucket_id, value in pairs]
