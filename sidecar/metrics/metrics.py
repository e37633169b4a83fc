"""Record calls, reloads and loop lag in the metrics registry."""

from __future__ import annotations

import asyncio
import platform
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from msgspec import Struct

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
    machine_text,
)
from sidecar.records import NANODOLLARS, CallRecord, Cost, KeyTimes, Outcome, Usage, UsageState

__all__ = ["CONTENT_TYPE", "TABLE", "Metrics", "ModelNames"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
NO_MODEL = "none"
MAX_MODELS = 200
MAX_MODEL_CHARS = 128
MAX_TOKENS = 1 << 53
"""Tokens counted of one call at most; a float is exact up to here."""
MAX_CACHED_SERIES = 4096
"""Sets of labels whose series are cached; the cache is cleared when it is full."""
SERVED = {Outcome.OK, Outcome.CUT, Outcome.CANCELLED, Outcome.REVOKED}


class ModelNames:
    """Models that are label values: those that an upstream served, up to a maximum."""

    def __init__(self, most: int = MAX_MODELS) -> None:
        self.folded = 0
        self._most = most
        self._known: set[str] = set()

    def admit(self, model: str | None, *, ok: bool) -> str:
        """Return the label for `model`: itself once it was served (`ok`), else "other"."""
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


class _CallSeries(Struct, eq=False):
    """The series that every call with the same labels counts in.

    `labels` are key, group, provider and model; `served` is whether an upstream served the call.
    `tokens` by kind and `cost` begin with the first call that has any.
    """

    labels: tuple[str, str, str, str]
    served: bool
    calls: Sample
    answers: Sample
    duration: HistogramSeries
    wait: HistogramSeries
    first_byte: HistogramSeries | None
    tokens: dict[str, Sample] = {}
    cost: Sample | None = None


class LedgerStats(Protocol):
    """The ledger's figures that each scrape reads."""

    @property
    def healthy(self) -> bool:
        """Return whether the file keeps up with memory."""

    @property
    def failures(self) -> int:
        """Return the number of failed writes."""

    @property
    def dropped(self) -> int:
        """Return the number of lost calls."""

    def times(self, key: str) -> KeyTimes:
        """Return when a key was last used."""


class Metrics:
    """The metrics of this process since its start. Used from the event loop only.

    `before_render` is called before each exposition.
    """

    def __init__(
        self, *, version: str = "", ledger: LedgerStats | None = None, most_series: int = MAX_SERIES
    ) -> None:
        self._registry = MetricsRegistry(most_series)
        self.before_render: Callable[[], None] = lambda: None
        self._models = ModelNames()
        self._series: dict[tuple[object, ...], _CallSeries] = {}
        self._snapshot: Snapshot | None = None
        self._key_names: set[str] = set()
        self._calls = self._samples("calls_total")
        self._answers = self._samples("answers_total")
        self._tokens = self._samples("tokens_total")
        self._unknown = self._samples("usage_unknown_total")
        self._partial = self._samples("usage_partial_total")
        self._cost = self._samples("cost_dollars_total")
        self._unpriced = self._samples("calls_unpriced_total")
        self._refusals = self._samples("refusals_total")
        self._attempts = self._samples("attempts_total")
        self._truncated = self._samples("stream_truncated_total")
        self._duration = self._histograms("call_duration_seconds")
        self._first_byte = self._histograms("time_to_first_byte_seconds")
        self._wait = self._histograms("wait_seconds")
        self._lag = self._histograms("loop_lag_seconds")
        self._lag.at()
        self._reloads = self._samples("config_reloads_total")
        self._reload_ok = self._samples("config_last_reload_successful")
        self._reload_time = self._samples("config_last_reload_success_timestamp_seconds")
        self._samples("build_info").at(version, platform.python_version()).value = 1
        for result in ("success", "failure"):
            self._reloads.at(result)
        self._read_keys()
        self._read_folded()
        if ledger is not None:
            self._read_ledger(ledger)

    def call_finished(self, record: CallRecord) -> None:
        """Count a finished call, once."""
        series = self._series_of(record)
        series.calls.value += 1
        series.answers.value += 1
        series.duration.observe(record.duration)
        series.wait.observe(record.wait)
        if record.first_byte is not None and series.first_byte is not None:
            series.first_byte.observe(record.first_byte)
        for attempt in record.attempts:
            self._attempts.at(attempt.provider, attempt.credential, attempt.verdict).value += 1
        usage, cost = record.usage, record.cost
        if usage is not None and usage.parts:
            self._count_parts(series, usage, cost)
        else:
            self._count_usage(series, usage, cost)
        reported = record.usage_state is UsageState.REPORTED
        if record.outcome is not Outcome.OK or record.refusal is not None or not reported:
            self._count_faults(record, series)
        if record.unpriced:
            self._unpriced.at(record.provider, series.labels[3]).value += 1

    def _count_usage(self, series: _CallSeries, usage: Usage | None, cost: Cost | None) -> None:
        """Count usage that is all of the call's own model."""
        if usage is not None:
            tokens = series.tokens
            for kind, count in disjoint(usage).items():
                if kind not in tokens:
                    tokens[kind] = self._tokens.at(*series.labels, kind)
                tokens[kind].value += count
        if cost is not None:
            total = series.cost
            if total is None:
                total = series.cost = self._cost.at(*series.labels)
            total.value += cost.charged / NANODOLLARS

    def _count_parts(self, series: _CallSeries, usage: Usage, cost: Cost | None) -> None:
        """Count usage of several models."""
        key, group, provider, model = series.labels
        for name, tokens, charged in by_model(usage, cost):
            of = model if name is None else self._models.admit(name or None, ok=series.served)
            for kind, count in tokens.items():
                self._tokens.at(key, group, provider, of, kind).value += count
            if charged is not None:
                self._cost.at(key, group, provider, of).value += charged / NANODOLLARS

    def _series_of(self, record: CallRecord) -> _CallSeries:
        """Return the series that a call counts in, cached by what chooses them."""
        cache_key = (
            record.key, record.group, record.vendor, record.provider, record.endpoint,
            record.model_asked, record.outcome, record.status, record.urgency,
            record.first_byte is None,
        )  # fmt: skip
        found = self._series.get(cache_key)
        if found is None:
            found = self._find_series(record)
            # A model without a label may get one later, and folded labels are counted each time.
            if found.labels[3] != OVERFLOW and not any(f.folded for f in self._registry.families):
                if len(self._series) >= MAX_CACHED_SERIES:
                    self._series.clear()
                self._series[cache_key] = found
        return found

    def _find_series(self, record: CallRecord) -> _CallSeries:
        key, group = self._named(record.key, record.group)
        provider, outcome = record.provider, record.outcome
        served = outcome in SERVED and 200 <= record.status < 300 and provider != ""
        model = self._models.admit(record.model_asked, ok=served)
        answered = record.first_byte is not None
        return _CallSeries(
            labels=(key, group, provider, model),
            served=served,
            calls=self._calls.at(key, group, provider, model, outcome.value),
            answers=self._answers.at(record.vendor, provider, record.endpoint, str(record.status)),
            duration=self._duration.at(provider, model),
            wait=self._wait.at(group, record.urgency or "normal"),
            first_byte=self._first_byte.at(provider, model) if answered else None,
        )

    def usage_learned(self, owner: Owner, claim: Claim, usage: Usage, cost: Cost | None) -> None:
        """Count usage of an object that became known later, beyond what its call already
        counted."""
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
        """Record that a configuration was accepted or refused at `when`, in seconds since the
        epoch."""
        self._reloads.at("success" if ok else "failure").value += 1
        self._reload_ok.at().value = ok
        if ok:
            self._reload_time.at().value = when

    def read(self, name: str, reader: Collector) -> None:
        """Have `reader` return the samples of a metric of the table at each scrape."""
        self._registry.read(TABLE[name], reader)

    def reconcile(self, snapshot: Snapshot) -> None:
        """Follow the configuration: remove the series of deleted keys.

        A renamed key begins new series; a call of a deleted key counts under "other".
        """
        before, self._snapshot = self._snapshot, snapshot
        if before is not None and before.keys is snapshot.keys and before.runs is snapshot.runs:
            return  # only child keys are other, which have no series
        self._key_names = snapshot.key_names
        keys = {*self._key_names, "", OVERFLOW}
        self._series.clear()
        for family in self._registry.families:
            family.keep_only("key", keys)

    def loop_late(self, seconds: float) -> None:
        """Record how many seconds a timer of the event loop was late."""
        self._lag.at().observe(seconds)

    async def render(self, *, from_zero: bool = False) -> bytearray:
        """Return the exposition in the format of `CONTENT_TYPE`, yielding to other work meanwhile.

        `from_zero`: expose each new counter as 0 once before its value.
        """
        self.before_render()
        text = await self._registry.text(from_zero=from_zero)
        text += await asyncio.to_thread(machine_text)  # its imports would delay calls
        return text

    def _samples(self, name: str) -> Family[Sample]:
        return self._registry.samples(TABLE[f"sidecar_{name}"])

    def _histograms(self, name: str) -> Family[HistogramSeries]:
        return self._registry.histograms(TABLE[f"sidecar_{name}"])

    def _named(self, key: str, group: str) -> tuple[str, str]:
        """Return the labels for key and group: names that the configuration still has, or
        "other"."""
        snapshot = self._snapshot
        if snapshot is None or not key or key in self._key_names:
            return key, group
        return OVERFLOW, group if group in snapshot.groups else OVERFLOW

    def _count_faults(self, record: CallRecord, series: _CallSeries) -> None:
        key, group, _, model = series.labels
        if record.refusal is not None:
            self._refusals.at(record.refusal.name.lower(), key, group).value += 1
        if record.usage_state is UsageState.UNKNOWN:
            self._unknown.at(record.provider, model).value += 1
        if record.usage_state is UsageState.PARTIAL:
            self._partial.at(record.provider, model).value += 1
        if record.outcome is Outcome.CUT:
            self._truncated.at(record.provider, model).value += 1

    def _read_keys(self) -> None:
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
            ((family.metric.name,), family.folded) for family in self._registry.families
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
    charged = None if cost is None else cost.charged
    if usage is None or not usage.parts:
        yield None, {} if usage is None else disjoint(usage), charged
        return
    rest = Counter(disjoint(usage))
    for number, part in enumerate(usage.parts):
        if part.model is None:
            continue
        tokens = disjoint(part.usage)
        rest.subtract(tokens)
        own = None if cost is None else cost.of_part(number)
        yield part.model, tokens, None if own is None else own.charged
        if own is not None and charged is not None:
            charged -= own.charged
    yield None, +rest, charged


def disjoint(usage: Usage) -> dict[str, int]:
    """Return the tokens of a call by kind, each counted in exactly one kind; zeros are skipped."""
    read, write = usage.cache_read_tokens or 0, usage.cache_write_tokens or 0
    reasoning = usage.reasoning_tokens or 0
    found: dict[str, int] = {}
    if (count := (usage.input_tokens or 0) - read - write) > 0:
        found["input"] = min(count, MAX_TOKENS)
    if read > 0:
        found["cache_read"] = min(read, MAX_TOKENS)
    if write > 0:
        found["cache_write"] = min(write, MAX_TOKENS)
    if (count := (usage.output_tokens or 0) - reasoning) > 0:
        found["output"] = min(count, MAX_TOKENS)
    if reasoning > 0:
        found["reasoning"] = min(reasoning, MAX_TOKENS)
    return found


LAG_CHECK_SECONDS = 0.5
"""Seconds between two checks."""


async def watch_lag(observe: Callable[[float], None]) -> None:
    """Call `observe` for ever with the seconds by which a timer was late."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LAG_CHECK_SECONDS
        await asyncio.sleep(LAG_CHECK_SECONDS)
        observe(max(0.0, loop.time() - due))
