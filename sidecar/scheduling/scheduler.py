"""Who may go now, who waits, and what came of it: limits, holds and the vendors' word in one place.

The path of a call asks for a lease over its candidates and tells how each attempt went; everything
else (explain, the metrics, the console) only looks.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sidecar.config.model import Key, Snapshot
from sidecar.errors import ErrorKind, Fault, ProxyError, UpstreamError
from sidecar.plugin_api.error_class import Classification
from sidecar.pricing.prices import Prices
from sidecar.records import Cost, PeriodCount, Usage
from sidecar.routing.call import Call
from sidecar.routing.candidates import Candidate
from sidecar.scheduling.admission import Admission
from sidecar.scheduling.cooldown import Network, classify_connection_error, is_remote
from sidecar.scheduling.estimates import (
    LEAST_NANO_DOLLARS,
    UNPRICED,
    Estimates,
    Pricing,
    binds_free_calls,
    counted_tokens,
    estimate_tokens,
    settled_amount,
    size_of,
    unpriced_at,
)
from sidecar.scheduling.lease import AdmissionOption, CallAt, Lease, NotAdmitted, Waiter
from sidecar.scheduling.limiter import Demand, Limiter, LimitUnit, demand_of
from sidecar.scheduling.limits import Limits, route_name
from sidecar.scheduling.pauses import Pauses, PauseTarget, describe_target
from sidecar.scheduling.upstream_health import Upstreams
from sidecar.scheduling.windows import reserved_by_others

TOLERATED_FAILURES = 5
"""Failures in a row that may lie in what was asked, before an account is left alone."""
MAX_CACHED_LIMITERS = 8192
"""Ways of calls whose gates are remembered; past it all are looked up anew."""

log = logging.getLogger("sidecar.scheduling")


class Sources(NamedTuple):
    """What the scheduler takes from outside: monotonic seconds, seconds since the epoch, a random
    number from 0 to 1, and the loop's timers."""

    clock: Callable[[], float]
    wall: Callable[[], float]
    draw: Callable[[], float]
    call_at: CallAt


class Scheduler:
    """One for a process. `keep` hears of each count that must outlive it; `state` is where holds
    are kept."""

    def __init__(
        self, sources: Sources, prices: Prices, keep: Callable[[PeriodCount], None], state: Path
    ) -> None:
        self._clock = sources.clock
        self.pricing = Pricing(prices)
        self.limits = Limits(sources.wall, keep)
        self.upstreams = Upstreams(
            sources.clock, sources.wall, sources.draw, self._limiters_changed
        )
        self.admission = Admission(sources.clock, sources.call_at)
        self.estimates = Estimates()
        self.pauses = Pauses(state, sources.wall)
        self.network = Network(sources.clock, sources.draw)
        self._cached_limiters: dict[tuple[object, ...], tuple[object, tuple[Limiter, ...]]] = {}
        self._snapshot: Snapshot | None = None
        self.waits: Counter[str] = Counter()
        self.rejections: Counter[str] = Counter()
        self.admission.on_block = self._count_wait

    def new_waiter(
        self, call: Call, candidates: Sequence[Candidate], further: tuple[Limiter, ...] = ()
    ) -> Waiter[Candidate]:
        """A call that wants to go to one of the candidates, as `admission` takes it, past
        `further` gates besides theirs. Raises `ProxyError`, now or when the configuration changes,
        when its key is there no longer."""

        def options() -> Sequence[AdmissionOption[Candidate]]:
            key = self._current_key(call.key)
            found = [self._option(key, call, each, further) for each in candidates]
            priced = [option for option in found if option is not None]
            if not priced:
                raise ProxyError(ErrorKind.FORBIDDEN, f"{UNPRICED}: {unpriced_at(candidates)}")
            return priced

        key = call.key
        return self.admission.new_waiter(key.name, key.share, call.urgency, options(), options)

    def read_quota(
        self, lease: Lease[Candidate], headers: Mapping[str, str], *, well: bool
    ) -> None:
        """An attempt was answered, well or badly; its headers may say what the vendor has left."""
        at = lease.candidate
        opened = self.upstreams.read_response(
            at.provider, at.credential_name, at.model, lease, headers, well=well
        )
        if opened and len(self.admission):
            self.admission.recheck(opened)

    def record_success(self, candidate: Candidate) -> None:
        """An attempt was taken: its account is well, and so is the network."""
        at = candidate
        opened = self.upstreams.record_success(at.provider, at.credential_name, at.model)
        if is_remote(at.provider) and self.network.record_success():
            log.warning("the network is back: calls go on")
            self._reevaluate()
        if opened:
            self.admission.recheck(opened)

    def record_failure(
        self, candidate: Candidate, classification: Classification, *, passing: bool = True
    ) -> None:
        """An attempt was refused: leave its account alone for as long as the vendor says. What is
        not `passing` may lie in what was asked, and says something of the account only when it
        happens again and again."""
        at = candidate
        self.upstreams.record_failure(
            at.provider, at.credential_name, at.model, classification,
            tolerated=0 if passing else TOLERATED_FAILURES,
        )  # fmt: skip

    def record_connection_failure(self, candidate: Candidate, error: UpstreamError) -> None:
        """An attempt did not get through. A network that is gone is nobody's fault: remote calls
        are parked until one gets through."""
        if error.offline and is_remote(candidate.provider) and self.network.check_offline():
            if self.network.record_failure():
                log.warning("the network is gone: calls to remote providers wait until it is back")
                self._reevaluate()
            return
        if error.fault is Fault.CONNECT and not self.has_answered(candidate):
            return  # it may just not run: whoever asks hears so at once
        passing = error.fault in {Fault.CONNECT, Fault.TIMEOUT}
        self.record_failure(candidate, classify_connection_error(error), passing=passing)

    def has_answered(self, candidate: Candidate) -> bool:
        """Whether its account was well at any time since the start."""
        return self.upstreams.has_answered(candidate.provider, candidate.credential_name)

    def settle(
        self, lease: Lease[Candidate], call: Call, usage: Usage | None, cost: Cost | None,
        *, whole: bool, typical: bool = True,
    ) -> Demand:  # fmt: skip
        """An answer is over: count what it took and cost, and return that. `whole`: the figures are
        final; what is not known stays as estimated. `typical`: its like is estimated by it."""
        estimate = lease.option.demand
        supposed, most = estimate[LimitUnit.INPUT], estimate[LimitUnit.OUTPUT_UPPER_BOUND]
        money = settled_amount(estimate[LimitUnit.MONEY], None if cost is None else cost.charged)
        if usage is None:
            lease.settle(used := demand_of(supposed, most, money))
            return used
        read, made = counted_tokens(lease.candidate, usage)
        read = supposed if usage.input_tokens is None else read
        made = made if whole and usage.output_tokens is not None else max(made, most)
        lease.settle(used := demand_of(read, made, money))
        if whole and typical and call.model is not None:
            guessed, _ = estimate_tokens(lease.candidate, size_of(call), call.facts.max_output)
            self.estimates.learn(call.key.name, call.model, guessed, read, made)
        return used

    @property
    def granted(self) -> int:
        """How many attempts were let through."""
        return self.admission.granted

    def now(self) -> float:
        """This moment, as all gates know it."""
        return self._clock()

    def record_rejection(self, no_room: NotAdmitted) -> None:
        """A call was not let through in its time."""
        self.rejections["queue" if no_room.queue_full else no_room.soonest.last_blocking.kind] += 1

    def pause(self, held: PauseTarget, hashes: tuple[str, ...] = (), by: str = "") -> bool:
        """Park what is called from now on; whether that is news. A key is known again by its
        `hashes`; `by` says from where it is asked for."""
        news = self.pauses.pause(held, hashes, by)
        if news:
            log.warning("%s is paused", describe_target(held))
            self._reevaluate()
        return news

    def resume(self, held: PauseTarget) -> bool:
        """Let it go on; whether it was held."""
        news = self.pauses.resume(held)
        if news:
            log.warning("%s goes on", describe_target(held))
            self._reevaluate()
        return news

    def reconcile(self, snapshot: Snapshot) -> None:
        """Follow the configuration: every count stays, every waiting call is judged anew."""
        self._snapshot = snapshot
        self.pricing.reconcile()
        self.pauses.reconcile(snapshot)
        self.limits.reconcile(snapshot)
        self.upstreams.reconcile(snapshot.providers)
        self._reevaluate()

    def limiters(
        self, key: Key, candidate: Candidate, model: str | None, route: str = ""
    ) -> tuple[Limiter, ...]:
        """All that a call of a key for a model must pass on `route` to a candidate."""
        provider, credential = candidate.provider, candidate.credential_name
        route = route or route_name(key, candidate.route)
        return (
            *self.pauses.limiters(key.name, key.group.name, provider.name),
            *(self.network.limiters() if is_remote(provider) else ()),
            *self.limits.windows(key.name, route, key.group.name, provider.name, credential, model),
            *self.upstreams.limiters(provider, credential, candidate.model),
        )

    def tokens(self, call: Call, candidate: Candidate) -> tuple[int, int]:
        """The input and output tokens that a call is likely to take at a candidate."""
        if not call.endpoint.counts or call.model is None:
            return 0, 0
        bound = call.facts.max_output
        return self._tokens(call.key.name, call.model, candidate, size_of(call), bound)

    def hypothetical_option(
        self, key: Key, model: str, candidate: Candidate, size: int, bound: int | None
    ) -> AdmissionOption[Candidate] | None:
        """The way of a call that nobody made, of so many bytes and with this bound on its output;
        None as for any other."""
        read, made = self._tokens(key.name, model, candidate, size, bound)
        return self._priced(key, model, candidate, self.limiters(key, candidate, model), read, made)

    def _option(
        self, key: Key, call: Call, candidate: Candidate, further: tuple[Limiter, ...]
    ) -> AdmissionOption[Candidate] | None:
        """The way to a candidate; None when its price is unknown and such calls are refused."""
        read, made = self.tokens(call, candidate)
        limiters = (*self._limiters(key, call, candidate), *further)
        if call.is_free:
            return AdmissionOption(candidate, limiters, demand_of(0, 0))
        option = self._priced(key, call.model, candidate, limiters, read, made)
        if option is not None and option.demand[LimitUnit.MONEY] == LEAST_NANO_DOLLARS:
            self.pricing.note_unpriced(key, call.model, candidate)
        return option

    def _priced(
        self, key: Key, model: str | None, candidate: Candidate, limiters: tuple[Limiter, ...],
        read: int, made: int,
    ) -> AdmissionOption[Candidate] | None:  # fmt: skip
        likely = self.estimates.likely(key.name, model or "", made, reserved_by_others(limiters))
        if not any(limiter.unit is LimitUnit.MONEY for limiter in limiters):
            return AdmissionOption(candidate, limiters, demand_of(read, likely, 0, made))
        money = self.pricing.expected(key, model, candidate, read, made)
        if money is None and self._snapshot is not None and self._snapshot.refuse_unpriced:
            return None
        money = LEAST_NANO_DOLLARS if money is None else money
        return AdmissionOption(candidate, limiters, demand_of(read, likely, money, made))

    def _tokens(
        self, key: str, model: str, candidate: Candidate, size: int, bound: int | None
    ) -> tuple[int, int]:
        guessed, asked = estimate_tokens(candidate, size, bound)
        return self.estimates.input(key, model, guessed), self.estimates.output(key, model, asked)

    def _limiters(self, key: Key, call: Call, candidate: Candidate) -> tuple[Limiter, ...]:
        route = candidate.route
        names = (call.model, candidate.model, call.is_free)
        way = (key.name, id(route), candidate.credential_name, *names)
        found = self._cached_limiters.get(way)
        if found is None:
            if len(self._cached_limiters) >= MAX_CACHED_LIMITERS:
                self._cached_limiters.clear()
            # The route is kept with it: its id must not become another's.
            # By the key that it came in with: today's has no such route object.
            name = route_name(call.key, route)
            limiters = self.limiters(key, candidate, call.model, name)
            limiters = tuple(filter(binds_free_calls, limiters)) if call.is_free else limiters
            found = self._cached_limiters[way] = (route, limiters)
        return found[1]

    def _current_key(self, key: Key) -> Key:
        """The key as the configuration in force has it, by its hash, else by its name."""
        snapshot = self._snapshot
        if snapshot is None or snapshot.keys.get(key.name) is key:
            return key
        found = [
            snapshot.by_digest[t.digest][0] for t in key.hashes if t.digest in snapshot.by_digest
        ]
        today = found[0] if found else None if key.hashes else snapshot.keys.get(key.name)
        if today is None or not today.enabled:
            what = "removed" if today is None else f"disabled ({today.place.short})"
            raise ProxyError(
                ErrorKind.KEY_DISABLED, f'key "{key.name}" was {what} while its call waited'
            )
        return today

    def _count_wait(self, limiter: Limiter) -> None:
        self.waits[limiter.kind] += 1

    def _limiters_changed(self) -> None:
        self._cached_limiters.clear()
        if len(self.admission):
            self.admission.reevaluate()

    def _reevaluate(self) -> None:
        self._cached_limiters.clear()
        self.admission.reevaluate()
