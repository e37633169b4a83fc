"""The cost of usage by a model's rates, in exact arithmetic.

Rates are prices of *units* (`input_tokens`, `web_searches`, …). A unit may be part of wider ones: a
unit with a rate is charged by it, one without is charged with the unit that contains it.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from math import inf, lcm
from typing import NamedTuple

from msgspec import Struct

from sidecar.records import NANODOLLARS, Usage

REQUESTS = "requests"
INPUT, OUTPUT = "input_tokens", "output_tokens"
CACHE_READ, CACHE_WRITE = "cache_read_tokens", "cache_write_tokens"
REASONING = "output_reasoning_tokens"
CONTEXT = "context_tokens"
"""The size that selects a tier, where it is not that of the whole input."""

Rate = Decimal | tuple[tuple[int, Decimal], ...]
"""Dollars for `PriceUnit.per` of a unit; or pairs of (input tokens above which it applies,
dollars), the lowest first: the pair that is reached counts for all tokens of the call."""
Exact = int | Fraction
"""Exact nano-dollars: mostly a whole number, as most rates are for one token."""
UnitCounts = Mapping[str, int]
"""How much of each unit was used; a unit without a report is absent."""


class PriceUnit(Struct, frozen=True):
    """The amount that a rate is for, and the wider units that contain this unit."""

    per: int
    of: tuple[str, ...]


class _Line(NamedTuple):
    """One rate, in fractions of a nano-dollar.

    `parts` are the units charged separately. Above a size of the input, the rate is that of the
    last pair in `higher` (size, rate) that is reached.
    """

    unit: str
    parts: tuple[str, ...]
    rate: int
    higher: tuple[tuple[int, int], ...]


class _UsualRates(NamedTuple):
    """All rates that most usage needs, in nano-dollars for one token or request.

    Attributes:
        cache_read: None if these tokens are charged as input.
        cache_write: The same.
        largest: The most input tokens of a call to which the rates apply.
    """

    cache_read: int | None
    cache_write: int | None
    input: int
    output: int
    request: int
    largest: float


class Rates:
    """The rates of one model.

    They are whole numbers over one denominator, so that sums are exact even where a decimal has no
    end (the price of an hour by the second).
    """

    def __init__(self, rates: Mapping[str, Rate], units: Mapping[str, PriceUnit]) -> None:
        names = sorted(rates, key=lambda name: (-len(units[name].of), name))
        steps = {name: _steps(rates[name], units[name]) for name in names}
        self._denominator = lcm(*(each.denominator for row in steps.values() for _, each in row))
        self._lines = tuple(
            _Line(
                name,
                tuple(part for part in names if name in units[part].of),
                int(steps[name][0][1] * self._denominator),
                tuple((above, int(rate * self._denominator)) for above, rate in steps[name][1:]),
            )
            for name in names
        )
        tokens = frozenset(name for name in names if _is_token(name, units))
        self._needs = tokens or frozenset(names) - {REQUESTS} or frozenset(names)
        self._unpaid = tuple(
            (total, tuple(name for name in names if total in units[name].of))
            for total in (INPUT, OUTPUT)
            if tokens and total not in rates
        )
        self._usual = _usual_rates(self._lines) if self._denominator == 1 else None

    def cost_of(self, usage: Usage) -> Exact | None:
        """Return the exact nano-dollars of a call with one request; see `cost`."""
        usual, given, made = self._usual, usage.input_tokens, usage.output_tokens
        if (
            usual is None
            or given is None
            or made is None
            or given > usual.largest
            or usage.units
            or usage.cache_write_1h_tokens is not None
            or usage.context_tokens is not None
        ):
            return self.cost(counts_of(usage, 1))
        # As `_sum`, without a dictionary: most calls are of this form.
        read_rate, write_rate, input_rate, output_rate, total, _ = usual
        read, written = usage.cache_read_tokens, usage.cache_write_tokens
        if read and read > 0 and read_rate is not None:
            total += read * read_rate
            given -= read
        if written and written > 0 and write_rate is not None:
            total += written * write_rate
            given -= written
        if given > 0:
            total += given * input_rate
        if made > 0:
            total += made * output_rate
        return total

    def cost(self, counts: UnitCounts, size: int | None = None) -> Exact | None:
        """Return the exact nano-dollars.

        None when a unit with a rate has no reported amount, or tokens were used that have no rate.
        `size` is the input that selects a tier; None is all of it.
        """
        if self._needs.isdisjoint(counts):
            return None
        exact, own = self._sum(counts, size)
        for total, parts in self._unpaid:
            if counts.get(total, 0) > sum(own.get(part, 0) for part in parts):
                return None
        return exact

    def estimate(self, counts: UnitCounts) -> Exact | None:
        """Return the same for estimated counts: a unit without a rate costs nothing; None when none
        has one."""
        return self._sum(counts, None)[0] if self._lines else None

    def _sum(self, counts: UnitCounts, size: int | None) -> tuple[Exact, dict[str, int]]:
        """Return the sum, and the amount of each unit that is charged: the unit less its parts
        charged separately.

        No amount is below zero, also when a vendor's figures contradict each other.
        """
        own: dict[str, int] = {}
        total = 0
        for unit, parts, rate, higher in self._lines:
            if unit in counts:
                count = counts[unit]
                for part in parts:
                    count -= own.get(part, 0)
                if count > 0:
                    own[unit] = count
                    total += count * (_reached(rate, higher, counts, size) if higher else rate)
        return total if self._denominator == 1 else Fraction(total, self._denominator), own


def _reached(
    rate: int, higher: tuple[tuple[int, int], ...], counts: UnitCounts, size: int | None
) -> int:
    """Return the rate at this size of the input; None is all of it."""
    if size is None:
        size = counts.get(CONTEXT, counts.get(INPUT, 0))
    for above, other in higher:
        if size > above:
            rate = other
    return rate


def _usual_rates(lines: tuple[_Line, ...]) -> _UsualRates | None:
    """Return the rates of usual usage, by lines in whole nano-dollars; None for a model that has no
    price for input or output, or one for reasoning."""
    found = {line.unit: line for line in lines}
    if not {INPUT, OUTPUT} <= found.keys() or REASONING in found:
        return None
    rates = {name: line.rate for name, line in found.items()}
    return _UsualRates(
        cache_read=rates.get(CACHE_READ),
        cache_write=rates.get(CACHE_WRITE),
        input=rates[INPUT],
        output=rates[OUTPUT],
        request=rates.get(REQUESTS, 0),
        largest=min((line.higher[0][0] for line in lines if line.higher), default=inf),
    )


def counts_of(usage: Usage, requests: int) -> UnitCounts:
    """Return how much of each unit `usage` is, with this number of requests."""
    counts = dict(usage.units)
    counts[REQUESTS] = requests
    if usage.input_tokens is not None:
        counts[INPUT] = usage.input_tokens
    if usage.output_tokens is not None:
        counts[OUTPUT] = usage.output_tokens
    if usage.cache_read_tokens is not None:
        counts[CACHE_READ] = usage.cache_read_tokens
    if usage.cache_write_tokens is not None:
        counts[CACHE_WRITE] = usage.cache_write_tokens
    if usage.cache_write_1h_tokens is not None:
        counts["cache_write_1h_tokens"] = usage.cache_write_1h_tokens
    if usage.context_tokens is not None:
        counts[CONTEXT] = usage.context_tokens
    if usage.reasoning_tokens is not None:
        counts[REASONING] = usage.reasoning_tokens
    return counts


def rounded(numerator: int, denominator: int) -> int:
    """Return the nearest whole number, half to even."""
    whole, rest = divmod(numerator, denominator)
    above = 2 * rest - denominator
    return whole + (above > 0 or (above == 0 and whole % 2 == 1))


def _steps(rate: Rate, unit: PriceUnit) -> tuple[tuple[int, Fraction], ...]:
    pairs = ((0, rate),) if isinstance(rate, Decimal) else rate
    return tuple((above, Fraction(dollars) * NANODOLLARS / unit.per) for above, dollars in pairs)


def _is_token(name: str, units: Mapping[str, PriceUnit]) -> bool:
    return not {INPUT, OUTPUT}.isdisjoint((name, *units[name].of))
