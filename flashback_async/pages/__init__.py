"""Pictures of the whole estate: a report, a live dashboard, metrics for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flashback_async.pages.report.page import make_report

__all__ = ["make_report"]


def __getattr__(name: str) -> object:
    """Load the report when it is first used, because the other pages do without it."""
    if name != "make_report":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from flashback_async.pages.report.page import make_report

    return make_report
