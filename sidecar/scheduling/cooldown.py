"""Whether the network is there at all: when it is gone, calls to remote providers are parked.

One unreachable provider does not mean that. The network is gone when it was there before, nothing
remote was heard for a while, and the operating system says that there is no way out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

from yarl import URL

from sidecar.config.model import Provider
from sidecar.config.schema.addresses import is_loopback
from sidecar.errors import UpstreamError
from sidecar.plugin_api.error_class import Classification, ErrorClass
from sidecar.scheduling.limiter import NEVER, Limiter, LimitUnit
from sidecar.scheduling.vendor_quota import (
    FIRST_COOLDOWN_SECONDS,
    MAX_COOLDOWN_SECONDS,
    MAX_DOUBLINGS,
    MAX_QUOTA_AGE_SECONDS,
    MIN_COOLDOWN_SECONDS,
    PROBE_SECONDS,
)

OFFLINE_AFTER_SECONDS = 5.0
"""Seconds without a word from anywhere remote before a failure can mean the whole network."""
MAX_OFFLINE_RETRY_SECONDS = 5.0
"""Seconds between two tries at most."""


class Cooldown(Limiter):
    """Shut for a while after a vendor said no; then one call tries, and the rest follow.

    `reason` is the vendor's own word; `verdict` what it meant.
    """

    __slots__ = ("_failures", "_probe_until", "error_class", "reason", "until")

    def __init__(self, scope: str, name: str) -> None:
        super().__init__(scope, "cooldown", LimitUnit.CALLS, name)
        self.until = 0.0
        self.reason = ""
        self.error_class = ErrorClass.OK
        self._probe_until = 0.0
        self._failures = 0

    @property
    def is_active(self) -> bool:
        """Whether nothing good was heard since the last no."""
        return self.until > 0

    def allows(self, amount: int, urgency: int, now: float) -> bool:
        """After its end, one call at a time until one was answered well, or `PROBE_SECONDS` is
        over."""
        return self.until <= now and self._probe_until <= now

    def available_at(self, amount: int, urgency: int, now: float) -> float:
        """When the next one may try. Nobody waits for an account to be paid: he hears of it."""
        if self.error_class is ErrorClass.QUOTA_EXHAUSTED and now < self.until:
            return NEVER
        return max(self.until, self._probe_until, now)

    def acquire(self, amount: int, urgency: int, now: float) -> None:
        """Somebody goes, and is alone while it is not known how it will go."""
        if self.until:
            self._probe_until = now + PROBE_SECONDS

    def settle(self, mark: None, amount: int, now: float) -> None:
        """How a call went is told by `good` and `bad`."""

    def record_success(self) -> bool:
        """The vendor answered; whether that was news."""
        was = self.until > 0
        self.until = self._probe_until = 0.0
        self._failures = 0
        return was

    def record_failure(
        self, classification: Classification, now: float, *, spread: float = 0.0, tolerated: int = 0
    ) -> float:
        """The vendor said no: shut for as long as it asks, within bounds; for how many seconds.

        So many failures in a row are `tolerated`. `spread` (0 to 1) keeps several that failed
        together from coming back together. What fails while it is shut already, because it had
        been sent before, makes it no longer.
        """
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
            hint > MAX_QUOTA_AGE_SECONDS
            and classification.error_class is not ErrorClass.QUOTA_EXHAUSTED
        ):
            seconds = first * doubled * (1 + spread / 4)
        else:  # a hint of nothing at all must not make a loop
            seconds = max(hint, MIN_COOLDOWN_SECONDS * doubled)
            seconds += min(seconds, 1.0) * spread / 4
        seconds = min(seconds, MAX_COOLDOWN_SECONDS)
        self.until = max(self.until, now + seconds)
        self._probe_until = 0.0
        self.reason, self.error_class = classification.reason, classification.error_class
        return seconds


class OfflineBreaker(Cooldown):
    """Shut while the network is gone; one call at a time tries."""

    __slots__ = ()

    is_pause = True

    def __init__(self) -> None:
        super().__init__("the network", "the network is gone")


class Network:
    """The way out of this machine. `clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float], draw: Callable[[], float]) -> None:
        self._clock = clock
        self._draw = draw
        self._heard: float | None = None
        self._breaker: OfflineBreaker | None = None

    @property
    def is_offline(self) -> bool:
        """Whether calls are parked because of it."""
        return self._breaker is not None

    @property
    def breaker(self) -> OfflineBreaker | None:
        """What remote calls wait for; None while the network is there."""
        return self._breaker

    def limiters(self) -> Iterator[Limiter]:
        """What is in the way of a remote call."""
        if self._breaker is not None:
            yield self._breaker

    def check_offline(self) -> bool:
        """Whether a failure that says so is to be believed."""
        silent = self._heard is not None and self._clock() - self._heard >= OFFLINE_AFTER_SECONDS
        return self.is_offline or silent

    def record_success(self) -> bool:
        """Somebody remote answered; whether that is news."""
        self._heard = self._clock()
        was, self._breaker = self._breaker, None
        return was is not None

    def record_failure(self) -> bool:
        """A call found no way out; whether that is news."""
        news = self._breaker is None
        outage = self._breaker = self._breaker or OfflineBreaker()
        wait = None if outage.until == 0 else MAX_OFFLINE_RETRY_SECONDS
        outage.record_failure(
            Classification(ErrorClass.OVERLOADED, "no way out", wait),
            self._clock(),
            spread=self._draw(),
        )
        return news


@lru_cache(maxsize=256)
def _is_local(base_url: str) -> bool:
    return is_loopback(URL(base_url).host or "")


def is_remote(provider: Provider) -> bool:
    """Whether a provider is somewhere else than on this machine."""
    return bool(provider.base_url) and not _is_local(provider.base_url)


def classify_connection_error(error: UpstreamError) -> Classification:
    """What a failure below HTTP means for the place where it happened."""
    return Classification(ErrorClass.OVERLOADED, str(error), whole_credential=True)
