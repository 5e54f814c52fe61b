"""Pictures of the whole estate: a report, a live dashboard, metrics for Prometheus."""

from __future__ import annotations

from flashback_async.pages.report import make_report

__all__ = ["make_report"]
