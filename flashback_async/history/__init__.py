"""The daily statistics of many buckets, kept: export, resume, read."""
