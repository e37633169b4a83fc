"""Gates that the vendors set: what their rate headers say is left, and cooldowns after a no.

One credential at a time, and where the vendor counts by model, one family of models. Whatever a
vendor says, nothing stays shut for longer than `LONGEST` without being tried again.
"""

from __future__ import annotations

from sidecar.plugin_api.error_class import Verdict
from sidecar.plugin_api.vendor import Quota, QuotaKind
from sidecar.scheduling.limiter import MINUTE, NEVER, Gate, Unit

MAX_COOLDOWN_SECONDS = 300.0
"""Seconds after which a gate of a vendor's is tried again, whatever the vendor said."""
PROBE = 2.0
"""Seconds that the first call after a cooldown is alone: a no comes sooner than that."""
FIRST = {
    Verdict.SLOW_DOWN: 2.0,
    Verdict.OVERLOADED: 0.5,
    Verdict.SPENT: 30.0,
}
"""Seconds of a first cooldown without a hint; each further failure in a row doubles them."""
MOST_DOUBLINGS = 5
BELIEVED = 86400.0
"""Seconds of the longest hint that means anything where no money is missing: no limit spans more
than a day. Shutting an account for five minutes because of one that says six days would be worse
than asking again."""
SHORTEST = 0.1
"""Seconds of the shortest first cooldown, whatever a vendor hints."""
MARGIN = 0.03
"""The part of a vendor's limit on tokens that is left alone: its figures are rounded and late, and
what calls will take is a guess. It costs nothing, as such a limit fills up all the time."""

UNITS = {
    QuotaKind.REQUESTS: Unit.CALLS,
    QuotaKind.TOKENS: Unit.TOKENS_AT_MOST,
    QuotaKind.INPUT_TOKENS: Unit.INPUT,
    QuotaKind.OUTPUT_TOKENS: Unit.OUTPUT_AT_MOST,
}

_LENGTHS = {1.0: "/second", MINUTE: "/minute", 86400.0: "/day", 30 * 86400.0: "/month"}


class Held:
    """What one call is thought to take of a vendor's bucket. `told`: the vendor's own figure
    already includes it."""

    __slots__ = ("amount", "told")

    def __init__(self, amount: int) -> None:
        self.amount = amount
        self.told = False


class Bucket(Gate):
    """What a vendor says is left of one of its limits, and how fast it fills up again.

    Between two answers it is reckoned on: filled at the vendor's pace, less what was let through;
    a window that comes back at once stays as it is until then. The next answer corrects it.
    """

    __slots__ = ("_at", "_full", "_heard", "_level", "_pending", "_rate", "limit", "quota")

    def __init__(self, scope: str, name: str, quota: QuotaKind) -> None:
        super().__init__(scope, f"quota {quota.value}", UNITS[quota], name)
        self.keeps_sent = True
        self.quota = quota
        self.limit = 0
        self._level = 0.0
        self._rate = 0.0
        self._pending = 0
        self._at = self._heard = -MAX_COOLDOWN_SECONDS
        self._full = NEVER

    def left(self, now: float) -> float:
        """What is thought to be left."""
        if now >= self._full:
            self._level, self._at, self._full = float(self.limit), self._full, NEVER
            self._rate = self.limit / MINUTE
        return min(float(self.limit), self._level + self._rate * (now - self._at))

    def known(self, now: float) -> bool:
        """Whether the vendor spoke of it lately."""
        return now - self._heard < MAX_COOLDOWN_SECONDS

    def observe(self, quota: Quota, held: Held | None, now: float) -> None:
        """The vendor answered a call, which is the one of `held`, and said this."""
        if quota.remaining is None:
            return
        if held is not None and self.quota is not QuotaKind.OUTPUT_TOKENS and not held.told:
            # Output is counted by the vendor as it is made; all else when it begins.
            held.told = True
            self._pending -= held.amount
        self.limit = max(quota.limit or 0, quota.remaining, 1)
        reset = min(quota.reset or quota.window or MINUTE, MAX_COOLDOWN_SECONDS)
        missing = self.limit - quota.remaining
        self._rate = (
            missing / max(reset, 0.001) if missing else self.limit / (quota.window or MINUTE)
        )
        self._full = NEVER
        if quota.at_once and missing:
            self._rate, self._full = 0.0, now + reset
        self._level = float(quota.remaining - self._pending)
        self._at = self._heard = now

    def fits(self, amount: int, urgency: int, now: float) -> bool:
        """A full bucket takes any call, and so does one of which nothing was heard for long."""
        left = self.left(now)
        return amount + self._margin <= left or left >= self.limit or not self.known(now)

    def opens(self, amount: int, urgency: int, now: float) -> float:
        """When it will have filled up far enough."""
        missing = min(amount + self._margin, self.limit) - self.left(now)
        if missing <= 0:
            return now
        filled = now + missing / self._rate if self._rate else self._full
        return min(filled, self._heard + MAX_COOLDOWN_SECONDS)

    def take(self, amount: int, urgency: int, now: float) -> Held:
        """Reckon with it until the vendor tells."""
        self._pending += amount
        self._draw(amount, now)
        return Held(amount)

    def settle(self, mark: Held, amount: int, now: float) -> None:
        """Put the truth in place of the estimate, unless the vendor's own figure has it."""
        if not mark.told:
            mark.told = True
            self._pending -= mark.amount
            self._draw(amount - mark.amount, now)

    @property
    def _margin(self) -> float:
        tokens_that_fill_up = self.unit is not Unit.CALLS and self._rate > 0
        return self.limit * MARGIN if tokens_that_fill_up else 0.0

    def _draw(self, amount: int, now: float) -> None:
        self._level = self.left(now) - amount
        self._at = now


def per(quota: QuotaKind, window: float | None) -> str:
    """What a vendor's limit counts, and over how long if that is known: `tokens/minute`."""
    return quota.value + _LENGTHS.get(window or 0.0, f"/{window:g}s" if window else "")
