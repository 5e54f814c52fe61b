"""The made-up account: the same for the same seed and day, and like a real one."""

from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashback_async.sandbox.data import OPENED, Account, draws
from flashback_async.sandbox.world import World

NOW = datetime(2024, 1, 15, 10, 30, tzinfo=UTC)
TODAY = NOW.date()
DAYS = st.dates(date(2019, 12, 1), date(2040, 12, 31))


@pytest.fixture(scope="module")
def account():
    return Account(seed=0, nodes=20)


@pytest.fixture(scope="module")
def world(account):
    return World(account, buckets=400)


def moment(text):
    return datetime.fromisoformat(text)


def test_the_ids_of_seed_zero_never_change():
    """Users may have written them down; they must not depend on the process or machine either."""
    account = Account(seed=0, nodes=3)
    world = World(account, buckets=2)
    assert world.bucket_ids == (
        "7bee29c7-7f1a-44d0-afbf-003e46c951e1",
        "9959eb1b-4bdc-4379-ab85-d5a0600fdfec",
    )
    assert world.token == "sandbox-3af96e79ee70254437e69b4b7362145f"
    assert account.node_ips(0) == ("10.25.0.140", "10.26.0.193", "10.27.0.246")
    assert world.stats(0, TODAY) == {
        "bucketId": "7bee29c7-7f1a-44d0-afbf-003e46c951e1",
        "totalCount": "30983",
        "totalUploadBytes": "37092692685",
        "totalDownloadBytes": "78034162641",
        "totalSizeChange": "-7023468029",
    }


def test_an_account_is_the_same_however_it_is_reached():
    first, second = (Account(seed=5, nodes=4) for _ in range(2))
    for bucket in reversed(range(10)):
        assert first.stats(bucket, TODAY) == second.stats(bucket, TODAY)
    for bucket in range(10):
        assert first.status(bucket, NOW, {}) == second.status(bucket, NOW, {})
        assert first.daily(bucket, TODAY, NOW, {}) == second.daily(bucket, TODAY, NOW, {})


def test_a_larger_account_holds_the_smaller_one():
    small, large = World(Account(3, nodes=3), 5), World(Account(3, nodes=3), 50)
    assert large.bucket_ids[:5] == small.bucket_ids
    assert large.stats(4, TODAY) == small.stats(4, TODAY)


def test_another_seed_is_another_account():
    one, other = World(Account(1, nodes=3), 20), World(Account(2, nodes=3), 20)
    ids, others = ({*w.bucket_ids, *w.account.forbidden_ids} for w in (one, other))
    assert not ids & others
    assert one.token != other.token
    assert one.account.node_ips(0) != other.account.node_ips(0)
    assert one.stats(0, TODAY)["totalCount"] != other.stats(0, TODAY)["totalCount"]


def test_ids_are_uuids_and_distinct(account, world):
    ids = world.bucket_ids + account.forbidden_ids
    assert len(set(ids)) == 400 + len(account.forbidden_ids)
    assert len(account.forbidden_ids) >= 2
    for bucket_id in ids:
        assert [len(part) for part in bucket_id.split("-")] == [8, 4, 4, 4, 12]
        assert bucket_id == bucket_id.lower()


def test_a_bucket_is_found_whatever_the_case_of_its_id(account, world):
    assert world.find(world.bucket_ids[17].upper()) == 17
    assert world.find(account.forbidden_ids[0]) is None
    assert account.is_forbidden(account.forbidden_ids[0].upper())
    assert not account.is_forbidden(world.bucket_ids[0])
    assert world.find("no such id") is None


@given(bucket=st.integers(0, 399), day=DAYS)
def test_totals_only_grow(account, bucket, day):
    before, after = (account.stats(bucket, day + timedelta(days=n)) for n in (0, 1))
    for name in ("totalCount", "totalUploadBytes", "totalDownloadBytes"):
        assert int(before[name]) <= int(after[name]) < 2**63
    if day > OPENED:
        assert int(before["totalCount"]) < int(after["totalCount"])


@given(bucket=st.integers(0, 399), day=DAYS)
def test_size_change_is_what_was_uploaded_less_what_was_deleted(account, bucket, day):
    stats = account.stats(bucket, day)
    uploaded, change = int(stats["totalUploadBytes"]), int(stats["totalSizeChange"])
    assert -uploaded <= change <= uploaded


def test_some_buckets_shrink_and_most_grow(account):
    shrinking = sum(account.stats(n, TODAY)["totalSizeChange"].startswith("-") for n in range(400))
    assert 0 < shrinking < 200


def test_nothing_was_counted_before_the_account_was_opened(account):
    stats = account.stats(0, OPENED - timedelta(days=1))
    assert list(stats.values()) == ["0"] * 4
    assert account.daily(0, OPENED - timedelta(days=1), NOW, {}) == []
    assert len(account.daily(0, OPENED, NOW, {})) == 20


def test_a_day_to_come_has_no_figures(account):
    assert account.daily(0, TODAY + timedelta(days=1), NOW, {}) == []


def test_the_fleet_looks_real(account):
    items = [item for n in range(400) for item in account.status(n, NOW, {})]
    states = Counter(item["status"] for item in items)
    assert 0.01 < states["OFFLINE"] / len(items) < 0.06
    assert 0.005 < states["DISCONNECTED"] / len(items) < 0.05
    assert states.total() == states["ONLINE"] + states["OFFLINE"] + states["DISCONNECTED"]
    versions = Counter(item["version"] for item in items).most_common()
    assert versions[0][1] > len(items) / 2
    assert len(versions) == 3
    assert len({item["region"] for item in items}) == 12


def test_latency_depends_on_the_region(account):
    by_region = {}
    for n in range(400):
        for item in account.status(n, NOW, {}):
            if item["status"] == "OFFLINE":
                assert "latency_ms" not in item
            else:
                assert type(item["latency_ms"]) is int
                by_region.setdefault(item["region"], set()).add(item["latency_ms"])
    assert by_region["us-east-1"] <= set(range(10, 41))
    assert by_region["ap-south-1"] <= set(range(150, 281))
    assert all(len(latencies) > 1 for latencies in by_region.values())


@pytest.mark.parametrize("nodes", [0, 1, 500, 3_000])
def test_a_bucket_has_the_nodes_asked_for_each_with_its_own_address(nodes):
    account = Account(seed=1, nodes=nodes)
    for bucket in range(3):
        ips = account.node_ips(bucket)
        assert len(set(ips)) == nodes
        assert tuple(item["ip"] for item in account.status(bucket, NOW, {})) == ips
        assert tuple(item["ip"] for item in account.daily(bucket, TODAY, NOW, {})) == ips
    assert all(0 <= int(part) <= 255 for ip in ips for part in ip.split("."))


def test_a_node_that_two_buckets_share_reads_the_same_in_both(account):
    seen = {}
    shared = 0
    for n in range(400):
        for item in account.status(n, NOW, {}):
            shared += item["ip"] in seen
            assert seen.setdefault(item["ip"], item) == item
    assert shared


def test_a_past_day_was_heard_of_within_that_day(account):
    day = TODAY - timedelta(days=9)
    for n in range(400):
        for item in account.daily(n, day, NOW, {}):
            assert moment(item["last_updated"]).date() == day


def test_uptime_and_averages_go_with_the_state(account):
    items = [item for n in range(400) for item in account.daily(n, TODAY, NOW, {})]
    ranges = {"ONLINE": (99, 100), "OFFLINE": (0, 60), "DISCONNECTED": (70, 97)}
    assert {item["node_status"] for item in items} == set(ranges)
    for item in items:
        low, high = ranges[item["node_status"]]
        assert low <= item["perc_uptime"] <= high
        assert abs(item["last_latency_ms"] - item["avg_latency_ms"]) < 0.25 * item["avg_latency_ms"]
        assert item["host"].startswith("*-")
        assert item["host"].endswith(".flashback.tech")


MOMENTS = st.timedeltas(timedelta(0), timedelta(days=7_670)).map(
    lambda passed: datetime.combine(OPENED, time(), UTC) + passed
)
AGES = {"ONLINE": (0, 60), "DISCONNECTED": (120, 1_800), "OFFLINE": (3_600, 21_600)}  # seconds


def check_age(state, now, updated):
    least, most = (timedelta(seconds=seconds) for seconds in AGES[state])
    opened = datetime.combine(OPENED, time(), UTC)
    assert updated >= opened
    assert updated <= now - least or updated == opened
    assert updated > now - most - timedelta(seconds=1)  # the answer has whole seconds


@given(bucket=st.integers(0, 399), now=MOMENTS)
def test_a_status_was_updated_as_long_ago_as_its_state_says(account, bucket, now):
    for item in account.status(bucket, now, {}):
        check_age(item["status"], now, moment(item["lastUpdated"]))


def test_every_state_has_its_age(account):
    seen = set()
    for n in range(400):
        for item in account.status(n, NOW, {}):
            seen.add(item["status"])
            check_age(item["status"], NOW, moment(item["lastUpdated"]))
    assert seen == set(AGES)


@given(bucket=st.integers(0, 399), now=MOMENTS)
def test_todays_figures_are_as_old_as_the_status_but_of_today(account, bucket, now):
    begin = datetime.combine(now.date(), time(), UTC)
    status = account.status(bucket, now, {})
    stats = account.daily(bucket, now.date(), now, {})
    for current, daily in zip(status, stats, strict=True):
        assert moment(daily["last_updated"]) == max(begin, moment(current["lastUpdated"]))


@given(
    bucket=st.integers(0, 399),
    now=MOMENTS,
    later=st.timedeltas(timedelta(0), timedelta(days=2)),
)
def test_an_online_node_is_never_heard_of_earlier_than_before(account, bucket, now, later):
    before = account.status(bucket, now, {})
    after = account.status(bucket, now + later, {})
    for was, then in zip(before, after, strict=True):
        if then["status"] == "ONLINE":
            assert then["lastUpdated"] >= was["lastUpdated"]


def test_a_node_that_is_online_is_heard_of_once_a_minute(account):
    stamps = {}
    for second in range(120):
        for item in account.status(3, NOW + timedelta(seconds=second), {}):
            if item["status"] == "ONLINE":
                stamps.setdefault(item["ip"], set()).add(item["lastUpdated"])
    assert stamps
    assert {len(seen) for seen in stamps.values()} <= {2, 3}
    assert len({min(seen) for seen in stamps.values()}) > 1  # not all at once


def test_no_update_is_in_the_future_even_before_the_account_was_opened(account):
    now = datetime(2019, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    for item in account.status(0, now, {}):
        assert moment(item["lastUpdated"]) <= now


def test_states_change_from_day_to_day(account):
    def offline(day):
        return {
            item["ip"]
            for n in range(400)
            for item in account.daily(n, day, NOW, {})
            if item["node_status"] == "OFFLINE"
        }

    assert offline(TODAY) != offline(TODAY - timedelta(days=1))


@pytest.mark.parametrize("state", ["OFFLINE", "ONLINE", "ON FIRE"])
def test_a_state_that_was_set_replaces_the_drawn_one_today_only(account, state):
    drawn = {item["ip"]: item["node_status"] for item in account.daily(0, TODAY, NOW, {})}
    ip = next(ip for ip in drawn if drawn[ip] != state)
    states = {ip: state}
    status = {item["ip"]: item for item in account.status(0, NOW, states)}
    assert status[ip]["status"] == state
    assert ("latency_ms" in status[ip]) == (state != "OFFLINE")
    today = {item["ip"]: item for item in account.daily(0, TODAY, NOW, states)}
    assert {ip: item["node_status"] for ip, item in today.items()} == drawn | states
    yesterday = TODAY - timedelta(days=1)
    assert account.daily(0, yesterday, NOW, states) == account.daily(0, yesterday, NOW, {})


@given(key=st.lists(st.integers() | st.text(st.characters(exclude_categories=["Cs"]))))
def test_draws_are_reproducible_and_in_range(key):
    numbers = draws(8, *key)
    assert numbers == draws(8, *key)
    assert len(numbers) == 8
    assert all(0 <= number < 1 for number in numbers)


def test_draws_spread_evenly():
    numbers = [draws(1, "spread", n)[0] for n in range(2_000)]
    assert 0.45 < sum(numbers) / len(numbers) < 0.55
    assert len(set(numbers)) == len(numbers)


# Healthy accounts, and those that change.


def test_a_healthy_account_is_online_on_every_day():
    account = Account(seed=0, nodes=20, healthy=True)
    for n in range(50):
        for item in account.status(n, NOW, {}):
            assert item["status"] == "ONLINE"
            assert "latency_ms" in item
        for days in range(3):
            for item in account.daily(n, TODAY - timedelta(days=days), NOW, {}):
                assert item["node_status"] == "ONLINE"
                assert item["perc_uptime"] >= 99


def changes(account, bucket, begin, hours):
    """Return how often the states of a bucket's nodes change, looked at every ten seconds."""
    seen = [
        [item["status"] for item in account.status(bucket, begin + timedelta(seconds=s), {})]
        for s in range(0, hours * 3_600, 10)
    ]
    return sum(a != b for one, two in pairwise(seen) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize(
    "churn", [2, *[pytest.param(churn, marks=pytest.mark.slow) for churn in (0.5, 10)]]
)
def test_a_node_changes_as_often_an_hour_as_it_is_told_to(churn):
    account = Account(seed=0, nodes=4, churn=churn)
    hours = 40
    assert changes(account, 0, NOW, hours) == pytest.approx(4 * hours * churn, rel=0.1, abs=4)


@pytest.mark.parametrize(("churn", "least", "most"), [(1, 0.95, 1), (20, 0.7, 0.9)])
def test_what_changes_is_down_for_a_small_part_of_the_time_and_in_both_ways(churn, least, most):
    account = Account(seed=0, nodes=20, churn=churn)
    states = Counter(
        item["status"]
        for minute in range(0, 24 * 60, 7)
        for item in account.status(3, NOW + timedelta(minutes=minute), {})
    )
    assert least < states["ONLINE"] / states.total() < most
    assert states["OFFLINE"] > 0 < states["DISCONNECTED"]


def test_what_is_down_was_heard_of_for_the_last_time_as_it_went_down():
    account = Account(seed=0, nodes=20, churn=4)
    went_down = {}
    for second in range(0, 7_200, 10):
        now = NOW + timedelta(seconds=second)
        for item in account.status(3, now, {}):
            if item["status"] == "ONLINE":
                went_down.pop(item["ip"], None)
            else:
                heard = moment(item["lastUpdated"])
                assert went_down.setdefault(item["ip"], heard) == heard <= now
    assert went_down


def test_a_state_that_was_set_holds_in_spite_of_changes():
    account = Account(seed=0, nodes=3, churn=60)
    ip = account.node_ips(0)[0]
    for minute in range(60):
        status = account.status(0, NOW + timedelta(minutes=minute), {ip: "ONLINE"})
        assert status[0]["status"] == "ONLINE"


@pytest.mark.slow
def test_without_changes_two_looks_within_a_day_are_the_same():
    account = Account(seed=0, nodes=20)
    assert changes(account, 0, NOW.replace(hour=0), 20) == 0
