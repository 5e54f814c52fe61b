"""Polling on a Dask cluster: one client in each worker process, one run over all of them."""

from __future__ import annotations

from flashback_async import ClusterLostError
from flashback_async.dask.polling import node_stats_on_cluster, status_on_cluster
from flashback_async.dask.run import ClusterRun, ClusterStats
from flashback_async.dask.settings import WorkerSettings

__all__ = [
    "ClusterLostError",
    "ClusterRun",
    "ClusterStats",
    "WorkerSettings",
    "node_stats_on_cluster",
    "status_on_cluster",
]
