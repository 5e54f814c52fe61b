"""The settings of a sandbox before it is started, without a socket."""

import math

import pytest

from flashback_async.sandbox import Sandbox


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"buckets": -1}, "buckets must be 0 or more"),
        ({"buckets": 1_000_001}, "buckets must be 1000000 or less"),
        ({"buckets": 2.0}, "buckets must be a whole number"),
        ({"buckets": True}, "buckets must be a whole number"),
        ({"nodes": -1}, "nodes must be 0 or more"),
        ({"nodes": 10_001}, "nodes must be 10000 or less"),
        ({"nodes": None}, "nodes must be a whole number"),
        ({"seed": "0"}, "seed must be a whole number"),
        ({"latency": -0.1}, "latency must be 0 or more"),
        ({"latency": math.inf}, "latency must be a finite number"),
        ({"latency": math.nan}, "latency must be a finite number"),
        ({"latency": 10**400}, "latency must be a finite number"),
        ({"latency": "1"}, "latency must be a finite number"),
        ({"latency": True}, "latency must be a finite number"),
        ({"error_rate": -0.1}, "error_rate must be 0 or more"),
        ({"error_rate": 1.1}, "error_rate must be 1 or less"),
        ({"rate_limit": 0}, "rate_limit must be 0.001 or more"),
        ({"rate_limit": -1}, "rate_limit must be 0.001 or more"),
        ({"port": -1}, "port must be 0 or more"),
        ({"port": 65_536}, "port must be 65535 or less"),
        ({"now": "2024-01-15"}, "now must be a function"),
    ],
)
def test_a_wrong_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        Sandbox(**arguments)


def test_the_account_is_known_before_the_start():
    sandbox = Sandbox()
    assert len(sandbox.bucket_ids) == 100
    assert sandbox.token
    assert sandbox.forbidden_ids
    assert sandbox.requests == 0
    assert len(sandbox.node_ips(sandbox.bucket_ids[0].upper())) == 3
    assert Sandbox(2, 0).bucket_ids == sandbox.bucket_ids[:2]
    assert Sandbox(2, seed=-9).bucket_ids != sandbox.bucket_ids[:2]


def test_the_url_is_not():
    with pytest.raises(RuntimeError, match="before it is started"):
        Sandbox().base_url  # noqa: B018


@pytest.mark.parametrize("bucket_id", ["nonsense", "", None, 5, Sandbox().forbidden_ids[0]])
def test_an_unknown_bucket_is_refused(bucket_id):
    sandbox = Sandbox()
    with pytest.raises(ValueError, match=r"^bucket_id must be"):
        sandbox.node_ips(bucket_id)
    with pytest.raises(ValueError, match=r"^bucket_id must be"):
        sandbox.set_state(bucket_id, "10.0.0.1", "OFFLINE")


@pytest.mark.parametrize("bucket_id", ["nonsense", None])
def test_only_a_bucket_that_exists_can_fail(bucket_id):
    with pytest.raises(ValueError, match=r"^bucket_id must be"):
        Sandbox().fail(bucket_id)


def test_a_state_needs_a_node_of_that_bucket_and_text():
    sandbox = Sandbox(seed=4)
    bucket_id = sandbox.bucket_ids[0]
    with pytest.raises(ValueError, match=r"^ip must be a node of bucket"):
        sandbox.set_state(bucket_id, "10.0.0.1", "OFFLINE")
    with pytest.raises(ValueError, match=r"^state must be text"):
        sandbox.set_state(bucket_id, sandbox.node_ips(bucket_id)[0], None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"status": 399}, "status must be 400 or more"),
        ({"status": 600}, "status must be 599 or less"),
        ({"status": "503"}, "status must be a whole number"),
        ({"times": 0}, "times must be 1 or more"),
        ({"retry_after": -1}, "retry_after must be 0 or more"),
        ({"retry_after": 1.5}, "retry_after must be a whole number"),
    ],
)
def test_a_wrong_failure_is_refused(arguments, message):
    sandbox = Sandbox()
    with pytest.raises(ValueError, match=f"^{message}"):
        sandbox.fail(sandbox.bucket_ids[0], **arguments)
