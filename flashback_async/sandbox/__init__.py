"""A local Flashback API, for trying the client out and for testing what is built on it."""

from flashback_async.sandbox.server import Sandbox

__all__ = ["Sandbox"]
