"""The values that pass between the steps of a call, and above all the secret."""

import asyncio
import copy
import pickle
import random
import time

import pytest

from flashback_async.clock import SystemClock
from flashback_async.values import Secret
from tests.unit.support import TOKEN


def test_a_secret_shows_itself_only_when_asked():
    secret = Secret(TOKEN)
    assert secret.reveal() == TOKEN
    for shown in (repr(secret), str(secret), f"{secret}", f"{secret!r}", "%s" % secret):  # noqa: UP031
        assert TOKEN not in shown
    assert not hasattr(secret, "__dict__")


@pytest.mark.parametrize("travel", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_secret_does_not_travel(travel):
    with pytest.raises(TypeError, match="cannot be pickled") as caught:
        travel(Secret(TOKEN))
    assert TOKEN not in str(caught.value)


def test_the_clock_is_the_machines():
    clock = SystemClock()
    assert clock.monotonic is time.monotonic
    assert clock.wall is time.time
    assert clock.uniform == random.uniform
    assert clock.sleep is asyncio.sleep
