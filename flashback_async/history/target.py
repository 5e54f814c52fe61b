"""Where a history lies: its form, and the refusal of what is none."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from flashback_async import ConfigurationError, InvalidArgumentError

Format: TypeAlias = Literal["sqlite", "parquet"]

FORMATS: tuple[Format, ...] = ("sqlite", "parquet")


class Target(NamedTuple):
    """The place of a history.

    Attributes:
        name: The path as it was given, for messages.
        path: The same without symbolic links, so that every name of it has the same lock.
    """

    name: str
    path: Path

    def refused(self, problem: str) -> ConfigurationError:
        """Return an error that names the path and what is wrong with it."""
        kind = "folder" if self.path.is_dir() else "file"
        return ConfigurationError(f"path: the {kind} {self.name!a} {problem}")


def target_at(path: object) -> Target:
    """Return the place that a path names.

    Raises:
        InvalidArgumentError: It is no path.
    """
    if not isinstance(path, str | os.PathLike):
        raise InvalidArgumentError(f"path must be text or a Path, not {type(path).__name__}")
    name = os.fspath(path)
    if not isinstance(name, str) or not name or "\0" in name or not _is_encodable(name):
        raise InvalidArgumentError(f"path must name a file or a folder, not {name!a}")
    return Target(name, Path(os.path.realpath(name)))


def _is_encodable(name: str) -> bool:
    try:
        os.fsencode(name)
    except UnicodeEncodeError:  # no file has such a name
        return False
    return True


def format_on_disk(target: Target) -> Format | None:
    """Return the form that what lies at a path could have, or None if nothing is there.

    Raises:
        ConfigurationError: It is neither a file nor a folder, or cannot be reached.
    """
    try:
        mode = target.path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise target.refused(f"cannot be opened: {error.strerror}") from None
    if stat.S_ISDIR(mode):
        return "parquet"
    if stat.S_ISREG(mode):
        return "sqlite"
    raise target.refused("is neither a file nor a folder")
