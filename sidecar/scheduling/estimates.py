"""Estimates of tokens and money that a call will take, learnt from what calls took."""

from __future__ import annotations

import logging
from bisect import bisect_left, insort
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from math import ceil, inf, sqrt
from typing import Any, NamedTuple

from sidecar.config.model import Key
from sidecar.plugin_api.guard import plugin_guard
from sidecar.pricing.prices import Prices
from sidecar.records import Usage
from sidecar.routing.call import Call
from sidecar.routing.candidates import Candidate
from sidecar.scheduling.limiter import Limiter, LimitUnit
from sidecar.scheduling.vendor_quota import VendorQuota
from sidecar.scheduling.windows import ConcurrencyLimit, CountingLimiter

KEPT_SAMPLES = 64
"""Answers of one key and model that are looked back on."""
MIN_SAMPLES = 5
"""Answers that must have been seen before they say anything."""
MAX_PAIRS = 2000
"""Keys and models of which answers are remembered; the longest unused are forgotten."""
DEFAULT_OUTPUT_TOKENS = 4096
"""Output tokens reserved at most for an answer when nothing like it was seen yet. Agents ask for
bounds of 128,000 tokens and use a hundredth of that."""
HIGH_QUANTILE = 0.95
"""The part of answers that a reservation covers."""


class RecentValues:
    """The latest figures of one kind, sorted; None while too few were seen."""

    __slots__ = ("_latest", "_sorted")

    def __init__(self) -> None:
        self._latest: deque[float] = deque()
        self._sorted: list[float] = []

    def add(self, figure: float) -> None:
        """One more; the oldest is forgotten."""
        if len(self._latest) == KEPT_SAMPLES:
            oldest = self._latest.popleft()
            del self._sorted[bisect_left(self._sorted, oldest)]
        self._latest.append(figure)
        insort(self._sorted, figure)

    def typical(self) -> float | None:
        """What few of them exceed: the 95th percentile."""
        return self._quantile(HIGH_QUANTILE)

    def middle(self) -> float | None:
        """What half of them exceed."""
        return self._quantile(0.5)

    def mean(self) -> float:
        """The average; 0 of nothing."""
        return sum(self._sorted) / max(1, len(self._sorted))

    def spread(self) -> float:
        """How far the highest lie above the middle: 1 when all are alike."""
        middle = self.middle()
        return (self.typical() or 0.0) / middle if middle else inf

    def _quantile(self, part: float) -> float | None:
        """By nearest rank."""
        seen = len(self._sorted)
        return self._sorted[ceil(part * seen) - 1] if seen >= MIN_SAMPLES else None


class Estimates:
    """What calls have needed, by key and model."""

    def __init__(self) -> None:
        self._outputs: OrderedDict[tuple[str, str], RecentValues] = OrderedDict()
        self._inputs: OrderedDict[tuple[str, str], RecentValues] = OrderedDict()
        self._ratios: OrderedDict[tuple[str, str], RecentValues] = OrderedDict()

    def output(self, key: str, model: str, asked: int | None) -> int:
        """Return the output tokens to expect at most of an answer whose bound is `asked`: the
        least of that bound and the 95th percentile, or `DEFAULT_OUTPUT_TOKENS` while too few were
        seen."""
        sample = self._outputs.get((key, model))
        typical = None if sample is None else sample.typical()
        most = DEFAULT_OUTPUT_TOKENS if typical is None else int(typical)
        return most if asked is None else min(asked, most)

    def likely(self, key: str, model: str, at_most: int, running: int) -> int:
        """Of these `output` tokens, those to hold room for where so many other calls share it.

        Hardly ever do all take much together: what n answers take lies above their average by the
        square root of n times what one does, so each adds a part of it that grows smaller.
        """
        sample = self._outputs.get((key, model))
        if sample is None or sample.typical() is None:
            return at_most
        mean = min(sample.mean(), at_most)
        return ceil(mean + (at_most - mean) / sqrt(running + 1))

    def has_learned(self, key: str, model: str) -> bool:
        """Whether enough of its answers were seen to say what is typical."""
        sample = self._outputs.get((key, model))
        return sample is not None and sample.typical() is not None

    def input(self, key: str, model: str, guessed: int) -> int:
        """Tokens to reserve for a request that was `guessed` from its size, by what became of such
        guesses: pictures and what is cached make it far less. Where the size says little, because
        that differs from call to call, it goes by what calls came to, whatever their size.

        Half of the requests will be larger than this: the smaller half makes up for it, and no
        room lies idle while they run.
        """
        ratios, inputs = self._ratios.get((key, model)), self._inputs.get((key, model))
        ratio = None if ratios is None else ratios.middle()
        if ratio is None or ratios is None or inputs is None:
            return guessed
        if ratios.spread() <= inputs.spread():
            return max(1, ceil(guessed * ratio))
        return min(guessed, ceil(inputs.middle() or guessed))

    def learn(
        self, key: str, model: str, guessed: int, input_tokens: int, output_tokens: int
    ) -> None:
        """A call came to this; only whole answers say what is typical."""
        pair = (key, model)
        _sample(self._outputs, pair).add(output_tokens)
        if guessed > 0:
            _sample(self._inputs, pair).add(input_tokens)
            _sample(self._ratios, pair).add(input_tokens / guessed)


def _sample(
    samples: OrderedDict[tuple[str, str], RecentValues], pair: tuple[str, str]
) -> RecentValues:
    sample = samples.get(pair)
    if sample is None:
        sample = samples[pair] = RecentValues()
        if len(samples) > MAX_PAIRS:
            samples.popitem(last=False)
    samples.move_to_end(pair)
    return sample


log = logging.getLogger("sidecar.scheduling.estimates")


def size_of(call: Call) -> int:
    """The bytes of a request."""
    return call.held.size


def estimate_tokens(candidate: Candidate, size: int, bound: int | None) -> tuple[int, int | None]:
    """Input and output tokens by the size of a request and the bound on its output; the output is
    None when nothing is known of it."""
    vendor = candidate.provider.vendor
    with plugin_guard(vendor, "estimate", "4 bytes are counted as a token"):
        return vendor.estimate(size, bound)
    return size // 4, bound


def counted_tokens(candidate: Candidate, usage: Usage) -> tuple[int, int]:
    """The input and output tokens of a usage that count against limits, as the vendor has it."""
    vendor = candidate.provider.vendor
    with plugin_guard(vendor, "counted", "all tokens count against limits"):
        return vendor.rate_limited_tokens(usage)
    return usage.input_tokens or 0, usage.output_tokens or 0


def binds_free_calls(limiter: Limiter) -> bool:
    """Whether a call that costs nothing must pass it, too: limits on calls at one time, those that
    admit nothing at all, and pauses and cooldowns. A vendor counts such calls by themselves."""
    if isinstance(limiter, CountingLimiter) and limiter.unit is not LimitUnit.MONEY:
        return isinstance(limiter, ConcurrencyLimit) or limiter.limit <= 0
    return not isinstance(limiter, CountingLimiter | VendorQuota)


LEAST_NANO_DOLLARS = 1
"""Reserved for a call without a known price: a spent budget admits only an amount of 0."""
MAX_REPORTED_PAIRS = 2000
"""Keys and models without a price that are remembered as logged."""
UNPRICED = (
    "no price is known, and calls without one are refused while there is a budget (unpriced: "
    "refuse); add one under prices:"
)


class UnpricedModel(NamedTuple):
    """A model that a key uses under a budget although no price is known for it."""

    key: str
    model: str
    provider: str


class Pricing:
    """Expected costs of calls. Logs each key and model without a known price once."""

    def __init__(self, prices: Prices) -> None:
        self._prices = prices
        self._logged: dict[tuple[str, str], None] = {}
        self._met: dict[UnpricedModel, tuple[Key, str | None, Candidate]] = {}

    @property
    def unpriced(self) -> Iterator[UnpricedModel]:
        """The models without a known price that were used since the configuration was read."""
        for each, (key, model, at) in self._met.items():
            if self.expected(key, model, at, 0, 0) is None:
                yield each

    def reconcile(self) -> None:
        """Forget what was met under an earlier configuration, which may name prices now."""
        self._met.clear()

    def source(self, model: str | None, at: Candidate) -> str | None:
        """Return where the price of a call comes from, for people; None when it has none."""
        return self._prices.price_source(at.provider, model, at.model, at.route.price_name)

    def expected(
        self, key: Key, model: str | None, at: Candidate, input_tokens: int, output_tokens: int
    ) -> int | None:
        """Return nano-dollars; 0 only where the price is known to be zero, None where none is
        known."""
        return self._prices.estimate(
            at.provider, key.group, model, at.model, input_tokens, output_tokens,
            at.route.price_name,
        )  # fmt: skip

    def note_unpriced(self, key: Key, model: str | None, at: Candidate) -> None:
        """Record that a call under a budget may have no known price; log it at its first use."""
        if self.source(model, at) is not None:
            return
        self._met[UnpricedModel(key.name, _name(at, model), at.provider.name)] = (key, model, at)
        _limit_size(self._met)
        pair = (key.name, model or "")
        if pair in self._logged:
            return
        self._logged[pair] = None
        _limit_size(self._logged)
        log.warning(
            'key "%s": no price is known for %s at %s, so its calls spend no budget, and a spent '
            "budget refuses them; write priced_as: on the route, or a price under prices:",
            key.name,
            _name(at, model),
            at.provider.name,
        )


def unpriced_at(candidates: Sequence[Candidate]) -> str:
    """Return the models that the candidates would be asked for, each with its provider."""
    return ", ".join(dict.fromkeys(f"{each.model} at {each.provider.name}" for each in candidates))


def settled_amount(estimate: int, charged: int | None) -> int:
    """Return the nano-dollars that a finished call counts as: what it was charged; if that is not
    known, its estimate; nothing of a call that never had a price."""
    if charged is not None:
        return charged
    return estimate if estimate > LEAST_NANO_DOLLARS else 0


def _limit_size(remembered: dict[Any, Any]) -> None:
    if len(remembered) > MAX_REPORTED_PAIRS:
        del remembered[next(iter(remembered))]


def _name(at: Candidate, model: str | None) -> str:
    return (at.route.price_name or at.model or model or "calls without a model")[:128]
