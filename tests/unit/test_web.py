"""The answer to every error: which status, which words, and when to ask again."""

import copy
import pickle

import pytest
from fastapi import HTTPException

import flashback_async
from flashback_async import (
    APIError,
    AuthenticationError,
    DecodeError,
    FlashbackError,
    InvalidArgumentError,
    RateLimitError,
    ServerError,
)
from flashback_async.web import HTTPAnswer, http_answer

STATUSES = {
    "APIError": 502,
    "AuthenticationError": 503,
    "BadRequestError": 400,
    "CertificateError": 503,
    "ClientClosedError": 503,
    "ClusterLostError": 503,
    "ConfigurationError": 503,
    "ConnectError": 503,
    "ConnectionLostError": 503,
    "DeadlineExceededError": 504,
    "DecodeError": 502,
    "EventLoopError": 503,
    "FlashbackError": 503,
    "InvalidArgumentError": 400,
    "NotFoundError": 404,
    "PermissionDeniedError": 404,
    "ProtocolError": 502,
    "RateLimitError": 429,
    "RedirectError": 502,
    "RequestTimeoutError": 504,
    "ResponseTooLargeError": 502,
    "ServerError": 503,
    "TokenProviderError": 503,
    "TransportError": 503,
}


def public_errors():
    """Return every error class of the package, those of later versions included."""
    public = (getattr(flashback_async, name) for name in flashback_async.__all__)
    return [item for item in public if isinstance(item, type) and issubclass(item, FlashbackError)]


every_kind = pytest.mark.parametrize("kind", public_errors())


def test_every_error_has_its_answer():
    assert {kind.__name__: http_answer(kind()).status for kind in public_errors()} == STATUSES


def full_of_secrets(kind):
    """Return an error in which every text is a word that no visitor may read."""
    facts = {"operation": "secret.get", "bucket_id": "secret-id", "attempts": 3, "elapsed": 1.5}
    if issubclass(kind, APIError):
        facts |= {"code": "secret", "message": "secret", "request_id": "secret", "body": "secret"}
        facts |= {"status": 418, "retry_after": 7.2}
    if issubclass(kind, DecodeError):
        facts |= {"path": "$.secret", "request_id": "secret", "status": 418}
    return kind("secret", **facts)


@every_kind
def test_an_answer_tells_nothing_of_the_call_behind_it(kind):
    answer, bare = http_answer(full_of_secrets(kind)), http_answer(kind())
    assert (answer.status, answer.detail) == (bare.status, bare.detail)
    assert "secret" not in repr(answer)
    assert bare.headers is None


@every_kind
def test_the_time_to_wait_is_told_with_429_and_server_errors_alone(kind):
    told = http_answer(full_of_secrets(kind)).headers
    assert told == ({"Retry-After": "8"} if kind in (RateLimitError, ServerError) else None)


@pytest.mark.parametrize(
    ("wait", "told"),
    [(0, "1"), (0.2, "1"), (1, "1"), (1.0001, "2"), (50.0, "50"), (-3, "1"), (1e9, "1000000000")],
)
def test_the_time_to_wait_is_in_whole_seconds_and_never_none(wait, told):
    assert http_answer(RateLimitError(retry_after=wait)).headers == {"Retry-After": told}


@pytest.mark.parametrize("wait", [None, float("inf"), float("nan")])
def test_a_time_that_no_header_can_tell_is_left_out(wait):
    assert http_answer(ServerError(retry_after=wait)).headers is None


def test_a_subclass_is_answered_as_its_base():
    class Own(AuthenticationError):
        pass

    assert http_answer(Own("x")) == http_answer(AuthenticationError("x"))


def test_an_answer_is_what_an_exception_of_starlette_takes():
    raised = HTTPException(*http_answer(RateLimitError("x", retry_after=2.5)))
    assert (raised.status_code, raised.detail) == (429, "too many requests")
    assert raised.headers == {"Retry-After": "3"}
    assert HTTPException(*http_answer(InvalidArgumentError("x"))).headers is None


def test_an_answer_is_a_plain_value():
    answer = http_answer(ServerError(retry_after=1))
    assert HTTPAnswer._fields == ("status", "detail", "headers")
    assert copy.deepcopy(answer) == pickle.loads(pickle.dumps(answer)) == answer


@pytest.mark.parametrize(
    "error", [ValueError("x"), TimeoutError(), KeyboardInterrupt(), None, "x", FlashbackError]
)
def test_what_is_no_error_of_the_package_is_a_mistake_of_the_backend(error):
    # Not a FlashbackError: a backend would answer it with 400.
    with pytest.raises(TypeError, match="error must be a FlashbackError, not "):
        http_answer(error)
