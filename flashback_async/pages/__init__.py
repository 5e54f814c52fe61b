"""Pictures of the whole estate: a report, a live dashboard, metrics for Prometheus."""
