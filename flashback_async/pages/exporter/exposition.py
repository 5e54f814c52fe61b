"""The text formats of Prometheus: families of metrics as lines, whatever they mean."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Literal

from attrs import frozen

# What would end a label value early, and what UTF-8 cannot encode.
_SPECIAL = re.compile('[\\\\"\n\ud800-\udfff]')
_ESCAPES = {"\\": r"\\", '"': r"\"", "\n": r"\n"}


class Form(Enum):
    """The text formats, each with its content type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@frozen(eq=False)
class Family:
    """A metric with its help; ``name`` is without the ``_total`` of a counter.

    If there is a ``unit``, the name ends with it.
    """

    name: str
    kind: Literal["gauge", "counter"]
    help: str
    unit: str = ""

    @property
    def series(self) -> str:
        """The name of its series."""
        return f"{self.name}_total" if self.kind == "counter" else self.name

    def head(self, form: Form) -> str:
        """Return the lines about the family, which precede its series."""
        if form is Form.TEXT:
            return f"# HELP {self.series} {self.help}\n# TYPE {self.series} {self.kind}\n"
        unit = f"# UNIT {self.name} {self.unit}\n" if self.unit else ""
        return f"# TYPE {self.name} {self.kind}\n{unit}# HELP {self.name} {self.help}\n"


class Page:
    """The page of one scrape, which grows line by line, in any order of the families.

    The lines of a family stay together, as the formats require. What is packed is bytes, which
    the garbage collector need not look at.
    """

    def __init__(self, form: Form, families: Iterable[Family]) -> None:
        self._form = form
        self._lines: dict[Family, list[str]] = {family: [] for family in families}
        self._packed: dict[Family, list[bytes]] = {family: [] for family in self._lines}

    def add(self, family: Family, labels: str, value: float | None) -> None:
        """Add a series, whose labels come from `label_set`; one without a value is left out."""
        if value is None or (family.kind == "counter" and not 0 <= value < math.inf):
            return  # no counter can be that
        self._lines[family].append(f"{family.series}{labels} {number(value)}\n")

    def pack(self) -> None:
        """Turn the lines that were added since the last time into bytes."""
        for family, lines in self._lines.items():
            if lines:
                self._packed[family].append("".join(lines).encode())
                lines.clear()

    def blocks(self) -> Iterator[bytes]:
        """Yield everything that is packed, family by family."""
        for family, packed in self._packed.items():
            yield family.head(self._form).encode()
            yield from packed
        if self._form is Form.OPENMETRICS:
            yield b"# EOF\n"


def label_set(**labels: str) -> str:
    """Return labels as a series has them after its name."""
    return "{" + ",".join([f'{name}="{escaped(text)}"' for name, text in labels.items()]) + "}"


def escaped(text: str) -> str:
    """Return text as a label value; a lone surrogate becomes its escape in Python, as text."""
    return _SPECIAL.sub(_escape, text) if _SPECIAL.search(text) else text


def number(value: float) -> str:
    """Return a value as the formats write it; whole numbers stay exact."""
    if isinstance(value, int):
        return str(int(value))
    if math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    return _ESCAPES.get(character) or rf"\\u{ord(character):04x}"
