"""Whether the network is there at all: when it is gone, calls to remote providers are parked.

One unreachable provider does not mean that. The network is gone when it was there before, nothing
remote was heard for a while, and the operating system says that there is no way out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

from yarl import URL

from sidecar.config import Provider
from sidecar.gates import Gate
from sidecar.loopback import is_loopback
from sidecar.pacing import Cooldown
from sidecar.verdicts import Judgement, Verdict

SILENCE = 5.0
"""Seconds without a word from anywhere remote before a failure can mean the whole network."""
LONGEST = 5.0
"""Seconds between two tries at most."""


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
        wait = None if outage.until == 0 else LONGEST
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
