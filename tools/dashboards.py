"""Writes `config/grafana/dashboards/*.json`: what Grafana shows of Sidecar.

    python tools/dashboards.py            write them anew
    python tools/dashboards.py --check    exit 1 if they are not what this says

Made with Grafana's foundation SDK, so that what is no dashboard by Grafana's own schema cannot be
written. The words and queries stand here, how a panel looks in `panels.py`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from panels import CPM, SECONDS, SHARE, USD, Query, Sheet, Steps, bars, figure, lines, states, table

FOLDER = Path(__file__).parent.parent / "config/grafana/dashboards"

BY_KEY = 'key=~"$key", group=~"$group"'
BY_CALL = f'{BY_KEY}, provider=~"$provider"'
BY_PROVIDER = 'provider=~"$provider"'
ITSELF = 'job="sidecar"'
RATE, RANGE = "[$__rate_interval]", "[$__range]"
CACHED = f'sidecar_tokens_total{{{BY_CALL}, kind="cache_read"}}'
ALL_INPUT = f'sidecar_tokens_total{{{BY_CALL}, kind=~"input|cache_read|cache_write"}}'


def total(metric: str, by: str, chosen: str, over: str = RANGE) -> str:
    """How much a counter grew, by labels."""
    return f"sum by ({by}) (increase(sidecar_{metric}{{{chosen}}}{over}))"


def a_minute(metric: str, by: str, chosen: str) -> str:
    """How much a counter grows in a minute, by labels."""
    return f"sum by ({by}) (rate(sidecar_{metric}{{{chosen}}}{RATE})) * 60"


def quantile(share: float, metric: str, by: str, chosen: str) -> str:
    """The value below which this share of a histogram lies, by labels."""
    counted = f"sum by ({by}, le) (rate(sidecar_{metric}_bucket{{{chosen}}}{RATE}))"
    return f"histogram_quantile({share}, {counted})"


def cached_share(by: str, over: str) -> str:
    """The share of input that came from a prompt cache."""
    read, all_ = (f"sum by ({by}) (increase({each}{over}))" for each in (CACHED, ALL_INPUT))
    return f"{read} / {all_}"


def calls() -> Dashboard:
    """Who spends what, what waits and why, how the vendors are, how fast it is."""
    sheet = Sheet(
        "Sidecar", "sidecar",
        "Who spends what, what waits and why, how the vendors are and how fast they answer.",
        variables={
            "group": "label_values(sidecar_key_info, group)",
            "key": 'label_values(sidecar_key_info{group=~"$group"}, key)',
            "provider": "label_values(sidecar_provider_available, provider)",
        },
    )  # fmt: skip
    _glance(sheet)
    _spending(sheet)
    _waiting(sheet)
    _vendors(sheet)
    _speed(sheet)
    return sheet.build()


def _glance(sheet: Sheet) -> None:
    ok = f'{BY_CALL}, outcome="ok"'
    alerts = 'count(ALERTS{alertname=~"Sidecar.*", alertstate="firing"}) or vector(0)'
    sheet.add(
        figure("Cost", "What the calls of the chosen time were charged with. Calls of unknown"
               " cost are not in it: see Cost that nobody knows.",
               Query(f"sum(increase(sidecar_cost_dollars_total{{{BY_CALL}}}{RANGE}))"), unit=USD),
        figure("Tokens", "All kinds together, as the vendors reported them.",
               Query(f"sum(increase(sidecar_tokens_total{{{BY_CALL}}}{RANGE}))")),
        figure("Input from cache", "The share of input tokens that came from a prompt cache.",
               Query(f"sum(increase({CACHED}{RANGE})) / sum(increase({ALL_INPUT}{RANGE}))"),
               unit=SHARE),
        figure("Calls that ended well", "The share of all calls, refused ones included.",
               Query(f"sum(increase(sidecar_calls_total{{{ok}}}{RANGE}))"
                     f" / sum(increase(sidecar_calls_total{{{BY_CALL}}}{RANGE}))"),
               unit=SHARE, steps={0: "red", 0.9: "yellow", 0.98: "green"}),
        figure("Now", "Calls being served at this moment, waiting ones included, and calls that"
               " wait for room.",
               Query(f"sum(sidecar_calls_in_flight{{{BY_KEY}}})", "running"),
               Query("sum(sidecar_calls_waiting)", "waiting")),
        figure("Alerts", "Alert rules that fire: Prometheus lists them under Alerts.",
               Query(alerts), steps={0: "green", 1: "red"}),
        width=4, height=4,
    )  # fmt: skip


def _spending(sheet: Sheet) -> None:
    sheet.row("Who spends what")
    sheet.add(
        table("By key", "What each key spent in the chosen time, the dearest first.",
              {
                  "Cost": (total("cost_dollars_total", "key, group", BY_CALL), USD),
                  "Tokens": (total("tokens_total", "key, group", BY_CALL), "short"),
                  "Calls": (total("calls_total", "key, group", BY_CALL), "short"),
                  "From cache": (cached_share("key, group", RANGE), SHARE),
              }, ("key", "group")),
        table("By provider and model", "What each model cost in the chosen time, the dearest first."
              " A model without a cost has no known price.",
              {
                  "Cost": (total("cost_dollars_total", "provider, model", BY_CALL), USD),
                  "Tokens": (total("tokens_total", "provider, model", BY_CALL), "short"),
                  "Calls": (total("calls_total", "provider, model", BY_CALL), "short"),
                  "From cache": (cached_share("provider, model", RANGE), SHARE),
              }, ("provider", "model")),
        width=12, height=8,
    )  # fmt: skip
    sheet.add(
        lines("Cost by key", "US dollars an hour, at the pace of the moment.",
              Query(f"sum by (key) (rate(sidecar_cost_dollars_total{{{BY_CALL}}}{RATE})) * 3600",
                    "{{key}}"), unit=USD, stacked=True),
        lines("Cost by group", "US dollars an hour, at the pace of the moment.",
              Query(f"sum by (group) (rate(sidecar_cost_dollars_total{{{BY_CALL}}}{RATE})) * 3600",
                    "{{group}}"), unit=USD, stacked=True),
        lines("Tokens by kind", "Tokens a minute. The kinds do not overlap: input is what was not"
              " cached, output what was not reasoning.",
              Query(a_minute("tokens_total", "kind", BY_CALL), "{{kind}}"), unit=CPM, stacked=True),
        lines("Input from cache, by model", "The share of input tokens that came from a prompt"
              " cache: a fall costs money at once.",
              Query(cached_share("model", RATE), "{{model}}"), unit=SHARE, most=1),
        lines("Cost that nobody knows", "Calls whose cost is unknown, not zero: a model without a"
              " price, or an answer that did not say its usage.",
              Query(total("calls_unpriced_total", "provider, model", BY_PROVIDER, RATE),
                    "{{model}} at {{provider}}: no price"),
              Query(total("usage_unknown_total", "provider, model", BY_PROVIDER, RATE),
                    "{{model}} at {{provider}}: no usage"),
              Query(total("usage_partial_total", "provider, model", BY_PROVIDER, RATE),
                    "{{model}} at {{provider}}: a part of the usage"), unit="short", stacked=True),
        lines("Calls by outcome", "Calls a minute, by how they ended for the client.",
              Query(a_minute("calls_total", "outcome", BY_CALL), "{{outcome}}"),
              unit=CPM, stacked=True),
        width=8, height=8,
    )  # fmt: skip


def _waiting(sheet: Sheet) -> None:
    sheet.row("What waits, and why")
    sheet.add(
        bars("Limits and budgets used", "What is used of each limit of the file, running calls"
             " included; the fullest first.",
             Query("topk(25, max by (scope, limit, models) (sidecar_limit_used_ratio))",
                   "{{limit}} {{models}} of {{scope}}"),
             steps={0: "green", 0.8: "yellow", 1: "red"}),
        states("What is shut", "Paused by a person, cooling after a vendor's no, without a"
               " credential, or the network is gone.",
               Query("sidecar_paused", "paused: {{scope}}"),
               Query("1 - sidecar_network_up", "the network"),
               Query(f"1 - sidecar_provider_available{{{BY_PROVIDER}}}",
                     "{{provider}}: credential"),
               Query(f"sidecar_cooldown_seconds{{{BY_PROVIDER}}} > bool -1",
                     "{{credential}} {{family}}: cooling")),
        width=12, height=8,
    )  # fmt: skip
    sheet.add(
        lines("Waiting now, by urgency", "Calls that wait for room.",
              Query("sum by (urgency) (sidecar_calls_waiting)", "{{urgency}}"), stacked=True),
        lines("Running now, by key", "Calls being served, waiting ones included.",
              Query(f"sum by (key) (sidecar_calls_in_flight{{{BY_KEY}}})", "{{key}}"),
              stacked=True),
        lines("How long calls waited", "95% of calls waited no longer, by urgency.",
              Query(quantile(0.95, "wait_seconds", "urgency", 'group=~"$group"'), "{{urgency}}"),
              unit=SECONDS),
        lines("What kept calls", "Calls a minute that had to wait, by what kept them at first: a"
              " limit of the file, a quota or cooldown of the vendor's, a hold.",
              Query("sum by (limit) (rate(sidecar_lease_waits_total[$__rate_interval])) * 60",
                    "{{limit}}"), unit=CPM, stacked=True),
        lines("What they waited for in vain", "Calls a minute that were not let through in their"
              " time, by what kept them.",
              Query("sum by (limit) (rate(sidecar_lease_refusals_total[$__rate_interval])) * 60",
                    "{{limit}}"), unit=CPM, stacked=True),
        lines("Refused, by reason", "Answers of Sidecar's own, a minute.",
              Query(a_minute("refusals_total", "kind", BY_KEY), "{{kind}}"),
              unit=CPM, stacked=True),
        width=8, height=7,
    )  # fmt: skip


def _vendors(sheet: Sheet) -> None:
    sheet.row("How the vendors are")
    left, limit = (f"sidecar_vendor_quota_{each}{{{BY_PROVIDER}}}" for each in ("left", "limit"))
    sheet.add(
        lines("Answers by status", "Calls a minute, by the status that the client got.",
              Query(a_minute("answers_total", "status", BY_PROVIDER), "{{status}}"),
              unit=CPM, stacked=True),
        lines("Attempts by verdict", "Tries a minute, by the error class of the answer:"
              " client_error is the client's fault, all but ok the vendor's.",
              Query(a_minute("attempts_total", "provider, verdict", BY_PROVIDER),
                    "{{provider}}: {{verdict}}"), unit=CPM, stacked=True),
        lines("Cooldowns", "How long a credential is still left alone after the vendor's no.",
              Query(f"sidecar_cooldown_seconds{{{BY_PROVIDER}}}", "{{credential}} {{family}}"),
              unit=SECONDS),
        bars("Quota left", "By the vendors' own headers, less what was let through since; the"
             " emptiest first.",
             Query(f"bottomk(25, {left} / ({limit} > 0))",
                   "{{quota}} {{family}} of {{credential}}"),
             steps={0: "red", 0.1: "yellow", 0.25: "green"}),
        lines("Answers broken off", "Streams that a provider cut in the middle.",
              Query(total("stream_truncated_total", "provider, model", BY_PROVIDER, RATE),
                    "{{model}} at {{provider}}"), unit="short", stacked=True),
        lines("Retry budget", "Attempts beyond a call's first that may be made now: near 0, calls"
              " are no longer tried elsewhere.",
              Query("sidecar_retry_budget_left", "left"), unit="short"),
        lines("Shared limits", "Outages of the server of shared state, the processes that share,"
              " and what it denied a second.",
              Query("1 - sidecar_shared_up", "out"),
              Query("sidecar_shared_processes", "processes"),
              Query("rate(sidecar_shared_outage_seconds_total[$__rate_interval])", "time out"),
              Query("rate(sidecar_shared_denials_total[$__rate_interval])", "denied"),
              unit="short"),
        lines("Shared leases", "Time that the server of shared state takes for a lease, averaged.",
              Query("sidecar_shared_lease_seconds", "a lease"), unit=SECONDS),
        width=8, height=8,
    )  # fmt: skip


def _speed(sheet: Sheet) -> None:
    sheet.row("How fast")
    first, whole = "time_to_first_byte_seconds", "call_duration_seconds"
    sheet.add(
        lines("First byte, by provider", "Half of the answers began within this, waiting included.",
              Query(quantile(0.5, first, "provider", BY_PROVIDER), "{{provider}}"), unit=SECONDS),
        lines("First byte, by model, 95%", "95% of the answers began within this.",
              Query(quantile(0.95, first, "model", BY_PROVIDER), "{{model}}"), unit=SECONDS),
        lines("Whole call, by model, 95%", "95% of the calls were over within this.",
              Query(quantile(0.95, whole, "model", BY_PROVIDER), "{{model}}"), unit=SECONDS),
        width=8, height=8,
    )  # fmt: skip


def process() -> Dashboard:
    """The process itself: its memory, its loop, its configuration and its books."""
    sheet = Sheet(
        "Sidecar itself", "sidecar-itself",
        "The process: memory, files, event loop, configuration, ledger, keys.", variables={},
    )  # fmt: skip
    _standing(sheet)
    _machine(sheet)
    _books(sheet)
    return sheet.build()


def _standing(sheet: Sheet) -> None:
    good: Steps = {0: "red", 1: "green"}
    latest = "max by (key, group) (sidecar_key_last_used_timestamp_seconds)"
    stale = f"count(time() - {latest} > 30 * 86400) or vector(0)"
    sheet.add(
        figure("Scraped", "Whether Prometheus gets an answer.",
               Query(f"up{{{ITSELF}}}"), steps=good, words={"0": "no", "1": "yes"}),
        figure("Running", "The version, and since when.",
               Query(f"(time() - process_start_time_seconds{{{ITSELF}}})"
                     " * on (instance) group_left (version) sidecar_build_info", "{{version}}"),
               unit=SECONDS, named=True),
        figure("File on disk", "Whether the configuration on disk is the one in force.",
               Query("sidecar_config_last_reload_successful"), steps=good,
               words={"0": "refused", "1": "in force"}),
        figure("Last accepted", "How long ago a configuration was accepted.",
               Query("time() - sidecar_config_last_reload_success_timestamp_seconds"),
               unit=SECONDS),
        figure("Ledger", "Whether the ledger on disk keeps up.",
               Query("sidecar_ledger_healthy"), steps=good, words={"0": "behind", "1": "well"}),
        figure("Stale keys", "Keys that nobody has used for 30 days.", Query(stale),
               steps={0: "green", 1: "yellow"}),
        width=4, height=4,
    )  # fmt: skip


def _machine(sheet: Sheet) -> None:
    sheet.row("The process")
    lag = "sum by (le) (rate(sidecar_loop_lag_seconds_bucket[$__rate_interval]))"
    sheet.add(
        lines("Memory", "What the process holds of the machine's memory.",
              Query(f"process_resident_memory_bytes{{{ITSELF}}}", "resident"), unit="bytes"),
        lines("CPU", "Seconds of CPU a second: 1 is all that one process can use.",
              Query(f"rate(process_cpu_seconds_total{{{ITSELF}}}{RATE})", "used"), unit=SHARE),
        lines("Open files and connections", "Against the most that the system allows.",
              Query(f"process_open_fds{{{ITSELF}}}", "open"),
              Query(f"process_max_fds{{{ITSELF}}}", "allowed"), unit="short"),
        lines("Event loop", "How late the event loop was for a timer: what every running call was"
              " held up.",
              Query(f"histogram_quantile(0.5, {lag})", "half"),
              Query(f"histogram_quantile(0.99, {lag})", "99%"), unit=SECONDS),
        lines("A scrape", "How long Prometheus waited for the metrics.",
              Query(f"scrape_duration_seconds{{{ITSELF}}}", "took"), unit=SECONDS),
        lines("Series", "How many series a scrape brings.",
              Query(f"scrape_samples_scraped{{{ITSELF}}}", "series"), unit="short"),
        lines("Request bodies", "Memory of the bodies of running calls, what it may be,"
              " and the bodies of waiting calls that lie in files.",
              Query("sum by (place) (sidecar_request_body_bytes)", "{{place}}"),
              Query("sum(sidecar_request_body_limit_bytes)", "allowed"), unit="bytes"),
        lines("Waiting for memory", "Calls whose body waits for memory.",
              Query("sum(sidecar_request_bodies_waiting)", "calls"), unit="short"),
        width=8, height=7,
    )  # fmt: skip


def _books(sheet: Sheet) -> None:
    sheet.row("Configuration, books and plugins")
    sheet.add(
        lines("Reloads", "Configurations that were accepted or refused.",
              Query("sum by (result) (increase(sidecar_config_reloads_total[$__rate_interval]))",
                    "{{result}}"), unit="short", stacked=True),
        lines("What the ledger and the log missed", "Failed writes (what happened waits in memory),"
              " and calls and log lines that are missing because too many waited.",
              Query("increase(sidecar_ledger_write_failures_total[$__rate_interval])", "failed"),
              Query("increase(sidecar_ledger_calls_dropped_total[$__rate_interval])", "missing"),
              Query("increase(sidecar_log_lines_dropped_total[$__rate_interval])", "log lines"),
              unit="short"),
        lines("Plugins that fail", "Errors in a plugin's own code.",
              Query("sum by (plugin) (increase(sidecar_plugin_failures_total[$__rate_interval]))",
                    "{{plugin}}"), unit="short", stacked=True),
        lines("Folded", "Figures that got no series of their own because there are too many:"
              " counted under other.",
              Query("sum(increase(sidecar_series_folded_total[$__rate_interval]))", "series"),
              Query("increase(sidecar_models_folded_total[$__rate_interval])", "models"),
              unit="short"),
        lines("Who called", "Looks a minute at which local process made a call.",
              Query("sum by (result) (rate(sidecar_caller_lookups_total[$__rate_interval])) * 60",
                    "{{result}}"), unit=CPM, stacked=True),
        table("Keys", "What the file says of each key, and how long ago a vendor last served it;"
              " empty for never.",
              {
                  "Unused": ("time() - max by (key, group)"
                             " (sidecar_key_last_used_timestamp_seconds)", SECONDS),
                  "Enabled": ("max by (key, group) (sidecar_key_enabled)", "bool_yes_no"),
                  "Info": ("max by (key, group, vendor, urgency) (sidecar_key_info)", "none"),
              }, ("key", "group", "vendor", "urgency"), hidden="Info"),
        width=12, height=8,
    )  # fmt: skip


DASHBOARDS = {"sidecar.json": calls, "sidecar-itself.json": process}


def text(name: str) -> str:
    """The file of that name, as it should be."""
    return json.dumps(DASHBOARDS[name](), cls=JSONEncoder, indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    """Write the files, or compare them; the exit status."""
    check = "--check" in sys.argv[1:]
    stale = (
        [name for name in DASHBOARDS if (FOLDER / name).read_text() != text(name)] if check else []
    )
    for name in stale:
        print(f"{FOLDER / name} is not what tools/dashboards.py says; run: make dashboards")
    for name in () if check else DASHBOARDS:
        (FOLDER / name).write_text(text(name))
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main())
