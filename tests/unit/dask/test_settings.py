"""Settings for workers: they hold no secret, whatever is passed."""

import pickle

import pytest

from flashback_async import ConfigurationError, Limits, Timeout
from flashback_async.dask import WorkerSettings
from tests.faults.harness.secrecy import find

CANARY = "eyJhbGciOiJIUzI1NiJ9.c2VjcmV0LWNhbmFyeQ.x9-Zq_1"


def test_settings_travel_by_pickle():
    settings = WorkerSettings(
        base_url="https://example.org/api", token_from="pkg.mod:get", timeout=Timeout(total=3)
    )
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert WorkerSettings().token_from is None


@pytest.mark.parametrize(
    "token", [CANARY, f"Bearer {CANARY}", lambda: CANARY, "no colon", ":f", "m:", "m:f()", 5, b"x"]
)
def test_a_token_or_a_function_is_refused_and_not_shown(token):
    with pytest.raises(ConfigurationError, match="token_from must name") as caught:
        WorkerSettings(token_from=token)
    trace = caught.value.__traceback__
    assert trace is not None
    caught.value.with_traceback(trace.tb_next)  # without the frame of this test
    assert find(CANARY, caught.value) == []


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ({"base_url": f"https://user:{CANARY}@example.org"}, "base_url"),
        ({"base_url": "ftp://example.org"}, "base_url"),
        ({"base_url": "http://example.org"}, "allow_insecure_http"),
        ({"base_url": 5}, "base_url"),
        ({"timeout": 5}, "timeout"),
        ({"retry": None}, "retry"),
        ({"limits": Timeout()}, "limits"),
    ],
)
def test_a_wrong_setting_is_refused_and_named(setting, named):
    with pytest.raises(ConfigurationError, match=named) as caught:
        WorkerSettings(**setting)
    trace = caught.value.__traceback__
    assert trace is not None
    caught.value.with_traceback(trace.tb_next)
    assert find(CANARY, caught.value) == []


def test_settings_are_frozen():
    with pytest.raises(AttributeError):
        WorkerSettings().limits = Limits()
