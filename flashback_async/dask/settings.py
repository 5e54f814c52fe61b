"""What the workers are told about their clients: settings without a secret."""

from __future__ import annotations

import re

from attrs import field, frozen

from flashback_async import ConfigurationError, FlashbackClient, Limits, RetryPolicy, Timeout

_FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
# Stands for the base URL of a worker's environment, which only the worker knows.
_ANY_URL = "https://localhost"


def _shown(token_from: str | None) -> str:
    """Return what a repr shows of a name: nothing, because it may be a token by mistake."""
    return "None" if token_from is None else "'...'"


@frozen(init=False)
class WorkerSettings:
    """The settings of the client in each worker process. They hold no secret.

    Args:
        base_url: The URL of the API. None takes ``FLASHBACK_BASE_URL`` of each worker's
            environment, else the public API.
        token_from: The name of an async function that returns the token, as
            ``"package.module:function"``. Each worker imports it. None takes ``FLASHBACK_TOKEN``
            or ``FLASHBACK_TOKEN_FILE`` of each worker's environment.
        timeout: Time limits of each call.
        retry: When a failed request is retried.
        limits: Limits of each worker process. ``max_concurrency`` requests are in flight in each.

    Raises:
        ConfigurationError: A setting is wrong, or is a token or a function itself. The message
            names it and never shows its value.
    """

    base_url: str | None = None
    token_from: str | None = field(default=None, repr=_shown)
    timeout: Timeout = Timeout()
    retry: RetryPolicy = RetryPolicy()
    limits: Limits = Limits()

    def __init__(
        self,
        base_url: str | None = None,
        token_from: str | None = None,
        timeout: Timeout = Timeout(),
        retry: RetryPolicy = RetryPolicy(),
        limits: Limits = Limits(),
    ) -> None:
        problem = _problem(base_url, token_from, timeout, retry, limits)
        if problem is not None:
            # A tool that shows local variables needs a whole object.
            self.__attrs_init__()
            del base_url, token_from  # local variables in a traceback must not show a secret
            raise problem
        self.__attrs_init__(base_url, token_from, timeout, retry, limits)


def _problem(
    base_url: object, token_from: object, timeout: Timeout, retry: RetryPolicy, limits: Limits
) -> ConfigurationError | None:
    """Return what is wrong with the settings, as an error without a traceback."""
    if token_from is not None and not _is_name(token_from):
        return ConfigurationError(
            "WorkerSettings.token_from must name an async function of the workers, as"
            " 'package.module:function'; neither a token nor a function is ever sent"
        )
    if base_url is not None and not isinstance(base_url, str):
        kind = type(base_url).__name__
        return ConfigurationError(f"WorkerSettings.base_url must be text or None, not {kind}")
    url = _ANY_URL if base_url is None else base_url
    try:
        FlashbackClient("none", base_url=url, timeout=timeout, retry=retry, limits=limits)
    except ConfigurationError as error:
        return error.with_traceback(None)
    return None


def _is_name(value: object) -> bool:
    return isinstance(value, str) and _FUNCTION.fullmatch(value) is not None
