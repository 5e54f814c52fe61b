"""Watching buckets: which is due when, what changed, and what was delivered; no HTTP."""
