"""Prometheus metrics: definitions, counters and the text exposition."""
