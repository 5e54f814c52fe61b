"""The client and the time limits that the options describe; the client is a fake."""

import json
from types import SimpleNamespace

import pytest

from flashback_async import (
    AuthenticationError,
    BucketStats,
    BucketStatus,
    ConfigurationError,
    Failure,
    InvalidArgumentError,
    RateLimitError,
    Success,
    Timeout,
)
from flashback_async.cli import app, exits, ids, settings

SEARCH = 3.0  # seconds


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=1_000.0)
    monkeypatch.setattr(exits, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def client(monkeypatch, clock):
    """A client without a network, whose search takes three seconds of the clock."""
    monkeypatch.setenv("FLASHBACK_TOKEN", "x")
    monkeypatch.delenv("FLASHBACK_BASE_URL", raising=False)
    client = StandIn(clock)
    monkeypatch.setattr(settings, "FlashbackClient", client.made)
    return client


class StandIn:
    def __init__(self, clock):
        self.clock = clock
        self.bucket_stats = self.status = self.node_stats = self
        self.refusal = None
        self.settings = self.searched_with = self.run_with = None
        self.outcomes = []
        self.pace = None

    def made(self, **settings):
        if self.refusal is not None:
            raise self.refusal
        self.settings = settings
        return self

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass

    def with_options(self, *, timeout):
        self.searched_with = timeout
        return self

    async def list(self):
        self.clock.now += SEARCH
        return [BucketStats("one", 1, 2, 3, 4)]

    async def iter_many(self, *what, deadline):
        self.run_with = deadline
        if hasattr(what[0], "__anext__"):
            key = await anext(what[0])
            yield Success(0, key, BucketStatus(key, ()), 0.1)
        for outcome in self.outcomes:
            yield outcome
        self.clock.now += deadline or 0.0


@pytest.mark.parametrize("command", [["status"], ["node-stats", "--day", "today"]])
def test_the_search_for_buckets_takes_its_time_from_the_deadline(client, command):
    app.run([*command, "--all", "--deadline", "8"])
    assert client.searched_with.total == 8.0
    assert client.run_with == 8.0 - SEARCH


def test_a_call_may_take_three_times_the_timeout_of_a_request(client):
    app.run(["status", "--all", "--timeout", "4"])
    assert client.settings["timeout"] == Timeout(total=12.0, attempt=4.0, connect=4.0)
    assert client.searched_with == client.settings["timeout"]
    app.run(["status", "--all", "--timeout", "7", "--deadline", "100"])
    assert client.searched_with == Timeout(total=21.0, attempt=7.0, connect=5.0)


@pytest.mark.parametrize(
    ("setting", "option"),
    [
        ("Timeout.total", "three times --timeout"),
        ("Timeout.attempt", "--timeout"),
        ("Timeout.connect", "--timeout"),
        ("Limits.max_concurrency", "--concurrency"),
        ("Limits.max_rate", "--max-rate"),
        ("deadline", "--deadline"),
        ("interval", "--interval"),
        ("state: the file", "--state: the file"),
        ("the interval", "the interval"),
        ("base_url", "FLASHBACK_BASE_URL"),
        ("HTTPS_PROXY", "HTTPS_PROXY"),
    ],
)
@pytest.mark.parametrize("kind", [ConfigurationError, InvalidArgumentError])
def test_a_setting_that_is_refused_is_named_as_its_option(client, capsys, setting, option, kind):
    client.refusal = kind(f"{setting} must be at least 1, not 0", operation="status.get")
    assert app.run(["status", "a"]) == 2
    assert capsys.readouterr().err == f"error: {option} must be at least 1, not 0\n"


@pytest.fixture
def stdin(monkeypatch):
    """Standard input that has one id, and then nothing for now."""

    class Silent:
        unread = True

        def __init__(self):
            self.ids = ["one"]

        async def read(self):
            return self.ids.pop() if self.ids else None

        def hurry(self):
            self.ids = []

    monkeypatch.setattr(ids, "StandardInput", Silent)


@pytest.mark.usefixtures("stdin")
def test_a_deadline_that_passes_after_the_last_success_is_exit_code_5(client, capsys):
    assert app.run(["status", "-", "--deadline", "8"]) == 5
    out, err = capsys.readouterr()
    record = json.loads(out)
    assert (record["bucket_id"], record["nodes"]) == ("one", [])
    assert err.splitlines() == [
        "standard input was not read to its end",
        "error: the deadline of 8 s passed",
    ]


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            RateLimitError("429", retry_after=30.0, status=429, attempts=2, bucket_id="early"),
            5,
            "error: the API asked for a pause of 30 s, longer than the deadline of 8 s allows: "
            "2 of 3 buckets failed",
        ),
        (AuthenticationError("401", status=401, attempts=1), 3, "error: 401"),
    ],
)
@pytest.mark.usefixtures("stdin")
def test_an_id_that_was_never_sent_has_the_error_that_ended_the_run(
    client, capsys, error, code, said
):
    client.outcomes = [Failure(1, "early", error, 0.1)]
    assert app.run(["status", "-", "last", "--deadline", "8"]) == code
    out, err = capsys.readouterr()
    last = json.loads(out.splitlines()[-1])
    assert (last["bucket_id"], last["error"]["status"]) == ("last", error.status)
    assert last["error"]["retry_after"] == error.retry_after
    assert last["error"]["attempts"] == 0
    assert err.splitlines()[-1] == said
