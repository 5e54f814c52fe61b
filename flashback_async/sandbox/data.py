"""The account that the sandbox serves: pure functions of seed and time, without I/O.

Only the ids are stored. Every number is drawn from a digest of the seed and of what it describes,
so an account of 100,000 buckets costs no more to open than its list of ids.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from hashlib import blake2b

from attrs import frozen

ONLINE, OFFLINE, DISCONNECTED = "ONLINE", "OFFLINE", "DISCONNECTED"

# The account holds nothing from before this day.
OPENED = date(2020, 1, 1)
_OPENED_AT = datetime.combine(OPENED, time(), UTC)

# Region, provider, and the round trip in ms as seen from the east of North America. Near and far
# alternate, because a bucket's nodes are neighbours in the fleet and the fleet follows this order.
_REGIONS = (
    ("us-east-1", "aws", 16),
    ("europe-west1", "gcp", 88),
    ("southeastasia", "azure", 226),
    ("us-east4", "gcp", 21),
    ("ap-southeast-2", "aws", 204),
    ("eastus2", "azure", 14),
    ("eu-central-1", "aws", 97),
    ("ca-central-1", "aws", 28),
    ("asia-northeast1", "gcp", 182),
    ("westeurope", "azure", 92),
    ("us-east-2", "aws", 33),
    ("ap-south-1", "aws", 238),
)
_VERSIONS = (("1.8.2", 0.82), ("1.8.1", 0.95), ("1.7.4", 1.0))  # each with its cumulative share
_OFFLINE_SHARE, _DISCONNECTED_SHARE = 0.03, 0.02
_FORBIDDEN = 3
_MIN_FLEET = 1_000

JsonObject = dict[str, object]


@frozen
class _Node:
    """A machine of the fleet, with the properties that never change."""

    ip: str
    region: str
    host: str
    version: str
    base_ms: int
    phase: float  # when in each reporting period it reports, 0 to 1


@frozen
class _Reading:
    """The measurements of a node on one day."""

    state: str
    uptime: float  # position of the day's uptime within its state's range, 0 to 1
    last_ms: int
    avg_ms: float


def draws(count: int, *key: object) -> tuple[float, ...]:
    """Return numbers in [0, 1) that depend on the key alone.

    Args:
        count: How many numbers, 1 to 8. Another count gives other numbers.
        key: The purpose of the numbers; the same key gives the same numbers on every machine.
    """
    # random.Random would need 2 kB of state and ten times the time for a few numbers.
    text = "\x1f".join(map(str, key)).encode()
    digest = blake2b(text, digest_size=8 * count).digest()
    return tuple((word >> 11) / (1 << 53) for word in struct.unpack(f">{count}Q", digest))


class Account:
    """The buckets, nodes and figures of one seed."""

    def __init__(self, seed: int, nodes: int, *, healthy: bool = False, churn: float = 0.0) -> None:
        """Keep the arguments, which are those of the sandbox; the rest is computed on request."""
        self.forbidden_ids = tuple(_uuid(seed, "forbidden", n) for n in range(_FORBIDDEN))
        self._seed = seed
        self._nodes = nodes
        self._healthy = healthy
        self._churn = churn
        # The fleet is larger than any bucket, so a bucket's nodes are distinct. Buckets share it,
        # as they share a real one.
        self._fleet = max(_MIN_FLEET, 4 * nodes)
        self._forbidden = frozenset(self.forbidden_ids)

    def bucket_id(self, bucket: int) -> str:
        """Return the id of the n-th bucket."""
        return _uuid(self._seed, "bucket", bucket)

    def token(self, number: int) -> str:
        """Return the n-th token of the account; 0 is the first."""
        key = (number,) if number else ()
        return f"sandbox-{_hex(self._seed, 'token', *key)}"

    def is_forbidden(self, bucket_id: str) -> bool:
        """Return whether a bucket exists outside the workspace."""
        return bucket_id.lower() in self._forbidden

    def node_ips(self, bucket: int) -> tuple[str, ...]:
        """Return the addresses of a bucket's nodes, in the order in which they are listed."""
        return tuple(_node(self._seed, n).ip for n in self._members(bucket))

    def stats(self, bucket: int, day: date) -> JsonObject:
        """Return a bucket's totals up to and including a day, as sent over HTTP."""
        busy, size, reads, churn = draws(4, self._seed, "traffic", bucket)
        (today,) = draws(1, self._seed, "traffic", bucket, day)
        per_day = 20 + int(9_980 * busy * busy * busy)
        days = max(0, (day - OPENED).days + 1)
        # Whole days less a part of one: growth differs from day to day, but is never negative.
        count = max(0, days * per_day - int(per_day * today))
        uploaded = count * (20_000 + int(4_000_000 * size * size))
        deleted = int(uploaded * (0.2 + churn))  # above 1: old objects are deleted
        return {
            "totalCount": str(count),
            "totalUploadBytes": str(uploaded),
            "totalDownloadBytes": str(int(uploaded * (0.1 + 2.4 * reads))),
            "totalSizeChange": str(uploaded - deleted),
        }

    def status(self, bucket: int, now: datetime, states: Mapping[str, str]) -> list[JsonObject]:
        """Return the current state of a bucket's nodes, as sent over HTTP.

        Args:
            bucket: Its number.
            now: The time of the answer, in UTC.
            states: States that replace the drawn ones, by node address.
        """
        answer: list[JsonObject] = []
        for member in self._members(bucket):
            node = _node(self._seed, member)
            reading = _reading(self._seed, member, now.date())
            drawn, since = self._state(member, reading, now)
            state = states.get(node.ip, drawn)
            item: JsonObject = {
                "ip": node.ip,
                "region": node.region,
                "version": node.version,
                "status": state,
            }
            if state != OFFLINE:  # nothing to measure; the vendor's types call the field optional
                item["latency_ms"] = reading.last_ms
            reported = _last_report(state, node.phase, now)
            if since is not None and node.ip not in states:
                reported = since
            item["lastUpdated"] = _stamp(reported)
            answer.append(item)
        return answer

    def daily(
        self, bucket: int, day: date, now: datetime, states: Mapping[str, str]
    ) -> list[JsonObject]:
        """Return a bucket's node figures for one day, as sent over HTTP.

        A day in the future, or before the account was opened, has none.

        Args:
            bucket: Its number.
            day: The UTC day.
            now: The time of the answer, in UTC.
            states: States that replace the drawn ones of today, by node address.
        """
        today = now.date()
        if not OPENED <= day <= today:
            return []
        begin = datetime.combine(day, time(), UTC)
        end = now if day == today else begin + timedelta(hours=23, minutes=59, seconds=59)
        answer: list[JsonObject] = []
        for member in self._members(bucket):
            node = _node(self._seed, member)
            reading = _reading(self._seed, member, day)
            state = self._past_state(reading)
            if day == today:
                state = states.get(node.ip, self._state(member, reading, now)[0])
            answer.append(
                {
                    "ip": node.ip,
                    "host": node.host,
                    "perc_uptime": _uptime(state, reading.uptime),
                    "avg_latency_ms": reading.avg_ms,
                    "version": node.version,
                    "node_status": state,
                    "last_updated": _stamp(max(begin, _last_report(state, node.phase, end))),
                    "last_latency_ms": reading.last_ms,
                }
            )
        return answer

    def _state(self, member: int, reading: _Reading, now: datetime) -> tuple[str, datetime | None]:
        """Return the state of a node now, and since when churn has it down."""
        if self._churn:
            return _churned(self._seed, member, self._churn, now)
        return self._past_state(reading), None

    def _past_state(self, reading: _Reading) -> str:
        return ONLINE if self._healthy else reading.state

    def _members(self, bucket: int) -> list[int]:
        (place,) = draws(1, self._seed, "home", bucket)
        first = int(place * self._fleet)
        return [(first + n) % self._fleet for n in range(self._nodes)]


@lru_cache(maxsize=4096)
def _node(seed: int, member: int) -> _Node:
    turn, place = divmod(member, len(_REGIONS))
    region, provider, base_ms = _REGIONS[place]
    (share,) = draws(1, seed, "version", member)
    (phase,) = draws(1, seed, "phase", member)
    return _Node(
        # Private addresses: a program that connects to a node must not reach a stranger's machine.
        # 89 and 250 have no common factor, so the last part looks random and never repeats.
        ip=f"10.{16 + place}.{turn // 250}.{(turn * 89 + place * 53) % 250 + 1}",
        region=region,
        host=f"*-{region}-{provider}.flashback.tech",
        version=next(version for version, upto in _VERSIONS if share < upto),
        base_ms=base_ms,
        phase=phase,
    )


@lru_cache(maxsize=4096)
def _reading(seed: int, member: int, day: date) -> _Reading:
    # The third number is unused. Drawing four would change the figures of every seed.
    fate, uptime, _, last, avg = draws(5, seed, "reading", member, day)
    base_ms = _node(seed, member).base_ms
    state = ONLINE
    if fate < _OFFLINE_SHARE:
        state = OFFLINE
    elif fate < _OFFLINE_SHARE + _DISCONNECTED_SHARE:
        state = DISCONNECTED
    return _Reading(
        state=state,
        uptime=uptime,
        last_ms=int(base_ms * (0.85 + 0.3 * last)),
        avg_ms=round(base_ms * (0.95 + 0.1 * avg), 1),
    )


def _churned(seed: int, member: int, churn: float, now: datetime) -> tuple[str, datetime | None]:
    """Return the state of a node that changes ``churn`` times an hour, and since when it is down.

    It goes down and comes back once in each period of two changes, at times that differ from
    period to period. An outage takes at most a third of the period, and at most five minutes.
    """
    period = 2 * 3_600 / churn
    (phase,) = draws(1, seed, "churn", member)
    number, within = divmod((now - _OPENED_AT).total_seconds() + phase * period, period)
    begin, length, kind = draws(3, seed, "churn", member, int(number))
    down_for = within - period * (0.05 + 0.55 * begin)
    lasts = min(period * (0.05 + 0.3 * length), 60 + 240 * length)
    if not 0 <= down_for < lasts:
        return ONLINE, None
    return OFFLINE if kind < 0.6 else DISCONNECTED, now - timedelta(seconds=down_for)


def _uptime(state: str, share: float) -> float:
    low, high = {ONLINE: (99.0, 100.0), OFFLINE: (0.0, 60.0)}.get(state, (70.0, 97.0))
    return round(low + (high - low) * share, 2)


def _last_report(state: str, phase: float, now: datetime) -> datetime:
    """Return when a node last reported, as known at `now`.

    A node reports once in each period of its state, so the time changes in steps, as it does with
    real reports. It is never in the future, nor before the account was opened.
    """
    # Seconds: the least age of the last report, and the age at which the next one replaces it.
    least, most = {ONLINE: (0, 60), OFFLINE: (3_600, 21_600)}.get(state, (120, 1_800))
    period = most - least
    latest = int((now - _OPENED_AT).total_seconds()) - least
    reported = latest - (latest - int(phase * period)) % period
    return min(now, _OPENED_AT + timedelta(seconds=max(0, reported)))


def _stamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _hex(*key: object) -> str:
    return blake2b("\x1f".join(map(str, key)).encode(), digest_size=16).hexdigest()


def _uuid(*key: object) -> str:
    text = _hex(*key)
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"
