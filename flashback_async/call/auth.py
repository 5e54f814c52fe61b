"""Where tokens come from: a text, the environment, a file, or an async provider."""

from __future__ import annotations

import asyncio
import copy
import os
import re
from pathlib import Path

from attrs import define

from flashback_async.errors import ConfigurationError, TokenProviderError
from flashback_async.values import Secret, TokenProvider

TOKEN_VARIABLE = "FLASHBACK_TOKEN"
TOKEN_FILE_VARIABLE = "FLASHBACK_TOKEN_FILE"

# What may stand in an Authorization header after "Bearer ": visible ASCII.
_USABLE = re.compile(r"[\x21-\x7e]+")


@define(slots=True)
class _Fetch:
    """A question to the provider that is under way, and how many wait for the answer."""

    task: asyncio.Task[Secret | TokenProviderError]
    waiters: int = 0


class TokenSource:
    """Give the token to send; one from a provider is kept, and fetched once for all who wait."""

    def __init__(self, given: Secret | TokenProvider) -> None:
        self._provider = None if isinstance(given, Secret) else given
        self.can_refresh = self._provider is not None
        # The token at hand; None where it must be fetched first.
        self.kept = given if isinstance(given, Secret) else None
        self._fetch: _Fetch | None = None
        self._rejected: Secret | None = None

    def reject(self, secret: Secret) -> bool:
        """Take note of a token that the API refused; True the first time it is this one.

        One from a provider is forgotten, so that the next who needs a token fetches it anew.
        """
        first = self._rejected is not secret
        self._rejected = secret
        if self._provider is not None and self.kept is secret:
            self.kept = None
        return first

    async def fetch(self) -> Secret | TokenProviderError:
        """Ask the provider, together with all who ask meanwhile.

        A caller that is cancelled leaves the others theirs; the last to leave ends the fetch.
        """
        fetch = self._fetch
        if fetch is None or fetch.task.done():
            fetch = self._fetch = _Fetch(asyncio.create_task(self._ask_provider()))
        fetch.waiters += 1
        try:
            await asyncio.wait({fetch.task})
        finally:
            fetch.waiters -= 1
            if not fetch.waiters and not fetch.task.done():
                fetch.task.cancel()
                self._fetch = None
        if fetch.task.cancelled():
            return TokenProviderError("the token provider was cancelled")
        result = fetch.task.result()
        # Each caller says in its error which call it ended.
        return copy.copy(result) if isinstance(result, TokenProviderError) else result

    async def _ask_provider(self) -> Secret | TokenProviderError:
        assert self._provider is not None  # noqa: S101 - for the type checker
        try:
            token = await self._provider()
        except Exception as error:
            failure = TokenProviderError(f"the token provider raised {type(error).__name__}")
            failure.__cause__ = error
            return failure
        problem = problem_of_token(token)
        if problem:
            return TokenProviderError(f"the token provider gave no usable token: it {problem}")
        self.kept = Secret(token)
        return self.kept


def seal(token: object) -> Secret | TokenProvider | ConfigurationError | None:
    """Hide what was passed as a token before anything is raised: a traceback may be recorded."""
    if token is None or callable(token):
        return token
    if isinstance(token, str):
        return Secret(token)
    kind = type(token).__name__
    return ConfigurationError(f"token must be text or an async function that gives it, not {kind}")


def token_source(sealed: Secret | TokenProvider | ConfigurationError | None) -> TokenSource:
    """Make the source of tokens from a sealed argument; None reads the environment.

    Raises:
        ConfigurationError: There is no token, or it is none that can be sent. The message never
            shows it.
    """
    if isinstance(sealed, ConfigurationError):
        raise sealed
    if sealed is None:
        sealed = _from_environment()
    if isinstance(sealed, Secret):
        problem = problem_of_token(sealed.reveal())
        if problem:
            raise ConfigurationError(f"token {problem}")
    return TokenSource(sealed)


def problem_of_token(token: object) -> str | None:
    """Say, without showing it, why something is no token; None where it is one."""
    if not isinstance(token, str):
        return f"must be text, not {type(token).__name__}"
    if not token:
        return "must not be empty"
    if token.lower().startswith("bearer "):
        return "must not start with 'Bearer ', which is added when it is sent"
    if not _USABLE.fullmatch(token):
        return "must consist of visible ASCII characters, without spaces or line ends"
    return None


def _from_environment() -> Secret:
    """Read the token from its variable, else from the file that the other variable names."""
    if text := os.environ.get(TOKEN_VARIABLE):
        return Secret(text)
    if not os.environ.get(TOKEN_FILE_VARIABLE):
        raise ConfigurationError(
            f"no token: pass token=..., or set {TOKEN_VARIABLE} or {TOKEN_FILE_VARIABLE}"
        )
    # The name stays out of this frame: some set the token there by mistake.
    content = _read_file(os.environ[TOKEN_FILE_VARIABLE])
    if isinstance(content, Secret):
        return content
    raise ConfigurationError(f"{TOKEN_FILE_VARIABLE} names a file that cannot be read: {content}")


def _read_file(name: str) -> Secret | str:
    """Give the stripped content of a file, or the reason why there is none."""
    try:
        return Secret(Path(name).read_text(encoding="utf-8").strip())
    except OSError as error:
        return error.strerror or type(error).__name__
    except ValueError:
        return "it is not text"
