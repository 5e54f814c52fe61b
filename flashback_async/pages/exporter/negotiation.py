"""What a scraper accepts: the format and the compression that its headers ask for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flashback_async.pages.exporter.exposition import Form

_OPENMETRICS_VERSIONS = ("", "1.0.0")


def chosen_form(accept: Sequence[str]) -> Form:
    """Return the format that a scraper prefers; plain text if it asks for neither.

    Args:
        accept: The values of its ``Accept`` headers.
    """
    openmetrics = text = 0.0
    for kind, parameters, quality in _choices(accept):
        if kind == "application/openmetrics-text":
            if parameters.get("version", "") in _OPENMETRICS_VERSIONS:
                openmetrics = max(openmetrics, quality)
        elif kind == "text/plain":
            text = max(text, quality)
    return Form.OPENMETRICS if openmetrics and openmetrics >= text else Form.TEXT


def accepts_gzip(accept_encoding: Sequence[str]) -> bool:
    """Return whether a scraper takes a compressed answer.

    Args:
        accept_encoding: The values of its ``Accept-Encoding`` headers.
    """
    return any(kind == "gzip" and quality for kind, _, quality in _choices(accept_encoding))


def _choices(values: Sequence[str]) -> Iterator[tuple[str, dict[str, str], float]]:
    """Yield each choice of a header: its name, its parameters, and its weight from 0 to 1."""
    for choice in ",".join(values).lower().split(","):
        kind, *rest = choice.split(";")
        pairs = (part.partition("=") for part in rest)
        parameters = {name.strip(): value.strip(' \t"') for name, _, value in pairs}
        yield kind.strip(), parameters, _quality(parameters.get("q", "1"))


def _quality(text: str) -> float:
    try:
        quality = float(text)
    except ValueError:
        return 0.0
    return quality if 0 <= quality <= 1 else 0.0
