"""Changes as text for people."""

from __future__ import annotations

from datetime import UTC

from flashback_async import Change, ChangeKind
from flashback_async.cli import text
from flashback_async.cli.records import reason


def line(change: Change) -> str:
    """Return a change as one line of text, with its time in UTC."""
    about = text.printable(change.bucket_id)
    if change.ip is not None:
        about += f"  {text.printable(change.ip)}"
    why = "" if change.error is None else f": {reason(change.error)}"
    return f"{change.at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}  {about}  {what(change)}{why}"


def what(change: Change) -> str:
    """Return what a change is, without what it is about, and why."""
    before, after = text.optional(change.before), text.optional(change.after)
    if change.kind is ChangeKind.APPEARED:
        return f"appeared, {after}"
    if change.kind is ChangeKind.STATE:
        return f"{before} -> {after}"
    if change.kind is ChangeKind.GONE:
        return "gone" if change.before is None else f"{before} -> gone"
    return change.kind.value
