"""Collectors: metrics that are read from other parts at each scrape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from sidecar.config.credentials import Vault
from sidecar.config.manager import ConfigManager
from sidecar.config.model import Urgency
from sidecar.http.body_memory import BodyMemory
from sidecar.metrics.metrics import Metrics
from sidecar.plugin_api.manager import Registry
from sidecar.proxy.in_flight import LiveCalls
from sidecar.scheduling.limiter import LimitUnit
from sidecar.scheduling.pauses import describe_target
from sidecar.scheduling.scheduler import Scheduler
from sidecar.scheduling.upstream_health import UpstreamHealth
from sidecar.scheduling.vendor_quota import VendorQuota, quota_name
from sidecar.shared.engine import Engine

Figures = Iterator[tuple[tuple[str, ...], float]]


def read_parts(
    metrics: Metrics, configuration: ConfigManager, vault: Vault, registry: Registry
) -> None:
    """Register the collectors of the configuration and the plugins."""

    def available() -> Figures:
        for name, provider in configuration.current().providers.items():
            yield (name,), not vault.unavailable(provider)

    metrics.read("sidecar_provider_available", available)
    metrics.read(
        "sidecar_plugin_failures_total",
        lambda: (((name,), count) for name, count in tuple(registry.failures.items())),
    )


def read_calls(metrics: Metrics, configuration: ConfigManager, live: LiveCalls) -> None:
    """Register the collector of the calls in flight."""

    def in_flight() -> Figures:
        running = Counter(call.key.name for call in live if call.key is not None)
        for name, key in configuration.current().keys.items():
            yield (name, key.group.name), running[name]

    metrics.read("sidecar_calls_in_flight", in_flight)


def read_bodies(metrics: Metrics, bodies: BodyMemory) -> None:
    """Register the collectors of the memory of request bodies."""
    metrics.read(
        "sidecar_request_body_bytes",
        lambda: ((("memory",), bodies.held), (("file",), bodies.in_files)),
    )
    metrics.read("sidecar_request_body_limit_bytes", lambda: (((), bodies.ceiling),))
    metrics.read("sidecar_request_bodies_waiting", lambda: (((), bodies.waiting),))


def read_log(metrics: Metrics, dropped: Callable[[], int]) -> None:
    """Register the collectors of the dropped lines of the log."""
    metrics.read("sidecar_log_lines_dropped_total", lambda: (((), dropped()),))


def read_scheduler(metrics: Metrics, scheduler: Scheduler) -> None:
    """Register the collectors of queues, limits, quotas and cooldowns."""
    metrics.read("sidecar_calls_waiting", lambda: _waiting(scheduler))
    metrics.read("sidecar_leases_granted_total", lambda: iter([((), scheduler.granted)]))
    metrics.read("sidecar_lease_waits_total", lambda: _by_kind(scheduler.waits))
    metrics.read("sidecar_lease_refusals_total", lambda: _by_kind(scheduler.rejections))
    metrics.read("sidecar_limit_used_ratio", lambda: _ratios(scheduler))
    metrics.read(
        "sidecar_vendor_quota_left",
        lambda: ((names, max(0.0, b.remaining(now))) for names, b, now in _buckets(scheduler)),
    )
    metrics.read(
        "sidecar_vendor_quota_limit",
        lambda: ((names, b.limit) for names, b, _ in _buckets(scheduler)),
    )
    metrics.read("sidecar_cooldown_seconds", lambda: _cooldowns(scheduler))
    metrics.read(
        "sidecar_paused",
        lambda: (((describe_target(h.target),), 1.0) for h in tuple(scheduler.pauses)),
    )
    metrics.read("sidecar_network_up", lambda: iter([((), not scheduler.is_offline)]))
    _read_engine(metrics, scheduler)
    metrics.read("sidecar_retry_budget_left", lambda: iter([((), scheduler.retries_remaining)]))


def _read_engine(metrics: Metrics, scheduler: Scheduler) -> None:
    """Register the collectors of the server of shared state; without one they have no value."""

    def read(name: str, figure: Callable[[Engine], float]) -> None:
        metrics.read(
            name,
            lambda: () if (engine := scheduler.engine) is None else (((), figure(engine)),),
        )

    read("sidecar_shared_up", lambda found: found.is_reached)
    read("sidecar_shared_processes", lambda found: found.nodes)
    read("sidecar_shared_lease_seconds", lambda found: found.latency)
    read("sidecar_shared_denials_total", lambda found: found.denied)
    read("sidecar_shared_outage_seconds_total", lambda found: found.outages)
    read("sidecar_shared_usage_pushed_timestamp_seconds", lambda found: found.usage.pushed_at)


def _waiting(scheduler: Scheduler) -> Figures:
    counts = Counter(waiter.urgency for waiter in scheduler.waiting)
    return (((each.name.lower(),), counts[each]) for each in Urgency)


def _by_kind(counts: Counter[str]) -> Figures:
    return (((kind,), count) for kind, count in tuple(counts.items()))


def _ratios(scheduler: Scheduler) -> Figures:
    now = scheduler.now()
    for name, window, _ in scheduler.limits:
        if name[0] == "child":  # as many as there are runs: a label must stay bounded
            continue
        window.advance(now)
        # Of a budget what was spent: what is only reserved comes back.
        used = window.settled if window.unit is LimitUnit.MONEY else window.used
        ratio = 1.0 if window.limit <= 0 else used / window.limit
        yield (window.scope, window.kind, name[-1]), max(0.0, ratio)


def _buckets(scheduler: Scheduler) -> Iterator[tuple[tuple[str, ...], VendorQuota, float]]:
    now = scheduler.now()
    for health in _of_credentials(scheduler):
        for limit, bucket in health.quotas.items():
            if bucket.is_known(now):
                names = (*_labels(health), quota_name(*limit))
                yield names, bucket, now


def _cooldowns(scheduler: Scheduler) -> Figures:
    now = scheduler.now()
    for health in _of_credentials(scheduler):
        if health.cooldown.is_active:
            yield _labels(health), max(0.0, health.cooldown.until - now)


def _of_credentials(scheduler: Scheduler) -> Iterator[UpstreamHealth]:
    """Yield the upstreams of the file's credentials. Those of callers' logins have no name that
    could be a label."""
    return (health for health in scheduler.upstreams if not health.key.account)


def _labels(health: UpstreamHealth) -> tuple[str, ...]:
    return health.key.provider, health.key.credential, health.key.family
