"""The exporter: what a watch knows, as metrics for Prometheus."""
