"""The options as settings of a client, whose errors name the option and not the setting."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from flashback_async import (
    ConfigurationError,
    FlashbackClient,
    InvalidArgumentError,
    Limits,
    Observer,
    Timeout,
)
from flashback_async.cli.options import Options

_TOKEN_VARIABLES = ("FLASHBACK_TOKEN", "FLASHBACK_TOKEN_FILE")

_NAMES = {
    "Timeout.total": "three times --timeout",
    "Timeout.attempt": "--timeout",
    "Timeout.connect": "--timeout",
    "Limits.max_concurrency": "--concurrency",
    "Limits.max_rate": "--max-rate",
    "deadline": "--deadline",
    "base_url": "--base-url",
    "allow_insecure_http=True": "--allow-insecure-http",
    "transport='direct'": "--transport direct",
    "dask": "--dask",
}
# Plain words, which name a setting only where a message begins.
_SETTINGS_OF_WATCH = re.compile(r"(?:interval|fall|rise|state|listen)\b")


def make_client(options: Options, observer: Observer | None = None) -> FlashbackClient:
    """Make the client that the options and the environment describe.

    Raises:
        ConfigurationError: There is no token, or a setting is wrong.
    """
    if not any(map(os.environ.get, _TOKEN_VARIABLES)):
        token, file = _TOKEN_VARIABLES
        raise ConfigurationError(
            f"no token: set {token}, or {file} to the name of a file that holds it"
        )
    return FlashbackClient(
        base_url=options.base_url,
        timeout=make_timeout(options),
        limits=Limits(max_concurrency=options.concurrency, max_rate=options.max_rate),
        allow_insecure_http=options.allow_insecure_http,
        observer=observer,
        transport=options.transport,
    )


def make_timeout(options: Options, left: float | None = None) -> Timeout:
    """Return the time limits of a call, which ends after the ``left`` seconds at the latest."""
    attempt, total = options.timeout, 3 * options.timeout
    return Timeout(
        total=total if left is None else min(total, left),
        attempt=attempt,
        connect=min(attempt, Timeout().connect),
    )


@contextmanager
def naming_options(options: Options) -> Iterator[None]:
    """Name the option, or the variable, in the error of a setting that was made from it."""
    try:
        yield
    except (ConfigurationError, InvalidArgumentError) as error:
        message = str(error.args[0]) if error.args else ""
        names = dict(_NAMES)
        if options.base_url is None:
            names["base_url"] = "FLASHBACK_BASE_URL"
        for setting, name in names.items():
            # Only the first occurrence, because the rest of the message may quote the user.
            message = re.sub(rf"\b{re.escape(setting)}(?!\w)", name, message, count=1)
        if _SETTINGS_OF_WATCH.match(message):
            message = f"--{message}"
        raise type(error)(message) from None
