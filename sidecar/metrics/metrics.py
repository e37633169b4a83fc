"""Records calls, reloads and loop lag in the metrics registry."""

from __future__ import annotations

import asyncio
import platform
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.exposition import generate_latest

from sidecar.config.model import Key, Snapshot
from sidecar.ledger.model import Claim, Owner
from sidecar.metrics.definitions import TABLE
from sidecar.metrics.registry import (
    MAX_SERIES,
    OVERFLOW,
    Collector,
    Family,
    HistogramSeries,
    MetricsRegistry,
    Sample,
)
from sidecar.records import NANODOLLARS, CallRecord, Cost, KeyTimes, Outcome, Usage, UsageState

__all__ = ["CONTENT_TYPE", "TABLE", "Metrics", "ModelNames"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
NO_MODEL = "none"
MAX_MODELS = 200
MAX_MODEL_CHARS = 128
MAX_TOKENS = 1 << 53
"""No vendor means more in one call, and a float counts exactly up to here."""
SERVED = {Outcome.OK, Outcome.CUT, Outcome.CANCELLED, Outcome.REVOKED}


class ModelNames:
    """The models that may be a label: those that an upstream served, up to a number."""

    def __init__(self, most: int = MAX_MODELS) -> None:
        self.folded = 0
        self._most = most
        self._known: set[str] = set()

    def admit(self, model: str | None, *, ok: bool) -> str:
        """The label for `model`: itself once it was served (`ok`), else "other"."""
        if model is None:
            return NO_MODEL
        if model in self._known:
            return model
        if not ok:
            return OVERFLOW
        if (
            len(self._known) >= self._most
            or len(model) > MAX_MODEL_CHARS
            or not model.isprintable()
        ):
            self.folded += 1
            return OVERFLOW
        self._known.add(model)
        return model


class LedgerStats(Protocol):
    """What the ledger is asked for at each scrape."""

    @property
    def healthy(self) -> bool:
        """Whether the file keeps up."""

    @property
    def failures(self) -> int:
        """Failed writes."""

    @property
    def dropped(self) -> int:
        """Calls that were lost."""

    def times(self, key: str) -> KeyTimes:
        """When a key was last used."""


class Metrics:
    """What Prometheus is told, from the start of the process. Used from the event loop alone."""

    def __init__(
        self, *, version: str = "", ledger: LedgerStats | None = None, most_series: int = MAX_SERIES
    ) -> None:
        self._book = MetricsRegistry(most_series)
        self._models = ModelNames()
        self._running: Counter[str] = Counter()
        self._snapshot: Snapshot | None = None
        self._machine = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._machine)
        PlatformCollector(registry=self._machine)
        self._calls = self._cells("calls_total")
        self._answers = self._cells("answers_total")
        self._tokens = self._cells("tokens_total")
        self._unknown = self._cells("usage_unknown_total")
        self._partial = self._cells("usage_partial_total")
        self._cost = self._cells("cost_dollars_total")
        self._unpriced = self._cells("calls_unpriced_total")
        self._refusals = self._cells("refusals_total")
        self._attempts = self._cells("attempts_total")
        self._truncated = self._cells("stream_truncated_total")
        self._duration = self._spreads("call_duration_seconds")
        self._first_byte = self._spreads("time_to_first_byte_seconds")
        self._wait = self._spreads("wait_seconds")
        self._lag = self._spreads("loop_lag_seconds")
        self._lag.at()
        self._reloads = self._cells("config_reloads_total")
        self._reload_ok = self._cells("config_last_reload_successful")
        self._reload_time = self._cells("config_last_reload_success_timestamp_seconds")
        self._cells("build_info").at(version, platform.python_version()).value = 1
        for result in ("success", "failure"):
            self._reloads.at(result)
        self._read_keys()
        self._read_folded()
        if ledger is not None:
            self._read_ledger(ledger)

    def call_started(self, key: str, group: str) -> None:  # noqa: ARG002 - a call says who it is
        """A call of this key is being served from now on."""
        self._running[key] += 1

    def call_ended(self, key: str) -> None:
        """It is served no longer."""
        self._running[key] -= 1
        if self._running[key] <= 0:
            del self._running[key]

    def call_finished(self, record: CallRecord) -> None:
        """Count a finished call, once."""
        key, group = self._configured(record)
        provider, outcome = record.provider, record.outcome
        served = outcome in SERVED and 200 <= record.status < 300 and provider != ""
        model = self._models.admit(record.model_asked, ok=served)
        self._calls.at(key, group, provider, model, outcome.value).value += 1
        self._answers.at(record.vendor, provider, record.endpoint, str(record.status)).value += 1
        self._duration.at(provider, model).observe(record.duration)
        self._wait.at(group, record.urgency or "normal").observe(record.wait)
        if record.first_byte is not None:
            self._first_byte.at(provider, model).observe(record.first_byte)
        for attempt in record.attempts:
            self._attempts.at(attempt.provider, attempt.credential, attempt.verdict).value += 1
        for name, usage, charged in by_model(record.usage, record.cost):
            of = model if name is None else self._models.admit(name or None, ok=served)
            for kind, count in usage.items():
                self._tokens.at(key, group, provider, of, kind).value += count
            if charged is not None:
                self._cost.at(key, group, provider, of).value += charged / NANODOLLARS
        self._count_faults(record, key, group, model)

    def usage_learned(self, owner: Owner, claim: Claim, usage: Usage, cost: Cost | None) -> None:
        """Count what is known of an object's usage since, beyond what was counted of its call."""
        before: Counter[tuple[str | None, str]] = Counter()
        for name, tokens, _ in by_model(claim.booked, None):
            before.update({(name, kind): count for kind, count in tokens.items()})
        key, group = self._named(claim.key, owner.group)
        paid = claim.charged
        for name, tokens, charged in by_model(usage, cost):
            asked = claim.model_asked if name is None else name or None
            model = self._models.admit(asked, ok=True)
            for kind, count in tokens.items():
                more = max(0, count - before[name, kind])
                self._tokens.at(key, group, owner.provider, model, kind).value += more
            if charged is not None:
                more, paid = max(0, charged - paid), max(0, paid - charged)
                self._cost.at(key, group, owner.provider, model).value += more / NANODOLLARS

    def reloaded(self, ok: bool, when: float) -> None:  # noqa: FBT001 - the order of the sentence
        """A configuration was accepted or refused at wall-clock second `when`."""
        self._reloads.at("success" if ok else "failure").value += 1
        self._reload_ok.at().value = ok
        if ok:
            self._reload_time.at().value = when

    def read(self, name: str, reader: Collector) -> None:
        """Have `reader` asked for the figures of a metric of the table at each scrape."""
        self._book.read(TABLE[name], reader)

    def reconcile(self, snapshot: Snapshot) -> None:
        """Follow the configuration: the series of keys that are gone go with them.

        A renamed key begins new series; a call of a key that is gone counts under "other".
        """
        self._snapshot = snapshot
        keys = {*snapshot.keys, "", OVERFLOW}
        for family in self._book.families:
            family.keep_only("key", keys)

    def loop_late(self, seconds: float) -> None:
        """The event loop was that late for a timer."""
        self._lag.at().observe(seconds)

    async def render(self, *, from_zero: bool = False) -> bytes:
        """The exposition, in the format of `CONTENT_TYPE`; other work goes on meanwhile. With
        `from_zero` each counter is shown as 0 once before its true value."""
        return await self._book.text(from_zero=from_zero) + generate_latest(self._machine)

    def _cells(self, name: str) -> Family[Sample]:
        return self._book.cells(TABLE[f"sidecar_{name}"])

    def _spreads(self, name: str) -> Family[HistogramSeries]:
        return self._book.spreads(TABLE[f"sidecar_{name}"])

    def _configured(self, record: CallRecord) -> tuple[str, str]:
        """The labels for key and group: names that the configuration still has, or "other"."""
        return self._named(record.key, record.group)

    def _named(self, key: str, group: str) -> tuple[str, str]:
        snapshot = self._snapshot
        if snapshot is None or not key or key in snapshot.keys:
            return key, group
        return OVERFLOW, group if group in snapshot.groups else OVERFLOW

    def _count_faults(self, record: CallRecord, key: str, group: str, model: str) -> None:
        if record.refusal is not None:
            self._refusals.at(record.refusal.name.lower(), key, group).value += 1
        if record.usage_state is UsageState.UNKNOWN:
            self._unknown.at(record.provider, model).value += 1
        if record.usage_state is UsageState.PARTIAL:
            self._partial.at(record.provider, model).value += 1
        if record.unpriced:
            self._unpriced.at(record.provider, model).value += 1
        if record.outcome is Outcome.CUT:
            self._truncated.at(record.provider, model).value += 1

    def _read_keys(self) -> None:
        self.read(
            "sidecar_calls_in_flight",
            lambda: (((name, key.group.name), self._running[name]) for name, key in self._keys()),
        )
        self.read(
            "sidecar_key_info",
            lambda: (
                ((name, key.group.name, key.group.vendor.name, key.urgency.name.lower()), 1)
                for name, key in self._keys()
            ),
        )
        self.read("sidecar_key_enabled", lambda: (
            ((name, key.group.name), key.enabled) for name, key in self._keys()
        ))  # fmt: skip

    def _read_folded(self) -> None:
        self.read("sidecar_models_folded_total", lambda: (((), self._models.folded),))
        self.read("sidecar_series_folded_total", lambda: (
            ((family.metric.name,), family.folded) for family in self._book.families
        ))  # fmt: skip

    def _read_ledger(self, ledger: LedgerStats) -> None:
        self.read("sidecar_ledger_write_failures_total", lambda: (((), ledger.failures),))
        self.read("sidecar_ledger_calls_dropped_total", lambda: (((), ledger.dropped),))
        self.read("sidecar_ledger_healthy", lambda: (((), ledger.healthy),))
        self.read("sidecar_key_last_used_timestamp_seconds", lambda: (
            ((name, key.group.name), used)
            for name, key in self._keys()
            if (used := ledger.times(name).last_used) is not None
        ))  # fmt: skip

    def _keys(self) -> Iterable[tuple[str, Key]]:
        return () if self._snapshot is None else self._snapshot.keys.items()


def by_model(
    usage: Usage | None, cost: Cost | None
) -> Iterator[tuple[str | None, Mapping[str, int], int | None]]:
    """Yield the model, the tokens by kind and the nano-dollars charged of what a call used.

    Parts of another model come with its name, the rest with None. The amounts add up to the call's;
    money is None where no price is known.
    """
    rest = Counter(dict(disjoint(usage)) if usage is not None else {})
    charged = None if cost is None else cost.charged
    for number, part in enumerate(usage.parts if usage is not None else ()):
        if part.model is None:
            continue
        tokens = dict(disjoint(part.usage))
        rest.subtract(tokens)
        own = None if cost is None else cost.of_part(number)
        yield part.model, tokens, None if own is None else own.charged
        if own is not None and charged is not None:
            charged -= own.charged
    yield None, +rest, charged


def disjoint(usage: Usage) -> Iterator[tuple[str, int]]:
    """The tokens of a call by kind, each counted in exactly one of them; nothing for zero."""
    read, write = usage.cache_read_tokens or 0, usage.cache_write_tokens or 0
    reasoning = usage.reasoning_tokens or 0
    counts = (
        ("input", (usage.input_tokens or 0) - read - write),
        ("cache_read", read),
        ("cache_write", write),
        ("output", (usage.output_tokens or 0) - reasoning),
        ("reasoning", reasoning),
    )
    return ((kind, min(count, MAX_TOKENS)) for kind, count in counts if count > 0)


LAG_CHECK_SECONDS = 0.5
"""Seconds between two looks."""


async def watch_lag(observe: Callable[[float], None]) -> None:
    """Tell `observe` for ever by how many seconds a timer was late."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LAG_CHECK_SECONDS
        await asyncio.sleep(LAG_CHECK_SECONDS)
        observe(max(0.0, loop.time() - due))
