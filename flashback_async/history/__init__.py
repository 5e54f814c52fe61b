"""The daily statistics of many buckets, kept: export, resume, read."""

from __future__ import annotations

from flashback_async.history.export import ExportReport, export_days
from flashback_async.history.reading import read_history
from flashback_async.history.rows import NodeDay
from flashback_async.history.status import HistoryStatus, history_status

__all__ = [
    "ExportReport",
    "HistoryStatus",
    "NodeDay",
    "export_days",
    "history_status",
    "read_history",
]
