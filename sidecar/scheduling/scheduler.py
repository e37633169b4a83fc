"""The only interface to admission, limits, pauses, estimates and the state of upstreams.

A call gets a lease on one of its candidates, and the result of each attempt is recorded here; all
other users (dry runs, metrics, the console) only read.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from sidecar.config.limit_table import route_name
from sidecar.config.model import CredentialRef, Key, Snapshot
from sidecar.errors import ErrorKind, Fault, ProxyError, UpstreamError
from sidecar.plugin_api.error_class import Classification
from sidecar.pricing.prices import Prices
from sidecar.records import Cost, PeriodCount, Usage
from sidecar.routing.call import Call
from sidecar.routing.candidates import Candidate
from sidecar.scheduling.admission import Admission
from sidecar.scheduling.cooldown import (
    Network,
    OfflineBreaker,
    classify_connection_error,
)
from sidecar.scheduling.estimates.demand import (
    CallLimiters,
    binds_free_calls,
    estimated_demand,
    option_at,
    used_demand,
)
from sidecar.scheduling.estimates.money import UNPRICED, Pricing, unpriced_at
from sidecar.scheduling.estimates.tokens import LEARN_SECONDS, Estimates, estimate_tokens
from sidecar.scheduling.fleet.identity import Identities, SecretOf
from sidecar.scheduling.fleet.leases import Leases, LocalLeases, SharedLeases
from sidecar.scheduling.fleet.upstream_facts import UpstreamFacts
from sidecar.scheduling.lease import AdmissionOption, Blocked, Lease, NotAdmitted, Sources, Waiter
from sidecar.scheduling.limiter import MAX_SAVED_RETRIES, Demand, Limiter, LimitUnit, RetryBudget
from sidecar.scheduling.limits import CallScopes, ConfiguredLimit, Limits, current_key
from sidecar.scheduling.pauses import Pauses
from sidecar.scheduling.upstream_health import Headed, UpstreamHealth, Upstreams
from sidecar.shared.engine import Engine

_INPUT, _OUTPUT = LimitUnit.INPUT, LimitUnit.OUTPUT  # bound, as in `estimates.demand`
MAX_CACHED_LIMITERS = 8192
"""Entries of the cache of limiters, which is cleared when it is full."""

log = logging.getLogger("sidecar.scheduling")


class Scheduler:
    """Schedules all calls of a process.

    Args:
        keep: Called with each change of a count that must outlive the process.
        state: The directory that pauses are stored in.

    Attributes:
        waits: Calls that had to wait, by the kind of the limiter that blocked them first.
        pauses: The active pauses.
        pricing: The prices that budgets count by.
        engine: The shared engine; None if nothing is shared.
        rejections: Calls that were not admitted, by the kind of the limiter, or "queue".
    """

    def __init__(
        self, sources: Sources, prices: Prices, keep: Callable[[PeriodCount], None], state: Path
    ) -> None:
        self._clock = sources.clock
        self._call_at = sources.call_at
        self.pricing = Pricing(prices)
        self._limits = Limits(sources.wall, keep)
        self._upstreams = Upstreams(
            sources.clock, sources.wall, sources.draw, self._limiters_changed
        )
        self._admission = Admission(sources.clock, sources.call_at)
        self._leases: Leases = LocalLeases(self._admission)
        self._estimates = Estimates()
        self.pauses = Pauses(state, sources.wall, self._reevaluate)
        self._network = Network(sources.clock, sources.draw)
        self._retries = RetryBudget(sources.clock)
        self._cached_limiters: dict[tuple[object, ...], tuple[object, CallLimiters]] = {}
        self._snapshot: Snapshot | None = None
        self.engine: Engine | None = None
        self._upstream_facts: UpstreamFacts | None = None
        self.waits, self.rejections = Counter[str](), Counter[str]()
        self._admission.on_block = lambda limiter: self.waits.update([limiter.kind])

    def new_waiter(
        self, call: Call, candidates: Sequence[Candidate], *, is_retry: bool = False
    ) -> Waiter:
        """Return an object that asks for a lease of a call on one of its candidates.

        A retry (`is_retry`) takes from the retry budget, but not while the network is offline: then
        it puts no load on a provider. Raises `ProxyError` if the key was removed or disabled, or if
        no price is known and `unpriced: refuse` is set.
        """
        if not is_retry:
            self._retries.record_call()
        extra = (self._retries,) if is_retry and not self._network.is_offline else ()
        key, options = call.key, self._options(call, candidates, extra)
        renew = partial(self._options, call, candidates, extra)
        return self._admission.new_waiter(key.name, key.share, call.urgency, options, renew)

    def lease_at_once(self, call: Call, candidates: Sequence[Candidate]) -> Lease | None:
        """Return a lease on the first candidate for a first attempt, if nothing blocks it and no
        call waits there: the one that `new_waiter` and `try_lease` return, in a fraction of their
        time. None changes nothing; use those then."""
        if self.engine is not None or call.snapshot is not self._snapshot:
            return None
        key, first = call.key, candidates[0]
        if len(candidates) > 1:  # models under a budget are noted as unpriced even if not used
            for each in candidates:
                if self._limiters_of(call, key, each).has_budget:
                    return None
        limiters = self._limiters_of(call, key, first)
        option = option_at(first, call, key, limiters, self._estimates, self.pricing)
        if option is None:
            return None
        renew = partial(self._options, call, candidates, ())
        lease = self._admission.lease_at_once(option, limiters, call.urgency, renew)
        if lease is not None and self._retries.saved < MAX_SAVED_RETRIES:
            self._retries.record_call()
        return lease

    def share(self, engine: Engine, secret_of: SecretOf, *, refuses: bool) -> None:
        """Take room on `engine`, too, and share pauses and what upstreams answer. See
        `SharedLeases`."""
        self.engine, parts = engine, (self._admission, self._limits, engine, self._clock)
        self._leases = SharedLeases(*parts, refuses=refuses)
        self._upstream_facts = UpstreamFacts(
            engine, self._upstreams, Identities(secret_of), self._clock, self._recheck
        )
        self.pauses.share(engine.facts, engine.about().host)
        self._cached_limiters.clear()

    def identity_of(self, provider: str, credential: str) -> str | None:
        """Return the identity of an upstream; None for one that is not shared."""
        facts = self._upstream_facts
        return None if facts is None else facts.identity_of(provider, credential)

    async def try_lease(self, waiter: Waiter, *, first_only: bool = False) -> Lease | None:
        """Return a lease on the first candidate that is free now (`first_only`: on the first of
        all); None if the call has to wait. Raises `ProxyError` if shared limits cannot be read."""
        waiter.first_only = first_only
        return await self._leases.try_lease(waiter)

    async def wait(self, waiter: Waiter, max_wait: float, *, sticky_wait: float = 0.0) -> Lease:
        """Return a lease on the first candidate that is free, as soon as the call is next.

        `max_wait` is in seconds, without pauses; only the first candidate is waited for until
        `sticky_wait` seconds have passed. Raises `NotAdmitted` after `max_wait`, or at once if no
        candidate can be free by then, and `ProxyError` as `new_waiter` and `try_lease`.
        """
        return await self._leases.acquire(waiter, max_wait, sticky_wait=sticky_wait)

    def record_answer(
        self, lease: Lease, reply: Headed | None, key: str, *, ok: bool, final: bool
    ) -> None:
        """Record a response to a call of `key`; see `Upstreams.record_answer`. After a final one
        the network is healthy, too."""
        opened = self._upstreams.record_answer(lease, reply, key, ok=ok, final=final)
        if final and lease.candidate.is_remote and self._network.record_success():
            log.warning("network online: calls to remote providers are resumed")
            self._reevaluate()
        if opened:
            self._recheck(opened)

    def record_failure(
        self, candidate: Candidate, classification: Classification, *, transient: bool = True
    ) -> None:
        """Record a failed attempt, which may start a cooldown of its upstream.

        One that is not `transient` may be due to the request: several in a row start a cooldown.
        """
        key = candidate.upstream
        self._upstreams.record_failure(key, classification, transient=transient)

    def record_connection_failure(self, candidate: Candidate, error: UpstreamError) -> None:
        """Record an attempt that got no response.

        If the network is offline, calls to remote providers are paused and no upstream cools down.
        """
        if error.offline and candidate.is_remote and self._network.check_offline():
            if self._network.record_failure():
                log.warning("network offline: calls to remote providers are queued")
                self._reevaluate()
            return
        if error.fault is Fault.CONNECT and not self.has_answered(candidate):
            return  # a server that may not run: the next call's error should be immediate, too
        transient = error.fault in {Fault.CONNECT, Fault.TIMEOUT}
        key, found = candidate.upstream, classify_connection_error(error)
        self._upstreams.record_failure(key, found, transient=transient, answered=False)

    def has_answered(self, candidate: Candidate) -> bool:
        """Return whether an attempt with this credential has succeeded since the start."""
        return self._upstreams.has_answered(candidate.upstream)

    def settle(
        self, lease: Lease, call: Call, usage: Usage | None, cost: Cost | None,
        *, complete: bool, typical: bool = True,
    ) -> Demand:  # fmt: skip
        """End the lease of a finished attempt; return the amounts that it counts for.

        Args:
            usage: None if unknown: the upper bound of the estimate counts.
            complete: Whether the usage is final; else it is a lower bound.
            typical: Whether later calls may be estimated by this one.
        """
        at, option, model = lease.candidate, lease.option, call.model
        used = used_demand(at, option.demand, usage, cost, complete=complete)
        self._admission.end(lease, used, used)
        if usage is not None and complete and typical and model is not None:
            by_size = option.by_size
            if by_size is None:
                by_size, _ = estimate_tokens(at, call.held.size, call.facts.max_output)
            input_tokens, output_tokens = used[_INPUT], used[_OUTPUT]
            ended = call.key.name, model, by_size, input_tokens, output_tokens
            if self._estimates.collect(*ended):
                self._call_at(self._clock() + LEARN_SECONDS, self._estimates.learn_collected)
        return used

    def correct(
        self, scopes: CallScopes, model: str | None, before: Demand, after: Demand, started: float
    ) -> None:
        """Correct what calendar windows count of an ended call; see `Limits.correct`."""
        windows = self._limits.correct(scopes, model, before, after, started)
        self._leases.correct(windows, before, after, started)
        self._recheck(windows)

    def record_rejection(self, rejection: NotAdmitted) -> None:
        """Count a call that was not admitted."""
        kind = "queue" if rejection.queue_full else rejection.soonest.last_blocking.kind
        self.rejections[kind] += 1

    def forget(self, credentials: Iterable[CredentialRef]) -> None:
        """Forget cooldowns and quotas of credentials whose secret was replaced."""
        self._upstreams.forget(credentials)

    def restore_counts(self, kept: Iterable[PeriodCount]) -> None:
        """Restore the calendar counts of an earlier process."""
        self._limits.restore(kept)

    def prepare(self, snapshot: Snapshot) -> None:
        """Do in another thread what `reconcile` needs of a configuration that is next in force."""
        self._limits.prepare(snapshot)

    def reconcile(self, snapshot: Snapshot) -> None:
        """Follow a new configuration: counts are kept, waiting calls get new options."""
        self._snapshot = snapshot
        self.pricing.reconcile(snapshot)
        self.pauses.reconcile(snapshot)
        self._limits.reconcile(snapshot)
        self._leases.reconcile()
        self._upstreams.reconcile(snapshot.providers)
        self._reevaluate()

    def reconcile_limits(self, snapshot: Snapshot) -> None:
        """Follow a configuration's limits alone, for a dry run: stored pauses stay untouched."""
        self._limits.reconcile(snapshot)

    def now(self) -> float:
        """Return the time of all limiters, in monotonic seconds."""
        return self._clock()

    @property
    def waiting(self) -> Collection[Waiter]:
        """The calls that wait, in order of arrival."""
        return self._admission.waiting

    @property
    def granted(self) -> int:
        """The number of leases since the start."""
        return self._admission.granted

    @property
    def limits(self) -> Iterator[ConfiguredLimit]:
        """The limits and budgets in force."""
        return iter(self._limits)

    @property
    def upstreams(self) -> list[UpstreamHealth]:
        """The health of every upstream that is known."""
        return list(self._upstreams)

    @property
    def is_offline(self) -> bool:
        """Return whether the network is offline, so that calls to remote providers are paused."""
        return self._network.is_offline

    @property
    def offline_breaker(self) -> OfflineBreaker | None:
        """The limiter of calls to remote providers; None while the network is online."""
        return self._network.breaker

    @property
    def retries_remaining(self) -> float:
        """The retries that are left in the retry budget."""
        return self._retries.remaining

    def has_learned(self, key: str, model: str) -> bool:
        """Return whether calls of this key and model are estimated from earlier ones."""
        return self._estimates.has_learned(key, model)

    def dry_run(
        self, key: Key, model: str, candidates: Sequence[Candidate], size: int,
        max_output: int | None,
    ) -> tuple[Waiter, list[Blocked]]:  # fmt: skip
        """Return a waiter for a hypothetical call, and the reason for each option that is blocked.

        Nothing is reserved or queued. `queued_at` has the limiters that the call would wait at.
        `size` is the bytes of the request, `max_output` its bound on output tokens.
        """
        options = []
        self._estimates.learn_collected()
        for each in candidates:
            limiters = CallLimiters(self._leases.with_gates(self.limiters(key, each, model)))
            by_size, bound = estimate_tokens(each, size, max_output)
            tokens = self._estimates.tokens(key.name, model, by_size, bound)
            demand = estimated_demand(
                self._estimates, self.pricing, key, model, each, limiters, tokens
            )
            if demand is not None:
                options.append(AdmissionOption(each, limiters.all, demand, by_size))
        waiter = self._admission.new_waiter(
            key.name, key.share, key.urgency, options, lambda: options
        )
        for reason in (blocked := self._admission.blocked(waiter, self._clock())):
            waiter.queue_option(waiter.queued_at, reason.limiter, reason.option)
        return waiter, blocked

    def limiters(
        self, key: Key, candidate: Candidate, model: str | None, route: str = ""
    ) -> tuple[Limiter, ...]:
        """Return all limiters of a call of `key` for `model` to a candidate, on `route`."""
        provider = candidate.provider
        scopes = CallScopes.of(key, candidate, route)
        return (
            *self.pauses.limiters(key.name, key.group.name, provider.name),
            *(self._network.limiters() if candidate.is_remote else ()),
            *self._limits.windows(scopes, model),
            *self._upstreams.limiters(candidate.upstream),
        )

    def _options(
        self, call: Call, candidates: Sequence[Candidate], extra: tuple[Limiter, ...]
    ) -> Sequence[AdmissionOption]:
        key, options = call.key, []
        if call.snapshot is not self._snapshot:
            key = current_key(self._snapshot, key)
        for each in candidates:
            limiters = self._limiters_of(call, key, each)
            option = option_at(each, call, key, limiters, self._estimates, self.pricing, extra)
            if option is not None:
                options.append(option)
        if not options:
            raise ProxyError(ErrorKind.FORBIDDEN, f"{UNPRICED}: {unpriced_at(candidates)}")
        return options

    def _limiters_of(self, call: Call, key: Key, at: Candidate) -> CallLimiters:
        """Return the limiters of a call at a candidate."""
        # The route is kept, so that no other route gets its id.
        cache_key = (
            key.name, key.child, id(at.route), at.credential_name, at.account, call.model, at.model,
            call.is_free,
        )  # fmt: skip
        cached = self._cached_limiters.get(cache_key)
        if cached is not None:
            return cached[1]
        if len(self._cached_limiters) >= MAX_CACHED_LIMITERS:
            self._cached_limiters.clear()
        # The route's name is by the key that the call arrived with: a newer key has other route
        # objects.
        limiters = self.limiters(key, at, call.model, route_name(call.key, at.route))
        if call.is_free:
            limiters = tuple(filter(binds_free_calls, limiters))
        found = CallLimiters(self._leases.with_gates(limiters))
        self._cached_limiters[cache_key] = at.route, found
        return found

    def _recheck(self, opened: Collection[Limiter]) -> None:
        if opened and len(self._admission):
            self._admission.recheck(opened)

    def _limiters_changed(self) -> None:
        self._cached_limiters.clear()
        if len(self._admission):
            self._admission.reevaluate()

    def _reevaluate(self) -> None:
        self._cached_limiters.clear()
        self._admission.reevaluate()
