"""What is measured of a day: waits, failures, how much of the quota was used, and who got it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

from day.account import Account
from day.jobs import Job
from sidecar.config.model import Urgency

Figure = float | None


@dataclass(frozen=True)
class Figures:
    """What came of one day. Waits are (median, 99th percentile) in seconds, by urgency; `service`
    is the median of a background call's. `throttled` are 429s by the vendor's quotas, `troubled`
    calls that met its bad minutes. `used` is the part of the scarcest quota that was used in the
    `demand` seconds in which calls waited, `fairness` Jain's index of what equal keys got in the
    `contested` seconds in which all of them waited. None: there was nothing to measure."""

    calls: int
    requests: int
    throttled: int
    troubled: int
    failed: int
    quota: str
    used: Figure
    demand: float
    waits: Mapping[str, tuple[float, float]]
    service: float
    fairness: Figure
    contested: float


LONG = 60.0
"""Seconds for which calls must have waited all along before it counts how they were served."""


@dataclass(slots=True)
class Watch:
    """Looks on while a day passes. A call is *hungry* while its agent wants it and the vendor does
    not work on it. `equal` are the keys that are to be served alike."""

    account: Account
    clock: Callable[[], float]
    equal: frozenset[str]
    waits: dict[Urgency, list[float]] = field(default_factory=lambda: defaultdict(list))
    services: dict[Urgency, list[float]] = field(default_factory=lambda: defaultdict(list))
    served: int = 0
    failed: int = 0
    demand: float = 0.0
    used: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    shares: Counter[str] = field(default_factory=Counter)
    contested: float = 0.0
    _hungry: Counter[str] = field(default_factory=Counter)
    _waiting: int = 0
    _rivals: int = 0
    _since: float = 0.0
    _contest: float = 0.0
    _won: Counter[str] = field(default_factory=Counter)
    _counted: dict[str, float] = field(default_factory=dict)

    def asks(self, job: Job) -> None:
        """An agent wants this."""
        if self._waiting == 0:
            self._since = self.clock()
            self._counted = self._totals()
        self._waiting += 1
        self._hungry[job.agent] += 1
        if job.agent in self.equal and self._hungry[job.agent] == 1:
            self._rivals += 1
            if self._rivals == len(self.equal):
                self._contest = self.clock()
                self._won.clear()

    def begins(self, job: Job) -> None:
        """The vendor works on it."""
        if self._rivals == len(self.equal) and job.agent in self.equal:
            self._won[job.agent] += job.fresh
        self._fed(job)

    def ends(self, job: Job, *, served: bool) -> None:
        """The agent has it, or has given up."""
        if served:
            self.served += 1
            assert job.begun is not None
            self.waits[job.urgency].append(job.wait)
            self.services[job.urgency].append(self.clock() - job.begun)
            return
        self.failed += 1
        if job.begun is None:
            self._fed(job)

    def _fed(self, job: Job) -> None:
        self._waiting -= 1
        self._hungry[job.agent] -= 1
        if job.agent in self.equal and self._hungry[job.agent] == 0:
            if self._rivals == len(self.equal) and self.clock() - self._contest >= LONG:
                self.contested += self.clock() - self._contest
                self.shares += self._won
            self._rivals -= 1
        if self._waiting == 0 and self.clock() - self._since >= LONG:
            self.demand += self.clock() - self._since
            for name, total in self._totals().items():
                self.used[name] += total - self._counted[name]

    def _totals(self) -> dict[str, float]:
        return {name: pool.counted for name, pool in self.account.pools.items()}

    def figures(self) -> Figures:
        """What was seen."""
        uses = self._uses()
        quota = max(uses, key=lambda name: uses[name], default="")
        amounts = [self.shares[name] for name in self.equal]
        services = self.services[Urgency.BACKGROUND]
        return Figures(
            calls=self.served + self.failed,
            requests=self.account.requests,
            throttled=self.account.throttled,
            troubled=self.account.troubled,
            failed=self.failed,
            quota=quota,
            used=uses.get(quota),
            demand=self.demand,
            waits={
                each.name.lower(): (percentile(self.waits[each], 0.5),
                                    percentile(self.waits[each], 0.99))
                for each in Urgency
            },
            service=percentile(services, 0.5),
            fairness=jain(amounts) if self.contested else None,
            contested=self.contested,
        )  # fmt: skip

    def _uses(self) -> dict[str, float]:
        """Of each quota, the part that was used while calls waited; empty without such a time."""
        pools = self.account.pools.items() if self.demand else ()
        return {n: self.used[n] / (pool.limit * self.demand / 60) for n, pool in pools}


def jain(amounts: Sequence[float]) -> float:
    """1 when all are equal, 1/n when one has all (Jain, Chiu and Hawe, 1984)."""
    return sum(amounts) ** 2 / (len(amounts) * sum(each * each for each in amounts))


def percentile(figures: Sequence[float], part: float) -> float:
    """The nearest rank; 0 of nothing."""
    if not figures:
        return 0.0
    return sorted(figures)[ceil(part * len(figures)) - 1]
