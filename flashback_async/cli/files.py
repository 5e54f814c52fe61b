"""Files that are written as a whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from pathlib import Path


def check_writable(path: str) -> None:
    """Check that a file could be written, before the work that fills it.

    Raises:
        OSError: Its folder is missing or closed to us, or it is a folder itself.
    """
    if not path:
        raise OSError(errno.ENOENT, "an empty name names no file")
    if _is_special(Path(path)):
        return
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise OSError(errno.EISDIR, f"{path}: is a directory")
    folder = target.parent
    if not folder.is_dir():
        raise OSError(errno.ENOENT, f"{path}: there is no folder {folder}")
    if not os.access(folder, os.W_OK):
        raise OSError(errno.EACCES, f"{path}: the folder {folder} cannot be written to")


def write_whole(path: str, data: bytes) -> None:
    """Write a file, which replaces an earlier one in a single step.

    A reader sees the earlier file or the new one, never a part. A link stays a link, and what is
    no regular file, such as a pipe, is written to.

    Raises:
        OSError: The file cannot be written; an earlier one is as it was.
    """
    if _is_special(Path(path)):
        _write(path, data)
        return
    target = Path(os.path.realpath(path))
    # Opened like any new file, so that its permissions are those that the user's umask grants.
    draft = target.with_name(f".flashback-{secrets.token_hex(8)}.tmp")
    try:
        with draft.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            draft.chmod(stat.S_IMODE(target.stat().st_mode))
        draft.replace(target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _is_special(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()


def _write(path: str, data: bytes) -> None:
    """Write to a pipe or a device, and name it in the error."""
    try:
        Path(path).write_bytes(data)
    except OSError as error:
        raise OSError(error.errno, f"{path}: {error.strerror}") from None
