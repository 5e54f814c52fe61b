"""A local Flashback API, for trying the client out and for testing what is built on it."""

from flashback_async.sandbox.faults import Fault
from flashback_async.sandbox.log import Log, Seen
from flashback_async.sandbox.script import Script
from flashback_async.sandbox.server import Sandbox

__all__ = ["Fault", "Log", "Sandbox", "Script", "Seen"]
