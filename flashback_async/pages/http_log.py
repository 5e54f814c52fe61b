"""The log of the servers of pages: what fails in them, and nothing of what strangers send."""

from __future__ import annotations

import logging

from aiohttp.http import HttpProcessingError


def _is_ours(record: logging.LogRecord) -> bool:
    """Return whether a record is about anything other than a request that is no valid HTTP."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError)


# Its handlers are those of aiohttp's own logger. The filter is on this one alone, so the other
# servers of the process log as before.
HTTP_LOG = logging.getLogger("aiohttp.server.flashback_async")
HTTP_LOG.addFilter(_is_ours)
