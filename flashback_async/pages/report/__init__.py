"""The report: one HTML file that shows buckets, and the history of their nodes."""
