"""Sums of calls, tokens and cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_UP, Decimal
from functools import reduce

from msgspec import Struct


class Sums(Struct, frozen=True):
    """Calls, their tokens, and their cost in nano-dollars; by default, no calls.

    A figure is None when it is unknown of every call, and leaves out the calls of which it is
    unknown. `unknown_calls` used tokens without a report of how many; `unpriced_calls` used tokens
    without a price; the cost of `uncosted_calls` is unknown for either reason. Of `partial_calls`
    only a lower bound is known. `unused_calls` used no tokens: where all are such, every figure is
    0.

    `input_tokens` includes the cache, `output_tokens` the reasoning.
    """

    calls: int = 0
    unknown_calls: int = 0
    partial_calls: int = 0
    unpriced_calls: int = 0
    uncosted_calls: int = 0
    unused_calls: int = 0
    input_tokens: int | None = 0
    output_tokens: int | None = 0
    cache_read_tokens: int | None = 0
    cache_write_tokens: int | None = 0
    reasoning_tokens: int | None = 0
    listed: int | None = 0
    charged: int | None = 0

    @classmethod
    def of(cls, counts: Sequence[int], figures: Sequence[int | None]) -> Sums:
        """Return the sums of a row of the ledger, in the order of the fields."""
        calls, *_, unused = counts
        return cls(*counts, *((0 if each is None else each for each in figures)
                              if calls == unused else figures))  # fmt: skip

    def __add__(self, other: Sums) -> Sums:
        """Return the sum of both."""
        figures = []
        for name in _FIGURES:
            one, two = getattr(self, name), getattr(other, name)
            if self.idle and not one:
                figures.append(two)
            elif other.idle and not two:
                figures.append(one)
            else:
                figures.append(add_known(one, two))
        return Sums(
            self.calls + other.calls,
            self.unknown_calls + other.unknown_calls,
            self.partial_calls + other.partial_calls,
            self.unpriced_calls + other.unpriced_calls,
            self.uncosted_calls + other.uncosted_calls,
            self.unused_calls + other.unused_calls,
            *figures,
        )

    @property
    def idle(self) -> bool:
        """Return whether no call used anything: such zeros are no statement on other calls."""
        return self.calls == self.unused_calls

    @property
    def tokens(self) -> int | None:
        """Return input plus output."""
        return add_known(self.input_tokens, self.output_tokens)

    @property
    def cached(self) -> float | None:
        """Return the share of the input that came from a cache; None without input, or when
        unknown."""
        if not self.input_tokens or self.cache_read_tokens is None:
            return None
        return self.cache_read_tokens / self.input_tokens

    @property
    def costs_all(self) -> bool:
        """Return whether the cost covers every call."""
        return not self.uncosted_calls and not self.partial_calls

    @property
    def counts_all(self) -> bool:
        """Return whether the tokens cover every call."""
        return not self.unknown_calls and not self.partial_calls

    def at(self, multiplier: Decimal) -> int | None:
        """Return the cost with another multiplier on the list price."""
        if self.listed is None:
            return None
        return int((self.listed * multiplier).to_integral_value(ROUND_HALF_UP))


_FIGURES = Sums.__struct_fields__[6:]


def add_known(one: int | None, other: int | None) -> int | None:
    """Return the sum of the known figures; None when both are unknown."""
    if one is None or other is None:
        return other if one is None else one
    return one + other


def total(sums: Iterable[Sums]) -> Sums:
    """Return the sum of all."""
    return reduce(Sums.__add__, sums, Sums())
