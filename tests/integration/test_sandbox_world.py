"""What a sandbox can be told about its world, as a client sees it."""

from datetime import UTC, date, datetime, timedelta

import pytest

from flashback_async import AuthenticationError, FlashbackClient, NotFoundError, ServerError
from flashback_async.sandbox import Fault, Sandbox

NOW = datetime(2024, 1, 15, 10, 30, tzinfo=UTC)
DAY = date(2024, 1, 14)


@pytest.fixture
async def sandbox():
    async with Sandbox(buckets=4, nodes=3, now=lambda: NOW) as sandbox:
        yield sandbox


@pytest.fixture
async def client(sandbox):
    async with FlashbackClient(sandbox.token, base_url=sandbox.base_url) as client:
        yield client


async def test_a_node_says_what_it_was_told_to(sandbox, client):
    bucket_id = sandbox.bucket_ids[0]
    first, second, _ = sandbox.node_ips(bucket_id)
    heard = datetime(2023, 12, 24, 18, 30, 5, 250_000, tzinfo=UTC)
    sandbox.set_node(bucket_id, first, latency_ms=12.5, version="9", last_updated=heard)
    sandbox.set_node(bucket_id, first, region="moon-1")
    sandbox.set_node(bucket_id, second, latency_ms=None, version=None, last_updated=None)
    one, two, _ = (await client.status.get(bucket_id)).nodes
    assert (one.latency_ms, one.version, one.region) == (12.5, "9", "moon-1")
    assert one.last_updated == heard
    assert (two.latency_ms, two.version, two.last_updated) == (None, None, None)
    assert two.region is not None


async def test_a_day_says_what_it_was_told_to(sandbox, client):
    bucket_id = sandbox.bucket_ids[0]
    ip = sandbox.node_ips(bucket_id)[1]
    before = await client.node_stats.get(bucket_id, DAY)
    sandbox.set_day(bucket_id, DAY, ip, uptime_percent=12.5, state="OFFLINE")
    sandbox.set_day(bucket_id, DAY, ip, avg_latency_ms=None)
    after = await client.node_stats.get(bucket_id, DAY)
    assert (after[1].uptime_percent, after[1].state) == (12.5, "OFFLINE")
    assert after[1].avg_latency_ms is None
    assert [after[0], after[2]] == [before[0], before[2]]
    other = await client.node_stats.get(bucket_id, DAY - timedelta(days=1))
    assert other[1].uptime_percent != 12.5


async def test_totals_are_what_they_were_told_to_be(sandbox, client):
    bucket_id, other, *_ = sandbox.bucket_ids
    before = await client.bucket_stats.get(other)
    sandbox.set_totals(bucket_id, count=10**60, size_change=-5, download_bytes=None)
    stats = await client.bucket_stats.get(bucket_id)
    assert (stats.total_count, stats.total_size_change) == (10**60, -5)
    assert stats.total_download_bytes is None
    assert stats.total_upload_bytes is not None
    assert await client.bucket_stats.get(other) == before


async def test_a_bucket_comes_and_goes_and_no_other_changes(sandbox, client):
    before = {bucket_id: await client.status.get(bucket_id) for bucket_id in sandbox.bucket_ids[1:]}
    sandbox.remove_bucket(sandbox.bucket_ids[0].upper())
    made, named = sandbox.add_bucket(), sandbox.add_bucket("my own: bucket")
    assert sandbox.bucket_ids == (*before, made, named)
    for bucket_id, status in before.items():
        assert await client.status.get(bucket_id) == status
    for bucket_id in (made, named):
        assert len((await client.status.get(bucket_id)).nodes) == 3
        assert (await client.bucket_stats.get(bucket_id)).bucket_id == bucket_id
    listed = {stats.bucket_id for stats in await client.bucket_stats.list()}
    assert listed == set(sandbox.bucket_ids)


async def test_a_bucket_that_was_removed_is_unknown(sandbox, client):
    bucket_id = sandbox.bucket_ids[0]
    sandbox.remove_bucket(bucket_id)
    with pytest.raises(NotFoundError):
        await client.status.get(bucket_id)
    with pytest.raises(ValueError, match="bucket_id must be a bucket of the workspace"):
        sandbox.remove_bucket(bucket_id)
    sandbox.add_bucket(bucket_id)
    assert (await client.status.get(bucket_id)).nodes


async def test_a_token_that_was_replaced_is_refused(sandbox, client):
    old = sandbox.token
    assert sandbox.rotate_token() == sandbox.token != old
    with pytest.raises(AuthenticationError):
        await client.status.get(sandbox.bucket_ids[0])
    async with FlashbackClient(sandbox.token, base_url=sandbox.base_url) as renewed:
        await renewed.status.get(sandbox.bucket_ids[0])
    assert sandbox.rotate_token() not in (old, renewed)


async def test_reset_is_as_when_it_was_made(sandbox, client):
    first, second, *_ = sandbox.bucket_ids
    ip = sandbox.node_ips(first)[0]
    as_made = await client.status.get(first), await client.bucket_stats.list(), sandbox.bucket_ids
    token = sandbox.token
    sandbox.set_state(first, ip, "OFFLINE" if as_made[0].nodes[0].state == "ONLINE" else "ONLINE")
    sandbox.set_node(first, ip, version="9")
    sandbox.set_day(first, DAY, ip, uptime_percent=1)
    sandbox.set_totals(first, count=1)
    sandbox.remove_bucket(second)
    sandbox.add_bucket()
    sandbox.fail(first)
    sandbox.rotate_token()
    sandbox.error_rate, sandbox.latency, sandbox.rate_limit = 1.0, 9.0, 0.001
    with sandbox.script(Fault.hang(), Fault.down()):
        sandbox.reset()
        assert sandbox.token == token
        assert (sandbox.requests, list(sandbox.log)) == (0, [])
        assert (sandbox.error_rate, sandbox.latency, sandbox.rate_limit) == (0.0, 0.0, None)
        now = await client.status.get(first), await client.bucket_stats.list(), sandbox.bucket_ids
        assert now == as_made


async def test_settings_hold_from_when_they_are_set(sandbox, client):
    sandbox.error_rate = 1
    with pytest.raises(ServerError):
        await client.status.get(sandbox.bucket_ids[0])
    sandbox.error_rate = 0
    await client.status.get(sandbox.bucket_ids[0])
    sandbox.rate_limit = 5
    assert sandbox.rate_limit == 5


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("latency", -1, "latency must be 0 or more"),
        ("latency", "1", "latency must be a finite number"),
        ("error_rate", 1.1, "error_rate must be 1 or less"),
        ("rate_limit", 0, "rate_limit must be 0.001 or more"),
    ],
)
def test_a_wrong_setting_is_named_and_changes_nothing(name, value, says):
    sandbox = Sandbox()
    before = getattr(sandbox, name)
    with pytest.raises(ValueError, match=says):
        setattr(sandbox, name, value)
    assert getattr(sandbox, name) == before


def test_a_setting_that_does_not_exist_is_an_error():
    with pytest.raises(AttributeError):
        Sandbox().latnecy = 5


def test_a_healthy_sandbox_does_not_change():
    with pytest.raises(ValueError, match="churn must be 0 in a healthy sandbox"):
        Sandbox(healthy=True, churn=1)
    with pytest.raises(ValueError, match="churn must be 0 or more"):
        Sandbox(churn=-1)
    with pytest.raises(ValueError, match="healthy must be True or False"):
        Sandbox(healthy=1)


NO_SUCH = "00000000-0000-4000-8000-000000000000"


@pytest.mark.parametrize(
    ("tell", "says"),
    [
        (lambda s, b, ip: s.set_node(NO_SUCH, ip), "bucket_id must be a bucket of the workspace"),
        (lambda s, b, ip: s.set_node(b, "10.0.0.0"), "ip must be a node of bucket"),
        (lambda s, b, ip: s.set_node(b, ip, latency_ms=-1), "latency_ms must be 0 or more"),
        (lambda s, b, ip: s.set_node(b, ip, version=7), "version must be text"),
        (lambda s, b, ip: s.set_node(b, ip, region=7), "region must be text"),
        (
            lambda s, b, ip: s.set_node(b, ip, last_updated=NOW.replace(tzinfo=None)),
            "last_updated must be a datetime with a time zone",
        ),
        (lambda s, b, ip: s.set_day(b, "2024-01-14", ip), "day must be a date"),
        (lambda s, b, ip: s.set_day(b, NOW, ip), "day must be a date"),
        (lambda s, b, ip: s.set_day(b, date(2019, 1, 1), ip), "day must be 2020-01-01 or later"),
        (
            lambda s, b, ip: s.set_day(b, DAY, ip, uptime_percent=101),
            "uptime_percent must be 100 or less",
        ),
        (lambda s, b, ip: s.set_day(b, DAY, ip, state=1), "state must be text"),
        (lambda s, b, ip: s.set_totals(b, count=-1), "count must be 0 or more"),
        (lambda s, b, ip: s.set_totals(b, upload_bytes=1.5), "upload_bytes must be a whole number"),
        (lambda s, b, ip: s.set_totals(b, size_change="1"), "size_change must be a whole number"),
        (lambda s, b, ip: s.set_totals(b, count=10**5000), "count must have at most 1,000 digits"),
        (lambda s, b, ip: s.add_bucket(b), "bucket_id must be new"),
        (lambda s, b, ip: s.add_bucket(s.forbidden_ids[0]), "bucket_id must be new"),
        (lambda s, b, ip: s.add_bucket(""), "bucket_id must have 1 to 256 characters"),
        (lambda s, b, ip: s.add_bucket("a/b"), "bucket_id must be an id that can stand in a path"),
        (lambda s, b, ip: s.add_bucket("a,b"), "bucket_id must be an id that can stand in a path"),
        (lambda s, b, ip: s.add_bucket(" a"), "bucket_id must be an id that can stand in a path"),
        (lambda s, b, ip: s.add_bucket(".."), "bucket_id must be an id that can stand in a path"),
        (lambda s, b, ip: s.script(Fault.hang().for_bucket(NO_SUCH)), "one of forbidden_ids"),
        (lambda s, b, ip: s.script("hang"), "faults must be of the class Fault, not 'hang'"),
        (lambda s, b, ip: s.fail(NO_SUCH), "one of forbidden_ids"),
    ],
)
def test_what_cannot_be_is_refused_with_the_argument_and_the_rule(tell, says):
    sandbox = Sandbox(buckets=2)
    bucket_id = sandbox.bucket_ids[0]
    with pytest.raises(ValueError, match=says):
        tell(sandbox, bucket_id, sandbox.node_ips(bucket_id)[0])


@pytest.mark.parametrize("now", [lambda: 5, lambda: NOW.replace(tzinfo=None), lambda: None])
def test_a_clock_must_return_a_time_with_a_time_zone(now):
    with pytest.raises(ValueError, match="the result of now must be a datetime with a time zone"):
        Sandbox(now=now)


async def test_the_failures_of_a_bucket_go_with_it(sandbox, client):
    mine = sandbox.add_bucket("mine")
    sandbox.fail("Mine", status=500, times=50)
    sandbox.remove_bucket(mine)
    with pytest.raises(NotFoundError):
        await client.status.get(mine)
    sandbox.add_bucket(mine)
    assert (await client.status.get(mine)).nodes


def test_a_forbidden_bucket_may_have_faults():
    sandbox = Sandbox(buckets=1)
    sandbox.script(Fault.status(503).for_bucket(sandbox.forbidden_ids[0]))
