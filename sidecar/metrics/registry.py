"""Counters, gauges and histograms with bounded labels, and the text that Prometheus scrapes.

Counting is one addition; the text of a series' name is built once. There are no locks: everything
runs in the event loop. Calls and the metrics that exist are unknown here.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import islice
from math import isfinite
from typing import Generic, TypeVar

from msgspec import Struct

OVERFLOW = "other"
"""The label value for everything that has no series of its own."""
SERIES_PER_SLICE = 200
"""Series written before the event loop gets its turn."""
MAX_SERIES = 20_000

Labels = tuple[str, ...]
Collector = Callable[[], Iterable[tuple[Labels, float]]]


class Metric(Struct, frozen=True):
    """One row of the table of metrics.

    The labels in `fixed` have few values by nature and stay apart when all others are folded.
    `buckets` are a histogram's upper bounds.
    """

    name: str
    type: str
    help: str
    labels: Labels = ()
    fixed: frozenset[str] = frozenset()
    buckets: tuple[float, ...] = ()

    @property
    def lines(self) -> int:
        """Return the number of lines of one series."""
        return len(self.buckets) + 3 if self.buckets else 1

    def folded(self, labels: Labels) -> Labels:
        """Return `labels` with all but the fixed ones replaced by "other"."""
        pairs = zip(self.labels, labels, strict=True)
        return tuple(value if name in self.fixed else OVERFLOW for name, value in pairs)


class Sample:
    """One series of a counter or gauge. Its line is cached, since most do not change between
    scrapes."""

    __slots__ = ("_line", "_shown", "begun", "name", "value")

    def __init__(self, metric: Metric, labels: Labels) -> None:
        self.value = 0.0
        self.begun = metric.type == "gauge"
        self._shown: float | None = None
        self._line = ""
        self.name = f"{metric.name}{braced(metric.labels, labels)} "

    def text(self) -> str:
        """Return its line."""
        if self.value != self._shown:
            self._shown = self.value
            self._line = self.name + number(self.value)
        return self._line

    def zero_text(self) -> str:
        """Return its line with the value 0, for its first exposition."""
        self.begun = True
        return self.name + "0"


class HistogramSeries:
    """One series of a histogram."""

    __slots__ = ("_lines", "begun", "bounds", "counts", "names", "sum")

    def __init__(self, metric: Metric, labels: Labels) -> None:
        self.begun = False
        self._lines = ""
        self.bounds = metric.buckets
        self.counts = [0] * (len(metric.buckets) + 1)
        self.sum = 0.0
        with_bound = (*metric.labels, "le")
        bounds = (*map(number, metric.buckets), "+Inf")
        plain = braced(metric.labels, labels)
        self.names = (
            *(f"{metric.name}_bucket{braced(with_bound, (*labels, le))} " for le in bounds),
            f"{metric.name}_sum{plain} ",
            f"{metric.name}_count{plain} ",
        )

    def observe(self, value: float) -> None:
        """Count one value; a value equal to a bound belongs to that bucket."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value
        self._lines = ""

    def text(self) -> str:
        """Return its lines: cumulative buckets, sum and count."""
        if not self._lines:
            self._lines = self._written()
        return self._lines

    def _written(self) -> str:
        total = 0
        figures = []
        for count in self.counts:
            total += count
            figures.append(str(total))
        figures += (number(self.sum), str(total))
        return "\n".join(map(str.__add__, self.names, figures))

    def zero_text(self) -> str:
        """Return its lines with zeros, for their first exposition."""
        self.begun = True
        return "\n".join(name + "0" for name in self.names)


Series = TypeVar("Series", bound=Sample | HistogramSeries)


class Family(Generic[Series]):
    """All series of one metric; `series` creates one."""

    def __init__(
        self, metric: Metric, series: Callable[[Metric, Labels], Series], book: MetricsRegistry
    ) -> None:
        self.metric = metric
        self.folded = 0
        self._series = series
        self._book = book
        self._by_labels: dict[Labels, Series] = {}

    def at(self, *labels: str) -> Series:
        """Return the series of these label values: created while there is room, else the folded
        one."""
        series = self._by_labels.get(labels)
        return self._make(labels) if series is None else series

    def keep_only(self, label: str, values: set[str]) -> None:
        """Remove every series with another value of `label`; without that label, remove none."""
        if label not in self.metric.labels:
            return
        at = self.metric.labels.index(label)
        gone = [labels for labels in self._by_labels if labels[at] not in values]
        for labels in gone:
            del self._by_labels[labels]
        self._book.lines -= len(gone) * self.metric.lines

    def __len__(self) -> int:
        return len(self._by_labels)

    def texts(self, from_zero: bool) -> Iterator[tuple[int, list[str]]]:  # noqa: FBT001 - see Book
        """Yield slices of the text of all series: the number of lines, and the lines."""
        every = tuple(self._by_labels.values())
        step = max(1, SERIES_PER_SLICE // self.metric.lines)
        for at in range(0, len(every), step):
            part = every[at : at + step]
            yield (
                len(part) * self.metric.lines,
                [
                    series.zero_text() if from_zero and not series.begun else series.text()
                    for series in part
                ],
            )

    def _make(self, labels: Labels) -> Series:
        if self._book.lines + self.metric.lines > self._book.most:
            self.folded += 1
            labels = self.metric.folded(labels)
            if labels in self._by_labels:
                return self._by_labels[labels]
        self._book.lines += self.metric.lines
        series = self._by_labels[labels] = self._series(self.metric, labels)
        return series


class MetricsRegistry:
    """All families of one process, in the order of the exposition.

    Beyond `most` series, new sets of labels are folded into one of which there are few.
    """

    def __init__(self, most: int = MAX_SERIES) -> None:
        self.most = most
        self.lines = 0
        self._families: list[Family[Sample] | Family[HistogramSeries]] = []
        self._readers: list[tuple[Metric, Collector]] = []
        self._begun: set[tuple[str, Labels]] = set()

    @property
    def families(self) -> tuple[Family[Sample] | Family[HistogramSeries], ...]:
        """Return the families counted here, without those that a reader returns."""
        return tuple(self._families)

    def samples(self, metric: Metric) -> Family[Sample]:
        """Add a counter or gauge and return its family."""
        family = Family(metric, Sample, self)
        self._families.append(family)
        return family

    def histograms(self, metric: Metric) -> Family[HistogramSeries]:
        """Add a histogram and return its family."""
        family = Family(metric, HistogramSeries, self)
        self._families.append(family)
        return family

    def read(self, metric: Metric, reader: Collector) -> None:
        """Add a metric whose samples `reader` returns at each scrape.

        Other work runs between two samples, so it must not iterate over a collection that changes.
        """
        self._readers.append((metric, reader))

    async def text(self, *, from_zero: bool = False) -> bytearray:
        """Return the whole exposition, yielding to other work between slices.

        `from_zero`: expose each new counter as 0 in its first scrape, so that `increase()` includes
        what was counted before Prometheus first saw the series.
        """
        whole, written = bytearray(), 0
        for size, texts in self._texts(from_zero):
            whole += ("\n".join(texts) + "\n").encode()
            written += size
            if written >= SERIES_PER_SLICE:
                written = 0
                await asyncio.sleep(0)
        return whole

    def _texts(self, from_zero: bool) -> Iterator[tuple[int, list[str]]]:  # noqa: FBT001 - see `text`
        for family in self._families:
            yield 1, [heading(family.metric)]
            yield from family.texts(from_zero)
        for metric, reader in self._readers:
            yield 1, [heading(metric)]
            samples = iter(reader())
            while part := [*islice(samples, SERIES_PER_SLICE)]:
                yield len(part), [self._read_text(metric, *each, from_zero) for each in part]

    def _read_text(
        self, metric: Metric, labels: Labels, value: float, from_zero: bool  # noqa: FBT001 - see `text`
    ) -> str:  # fmt: skip
        begins = from_zero and self._begins(metric, labels)
        shown = "0" if begins else number(value)
        return f"{metric.name}{braced(metric.labels, labels)} {shown}"

    def _begins(self, metric: Metric, labels: Labels) -> bool:
        """Return whether a counter of a reader is exposed for the first time."""
        if metric.type == "gauge" or (metric.name, labels) in self._begun:
            return False
        self._begun.add((metric.name, labels))
        return True


def heading(metric: Metric) -> str:
    """Return the HELP and TYPE lines of a metric."""
    help_ = metric.help.replace("\\", r"\\").replace("\n", r"\n")
    return f"# HELP {metric.name} {help_}\n# TYPE {metric.name} {metric.type}"


@lru_cache(maxsize=4096)
def braced(names: Labels, values: Labels) -> str:
    """Return label names and values in braces; "" without any."""
    if not names:
        return ""
    return "{" + ",".join(f'{n}="{escape(v)}"' for n, v in zip(names, values, strict=True)) + "}"


def escape(value: str) -> str:
    """Return a label value escaped for its quotes, on one line."""
    if value.isprintable() and '"' not in value and "\\" not in value:
        return value
    text = value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return text.encode("utf-8", "replace").decode()


def number(value: float) -> str:
    """Return a number as Prometheus reads it, without loss."""
    if not isfinite(value):
        return {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}[str(value)]
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def machine_text() -> bytes:
    """Return the metrics of the process and of Python. What makes them is imported when they are
    first read."""
    from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
    from prometheus_client.exposition import generate_latest

    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return generate_latest(registry)
