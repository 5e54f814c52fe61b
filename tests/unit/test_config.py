"""Settings are checked when they are made, and never change."""

import copy
import pickle

import attrs
import pytest

from flashback_async.config import Limits, RetryPolicy, Timeout
from flashback_async.errors import ConfigurationError

DEFAULTS = [
    (Timeout, {"total": 30.0, "attempt": 10.0, "connect": 5.0}),
    (
        RetryPolicy,
        {
            "max_attempts": 3,
            "backoff_base": 0.05,
            "throttle_base": 1.0,
            "backoff_max": 8.0,
            "max_retry_after": 60.0,
        },
    ),
    (Limits, {"max_concurrency": 64, "max_rate": None, "max_response_bytes": 32 * 2**20}),
]
TIMES = [(Timeout, "total"), (Timeout, "attempt"), (Timeout, "connect"), (Limits, "max_rate")]
WAITS = [
    (RetryPolicy, name)
    for name in ("backoff_base", "throttle_base", "backoff_max", "max_retry_after")
]
COUNTS = [
    (RetryPolicy, "max_attempts"),
    (Limits, "max_concurrency"),
    (Limits, "max_response_bytes"),
]
NO_NUMBERS = [True, False, "5", b"5", [], 1j, object()]
NOT_FINITE = [float("nan"), float("inf"), float("-inf"), pytest.param(10**400, id="vast")]


def refused(kind, name, value):
    with pytest.raises(ConfigurationError) as caught:
        kind(**{name: value})
    assert isinstance(caught.value, ValueError)
    assert f"{kind.__name__}.{name}" in str(caught.value)
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize(("kind", "defaults"), DEFAULTS)
def test_the_defaults_are_the_documented_ones(kind, defaults):
    assert attrs.asdict(kind()) == defaults
    assert kind(*defaults.values()) == kind()


@pytest.mark.parametrize(("kind", "name"), [*TIMES, *WAITS])
@pytest.mark.parametrize("value", [1, 0.001, 1e-6, 1e9, 10**9])
def test_a_number_will_do(kind, name, value):
    assert getattr(kind(**{name: value}), name) == value


@pytest.mark.parametrize(("kind", "name"), [*TIMES, *WAITS])
@pytest.mark.parametrize("value", [*NO_NUMBERS, *NOT_FINITE, -1, -0.001, 1e13, 1e308])
def test_what_is_no_finite_number_in_range_is_refused(kind, name, value):
    refused(kind, name, value)


@pytest.mark.parametrize(("kind", "name"), [p for p in [*TIMES, *WAITS] if p[1] != "max_rate"])
def test_none_is_no_number(kind, name):
    refused(kind, name, None)


@pytest.mark.parametrize(("kind", "name"), TIMES)
@pytest.mark.parametrize("value", [0, 0.0, -0.0, 1e-320, 9e-7])
def test_a_time_to_be_kept_is_above_zero(kind, name, value):
    refused(kind, name, value)


@pytest.mark.parametrize(("kind", "name"), WAITS)
def test_a_wait_may_be_zero(kind, name):
    assert getattr(kind(**{name: 0}), name) == 0


@pytest.mark.parametrize(("kind", "name"), COUNTS)
@pytest.mark.parametrize("value", [1, 2, 10**12])
def test_a_count_is_a_whole_number_from_one(kind, name, value):
    assert getattr(kind(**{name: value}), name) == value


@pytest.mark.parametrize(("kind", "name"), COUNTS)
@pytest.mark.parametrize(
    "value",
    [*NO_NUMBERS, 1.0, 1.5, None, 0, -1]
    + [pytest.param(sign * 10**5000, id=f"huge{sign}") for sign in (1, -1)],
)
def test_what_is_no_count_is_refused(kind, name, value):
    refused(kind, name, value)


def test_no_retry_is_a_single_attempt():
    assert RetryPolicy.none() == RetryPolicy(max_attempts=1)


@pytest.mark.parametrize("kind", [Timeout, RetryPolicy, Limits])
def test_settings_never_change_and_compare_by_value(kind):
    settings = kind()
    name = attrs.fields(kind)[0].name
    with pytest.raises(AttributeError):
        setattr(settings, name, 1)
    with pytest.raises(AttributeError):
        settings.other = 1
    assert hash(settings) == hash(kind())
    assert attrs.evolve(settings, **{name: 7}) != settings
    for other in (copy.copy(settings), copy.deepcopy(settings)):
        assert other == settings
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_a_changed_copy_is_checked_too():
    with pytest.raises(ConfigurationError):
        attrs.evolve(Timeout(), total=0)
