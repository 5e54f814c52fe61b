"""The daily statistics of many buckets, kept: export, resume, read."""

from __future__ import annotations

from flashback_async.history.reading import read_history
from flashback_async.history.rows import NodeDay

__all__ = ["NodeDay", "read_history"]
