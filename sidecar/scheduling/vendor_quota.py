"""Gates that the vendors set: what their rate headers say is left, and cooldowns after a no.

One credential at a time, and where the vendor counts by model, one family of models. Whatever a
vendor says, nothing stays shut for longer than `MAX_RETRY_AFTER_SECONDS` without being tried again.
"""

from __future__ import annotations

from sidecar.plugin_api.error_class import ErrorClass
from sidecar.plugin_api.vendor import Quota, QuotaKind
from sidecar.scheduling.limiter import MINUTE_SECONDS, NEVER, Limiter, LimitUnit

MAX_COOLDOWN_SECONDS = 300.0
"""Seconds after which a gate of a vendor's is tried again, whatever the vendor said."""
PROBE_SECONDS = 2.0
"""Seconds that the first call after a cooldown is alone: a no comes sooner than that."""
FIRST_COOLDOWN_SECONDS = {
    ErrorClass.RATE_LIMITED: 2.0,
    ErrorClass.OVERLOADED: 0.5,
    ErrorClass.QUOTA_EXHAUSTED: 30.0,
}
"""Seconds of a first cooldown without a hint; each further failure in a row doubles them."""
MAX_DOUBLINGS = 5
MAX_QUOTA_AGE_SECONDS = 86400.0
"""Seconds of the longest hint that means anything where no money is missing: no limit spans more
than a day. Shutting an account for five minutes because of one that says six days would be worse
than asking again."""
MIN_COOLDOWN_SECONDS = 0.1
"""Seconds of the shortest first cooldown, whatever a vendor hints."""
SAFETY_MARGIN = 0.03
"""The part of a vendor's limit on tokens that is left alone: its figures are rounded and late, and
what calls will take is a guess. It costs nothing, as such a limit fills up all the time."""

LIMIT_UNITS = {
    QuotaKind.REQUESTS: LimitUnit.CALLS,
    QuotaKind.TOKENS: LimitUnit.TOKENS_UPPER_BOUND,
    QuotaKind.INPUT_TOKENS: LimitUnit.INPUT,
    QuotaKind.OUTPUT_TOKENS: LimitUnit.OUTPUT_UPPER_BOUND,
}

_LENGTHS = {1.0: "/second", MINUTE_SECONDS: "/minute", 86400.0: "/day", 30 * 86400.0: "/month"}


class QuotaReservation:
    """What one call is thought to take of a vendor's bucket. `told`: the vendor's own figure
    already includes it."""

    __slots__ = ("amount", "reported")

    def __init__(self, amount: int) -> None:
        self.amount = amount
        self.reported = False


class VendorQuota(Limiter):
    """What a vendor says is left of one of its limits, and how fast it fills up again.

    Between two answers it is reckoned on: filled at the vendor's pace, less what was let through;
    a window that comes back at once stays as it is until then. The next answer corrects it.
    """

    __slots__ = ("_at", "_full", "_heard", "_level", "_pending", "_rate", "limit", "quota")

    def __init__(self, scope: str, name: str, quota: QuotaKind) -> None:
        super().__init__(scope, f"quota {quota.value}", LIMIT_UNITS[quota], name)
        self.counts_sent = True
        self.quota = quota
        self.limit = 0
        self._level = 0.0
        self._rate = 0.0
        self._pending = 0
        self._at = self._heard = -MAX_COOLDOWN_SECONDS
        self._full = NEVER

    def remaining(self, now: float) -> float:
        """What is thought to be left."""
        if now >= self._full:
            self._level, self._at, self._full = float(self.limit), self._full, NEVER
            self._rate = self.limit / MINUTE_SECONDS
        return min(float(self.limit), self._level + self._rate * (now - self._at))

    def is_known(self, now: float) -> bool:
        """Whether the vendor spoke of it lately."""
        return now - self._heard < MAX_COOLDOWN_SECONDS

    def observe(self, quota: Quota, held: QuotaReservation | None, now: float) -> None:
        """The vendor answered a call, which is the one of `held`, and said this."""
        if quota.remaining is None:
            return
        if held is not None and self.quota is not QuotaKind.OUTPUT_TOKENS and not held.reported:
            # Output is counted by the vendor as it is made; all else when it begins.
            held.reported = True
            self._pending -= held.amount
        self.limit = max(quota.limit or 0, quota.remaining, 1)
        reset = min(quota.reset or quota.window or MINUTE_SECONDS, MAX_COOLDOWN_SECONDS)
        missing = self.limit - quota.remaining
        self._rate = (
            missing / max(reset, 0.001)
            if missing
            else self.limit / (quota.window or MINUTE_SECONDS)
        )
        self._full = NEVER
        if quota.at_once and missing:
            self._rate, self._full = 0.0, now + reset
        self._level = float(quota.remaining - self._pending)
        self._at = self._heard = now

    def allows(self, amount: int, urgency: int, now: float) -> bool:
        """A full bucket takes any call, and so does one of which nothing was heard for long."""
        left = self.remaining(now)
        return amount + self._margin <= left or left >= self.limit or not self.is_known(now)

    def available_at(self, amount: int, urgency: int, now: float) -> float:
        """When it will have filled up far enough."""
        missing = min(amount + self._margin, self.limit) - self.remaining(now)
        if missing <= 0:
            return now
        filled = now + missing / self._rate if self._rate else self._full
        return min(filled, self._heard + MAX_COOLDOWN_SECONDS)

    def acquire(self, amount: int, urgency: int, now: float) -> QuotaReservation:
        """Reckon with it until the vendor tells."""
        self._pending += amount
        self._draw(amount, now)
        return QuotaReservation(amount)

    def settle(self, mark: QuotaReservation, amount: int, now: float) -> None:
        """Put the truth in place of the estimate, unless the vendor's own figure has it."""
        if not mark.reported:
            mark.reported = True
            self._pending -= mark.amount
            self._draw(amount - mark.amount, now)

    @property
    def _margin(self) -> float:
        tokens_that_fill_up = self.unit is not LimitUnit.CALLS and self._rate > 0
        return self.limit * SAFETY_MARGIN if tokens_that_fill_up else 0.0

    def _draw(self, amount: int, now: float) -> None:
        self._level = self.remaining(now) - amount
        self._at = now


def quota_name(quota: QuotaKind, window: float | None) -> str:
    """What a vendor's limit counts, and over how long if that is known: `tokens/minute`."""
    return quota.value + _LENGTHS.get(window or 0.0, f"/{window:g}s" if window else "")
