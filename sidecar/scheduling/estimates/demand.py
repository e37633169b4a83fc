"""The demand of a call: the amounts that it is expected to take of its limits, or took."""

from __future__ import annotations

from collections.abc import Iterable

from sidecar.config.model import Key
from sidecar.plugin_api.guard import log_plugin_error
from sidecar.records import Cost, Usage
from sidecar.routing.call import Call
from sidecar.routing.candidates import Candidate
from sidecar.scheduling.cooldown import Cooldown
from sidecar.scheduling.estimates.money import LEAST_NANO_DOLLARS, Pricing
from sidecar.scheduling.estimates.tokens import Estimates, estimate_tokens
from sidecar.scheduling.lease import AdmissionOption
from sidecar.scheduling.limiter import Demand, Limiter, LimitUnit, demand_of
from sidecar.scheduling.vendor_quota import VendorQuota
from sidecar.scheduling.windows import ConcurrencyLimit, CountingLimiter

# Bound here, as Python 3.11 takes 0.2 µs to find a member of an enum.
_MONEY, _INPUT = LimitUnit.MONEY, LimitUnit.INPUT
FREE = demand_of(0, 0)
"""The demand of a call that costs nothing."""


class CallLimiters:
    """The limiters of a call.

    Attributes:
        all: In the order in which the call is to meet them.
        cooldowns: Those of them that are cooldowns.
        quotas: Those that are quotas of the vendor.
        others: All of the rest.
        has_budget: Whether one counts money.
        needs_estimate: Whether one counts what only an estimate tells before the call ends.
    """

    __slots__ = (
        "_token_limits", "all", "cooldowns", "has_budget", "needs_estimate", "others", "quotas",
    )  # fmt: skip

    def __init__(self, limiters: Iterable[Limiter]) -> None:
        tokens = (LimitUnit.TOKENS, LimitUnit.OUTPUT)
        self.all = tuple(limiters)
        self.cooldowns = tuple(each for each in self.all if isinstance(each, Cooldown))
        self.quotas = tuple(each for each in self.all if isinstance(each, VendorQuota))
        rest = [each for each in self.all if not isinstance(each, Cooldown | VendorQuota)]
        self.others: tuple[Limiter, ...] = tuple(rest)
        self.has_budget = any(each.unit is _MONEY for each in self.all)
        self._token_limits = [
            each for each in self.all if isinstance(each, CountingLimiter) and each.unit in tokens
        ]
        self.needs_estimate = self.has_budget or bool(self._token_limits)

    def running(self) -> int:
        """Return the calls that run at the token limit where the fewest do, which share its room
        with another one; 0 without a token limit."""
        return min([each.running for each in self._token_limits], default=0)


def used_demand(
    candidate: Candidate, estimate: Demand, usage: Usage | None, cost: Cost | None,
    *, complete: bool,
) -> Demand:  # fmt: skip
    """Return the amounts that a finished call counts for.

    Args:
        estimate: Its demand before it began, which stands where its usage is unknown: of output
            the upper bound. Of a call of unknown cost it counts as the cost.
        complete: Whether the usage is final; else it is a lower bound.
    """
    if cost is not None:
        money = cost.charged
    else:
        reserved = estimate[_MONEY]
        money = reserved if reserved > LEAST_NANO_DOLLARS else 0  # nothing if it never had a price
    if usage is None:
        return demand_of(estimate[_INPUT], estimate[LimitUnit.OUTPUT_UPPER_BOUND], money)
    vendor = candidate.provider.vendor
    try:
        input_tokens, output_tokens = vendor.rate_limited_tokens(usage)
    except Exception as error:  # noqa: BLE001 - of a plugin
        reason = "all tokens count against limits"
        log_plugin_error(error, vendor, "rate_limited_tokens", reason)
        input_tokens, output_tokens = usage.input_tokens or 0, usage.output_tokens or 0
    if usage.input_tokens is None:
        input_tokens = estimate[_INPUT]
    if not complete or usage.output_tokens is None:
        output_tokens = max(estimate[LimitUnit.OUTPUT_UPPER_BOUND], output_tokens)
    total = input_tokens + output_tokens
    return 1, total, input_tokens, output_tokens, money, total, output_tokens  # as `demand_of`


def binds_free_calls(limiter: Limiter) -> bool:
    """Return whether a limiter also binds calls that cost nothing.

    These are concurrency limits, limits of 0, pauses and cooldowns. Vendors count such calls apart
    from paid ones.
    """
    if isinstance(limiter, CountingLimiter) and limiter.unit is not _MONEY:
        return isinstance(limiter, ConcurrencyLimit) or limiter.limit <= 0
    return not isinstance(limiter, CountingLimiter | VendorQuota)


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
    if wanted[_MONEY] == LEAST_NANO_DOLLARS:
        pricing.note_unpriced(key, model, at)
    return AdmissionOption(at, limiters.all + extra, wanted, by_size, limiters.has_budget)
