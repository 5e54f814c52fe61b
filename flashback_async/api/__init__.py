"""The meaning of this API's bytes: URLs, status, headers and JSON; nothing here awaits."""
