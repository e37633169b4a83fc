"""Every metric of Sidecar in one table: name, type, help, labels and buckets.

`sidecar.metrics.metrics` counts; `sidecar.admin.collectors` reads gauges when scraped.
"""

from __future__ import annotations

from sidecar.metrics.registry import Metric

Bounds = tuple[float, ...]

WAIT_BOUNDS_SECONDS: Bounds = (0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 8, 13, 20, 30, 60, 120, 300, 600)
"""Buckets for what a person waits for: fine up to a second, coarse up to the longest answers."""

LAG_BOUNDS_SECONDS: Bounds = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)
"""Buckets for delays that must stay unnoticed."""

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"
CALL = ("key", "group", "provider", "model")


def _metric(
    name: str,
    type_: str,
    help_: str,
    *labels: str,
    fixed: str = "",
    bounds: Bounds = WAIT_BOUNDS_SECONDS,
) -> Metric:
    buckets = tuple(map(float, bounds)) if type_ == HISTOGRAM else ()
    return Metric(f"sidecar_{name}", type_, help_, labels, frozenset(fixed.split()), buckets)


TABLE: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _metric("calls_total", COUNTER,
                "Finished calls, by how they ended for the client.",
                *CALL, "outcome", fixed="outcome"),
        _metric("answers_total", COUNTER,
                "Finished calls by HTTP status; provider is empty when no upstream answered.",
                "vendor", "provider", "endpoint", "status", fixed="status"),
        _metric("tokens_total", COUNTER,
                "Tokens that vendors reported. The kinds are disjoint, so their sum is the"
                " total: input (not cached), cache_read, cache_write, output (without"
                " reasoning), reasoning.",
                *CALL, "kind", fixed="kind"),
        _metric("usage_unknown_total", COUNTER,
                "Calls that used tokens without a report of how many.",
                "provider", "model"),
        _metric("usage_partial_total", COUNTER,
                "Calls of whose usage only a lower bound is known.",
                "provider", "model"),
        _metric("cost_dollars_total", COUNTER,
                "US dollars that calls were charged with: list price times usage times the"
                " group's multiplier.",
                *CALL),
        _metric("calls_unpriced_total", COUNTER,
                "Calls with known usage and unknown price: their cost is unknown, not zero.",
                "provider", "model"),
        _metric("refusals_total", COUNTER,
                "Calls that Sidecar rejected itself, by reason; key is empty for unknown"
                " callers.",
                "kind", "key", "group", fixed="kind"),
        _metric("attempts_total", COUNTER,
                "Attempts of calls at providers, by the error class of the answer.",
                "provider", "credential", "verdict", fixed="verdict"),
        _metric("stream_truncated_total", COUNTER,
                "Answers that a provider broke off before their end.", "provider", "model"),
        _metric("call_duration_seconds", HISTOGRAM,
                "From the arrival of a call to its last byte.", "provider", "model"),
        _metric("time_to_first_byte_seconds", HISTOGRAM,
                "From the arrival of a call to the first byte of its answer.",
                "provider", "model"),
        _metric("wait_seconds", HISTOGRAM,
                "Time that a call was queued.", "group", "urgency", fixed="urgency"),
        _metric("calls_waiting", GAUGE,
                "Calls that are queued now.", "urgency", fixed="urgency"),
        _metric("leases_granted_total", COUNTER,
                "Attempts that were admitted."),
        _metric("lease_waits_total", COUNTER,
                "Calls that were queued, by the limit that blocked them first.",
                "limit", fixed="limit"),
        _metric("lease_refusals_total", COUNTER,
                "Calls that were not admitted in time, by the limit that blocked them.",
                "limit", fixed="limit"),
        _metric("limit_used_ratio", GAUGE,
                "Used part of a limit, reservations of running calls included, or spent part of"
                " a budget: 1 is all of it.", "scope", "limit", "models"),
        _metric("vendor_quota_left", GAUGE,
                "Remaining quota by the vendor's own headers, less what was admitted since.",
                "provider", "credential", "family", "quota"),
        _metric("vendor_quota_limit", GAUGE, "The vendor's limit, by its own headers.",
                "provider", "credential", "family", "quota"),
        _metric("cooldown_seconds", GAUGE,
                "Remaining cooldown of a credential after a failure; 0 until one call succeeds."
                " Absent for healthy credentials.", "provider", "credential", "family"),
        _metric("paused", GAUGE,
                "1 for what a user has paused.", "scope"),
        _metric("network_up", GAUGE,
                "0 while the network is offline and calls to remote providers are queued."),
        _metric("shared_up", GAUGE,
                "0 while the server of shared state cannot be used. Absent without one."),
        _metric("shared_processes", GAUGE,
                "Processes that share limits, as of the last sign of life."),
        _metric("shared_lease_seconds", GAUGE,
                "Time that the server of shared state takes for a lease, averaged."),
        _metric("shared_denials_total", COUNTER,
                "Leases that the server of shared state denied."),
        _metric("shared_outage_seconds_total", COUNTER,
                "Time in which the server of shared state could not be used."),
        _metric("shared_usage_pushed_timestamp_seconds", GAUGE,
                "Time at which this process last wrote its usage for others; 0 for never."),
        _metric("retry_budget_left", GAUGE,
                "Attempts beyond a call's first that may be made now."),
        _metric("config_reloads_total", COUNTER,
                "Reloads of the configuration, by result.", "result", fixed="result"),
        _metric("config_last_reload_successful", GAUGE,
                "1 while the file on disk is the configuration in force, 0 after a rejected"
                " one."),
        _metric("config_last_reload_success_timestamp_seconds", GAUGE,
                "Time at which a configuration was last accepted."),
        _metric("plugin_failures_total", COUNTER,
                "Errors in a plugin's own code.", "plugin"),
        _metric("provider_available", GAUGE,
                "1 for a provider with a usable credential, else 0.", "provider"),
        _metric("build_info", GAUGE,
                "Always 1; the labels are the versions that run.", "version", "python"),
        _metric("loop_lag_seconds", HISTOGRAM,
                "Delay of a timer of the event loop, measured twice a second: every running"
                " call was delayed as much.", bounds=LAG_BOUNDS_SECONDS),
        _metric("calls_in_flight", GAUGE,
                "Calls that are being served now.", "key", "group"),
        _metric("key_info", GAUGE,
                "Always 1; the labels are the key's settings in the file.",
                "key", "group", "vendor", "urgency"),
        _metric("key_enabled", GAUGE,
                "1 for an enabled key, 0 for a disabled one.",
                "key", "group"),
        _metric("key_last_used_timestamp_seconds", GAUGE,
                "Time at which an upstream last served a key; absent for a key that was never"
                " used.",
                "key", "group"),
        _metric("caller_lookups_total", COUNTER,
                "Lookups of the process that holds a connection: `found`, `unknown` when it is"
                " no process of this user, `skipped` when too many lookups were pending.",
                "result", fixed="result"),
        _metric("request_body_bytes", GAUGE,
                "Bytes of request bodies that are held: in memory, or in files while their"
                " calls are queued.", "place", fixed="place"),
        _metric("request_body_limit_bytes", GAUGE,
                "Bytes of request bodies that may be held in memory (server.body_memory)."),
        _metric("request_bodies_waiting", GAUGE,
                "Calls that wait for memory for their body."),
        _metric("ledger_write_failures_total", COUNTER,
                "Failed writes of the ledger; changes stay in memory meanwhile."),
        _metric("ledger_calls_dropped_total", COUNTER,
                "Calls missing from the ledger because too many were pending for the disk."),
        _metric("ledger_healthy", GAUGE,
                "1 while the ledger on disk keeps up."),
        _metric("log_lines_dropped_total", COUNTER,
                "Lines missing from the log because its reader was too slow."),
        _metric("models_folded_total", COUNTER,
                "Served calls whose model has no label of its own because there are too many."),
        _metric("series_folded_total", COUNTER,
                "Samples counted under \"other\" because there are too many series.",
                "metric", fixed="metric"),
    )
}  # fmt: skip
"""The metrics by name, in the order of the exposition."""
