"""The lock of a history: one export at a time, on one machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flashback_async.history.target import Target

if sys.platform == "win32":
    import msvcrt

    def _take(file: int) -> None:
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _take(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def locked(target: Target) -> Iterator[None]:
    """Hold the lock of a history. The system releases it if the process is killed.

    The lock file stays: if it were removed, two exports could each lock a file of that name.

    Raises:
        ConfigurationError: Another export holds it, or it cannot be locked.
    """
    path = lock_file(target.path)
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        if not path.parent.is_dir():
            raise target.refused("is in a folder that does not exist") from None
        raise target.refused(f"cannot be locked with {path.name!a}: {error.strerror}") from None
    try:
        try:
            _take(file)
        except (BlockingIOError, PermissionError):
            raise target.refused("is in use by another export") from None
        except OSError as error:
            problem = f"cannot be locked with {path.name!a}: {error.strerror}"
            raise target.refused(problem) from None
        yield
    finally:
        os.close(file)


def lock_file(path: Path) -> Path:
    """Return the lock file beside a history; readers of folders skip names with a dot."""
    return path.with_name(f".{path.name}.lock")
