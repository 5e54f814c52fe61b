"""The error tree: its bases, and pickles and copies of every error."""

import copy
import pickle

import pytest

from flashback_async import errors
from flashback_async.errors import APIError, DecodeError, FlashbackError, seconds, show
from tests import inside

# Each class with its parents, as documented.
TREE = {
    "FlashbackError": (Exception,),
    "ConfigurationError": ("FlashbackError", ValueError),
    "InvalidArgumentError": ("FlashbackError", ValueError),
    "TokenProviderError": ("FlashbackError",),
    "ClientClosedError": ("FlashbackError", RuntimeError),
    "EventLoopError": ("FlashbackError", RuntimeError),
    "DeadlineExceededError": ("FlashbackError", TimeoutError),
    "ClusterLostError": ("FlashbackError",),
    "TransportError": ("FlashbackError",),
    "ConnectError": ("TransportError",),
    "CertificateError": ("ConnectError",),
    "ConnectionLostError": ("TransportError",),
    "RequestTimeoutError": ("TransportError", TimeoutError),
    "ProtocolError": ("TransportError",),
    "APIError": ("FlashbackError",),
    "BadRequestError": ("APIError",),
    "AuthenticationError": ("APIError",),
    "PermissionDeniedError": ("APIError",),
    "NotFoundError": ("APIError",),
    "RateLimitError": ("APIError",),
    "RedirectError": ("APIError",),
    "ServerError": ("APIError",),
    "DecodeError": ("FlashbackError",),
    "ResponseTooLargeError": ("DecodeError",),
}
KINDS = [getattr(errors, name) for name in TREE]
COMMON = {"operation": "status.get", "bucket_id": "b\n1", "attempts": 3, "elapsed": 1.5}
OF_API = {
    "status": 429,
    "code": "E7",
    "message": "slow down",
    "request_id": "r-1",
    "retry_after": 2.5,
    "body": '{"a": 1}',
}
OF_DECODING = {"path": "$.a[3].b", "status": 203, "request_id": "r-2"}

every_kind = pytest.mark.parametrize("kind", KINDS, ids=TREE)


def facts_of(kind):
    if issubclass(kind, APIError):
        return COMMON | OF_API
    if issubclass(kind, DecodeError):
        return COMMON | OF_DECODING
    return COMMON


def assert_same(error, other):
    assert type(other) is type(error)
    assert other is not error
    assert vars(other) == vars(error)
    assert other.args == error.args
    assert str(other) == str(error)
    assert repr(other) == repr(error)


def test_the_tree_is_the_documented_one():
    defined = {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, FlashbackError)
    }
    assert set(defined) == set(TREE)
    for name, parents in TREE.items():
        expected = tuple(getattr(errors, p) if isinstance(p, str) else p for p in parents)
        assert defined[name].__bases__ == expected


@pytest.mark.parametrize("name", TREE)
def test_the_drawing_in_the_docstring_names_every_class(name):
    assert f"{name} " in errors.__doc__


@every_kind
def test_an_error_has_its_facts(kind):
    facts = facts_of(kind)
    error = kind("what happened", **facts)
    assert {name: getattr(error, name) for name in facts} == facts
    assert error.args == ("what happened",)


@every_kind
def test_an_error_has_plain_defaults(kind):
    error = kind("text")
    assert (error.operation, error.bucket_id, error.attempts, error.elapsed) == (None, None, 0, 0.0)
    assert str(error) == "text"
    assert str(kind()) == ""
    if issubclass(kind, APIError):
        assert (error.status, error.code, error.message) == (0, None, None)
        assert (error.request_id, error.retry_after, error.body) == (None, None, "")
    if issubclass(kind, DecodeError):
        assert (error.path, error.status, error.request_id) == ("$", 0, None)


@every_kind
def test_facts_are_given_by_name_only(kind):
    with pytest.raises(TypeError):
        kind("text", "status.get")


@every_kind
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_can_be_pickled(kind, protocol):
    error = kind("what happened", **facts_of(kind))
    inside.remark(error, "first")
    inside.remark(error, "second")
    assert_same(error, pickle.loads(pickle.dumps(error, protocol)))


@every_kind
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_an_error_can_be_copied(kind, duplicate):
    error = kind("what happened", **facts_of(kind))
    inside.remark(error, "kept")
    error.add_note("a note")
    other = duplicate(error)
    assert_same(error, other)
    other.attempts = 99
    inside.remark(other, "only here")
    assert error.attempts == 3
    assert "only here" not in str(error)


@every_kind
def test_a_raised_error_can_be_pickled(kind):
    with pytest.raises(kind) as caught:
        raise kind("text", **facts_of(kind)) from OSError("cause")
    assert_same(caught.value, pickle.loads(pickle.dumps(caught.value)))


@every_kind
def test_a_copied_error_keeps_its_cause(kind):
    cause = OSError("cause")
    with pytest.raises(kind) as caught:
        raise kind("text") from cause
    assert copy.copy(caught.value).__cause__ is cause
    assert copy.copy(kind("text")).__cause__ is None


def test_the_message_says_which_call_failed_and_after_how_much():
    error = FlashbackError("it broke", operation="status.get", bucket_id="b\n1", attempts=2)
    error.elapsed = 1.234
    assert str(error) == r"it broke (status.get 'b\n1'; 2 requests sent in 1.23 s)"
    error.attempts = 1
    error.bucket_id = None
    assert str(error) == "it broke (status.get; 1 request sent in 1.23 s)"
    inside.remark(error, "and more")
    assert str(error) == "it broke (status.get; 1 request sent in 1.23 s; and more)"
    error.operation = None
    assert str(error) == "it broke (and more)"
    assert repr(error) == "FlashbackError('it broke')"


def test_a_message_of_any_type_can_be_shown():
    assert str(FlashbackError(5)) == "5"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (5, "5"),
        ("a\n", r"'a\n'"),
        ("é", r"'\xe9'"),
        (None, "None"),
        ("x" * 30, f"'{'x' * 30}'"),
        ("x" * 31, f"'{'x' * 28}..."),
        (-(10**5000), "a huge int"),
        ([1] * 50, "[1, 1, 1, 1, 1, 1, 1, 1, 1, 1..."),
    ],
    ids=lambda value: "number" if isinstance(value, int) else None,
)
def test_a_rejected_value_is_shown_in_a_few_ascii_characters(value, shown):
    assert show(value) == shown
    assert len(shown) <= 32


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (30.0, "30 s"),
        (7.992384761000039, "7.99 s"),
        (0.1, "0.1 s"),
        (0.0512, "0.0512 s"),
        (1e9, "1000000000 s"),
        (100.0, "100 s"),
        (0.30000000000000004, "0.3 s"),
        (1e-6, "1e-06 s"),
    ],
)
def test_a_length_of_time_is_shown_rounded(value, shown):
    assert seconds(value) == shown
