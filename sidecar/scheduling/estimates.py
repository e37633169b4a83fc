"""Estimates of the tokens and the money that a call will take, learnt from earlier calls."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from math import ceil, sqrt
from typing import Any, NamedTuple

from sidecar.config.model import Key, Snapshot
from sidecar.plugin_api.guard import log_plugin_error
from sidecar.pricing.prices import Prices
from sidecar.records import Cost, Usage
from sidecar.routing.call import Call
from sidecar.routing.candidates import Candidate
from sidecar.scheduling.cooldown import Cooldown
from sidecar.scheduling.lease import AdmissionOption
from sidecar.scheduling.limiter import Demand, Limiter, LimitUnit, demand_of
from sidecar.scheduling.vendor_quota import VendorQuota
from sidecar.scheduling.windows import ConcurrencyLimit, CountingLimiter

KEPT_SAMPLES = 64
"""Samples that are kept of one key and model."""
MIN_SAMPLES = 5
"""Samples that an estimate needs at least."""
MAX_PAIRS = 2000
"""Pairs of key and model that have samples; the least recently used are dropped."""
DEFAULT_OUTPUT_TOKENS = 4096
"""Output tokens reserved at most for a call without enough samples. Agents ask for bounds of
128,000 tokens and use a hundredth of them."""
HIGH_QUANTILE = 0.95
"""The share of responses that a reservation covers."""
FREE = demand_of(0, 0)
"""The demand of a call that costs nothing."""


class Samples:
    """The tokens that the latest `KEPT_SAMPLES` calls of one key and model took.

    Attributes:
        outputs: Their output tokens, sorted.
        inputs: The input tokens of those whose size suggested any, sorted.
        ratios: The ratios of those to what the size suggested, sorted.
        high_at: The place of the 95th percentile of `outputs`; -1 below `MIN_SAMPLES`.
        places: Those of the median and of the 95th percentile of `inputs` and `ratios`; None below
            `MIN_SAMPLES`.
    """

    __slots__ = (
        "_latest_inputs", "_latest_outputs", "high_at", "inputs", "outputs", "places", "ratios",
    )  # fmt: skip

    def __init__(self) -> None:
        # In order of arrival: outputs, and inputs with their ratios.
        self._latest_outputs: deque[int] = deque(maxlen=KEPT_SAMPLES)
        self._latest_inputs: deque[tuple[int, float]] = deque(maxlen=KEPT_SAMPLES)
        self.outputs: list[int] = []
        self.inputs: list[int] = []
        self.ratios: list[float] = []
        self.high_at = -1
        self.places: tuple[int, int] | None = None

    @property
    def high_output(self) -> int | None:
        """The 95th percentile of the output tokens; None below `MIN_SAMPLES`."""
        return None if self.high_at < 0 else self.outputs[self.high_at]

    def mean_output(self) -> float:
        """Return the mean of the output tokens; 0 without samples."""
        return sum(self.outputs) / max(1, len(self.outputs))

    def add(self, by_size: int, input_tokens: int, output_tokens: int) -> None:
        """Add a call whose size suggested `by_size` input tokens, in place of the oldest.

        Only its output counts if that is 0.
        """
        outputs, made = self.outputs, self._latest_outputs
        if len(made) == KEPT_SAMPLES:
            del outputs[bisect_left(outputs, made[0])]
        elif len(made) + 1 >= MIN_SAMPLES:
            self.high_at = _place(HIGH_QUANTILE, len(made) + 1)
        made.append(output_tokens)
        insort(outputs, output_tokens)
        if by_size <= 0:
            return
        inputs, ratios, read = self.inputs, self.ratios, self._latest_inputs
        if len(read) == KEPT_SAMPLES:
            oldest, its_ratio = read[0]
            del inputs[bisect_left(inputs, oldest)], ratios[bisect_left(ratios, its_ratio)]
        elif len(read) + 1 >= MIN_SAMPLES:
            self.places = _place(0.5, len(read) + 1), _place(HIGH_QUANTILE, len(read) + 1)
        ratio = input_tokens / by_size
        read.append((input_tokens, ratio))
        insort(inputs, input_tokens)
        insort(ratios, ratio)


def _place(quantile: float, count: int) -> int:
    """Return the place of a quantile among so many sorted values, by nearest rank."""
    return ceil(quantile * count) - 1


class Estimates:
    """The tokens that calls took, by key and model."""

    def __init__(self) -> None:
        self._samples: OrderedDict[tuple[str, str], Samples] = OrderedDict()

    def likely(self, key: str, model: str, upper_bound: int, running: int) -> int:
        """Return the output tokens to reserve for a call beside `running` others.

        Calls hardly ever reach their bounds together: the sum of n outputs exceeds n means by the
        square root of n times the excess of one, so each further call adds a smaller part of it.
        """
        samples = self._samples.get((key, model))
        if not running or samples is None or samples.high_output is None:
            return upper_bound
        mean = min(samples.mean_output(), upper_bound)
        return ceil(mean + (upper_bound - mean) / sqrt(running + 1))

    def has_learned(self, key: str, model: str) -> bool:
        """Return whether there are enough samples for an estimate."""
        samples = self._samples.get((key, model))
        return samples is not None and samples.high_output is not None

    def tokens(self, key: str, model: str, by_size: int, max_output: int | None) -> tuple[int, int]:
        """Return the expected input tokens and an upper bound of the output tokens of a call.

        Input: the tokens that the size suggests, corrected by the median ratio of true tokens to
        them: images and cached text take far fewer. Where that ratio varies more than the tokens
        themselves, their median counts. Half of the calls take more than the median: the other half
        makes up for it, and no room stays unused.

        Output: the 95th percentile, or `DEFAULT_OUTPUT_TOKENS` without enough samples; at most
        `max_output`.

        Args:
            by_size: The input tokens that the size of the request suggests.
            max_output: The bound of the request on its output.
        """
        samples, most = self._samples.get((key, model)), DEFAULT_OUTPUT_TOKENS
        if samples is not None:
            if samples.high_at >= 0:
                most = samples.outputs[samples.high_at]
            if samples.places is not None:
                middle, high = samples.places
                inputs, ratios = samples.inputs, samples.ratios
                usual, ratio = inputs[middle], ratios[middle]
                # With a median of 0, which both have then, either varies without bound.
                if not usual or ratios[high] / ratio <= inputs[high] / usual:
                    by_size = max(1, ceil(by_size * ratio))
                elif usual < by_size:
                    by_size = usual
        return by_size, most if max_output is None or most < max_output else max_output

    def learn(
        self, key: str, model: str, by_size: int, input_tokens: int, output_tokens: int
    ) -> None:
        """Add the tokens of a complete call whose size suggested `by_size` input tokens."""
        pair = (key, model)
        samples = self._samples.get(pair)
        if samples is None:
            samples = self._samples[pair] = Samples()
            if len(self._samples) > MAX_PAIRS:
                self._samples.popitem(last=False)
        else:
            self._samples.move_to_end(pair)
        samples.add(by_size, input_tokens, output_tokens)


class CallLimiters:
    """The limiters of a call, and those of them that its estimate needs.

    Attributes:
        needs_estimate: Whether there is any of those.
        cooldowns: Those that are mostly at rest.
        quotas: The vendor's.
        windows: All others.
    """

    __slots__ = (
        "_token_limits", "all", "cooldowns", "has_budget", "needs_estimate", "quotas", "windows",
    )  # fmt: skip

    def __init__(self, limiters: Iterable[Limiter]) -> None:
        tokens = (LimitUnit.TOKENS, LimitUnit.OUTPUT)
        self.all = tuple(limiters)
        self.cooldowns = tuple(each for each in self.all if isinstance(each, Cooldown))
        self.quotas = tuple(each for each in self.all if isinstance(each, VendorQuota))
        rest = [each for each in self.all if not isinstance(each, Cooldown | VendorQuota)]
        self.windows: tuple[Limiter, ...] = tuple(rest)
        self.has_budget = any(each.unit is LimitUnit.MONEY for each in self.all)
        self._token_limits = [
            each for each in self.all if isinstance(each, CountingLimiter) and each.unit in tokens
        ]
        self.needs_estimate = self.has_budget or bool(self._token_limits)

    def running(self) -> int:
        """Return the calls that run at the token limit where the fewest do, which share its room
        with another one; 0 without a token limit."""
        return min([each.running for each in self._token_limits], default=0)


def estimate_tokens(
    candidate: Candidate, size: int, max_output: int | None
) -> tuple[int, int | None]:
    """Return the vendor's estimate of input tokens and its bound of output tokens, by size.

    The bound is None if none is known.
    """
    vendor = candidate.provider.vendor
    try:
        return vendor.estimate(size, max_output)
    except Exception as error:  # noqa: BLE001 - of a plugin
        log_plugin_error(error, vendor, "estimate", "4 bytes count as a token")
        return size // 4, max_output


def used_demand(
    candidate: Candidate, estimate: Demand, usage: Usage | None, cost: Cost | None,
    *, complete: bool,
) -> Demand:  # fmt: skip
    """Return the amounts that a finished call counts for.

    Args:
        estimate: Its demand before it began, which stands where its usage is unknown: of output
            the upper bound.
        complete: Whether the usage is final; else it is a lower bound.
    """
    money = unpriced_amount(estimate[LimitUnit.MONEY]) if cost is None else cost.charged
    if usage is None:
        return demand_of(estimate[LimitUnit.INPUT], estimate[LimitUnit.OUTPUT_UPPER_BOUND], money)
    vendor = candidate.provider.vendor
    try:
        input_tokens, output_tokens = vendor.rate_limited_tokens(usage)
    except Exception as error:  # noqa: BLE001 - of a plugin
        reason = "all tokens count against limits"
        log_plugin_error(error, vendor, "rate_limited_tokens", reason)
        input_tokens, output_tokens = usage.input_tokens or 0, usage.output_tokens or 0
    if usage.input_tokens is None:
        input_tokens = estimate[LimitUnit.INPUT]
    if not complete or usage.output_tokens is None:
        output_tokens = max(estimate[LimitUnit.OUTPUT_UPPER_BOUND], output_tokens)
    total = input_tokens + output_tokens
    return 1, total, input_tokens, output_tokens, money, total, output_tokens  # as `demand_of`


def binds_free_calls(limiter: Limiter) -> bool:
    """Return whether a limiter also binds calls that cost nothing.

    These are concurrency limits, limits of 0, pauses and cooldowns. Vendors count such calls apart
    from paid ones.
    """
    if isinstance(limiter, CountingLimiter) and limiter.unit is not LimitUnit.MONEY:
        return isinstance(limiter, ConcurrencyLimit) or limiter.limit <= 0
    return not isinstance(limiter, CountingLimiter | VendorQuota)


LEAST_NANO_DOLLARS = 1
"""Reserved for a call without a known price: a spent budget admits only an amount of 0."""
MAX_REPORTED_PAIRS = 2000
"""Keys and models without a price that are kept for display."""
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
        self._refuse_unpriced = False
        self._unpriced: dict[UnpricedModel, tuple[Key, str | None, Candidate]] = {}

    @property
    def unpriced(self) -> Iterator[UnpricedModel]:
        """The models without a known price that were used since the configuration was read."""
        for each, (key, model, at) in self._unpriced.items():
            if self.expected(key, model, at, 0, 0) is None:
                yield each

    def reconcile(self, snapshot: Snapshot) -> None:
        """Follow a new configuration, which may have prices for models that had none."""
        self._refuse_unpriced = snapshot.refuse_unpriced
        self._unpriced.clear()

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

    def reservation(
        self, key: Key, model: str | None, at: Candidate, input_tokens: int, output_tokens: int
    ) -> int | None:
        """Return the nano-dollars to reserve; None if the call is refused for want of a price."""
        money = self.expected(key, model, at, input_tokens, output_tokens)
        if money is None:
            return None if self._refuse_unpriced else LEAST_NANO_DOLLARS
        return money

    def note_unpriced(self, key: Key, model: str | None, at: Candidate) -> None:
        """Record that a call under a budget may have no known price; log it at its first use."""
        if self.source(model, at) is not None:
            return
        name = _model_name(at, model)
        self._unpriced[UnpricedModel(key.name, name, at.provider.name)] = (key, model, at)
        _limit_size(self._unpriced)
        self._prices.log_unpriced(
            key.name, model, name, at.provider.name,
            "its calls spend no budget, and a spent budget refuses them",
        )  # fmt: skip


def estimated_demand(
    estimates: Estimates, pricing: Pricing, key: Key, model: str | None, candidate: Candidate,
    limiters: CallLimiters, tokens: tuple[int, int],
) -> Demand | None:  # fmt: skip
    """Return the demand of a call; None if it is refused for want of a price.

    Args:
        tokens: Expected input tokens and the upper bound of output tokens.
    """
    input_tokens, most = tokens
    likely, money = estimates.likely(key.name, model or "", most, limiters.running()), 0
    if limiters.has_budget:
        reserved = pricing.reservation(key, model, candidate, input_tokens, most)
        if reserved is None:
            return None
        money = reserved
    return demand_of(input_tokens, likely, money, most)


def option_at(
    at: Candidate, call: Call, key: Key, limiters: CallLimiters, estimates: Estimates,
    pricing: Pricing, extra: tuple[Limiter, ...] = (),
) -> AdmissionOption | None:  # fmt: skip
    """Return a call's option at a candidate; None if it is refused for want of a price.

    Args:
        key: The call's, by the configuration in force.
        limiters: Those of such calls.
        extra: Those of this call alone.
    """
    if call.is_free:
        return AdmissionOption(at, limiters.all + extra, FREE)
    model, by_size, tokens = call.model, None, (0, 0)
    if model is not None and call.endpoint.counts:
        by_size, bound = estimate_tokens(at, call.held.size, call.facts.max_output)
        tokens = estimates.tokens(call.key.name, model, by_size, bound)
    if not limiters.needs_estimate:
        read, most = tokens
        both = read + most
        demand = 1, both, read, most, 0, both, most  # as `demand_of`
        return AdmissionOption(at, limiters.all + extra, demand, by_size)
    wanted = estimated_demand(estimates, pricing, key, model, at, limiters, tokens)
    if wanted is None:
        return None
    if wanted[LimitUnit.MONEY] == LEAST_NANO_DOLLARS:
        pricing.note_unpriced(key, model, at)
    return AdmissionOption(at, limiters.all + extra, wanted, by_size)


def unpriced_at(candidates: Sequence[Candidate]) -> str:
    """Return the models that the candidates would be asked for, each with its provider."""
    return ", ".join(dict.fromkeys(f"{each.model} at {each.provider.name}" for each in candidates))


def unpriced_amount(estimate: int) -> int:
    """Return the nano-dollars that a finished call of unknown cost counts as: its estimate; nothing
    if it never had a price."""
    return estimate if estimate > LEAST_NANO_DOLLARS else 0


def _limit_size(remembered: dict[Any, Any]) -> None:
    if len(remembered) > MAX_REPORTED_PAIRS:
        del remembered[next(iter(remembered))]


def _model_name(at: Candidate, model: str | None) -> str:
    return (at.route.price_name or at.model or model or "calls without a model")[:128]
