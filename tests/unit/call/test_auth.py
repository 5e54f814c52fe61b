"""The sources of tokens, and one fetch for all callers that wait for it."""

import asyncio

import pytest

from flashback_async.call.auth import (
    TokenFetches,
    TokenFile,
    TokenSource,
    problem_of_token,
    seal,
    token_source,
)
from flashback_async.errors import ConfigurationError, TokenProviderError
from flashback_async.values import Secret
from tests.unit.support import TOKEN, turns

NO_TOKENS = [
    "",
    " ",
    " a",
    "a ",
    "a b",
    "a\r\nb",
    "a\n",
    "a\tb",
    "a\x00b",
    "a\x7fb",
    "é",
    "日本",
    "\ud800",
    "Bearer abc",
    "bearer abc",
    "BEARER  abc",
]


class Provider:
    def __init__(self, *tokens, seconds=1.0):
        self.tokens = list(tokens)
        self.seconds = seconds
        self.asked = 0
        self.ended = []

    async def __call__(self):
        self.asked += 1
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        self.ended.append("done")
        token = self.tokens.pop(0)
        if isinstance(token, BaseException):
            raise token
        return token


def make(provider):
    """The source of a provider's tokens, with the fetches of this loop."""
    source = token_source(provider)
    source.fetch = TokenFetches(source, None).fetch
    return source


# Text.


@pytest.mark.parametrize("token", [TOKEN, "a", "!~", "x" * 5000, "a.b-c_d~e+f/g=="])
def test_a_usable_token_is_taken_as_it_is(token):
    assert token_source(seal(token)).kept.reveal() == token
    assert problem_of_token(token) is None


async def test_what_is_no_text_is_not_hidden():
    provider = Provider()
    assert seal(None) is None
    assert seal(provider) is provider


@pytest.mark.parametrize("token", NO_TOKENS)
def test_what_cannot_be_sent_is_refused_and_not_shown(token):
    with pytest.raises(ConfigurationError) as caught:
        token_source(seal(token))
    assert str(caught.value).startswith("token must")
    if token.strip():
        assert token not in str(caught.value)
        assert ascii(token)[1:-1] not in str(caught.value)


@pytest.mark.parametrize("token", [5, b"abc", [], True, 1.5])
def test_what_is_neither_text_nor_a_function_is_refused(token):
    with pytest.raises(ConfigurationError, match=f"token must .*{type(token).__name__}"):
        token_source(seal(token))


@pytest.mark.parametrize("token", [None, 5, b"x"])
def test_only_text_is_a_token(token):
    assert "must be text" in problem_of_token(token)


# The environment.


def test_the_variable_gives_the_token(monkeypatch, tmp_path):
    (tmp_path / "token").write_text("from-file")
    monkeypatch.setenv("FLASHBACK_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("FLASHBACK_TOKEN", "from-variable")
    assert token_source(None).kept.reveal() == "from-variable"
    monkeypatch.setenv("FLASHBACK_TOKEN", "")
    assert token_source(None).kept.reveal() == "from-file"


@pytest.mark.parametrize("text", ["from-file", "from-file\n", "  from-file \r\n\n"])
def test_the_file_gives_the_token_without_white_space(monkeypatch, tmp_path, text):
    (tmp_path / "token").write_text(text)
    monkeypatch.setenv("FLASHBACK_TOKEN_FILE", str(tmp_path / "token"))
    assert token_source(None).kept.reveal() == "from-file"


@pytest.mark.parametrize("value", [None, ""])
def test_without_a_token_the_variables_are_named(monkeypatch, value):
    if value is not None:
        monkeypatch.setenv("FLASHBACK_TOKEN", value)
        monkeypatch.setenv("FLASHBACK_TOKEN_FILE", value)
    with pytest.raises(ConfigurationError) as caught:
        token_source(None)
    assert "FLASHBACK_TOKEN" in str(caught.value)
    assert "FLASHBACK_TOKEN_FILE" in str(caught.value)


def test_a_file_that_cannot_be_read_is_told_without_its_name(monkeypatch, tmp_path):
    for name, content in (("missing", None), ("folder", ...), ("binary", b"\xff\xfe")):
        path = tmp_path / name
        if content is ...:
            path.mkdir()
        elif content is not None:
            path.write_bytes(content)
        monkeypatch.setenv("FLASHBACK_TOKEN_FILE", str(path))
        with pytest.raises(ConfigurationError, match="FLASHBACK_TOKEN_FILE") as caught:
            token_source(None)
        assert caught.value.__cause__ is None
        assert "None" not in str(caught.value)
        assert str(tmp_path) not in str(caught.value)
    monkeypatch.setenv("FLASHBACK_TOKEN_FILE", "x" * 5000)
    with pytest.raises(ConfigurationError, match="FLASHBACK_TOKEN_FILE"):
        token_source(None)


@pytest.mark.parametrize("content", ["", "\n", "two tokens"])
def test_a_file_that_holds_no_token_is_refused(monkeypatch, tmp_path, content):
    (tmp_path / "token").write_text(content)
    monkeypatch.setenv("FLASHBACK_TOKEN_FILE", str(tmp_path / "token"))
    with pytest.raises(ConfigurationError) as caught:
        token_source(None)
    assert "two tokens" not in str(caught.value)


# Providers.


async def test_a_text_needs_no_fetch_and_cannot_be_renewed():
    source = token_source(seal(TOKEN))
    assert not source.can_refresh
    secret = source.kept
    assert source.reject(secret)
    assert source.kept is secret


async def test_a_provider_is_asked_when_a_token_is_needed_and_not_before():
    provider = Provider("t1")
    source = make(provider)
    await turns()
    assert source.can_refresh
    assert source.kept is None
    assert provider.asked == 0
    assert (await source.fetch()).reveal() == "t1"
    assert source.kept.reveal() == "t1"


async def test_all_who_wait_share_one_fetch():
    provider = Provider("t1")
    source = make(provider)
    got = await asyncio.gather(*(source.fetch() for _ in range(20)))
    assert {secret.reveal() for secret in got} == {"t1"}
    assert provider.asked == 1


async def test_the_first_rejection_of_a_token_is_told_and_it_is_forgotten():
    source = make(Provider("t1", "t2"))
    first = await source.fetch()
    assert source.reject(first)
    assert source.kept is None
    assert not source.reject(first)
    second = await source.fetch()
    assert second.reveal() == "t2"
    assert source.kept is second


async def test_a_late_rejection_of_an_old_token_does_not_forget_the_new_one():
    source = make(Provider("t1", "t2"))
    first = await source.fetch()
    source.reject(first)
    second = await source.fetch()
    source.reject(first)
    assert source.kept is second


async def test_who_is_cancelled_leaves_the_others_their_token():
    provider = Provider("t1")
    source = make(provider)
    waiting = [asyncio.create_task(source.fetch()) for _ in range(4)]
    await turns()
    for task in waiting[:3]:
        task.cancel()
    await asyncio.wait(waiting)
    assert [task.cancelled() for task in waiting] == [True, True, True, False]
    assert waiting[3].result().reveal() == "t1"
    assert provider.ended == ["done"]


async def test_the_last_who_is_cancelled_ends_the_fetch():
    provider = Provider("t1", "t2")
    source = make(provider)
    waiting = [asyncio.create_task(source.fetch()) for _ in range(3)]
    await turns()
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    await turns()
    assert provider.ended == ["cancelled"]
    assert source.kept is None
    assert (await source.fetch()).reveal() == "t1"
    assert provider.asked == 2


async def test_who_comes_after_a_fetch_was_given_up_gets_a_fetch_of_its_own():
    provider = Provider("t1")
    source = make(provider)
    gives_up = asyncio.create_task(source.fetch())
    await turns()
    gives_up.cancel()
    comes_after = asyncio.create_task(source.fetch())
    await asyncio.wait([gives_up, comes_after])
    assert comes_after.result().reveal() == "t1"


async def test_an_exception_of_the_provider_is_the_cause_for_all_who_wait():
    error = LookupError("vault sealed")
    source = make(Provider(error, "t2"))
    results = await asyncio.gather(*(source.fetch() for _ in range(3)))
    assert len({id(result) for result in results}) == 3, "each has an error of its own"
    for result in results:
        assert isinstance(result, TokenProviderError)
        assert result.__cause__ is error
        assert "LookupError" in str(result)
        assert "vault" not in str(result), "its text may hold anything"
    assert source.kept is None
    assert (await source.fetch()).reveal() == "t2", "the next one asks again"


@pytest.mark.parametrize("given", [*NO_TOKENS, None, 5, b"abc"])
async def test_what_a_provider_gives_must_be_a_token(given):
    source = make(Provider(given))
    result = await source.fetch()
    assert isinstance(result, TokenProviderError)
    assert "no usable token" in str(result)
    assert source.kept is None
    if isinstance(given, str) and given.strip():
        assert given not in str(result)


async def test_a_provider_that_cancels_itself_is_an_error_and_no_cancellation():
    result = await make(Provider(asyncio.CancelledError())).fetch()
    assert isinstance(result, TokenProviderError)
    assert "cancelled" in str(result)


@pytest.mark.parametrize("provider", [lambda: "not awaited", lambda: None, lambda extra: None])
async def test_a_provider_that_is_no_async_function_is_an_error(provider):
    result = await make(provider).fetch()
    assert isinstance(result, TokenProviderError)
    assert isinstance(result.__cause__, TypeError)


async def test_a_new_fetch_ends_with_its_last_caller_though_one_of_the_old_has_yet_to_wake():
    ended = asyncio.Event()
    asked = []

    async def provider():
        asked.append("began")
        if len(asked) == 1:
            await asyncio.sleep(1)
            ended.set()
            raise LookupError
        try:
            await asyncio.sleep(1000)
        finally:
            asked.append("ended")

    async def late():
        await ended.wait()
        await source.fetch()

    async def canceller():
        await ended.wait()
        comes_late.cancel()

    source = make(provider)
    old = asyncio.create_task(source.fetch())
    comes_late = asyncio.create_task(late())
    await asyncio.gather(old, canceller(), comes_late, return_exceptions=True)
    await turns()
    assert asked == ["began", "began", "ended"]


def test_a_secret_of_ones_own_is_taken():
    secret = Secret(TOKEN)
    assert TokenSource(secret).kept is secret


async def test_closing_waits_until_the_provider_has_cleaned_up():
    cleaned = []

    async def provider():
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(5)
            cleaned.append(True)

    fetches = TokenFetches(token_source(provider), None)
    waiting = asyncio.create_task(fetches.fetch())
    await turns()
    waiting.cancel()
    await asyncio.wait([waiting])
    assert not cleaned, "the caller does not wait for it"
    await fetches.close()
    assert cleaned


async def test_a_provider_may_close_what_it_provides_for():
    closed = []

    async def provider():
        await fetches.close()
        closed.append(True)
        return "t1"

    fetches = TokenFetches(token_source(provider), None)
    assert (await fetches.fetch()).reveal() == "t1"
    assert closed


# Files.


def test_a_file_is_read_when_its_source_is_made(tmp_path):
    path = tmp_path / "token"
    file = TokenFile(path)
    for content, says in ((None, "cannot be read"), ("", "empty"), ("a b", "visible ASCII")):
        if content is not None:
            path.write_text(content)
        with pytest.raises(ConfigurationError, match=says) as caught:
            token_source(file)
        assert str(caught.value).startswith("token names a file")
        assert str(path) not in str(caught.value)
        assert caught.value.__cause__ is caught.value.__context__ is None
    path.write_text("from-file\n")
    assert token_source(file).kept.reveal() == "from-file"


def test_a_file_without_end_holds_no_token():
    with pytest.raises(ConfigurationError, match="larger than 65536 bytes"):
        token_source(TokenFile("/dev/zero"))


@pytest.mark.parametrize("path", ["a\0b", "\ud800"])
def test_a_path_that_no_system_has_cannot_be_read(path):
    with pytest.raises(ConfigurationError, match="token names a file that cannot be read"):
        token_source(TokenFile(path))


def test_a_token_file_has_a_path_that_is_not_empty():
    with pytest.raises(ConfigurationError, match=r"TokenFile\.path must not be empty"):
        TokenFile("")


@pytest.mark.parametrize("path", [None, 5, b"bytes", ["a"]])
def test_a_token_file_has_a_path(path):
    with pytest.raises(ConfigurationError, match=r"TokenFile\.path must be a path"):
        TokenFile(path)


def test_a_token_file_hides_its_path(tmp_path):
    file = TokenFile(tmp_path / "some-token-by-mistake")
    assert "mistake" not in repr(file)
    assert file == TokenFile(tmp_path / "some-token-by-mistake")
