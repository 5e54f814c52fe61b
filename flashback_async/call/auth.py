"""The sources of tokens: text, the environment, a file, or an async provider."""

from __future__ import annotations

import asyncio
import copy
import os
import re
import stat
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import NamedTuple

from attrs import define, field, frozen

from flashback_async.errors import ConfigurationError, TokenProviderError
from flashback_async.values import Secret, TokenProvider

TOKEN_VARIABLE = "FLASHBACK_TOKEN"
TOKEN_FILE_VARIABLE = "FLASHBACK_TOKEN_FILE"

# What may follow "Bearer " in an Authorization header: visible ASCII.
_USABLE = re.compile(r"[\x21-\x7e]+")
_LONGEST_FILE = 64 * 1024
_REMEMBERED = 3  # rejected tokens
# A pipe in the place of a file would hold up the thread that opens it until somebody writes.
_NEVER_WAITING = getattr(os, "O_NONBLOCK", 0)


@frozen(slots=True)
class TokenFile:
    """A file that holds the token, read when a client is made and when its token is rejected.

    Write a new token to a temporary file and rename that, so that the client never reads half of
    it. Anything but a regular file, such as a shell's pipe, is read only once. White space around
    the token is ignored.

    Args:
        path: The file. It appears in no ``repr`` and no error.

    Raises:
        ConfigurationError: ``path`` is not a path. A client that is made with the file raises it if
            the file is missing, is empty, or holds no token.
    """

    path: str | os.PathLike[str] = field(repr=False)

    @path.validator
    def _check_path(self, _: object, value: object) -> None:
        if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str):
            raise ConfigurationError(f"TokenFile.path must be a path, not {type(value).__name__}")
        if not os.fspath(value):
            raise ConfigurationError("TokenFile.path must not be empty")


GivenToken = Secret | TokenFile | TokenProvider
Fetched = Secret | TokenProviderError


class TokenSource:
    """The token of a client, and the way to a new one if the API rejects it."""

    def __init__(
        self,
        kept: Secret | None,
        renew: Callable[[Executor], Awaitable[Fetched]] | None = None,
        *,
        sends_unchanged: bool = True,
    ) -> None:
        self.kept = kept  # None if it must be fetched first
        self.can_refresh = renew is not None
        self._renew = renew
        self._sends_unchanged = sends_unchanged
        self._rejected: Secret | None = None

    def reject(self, secret: Secret) -> bool:
        """Record that the API rejected a token; return whether that is news.

        A token that can be renewed is dropped, so that the next call fetches a new one.
        """
        is_news = self._rejected is not secret
        self._rejected = secret
        if self.can_refresh and self.kept is secret:
            self.kept = None
        return is_news

    def is_worth_sending(self, secret: Secret, rejected: Secret) -> bool:
        """Return whether a token may be sent in place of one that was just rejected.

        A provider may return the same text on purpose; a file with the same text was not renewed.
        """
        return self._sends_unchanged or secret.reveal() != rejected.reveal()

    async def renew(self, threads: Executor) -> Fetched:
        """Return a new token, which is kept from now on, or the reason why there is none."""
        assert self._renew is not None  # noqa: S101 - a literal token is always kept
        fetched = await self._renew(threads)
        if isinstance(fetched, Secret):
            if self._rejected is not None:
                # The API may still echo these.
                fetched.earlier = (self._rejected, *self._rejected.earlier)[:_REMEMBERED]
            self.kept = fetched
        return fetched


@define(slots=True)
class _Fetch:
    """A fetch in flight, and how many callers wait for it."""

    task: asyncio.Task[Fetched]
    waiters: int = 0


class TokenFetches:
    """The fetches of one event loop: one at a time, shared by all callers that need a token."""

    def __init__(self, source: TokenSource, threads: Executor) -> None:
        self._source = source
        self._threads = threads
        self._fetch: _Fetch | None = None
        self._tasks: set[asyncio.Task[Fetched]] = set()  # a cancelled one may still clean up

    async def fetch(self) -> Fetched:
        """Return a new token.

        If a caller is cancelled, the fetch continues for the others, and ends with the last one.
        """
        fetch = self._fetch
        if fetch is None or fetch.task.done():
            fetch = self._fetch = _Fetch(self._start())
        fetch.waiters += 1
        try:
            await asyncio.wait({fetch.task})
        finally:
            fetch.waiters -= 1
            if not fetch.waiters and not fetch.task.done():
                fetch.task.cancel()
                if self._fetch is fetch:
                    self._fetch = None
        if fetch.task.cancelled():
            return TokenProviderError("the token provider was cancelled")
        result = fetch.task.result()
        # Each caller completes an error of its own.
        return copy.copy(result) if isinstance(result, TokenProviderError) else result

    def _start(self) -> asyncio.Task[Fetched]:
        task = asyncio.get_running_loop().create_task(self._source.renew(self._threads))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Cancel the fetches in flight, and wait until the provider has cleaned up."""
        own = asyncio.current_task()
        while tasks := self._tasks - {own}:
            for task in tasks:
                if not task.cancelling():  # a second time would cut its clean-up short
                    task.cancel()
            await asyncio.wait(tasks)


def seal(token: object) -> GivenToken | ConfigurationError | None:
    """Return the argument ``token``, sealed so that no traceback shows it."""
    if token is None or isinstance(token, TokenFile) or callable(token):
        return token
    if isinstance(token, str):
        return Secret(token)
    return ConfigurationError(
        "token must be text, a TokenFile, or an async function that returns it, "
        f"not {type(token).__name__}"
    )


def token_source(sealed: GivenToken | ConfigurationError | None) -> TokenSource:
    """Return the source for a sealed argument; None reads the environment.

    Raises:
        ConfigurationError: There is no token, or it cannot be sent. The message never shows it.
    """
    if isinstance(sealed, ConfigurationError):
        raise sealed
    name = "token"
    if sealed is None:
        sealed = _from_environment()
        is_text = isinstance(sealed, Secret)
        name = f"token of {TOKEN_VARIABLE}" if is_text else TOKEN_FILE_VARIABLE
    if isinstance(sealed, TokenFile):
        return _file_source(sealed, name)
    if not isinstance(sealed, Secret):
        return TokenSource(None, _ask(sealed))
    problem = problem_of_token(sealed.reveal())
    if problem:
        raise ConfigurationError(f"{name} {problem}")
    return TokenSource(sealed)


def problem_of_token(token: object) -> str | None:
    """Return the rule for tokens that a value breaks, without showing it; None if it is valid."""
    if not isinstance(token, str):
        return f"must be text, not {type(token).__name__}"
    if not token:
        return "must not be empty"
    if token.lower().startswith("bearer "):
        return "must not start with 'Bearer ', which is added when it is sent"
    if not _USABLE.fullmatch(token):
        return "must consist of visible ASCII characters, without spaces or line ends"
    return None


def _from_environment() -> Secret | TokenFile:
    if text := os.environ.get(TOKEN_VARIABLE):
        return Secret(text)
    if not os.environ.get(TOKEN_FILE_VARIABLE):
        raise ConfigurationError(
            f"no token: pass token=..., or set {TOKEN_VARIABLE} or {TOKEN_FILE_VARIABLE}"
        )
    # The variable stays out of this frame, because it may hold the token itself by mistake.
    return TokenFile(os.environ[TOKEN_FILE_VARIABLE])


def _ask(provider: TokenProvider) -> Callable[[Executor], Awaitable[Fetched]]:
    """Return the function that asks a provider for a token."""

    async def ask(_: Executor) -> Fetched:
        try:
            token = await provider()
        except Exception as error:
            failure = TokenProviderError(f"the token provider raised {type(error).__name__}")
            failure.__cause__ = error
            return failure
        problem = problem_of_token(token)
        if problem:
            return TokenProviderError(f"the token provider returned no usable token: it {problem}")
        return Secret(token)

    return ask


class _Content(NamedTuple):
    """The token in a file, or the problem with it, and whether it can be read again."""

    token: Secret | None
    problem: str = ""
    is_regular: bool = True


def _file_source(file: TokenFile, name: str) -> TokenSource:
    """Return the source of a token file after its first read; ``name`` is the setting's."""
    content = _read(file)
    if content.token is None:
        raise ConfigurationError(f"{name} names a file that {content.problem}")
    if not content.is_regular:
        return TokenSource(content.token)

    async def read_again(threads: Executor) -> Fetched:
        loop = asyncio.get_running_loop()
        content = await loop.run_in_executor(threads, _read, file, _NEVER_WAITING)
        if not content.is_regular:
            return TokenProviderError("the token file is no regular file any more")
        return content.token or TokenProviderError(f"the token file {content.problem}")

    return TokenSource(content.token, read_again, sends_unchanged=False)


def _read(file: TokenFile, flags: int = 0) -> _Content:
    """Return what a token file holds; never raise, because an exception would hold the path."""
    try:
        with open(file.path, "rb", opener=lambda path, mode: os.open(path, mode | flags)) as opened:
            is_regular = stat.S_ISREG(os.fstat(opened.fileno()).st_mode)
            if flags and not is_regular:
                return _Content(None, is_regular=False)
            data = opened.read(_LONGEST_FILE + 1)
    except OSError as error:
        return _Content(None, f"cannot be read: {error.strerror or type(error).__name__}")
    except ValueError:  # such as a path that holds a NUL
        return _Content(None, "cannot be read: its path is not valid")
    if len(data) > _LONGEST_FILE:
        return _Content(None, f"holds no token: it is larger than {_LONGEST_FILE} bytes")
    # Characters outside ASCII break the rule for tokens, however they are decoded.
    token = Secret(data.decode("utf-8", "replace").strip())
    problem = problem_of_token(token.reveal())
    if problem:
        return _Content(None, f"holds no token: it {problem}")
    return _Content(token, is_regular=is_regular)
