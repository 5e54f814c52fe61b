"""The checks of a session that the client borrows."""

import aiohttp
import pytest

from flashback_async.errors import ConfigurationError
from flashback_async.net.borrowed_session import check_session
from flashback_async.values import Secret

BASE_URL = "https://api.test"
PROXY = Secret("http://proxy.test:3128")


def check(session, base_url=BASE_URL, proxy=None):
    check_session(session, base_url, proxy, allow_insecure_http=False)


@pytest.mark.parametrize("session", [5, "session", object(), aiohttp.ClientSession])
def test_what_is_no_session_cannot_be_borrowed(session):
    with pytest.raises(ConfigurationError, match=r"session must be an aiohttp\.ClientSession"):
        check(session)


async def test_a_session_that_was_closed_cannot_be_borrowed():
    check(None)
    session = aiohttp.ClientSession()
    check(session)
    await session.close()
    with pytest.raises(ConfigurationError, match="closed"):
        check(session)


async def test_a_session_whose_default_headers_hold_a_token_is_shown_to_no_proxy():
    headers = {"authorization": "Bearer secret"}
    async with aiohttp.ClientSession(headers=headers) as session:
        check(session)
        with pytest.raises(ConfigurationError, match="Authorization") as caught:
            check(session, proxy=PROXY)
        assert "secret" not in str(caught.value)
    async with aiohttp.ClientSession(headers=headers, proxy=PROXY.reveal()) as session:
        with pytest.raises(ConfigurationError, match="Authorization"):
            check(session)


async def test_a_proxy_of_the_session_carries_no_token_in_clear_text(monkeypatch):
    async with aiohttp.ClientSession(proxy=PROXY.reveal()) as session:
        check(session)
        with pytest.raises(ConfigurationError, match="clear text"):
            check(session, "http://127.0.0.1:8000")
    monkeypatch.setenv("HTTP_PROXY", PROXY.reveal())
    async with aiohttp.ClientSession() as session:
        check(session, "http://127.0.0.1:8000")
    async with aiohttp.ClientSession(trust_env=True) as session:
        with pytest.raises(ConfigurationError, match="clear text"):
            check(session, "http://127.0.0.1:8000")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        check(session, "http://127.0.0.1:8000")
