"""The one place where tests reach inside a client, for what no public name shows."""

from flashback_async.call.auth import token_source
from flashback_async.cli import standard_input


def state(client):
    """What outlives the event loop: limits, token, retry budget, clock."""
    return client._caller.state


def loop_state(client):
    """What belongs to the running loop; None before the first call."""
    return state(client).loop_state


def admission(client):
    return loop_state(client).admission


def active(client):
    """How many slots are held."""
    return admission(client).flow.active


def budget(client):
    """How many tokens the retry budget holds."""
    return state(client).budget.tokens


def is_closed(client):
    return state(client)._closed


def use_clock(client, clock):
    """Set the clock, before the first call."""
    state(client).clock = clock


def total(client):
    return client._caller.timeout.total


def session(client):
    """aiohttp's session; its connector is None once it is closed."""
    return loop_state(client).transport._session


def fetch_in_flight(client):
    """The fetch of a token that callers wait for."""
    return loop_state(client).tokens._fetch


def replace_provider(client, provider):
    state(client).tokens._renew = token_source(provider)._renew


def limit_late_ids(monkeypatch, *, seconds=None, ids=None):
    """Change what a run that has ended grants a standard input that has not."""
    for name, value in (("_PATIENCE", seconds), ("_MOST_LATE", ids)):
        if value is not None:
            monkeypatch.setattr(standard_input, name, value)
