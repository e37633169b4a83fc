"""Limiters that follow a vendor's rate-limit headers.

Whatever a vendor reports, a quota blocks calls for `MAX_COOLDOWN_SECONDS` at most before one is
tried again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sidecar.plugin_api.vendor import Quota, QuotaKind
from sidecar.scheduling.limiter import MINUTE_SECONDS, NEVER, Demand, Limiter, LimitUnit

MAX_COOLDOWN_SECONDS = 300.0
"""Seconds after which an upstream is tried again, whatever the vendor reported."""
SAFETY_MARGIN_SHARE = 0.03
"""The share of a vendor's token limit that is not used: its figures are rounded and late, and the
tokens of a call are an estimate. Costs no throughput, as such a limit refills all the time."""
PLENTY_SHARE = 0.5
"""The share of a vendor's limit that is plenty."""

LIMIT_UNITS = {
    QuotaKind.REQUESTS: LimitUnit.CALLS,
    QuotaKind.TOKENS: LimitUnit.TOKENS_UPPER_BOUND,
    QuotaKind.INPUT_TOKENS: LimitUnit.INPUT,
    QuotaKind.OUTPUT_TOKENS: LimitUnit.OUTPUT_UPPER_BOUND,
}

_WINDOW_NAMES = {1.0: "/second", MINUTE_SECONDS: "/minute", 86400.0: "/day", 30 * 86400.0: "/month"}


class VendorQuota(Limiter):
    """The rest of one of a vendor's limits, by its headers, and the rate at which it refills.

    Between two responses it is extrapolated: refilled at the vendor's rate, less the calls that
    were admitted. A fixed window refills at its end, all at once. The next response corrects it.

    Attributes:
        level: What was left when it last changed; since then it was only refilled.
        updated_at: When that was.
        plenty: `PLENTY_SHARE` of the limit.
        full: The whole limit.
        rate: The amount that refills a second.
        margin: The amount that is not used.
        pending: What calls were admitted for that the vendor has not reported yet.
        refilled_at: When a fixed window ends; `NEVER` if it has none.
    """

    __slots__ = (
        "_reported_at", "full", "level", "limit", "margin", "pending", "plenty", "quota", "rate",
        "refilled_at", "updated_at",
    )  # fmt: skip

    def __init__(self, scope: str, name: str, quota: QuotaKind) -> None:
        super().__init__(scope, f"quota {quota.value}", LIMIT_UNITS[quota], name)
        self.counts_sent = True
        self.quota = quota
        self.limit = 0
        self.level = self.plenty = self.full = 0.0
        self.rate = 0.0
        self.margin = 0.0
        self.pending = 0
        self.updated_at = self._reported_at = -MAX_COOLDOWN_SECONDS
        self.refilled_at = NEVER

    def remaining(self, now: float) -> float:
        """Return the amount that is expected to be left; below 0 when more was admitted."""
        if now >= self.refilled_at:
            self._refill()
        left = self.level + self.rate * (now - self.updated_at)
        return left if left < self.full else self.full

    def is_known(self, now: float) -> bool:
        """Return whether the vendor reported it within `MAX_COOLDOWN_SECONDS`."""
        return now - self._reported_at < MAX_COOLDOWN_SECONDS

    def is_newer_than(self, at: float) -> bool:
        """Return whether the vendor reported it after that time."""
        return self._reported_at > at

    def observe(self, quota: Quota, reservation: int | None, now: float) -> bool:
        """Follow the quota that a response reports. `reservation` is the one of its call.

        Return whether the vendor's figure includes that, so that it must not be settled.
        """
        if quota.remaining is None:
            return False
        # Vendors count output as it is generated, and all else when the call begins.
        is_included = reservation is not None and self.quota is not QuotaKind.OUTPUT_TOKENS
        if reservation is not None and is_included:
            self.pending -= reservation
        self.limit = max(quota.limit or 0, quota.remaining, 1)
        self.plenty, self.full = self.limit * PLENTY_SHARE, float(self.limit)
        reset = min(quota.reset or quota.window or MINUTE_SECONDS, MAX_COOLDOWN_SECONDS)
        missing = self.limit - quota.remaining
        self.refilled_at = NEVER
        if not missing:
            self._set_rate(self.limit / (quota.window or MINUTE_SECONDS))
        elif quota.at_once:
            self._set_rate(0.0)
            self.refilled_at = now + reset
        else:
            self._set_rate(missing / max(reset, 0.001))
        self.level = float(quota.remaining - self.pending)
        self.updated_at = self._reported_at = now
        return is_included

    def allows(self, amount: int, urgency: int, now: float) -> bool:
        """Return whether the amount fits, the quota is full, or its last report is too old."""
        refilled = self.level + self.rate * (now - self.updated_at)
        if amount + self.margin <= refilled and now < self.refilled_at:
            return True
        left = self.remaining(now)
        return amount + self.margin <= left or left >= self.limit or not self.is_known(now)

    def available_at(self, amount: int, urgency: int, now: float) -> float:
        """Return when enough will have been refilled."""
        missing = min(amount + self.margin, self.limit) - self.remaining(now)
        if missing <= 0:
            return now
        refilled = now + missing / self.rate if self.rate else self.refilled_at
        return min(refilled, self._reported_at + MAX_COOLDOWN_SECONDS)

    def acquire(self, amount: int, urgency: int, now: float) -> int:
        """Subtract the amount until the vendor reports it; return it."""
        if now >= self.refilled_at:
            self._refill()
        left = self.level + self.rate * (now - self.updated_at)  # as `remaining`, without a call
        self.level = (left if left < self.full else self.full) - amount
        self.pending += amount
        self.updated_at = now
        return amount

    def settle(self, reservation: int, amount: int, now: float) -> None:
        """Replace the estimate by the true amount."""
        self.pending -= reservation
        if amount != reservation:
            self.level = self.remaining(now) - (amount - reservation)
            self.updated_at = now

    def _refill(self) -> None:
        """Begin the window after a fixed one, full."""
        self.level, self.updated_at = self.full, self.refilled_at
        self.refilled_at = NEVER
        self._set_rate(self.limit / MINUTE_SECONDS)

    def _set_rate(self, rate: float) -> None:
        """Set `rate`. A call leaves a margin of a limit that refills."""
        self.rate = rate
        has_margin = self.unit is not LimitUnit.CALLS and rate > 0
        self.margin = self.limit * SAFETY_MARGIN_SHARE if has_margin else 0.0


def take_all(
    quotas: Sequence[VendorQuota], demand: Demand, now: float, taken: list[tuple[Limiter, Any]]
) -> bool:
    """Acquire the demand at all quotas, and add each with its reservation to `taken`, if no call
    waits there and the amounts fit even into what was left before it was last refilled; return
    whether they do. If not, nothing has changed.

    The same as `allows` and `acquire` of each quota, whose calls cost more than the work.
    """
    for each in quotas:
        if each.level < demand[each.unit] + each.margin or now >= each.refilled_at or each.queue:
            return False
    for each in quotas:
        amount = demand[each.unit]
        left = each.level + each.rate * (now - each.updated_at)
        each.level = (left if left < each.full else each.full) - amount
        each.pending += amount
        each.updated_at = now
        taken.append((each, amount))
    return True


def quota_name(quota: QuotaKind, window: float | None) -> str:
    """Return the unit of a vendor's limit, and its window in seconds if known: `tokens/minute`."""
    return quota.value + _WINDOW_NAMES.get(window or 0.0, f"/{window:g}s" if window else "")
