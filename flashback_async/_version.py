"""The version of the installed distribution."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("flashback-async")
except PackageNotFoundError:  # frozen, or copied into an application
    __version__ = "0.0"
