"""Cached reads: values with their age, one request for each key, and no HTTP."""
