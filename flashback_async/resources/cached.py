"""The cache of a client, available through ``client.cached()``."""

from __future__ import annotations

from flashback_async.cache.facts import CacheStats
from flashback_async.cache.lookups import Lookups
from flashback_async.cache.shelf import Place
from flashback_async.call.caller import Caller
from flashback_async.call.client_state import Pauses
from flashback_async.config import CachePolicy
from flashback_async.resources.bucket_stats import BucketStatsResource
from flashback_async.resources.cached_bucket_stats import CachedBucketStats
from flashback_async.resources.cached_node_stats import CachedNodeStats
from flashback_async.resources.cached_status import CachedStatus
from flashback_async.resources.node_stats import BucketDay, NodeStatsResource
from flashback_async.resources.status import StatusResource


class Cache:
    """Cached reads of one client, so of one token: ``client.cached()`` makes it.

    A value is served at once while it is fresh, and for a while after that. Any number of callers
    that ask for the same key share one request. Each gets errors and lists of its own.

    Attributes:
        status: Cached node status of buckets.
        bucket_stats: Cached traffic counters of buckets.
        node_stats: Cached daily statistics of buckets' nodes.
    """

    def __init__(
        self,
        caller: Caller,
        policy: CachePolicy,
        status: StatusResource,
        bucket_stats: BucketStatsResource,
        node_stats: NodeStatsResource,
    ) -> None:
        state = caller.state
        lookups = Lookups(policy, state.clock, Pauses(state), state.current_loop_state)
        self._lookups = lookups
        self.status = CachedStatus(lookups, status)
        self.bucket_stats = CachedBucketStats(lookups, bucket_stats)
        self.node_stats = CachedNodeStats(lookups, node_stats)

    @property
    def stats(self) -> CacheStats:
        """How the cache is doing, over all three resources."""
        return self._lookups.stats

    def forget(self, bucket_id: str) -> None:
        """Drop everything that is known of a bucket, the list of all buckets included.

        Those who wait for an answer about it still get it, but it is not kept.
        """

        def is_about(place: Place) -> bool:
            resource, key = place
            if resource == "bucket_stats.list":
                return True
            return (key.bucket_id if isinstance(key, BucketDay) else key) == bucket_id

        self._lookups.forget(is_about)

    def clear(self) -> None:
        """Drop everything, as ``forget`` does for one bucket."""
        self._lookups.clear()
