"""The metrics of the exporter: what each one is, and a scrape of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from enum import StrEnum
from itertools import chain
from typing import Protocol, Self

from flashback_async import BucketStats, BucketView, InvalidArgumentError, NodeState, NodeView
from flashback_async.pages.exporter.conditions import Condition, Conditions
from flashback_async.pages.exporter.exposition import Family, Form, Page, label_set

UNREPORTED = "unreported"  # in place of a state that the API has never reported
UNKNOWN = "unknown"  # in place of the states of an UNKNOWN bucket's nodes, which are old

# Buckets and nodes that are looked at before others have their turn.
_AT_ONCE = 100

NODES = Family(
    "flashback_nodes",
    "gauge",
    "Nodes by region and state; unknown if their bucket cannot be asked.",
)
NODE_UP = Family("flashback_node_up", "gauge", "Whether the node is ONLINE (1) or not (0).")
NODE_LATENCY = Family(
    "flashback_node_latency_seconds", "gauge", "Latency of the node as last reported.", "seconds"
)
ANSWERED = Family(
    "flashback_bucket_answered",
    "gauge",
    "Whether the bucket answers (1), or its polls keep failing (0).",
)
LAST_ANSWER = Family(
    "flashback_bucket_last_answer_timestamp_seconds",
    "gauge",
    "When the bucket last answered, as Unix time.",
    "seconds",
)
UPLOADED = Family(
    "flashback_bucket_uploaded_bytes", "counter", "Bytes uploaded to the bucket.", "bytes"
)
DOWNLOADED = Family(
    "flashback_bucket_downloaded_bytes", "counter", "Bytes downloaded from the bucket.", "bytes"
)
OBJECTS = Family("flashback_bucket_objects", "gauge", "Objects in the bucket.")
SIZE_CHANGE = Family(
    "flashback_bucket_size_change_bytes", "gauge", "Net change of the bucket's size.", "bytes"
)
LAG = Family(
    "flashback_watch_lag_seconds",
    "gauge",
    "Seconds by which polling is behind its schedule.",
    "seconds",
)
REQUESTS = Family(
    "flashback_requests",
    "counter",
    "Requests to the API by operation, and by success or class of error.",
)

_OF_REGIONS = (NODES, LAG, REQUESTS)
_OF_BUCKETS = (ANSWERED, LAST_ANSWER, UPLOADED, DOWNLOADED, OBJECTS, SIZE_CHANGE)
_OF_NODES = (NODE_UP, NODE_LATENCY)


class Detail(StrEnum):
    """How much is exported; each of them adds to the one before."""

    REGION = "region"
    BUCKET = "bucket"
    NODE = "node"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the detail that a text names.

        Raises:
            InvalidArgumentError: It names none.
        """
        if text not in list(cls):
            raise InvalidArgumentError(f"detail must be one of {', '.join(cls)}, not {text!a}")
        return cls(text)

    @property
    def families(self) -> tuple[Family, ...]:
        """The metrics that are exported."""
        of_buckets = () if self is Detail.REGION else _OF_BUCKETS
        return (*_OF_REGIONS, *of_buckets, *(_OF_NODES if self is Detail.NODE else ()))


class Facts(Protocol):
    """What a scrape reads, and may change between two slices of it."""

    @property
    def view(self) -> Mapping[str, BucketView]:
        """Every bucket that is watched."""

    @property
    def conditions(self) -> Conditions:
        """The conditions of the buckets."""

    @property
    def totals(self) -> Mapping[str, BucketStats]:
        """The traffic counters of buckets."""

    @property
    def last_answers(self) -> Mapping[str, float]:
        """When buckets last answered, as Unix time in seconds."""

    @property
    def requests(self) -> Mapping[tuple[str, str], int]:
        """How many requests there were, by operation and result."""

    @property
    def lag(self) -> float:
        """Seconds by which polling is behind its schedule."""


class Scrape:
    """One scrape, made in slices, so that others have their turn meanwhile.

    Each bucket is looked at once, for all of its series. So a bucket that changes during a scrape
    is in it as it was at one moment, and has no series twice.
    """

    def __init__(self, facts: Facts, detail: Detail, form: Form) -> None:
        self._facts = facts
        self._detail = detail
        self._page = Page(form, detail.families)
        self._nodes: dict[str, Counter[str]] = {}  # by region and state

    def slices(self) -> Iterator[None]:
        """Look at everything; yield when others should have their turn."""
        for count, _ in enumerate(chain(self._look(), self._conclude()), 1):
            if not count % _AT_ONCE:
                self._page.pack()
                yield
        self._page.pack()

    def blocks(self) -> Iterator[bytes]:
        """Yield the page, once every slice is made."""
        return self._page.blocks()

    def _look(self) -> Iterator[None]:
        """Look at every bucket; yield after each bucket and each node."""
        view, conditions = self._facts.view, self._facts.conditions
        for bucket_id in view:
            bucket = view.get(bucket_id)
            if bucket is None:
                continue
            condition = conditions.of(bucket)
            if condition in (Condition.ANSWERING, Condition.UNKNOWN):
                is_known = condition is Condition.ANSWERING
                if self._detail is not Detail.REGION:
                    self._add_bucket(bucket_id, is_known)
                for node in bucket.nodes:
                    self._add_node(bucket_id, node, is_known)
                    yield
            yield

    def _add_bucket(self, bucket_id: str, is_known: bool) -> None:
        add, labels = self._page.add, label_set(bucket_id=bucket_id)
        add(ANSWERED, labels, is_known)
        add(LAST_ANSWER, labels, self._facts.last_answers.get(bucket_id))
        totals = self._facts.totals.get(bucket_id)
        if totals is not None:
            add(UPLOADED, labels, totals.total_upload_bytes)
            add(DOWNLOADED, labels, totals.total_download_bytes)
            add(OBJECTS, labels, totals.total_count)
            add(SIZE_CHANGE, labels, totals.total_size_change)

    def _add_node(self, bucket_id: str, node: NodeView, is_known: bool) -> None:
        region = node.node.region or ""
        state = UNREPORTED if node.state is None else str(node.state)
        self._nodes.setdefault(region, Counter())[state if is_known else UNKNOWN] += 1
        if self._detail is Detail.NODE and is_known:
            labels = label_set(bucket_id=bucket_id, ip=node.ip, region=region)
            self._page.add(NODE_UP, labels, node.state == NodeState.ONLINE)
            self._page.add(NODE_LATENCY, labels, _seconds(node.node.latency_ms))

    def _conclude(self) -> Iterator[None]:
        """Add what is about no single bucket."""
        for region, states in sorted(self._nodes.items()):
            # A state that no node has is 0, so that a share of ONLINE nodes can become 0.
            for state in sorted({*NodeState, *states}):
                self._page.add(NODES, label_set(region=region, state=state), states[state])
                yield
        self._page.add(LAG, "", self._facts.lag)
        for (operation, result), count in sorted(self._facts.requests.items()):
            self._page.add(REQUESTS, label_set(operation=operation, result=result), count)
            yield


def _seconds(milliseconds: float | None) -> float | None:
    """Return milliseconds as seconds, without digits that only the division adds."""
    return None if milliseconds is None else round(milliseconds / 1000, 12)
