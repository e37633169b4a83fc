"""Cooldowns after failures: of one upstream, and of the network as a whole.

Calls to remote providers are paused while the network is offline. One unreachable provider does not
mean that: a remote provider must have answered before, none for a while since, and the operating
system must report that there is no route.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sidecar.errors import UpstreamError
from sidecar.plugin_api.error_class import Classification, ErrorClass
from sidecar.scheduling.limiter import NEVER, Limiter, LimitUnit
from sidecar.scheduling.vendor_quota import MAX_COOLDOWN_SECONDS

PROBE_SECONDS = 2.0
"""Seconds for which a half-open probe runs alone: most failures come sooner."""
FIRST_COOLDOWN_SECONDS = {
    ErrorClass.RATE_LIMITED: 2.0,
    ErrorClass.OVERLOADED: 0.5,
    ErrorClass.QUOTA_EXHAUSTED: 30.0,
}
"""Seconds of a first cooldown without a hint; each further failure in a row doubles them."""
MAX_DOUBLINGS = 5
MAX_HINT_SECONDS = 86400.0
"""Seconds of the longest hint that is followed, but for an exhausted quota: no rate limit spans
more than a day. A hint of six days would cause cooldowns of `MAX_COOLDOWN_SECONDS`, which is worse
than to ask again."""
MIN_COOLDOWN_SECONDS = 0.1
"""Seconds of the shortest first cooldown, whatever the vendor's hint."""
JITTER_SHARE = 0.25
"""The share of a cooldown that jitter adds at most."""
OFFLINE_AFTER_SECONDS = 5.0
"""Seconds without an answer of any remote provider before a failure can mean the network."""
MAX_OFFLINE_RETRY_SECONDS = 5.0
"""Seconds between two probes of the network at most."""


class Cooldown(Limiter):
    """Blocks calls for a while after a failure; then one probe goes before all others.

    Attributes:
        until: When it ends, in monotonic seconds; 0 if the last attempt succeeded.
        reason: The vendor's own words.
        error_class: The class of the latest failure.
        resets_at: When an exhausted quota is full again, by its vendor; `NEVER` if unknown.
    """

    __slots__ = (
        "_failures", "_is_adopted", "_probe_until", "at_rest", "error_class", "reason", "resets_at",
        "until",
    )  # fmt: skip

    def __init__(self, scope: str, name: str) -> None:
        super().__init__(scope, "cooldown", LimitUnit.CALLS, name)
        self.until = 0.0
        self.reason = ""
        self.error_class = ErrorClass.OK
        self.resets_at = NEVER
        self._probe_until = 0.0
        self._failures = 0
        self._is_adopted = False
        self.at_rest = True

    @property
    def is_active(self) -> bool:
        """Return whether no attempt has succeeded since the latest failure."""
        return self.until > 0

    def allows(self, amount: int, urgency: int, now: float) -> bool:
        """Return whether the cooldown has ended and no probe runs alone."""
        return self.until <= now and self._probe_until <= now

    def available_at(self, amount: int, urgency: int, now: float) -> float:
        """Return when the next attempt is allowed.

        `NEVER` if the quota is exhausted and does not reset: calls are rejected at once, as no wait
        within `max_wait` makes a user top up the account.
        """
        if self.error_class is ErrorClass.QUOTA_EXHAUSTED and now < self.until:
            return self.resets_at
        return max(self.until, self._probe_until, now)

    def next_check_at(self, amount: int, urgency: int, now: float) -> float:
        """Return when the next attempt is allowed: sooner than a late reset, which may be wrong."""
        if self.resets_at == NEVER:
            return self.available_at(amount, urgency, now)
        return max(self.until, self._probe_until, now)

    def acquire(self, amount: int, urgency: int, now: float) -> None:
        """Start a half-open probe: no other call is admitted until it ends or `PROBE_SECONDS`
        pass. `record_success` and `record_failure` have its result."""
        if self.until:
            self._probe_until = now + PROBE_SECONDS

    def record_success(self, now: float = NEVER) -> bool:
        """End the cooldown; return whether it was active.

        One that another process began lasts until its end: a call that succeeds before was sent
        before.
        """
        if self._is_adopted and now < self.until:
            return False
        was_active = self.until > 0
        self.until = self._probe_until = 0.0
        self._failures = 0
        self.at_rest = True
        return was_active

    def record_failure(
        self, classification: Classification, now: float, *, jitter: float = 0.0, tolerated: int = 0
    ) -> float:
        """Start a cooldown of the seconds that the vendor asks for, within bounds; return them.

        A failure during the cooldown, of a call that was sent before, does not extend it.

        Args:
            jitter: From 0 to 1; keeps upstreams that failed together from being retried together.
            tolerated: Failures in a row that start no cooldown.
        """
        self.at_rest = False
        if now >= self.until:
            self._failures += 1
        if self._failures <= tolerated:
            return 0.0
        doubled = float(1 << min(self._failures - 1 - tolerated, MAX_DOUBLINGS))
        first = FIRST_COOLDOWN_SECONDS.get(
            classification.error_class, FIRST_COOLDOWN_SECONDS[ErrorClass.OVERLOADED]
        )
        hint = classification.wait
        if hint is None or (
            hint > MAX_HINT_SECONDS and classification.error_class is not ErrorClass.QUOTA_EXHAUSTED
        ):
            seconds = first * doubled * (1 + jitter * JITTER_SHARE)
        else:  # a hint of 0 must not cause a loop
            seconds = max(hint, MIN_COOLDOWN_SECONDS * doubled)
            seconds += min(seconds, 1.0) * jitter * JITTER_SHARE
        seconds = min(seconds, MAX_COOLDOWN_SECONDS)
        self._is_adopted = self._is_adopted and self.until >= now + seconds
        self.until = max(self.until, now + seconds)
        self._probe_until = 0.0
        self.reason, self.error_class = classification.reason, classification.error_class
        self.resets_at = now + hint if hint is not None and classification.resets else NEVER
        return seconds

    def adopt(self, until: float, error_class: ErrorClass, reason: str, resets_at: float) -> None:
        """Follow a cooldown that another process began, if it ends later than this one."""
        if until > self.until:
            self.at_rest = False
            self.until, self.error_class, self._is_adopted = until, error_class, True
            self.reason, self.resets_at = reason, resets_at


class OfflineBreaker(Cooldown):
    """Blocks calls to remote providers while the network is offline, but for one probe at a
    time."""

    __slots__ = ()

    is_pause = True

    def __init__(self) -> None:
        super().__init__("the network", "the network is offline")


class Network:
    """The state of this machine's network.

    Args:
        clock: Returns monotonic seconds.
        draw: Returns a random number from 0 to 1.
    """

    def __init__(self, clock: Callable[[], float], draw: Callable[[], float]) -> None:
        self._clock = clock
        self._draw = draw
        self._last_success: float | None = None
        self._breaker: OfflineBreaker | None = None

    @property
    def is_offline(self) -> bool:
        """Return whether calls to remote providers are paused."""
        return self._breaker is not None

    @property
    def breaker(self) -> OfflineBreaker | None:
        """The limiter of calls to remote providers; None while the network is online."""
        return self._breaker

    def limiters(self) -> Iterator[Limiter]:
        """Yield the limiters of a call to a remote provider."""
        if self._breaker is not None:
            yield self._breaker

    def check_offline(self) -> bool:
        """Return whether a failure that may mean "offline" does mean it."""
        silent = (
            self._last_success is not None
            and self._clock() - self._last_success >= OFFLINE_AFTER_SECONDS
        )
        return self.is_offline or silent

    def record_success(self) -> bool:
        """Record an answer of a remote provider; return whether the network was offline."""
        self._last_success = self._clock()
        breaker, self._breaker = self._breaker, None
        return breaker is not None

    def record_failure(self) -> bool:
        """Record an attempt without a route; return whether the network was online before."""
        was_online = self._breaker is None
        breaker = self._breaker = self._breaker or OfflineBreaker()
        wait = None if breaker.until == 0 else MAX_OFFLINE_RETRY_SECONDS
        breaker.record_failure(
            Classification(ErrorClass.OVERLOADED, "no route", wait),
            self._clock(),
            jitter=self._draw(),
        )
        return was_online


def classify_connection_error(error: UpstreamError) -> Classification:
    """Return the class of a failure below HTTP."""
    return Classification(ErrorClass.OVERLOADED, str(error), whole_credential=True)
