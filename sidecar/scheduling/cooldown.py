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
from sidecar.plugin_api.error_class import Judgement, Verdict
from sidecar.scheduling.limiter import NEVER, Gate, Unit
from sidecar.scheduling.vendor_quota import (
    BELIEVED,
    FIRST,
    MAX_COOLDOWN_SECONDS,
    MOST_DOUBLINGS,
    PROBE,
    SHORTEST,
)

SILENCE = 5.0
"""Seconds without a word from anywhere remote before a failure can mean the whole network."""
MAX_OFFLINE_RETRY_SECONDS = 5.0
"""Seconds between two tries at most."""


class Cooldown(Gate):
    """Shut for a while after a vendor said no; then one call tries, and the rest follow.

    `reason` is the vendor's own word; `verdict` what it meant.
    """

    __slots__ = ("_failures", "_probing", "reason", "until", "verdict")

    def __init__(self, scope: str, name: str) -> None:
        super().__init__(scope, "cooldown", Unit.CALLS, name)
        self.until = 0.0
        self.reason = ""
        self.verdict = Verdict.TAKE
        self._probing = 0.0
        self._failures = 0

    @property
    def cooling(self) -> bool:
        """Whether nothing good was heard since the last no."""
        return self.until > 0

    def fits(self, amount: int, urgency: int, now: float) -> bool:
        """After its end, one call at a time until one was answered well, or `PROBE` is over."""
        return self.until <= now and self._probing <= now

    def opens(self, amount: int, urgency: int, now: float) -> float:
        """When the next one may try. Nobody waits for an account to be paid: he hears of it."""
        if self.verdict is Verdict.SPENT and now < self.until:
            return NEVER
        return max(self.until, self._probing, now)

    def take(self, amount: int, urgency: int, now: float) -> None:
        """Somebody goes, and is alone while it is not known how it will go."""
        if self.until:
            self._probing = now + PROBE

    def settle(self, mark: None, amount: int, now: float) -> None:
        """How a call went is told by `good` and `bad`."""

    def good(self) -> bool:
        """The vendor answered; whether that was news."""
        was = self.until > 0
        self.until = self._probing = 0.0
        self._failures = 0
        return was

    def bad(
        self, judgement: Judgement, now: float, *, spread: float = 0.0, tolerated: int = 0
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
        doubled = float(1 << min(self._failures - 1 - tolerated, MOST_DOUBLINGS))
        first = FIRST.get(judgement.verdict, FIRST[Verdict.OVERLOADED])
        hint = judgement.wait
        if hint is None or (hint > BELIEVED and judgement.verdict is not Verdict.SPENT):
            seconds = first * doubled * (1 + spread / 4)
        else:  # a hint of nothing at all must not make a loop
            seconds = max(hint, SHORTEST * doubled)
            seconds += min(seconds, 1.0) * spread / 4
        seconds = min(seconds, MAX_COOLDOWN_SECONDS)
        self.until = max(self.until, now + seconds)
        self._probing = 0.0
        self.reason, self.verdict = judgement.reason, judgement.verdict
        return seconds


class Outage(Cooldown):
    """Shut while the network is gone; one call at a time tries."""

    __slots__ = ()

    holds = True

    def __init__(self) -> None:
        super().__init__("the network", "the network is gone")


class Network:
    """The way out of this machine. `clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float], draw: Callable[[], float]) -> None:
        self._clock = clock
        self._draw = draw
        self._heard: float | None = None
        self._outage: Outage | None = None

    @property
    def gone(self) -> bool:
        """Whether calls are parked because of it."""
        return self._outage is not None

    @property
    def outage(self) -> Outage | None:
        """What remote calls wait for; None while the network is there."""
        return self._outage

    def gates(self) -> Iterator[Gate]:
        """What is in the way of a remote call."""
        if self._outage is not None:
            yield self._outage

    def is_gone(self) -> bool:
        """Whether a failure that says so is to be believed."""
        silent = self._heard is not None and self._clock() - self._heard >= SILENCE
        return self.gone or silent

    def good(self) -> bool:
        """Somebody remote answered; whether that is news."""
        self._heard = self._clock()
        was, self._outage = self._outage, None
        return was is not None

    def bad(self) -> bool:
        """A call found no way out; whether that is news."""
        news = self._outage is None
        outage = self._outage = self._outage or Outage()
        wait = None if outage.until == 0 else MAX_OFFLINE_RETRY_SECONDS
        outage.bad(
            Judgement(Verdict.OVERLOADED, "no way out", wait), self._clock(), spread=self._draw()
        )
        return news


@lru_cache(maxsize=256)
def _is_local(base_url: str) -> bool:
    return is_loopback(URL(base_url).host or "")


def is_remote(provider: Provider) -> bool:
    """Whether a provider is somewhere else than on this machine."""
    return bool(provider.base_url) and not _is_local(provider.base_url)


def as_judgement(error: UpstreamError) -> Judgement:
    """What a failure below HTTP means for the place where it happened."""
    return Judgement(Verdict.OVERLOADED, str(error), whole_credential=True)
