"""The metrics of the process and of Python itself."""

from __future__ import annotations


def machine_text() -> bytes:
    """Return their exposition. What makes it is imported with the first scrape."""
    from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
    from prometheus_client.exposition import generate_latest

    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return generate_latest(registry)
