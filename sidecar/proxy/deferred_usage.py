"""Usage that is reported after its call: background responses, batches and other deferred work.

A call whose response created an object without reporting usage leaves a *claim* with the object in
the ledger. The first response that reports the object's final usage settles the claim: for the key
that created it, once, also after a restart. Where processes share state, that response may be at
another process: the one with the claim settles it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from sidecar.config.limit_table import route_name
from sidecar.config.model import Group, Provider, Snapshot
from sidecar.ledger.ledger import Ledger
from sidecar.ledger.model import Claim, Learned, ObjectKey, Owner
from sidecar.metrics.metrics import Metrics
from sidecar.plugin_api.dialect import Meter
from sidecar.pricing.prices import Prices
from sidecar.proxy.metering import is_lookup
from sidecar.records import AttemptUsage, CallRecord, Cost, Usage, UsageState, together
from sidecar.routing.call import Call
from sidecar.routing.candidates import Candidate
from sidecar.routing.owners import Owners, Report
from sidecar.scheduling.limiter import Demand, LimitUnit, demand_of
from sidecar.scheduling.limits import CallScopes
from sidecar.scheduling.scheduler import Scheduler

log = logging.getLogger("sidecar.proxy.deferred_usage")


class Deferred:
    """Creates claims and settles them. `current` returns the configuration in force."""

    def __init__(
        self, ledger: Ledger, owners: Owners, scheduler: Scheduler, prices: Prices,
        metrics: Metrics, current: Callable[[], Snapshot],
    ) -> None:  # fmt: skip
        self._ledger = ledger
        self._owners = owners
        self._scheduler = scheduler
        self._prices = prices
        self._metrics = metrics
        self._current = current
        owners.follow(self._adopt)

    def claim(
        self, call: Call, candidate: Candidate, meter: Meter, record: CallRecord,
        spent: AttemptUsage | None, counted: Demand | None,
    ) -> None:  # fmt: skip
        """Record the objects that a response created, with a claim if their usage is unknown.

        Args:
            record: The ledger's record of the response itself.
            spent: Usage of failed attempts, which is part of the call's record.
            counted: The amounts that the limits count so far; None for nothing.
        """
        if call.endpoint.creates is None or is_lookup(call, meter):
            return
        claim = None
        if record.usage_state is not UsageState.REPORTED:
            claim = _claim(call, candidate, record, spent, counted or demand_of(0, 0))
        self._owners.record(call, candidate, meter, claim)

    def settle(self, call: Call, provider: Provider, meter: Meter, usage: Usage) -> None:
        """Settle the claim, if there is one, on the object whose usage a response reports; if
        another process has it, let that one settle it."""
        kind, group = call.endpoint.owned or call.endpoint.creates, call.key.group
        ids = meter.created() or (call.located.object_id or "",)
        if kind is None or len(ids) != 1:
            return
        named, report = (kind, ids[0]), Report(usage, meter.model)
        owner = self._ledger.owner(*named)
        if owner is None:
            self._owners.report(named, group.name, report)
        elif owner.claim is not None and owner.group == group.name:
            self._count(named, owner, owner.claim, report, provider, group)

    def _adopt(self, named: ObjectKey, report: Report) -> None:
        """Settle the claim on an object whose usage another process reports."""
        owner, snapshot = self._ledger.owner(*named), self._current()
        if owner is None or owner.claim is None:
            return
        provider = snapshot.providers.get(owner.provider)
        group = snapshot.groups.get(owner.group)
        if provider is not None and group is not None:
            self._count(named, owner, owner.claim, report, provider, group)

    def _count(
        self, named: ObjectKey, owner: Owner, claim: Claim, report: Report, provider: Provider,
        group: Group,
    ) -> None:  # fmt: skip
        usage, model = report.usage, report.model
        as_served = (model, claim.model_sent, claim.model_asked)
        names = (claim.priced_as, None, None) if claim.priced_as else as_served
        cost = self._prices.spent(usage, provider, group, names, claim.started)
        self._ledger.learned(*named, Learned(claim, usage, cost, model))
        self._metrics.usage_learned(owner, claim, usage, cost)
        self._correct(owner, claim, usage, cost)
        self._owners.counted(named, owner)
        log.info("what %s %s used is known: it is booked for call %s",
                 named[0], named[1][:80], claim.call_id)  # fmt: skip

    def _correct(self, owner: Owner, claim: Claim, usage: Usage, cost: Cost | None) -> None:
        """Replace the amounts that calendar limits counted by those of the reported usage."""
        read, made, money = claim.counted
        before = demand_of(read, made, money)
        after = demand_of(
            read if usage.input_tokens is None else usage.input_tokens,
            made if usage.output_tokens is None else usage.output_tokens,
            money if cost is None else cost.charged,
        )
        scopes = CallScopes(claim.key, claim.route, owner.group, owner.provider, owner.credential)
        self._scheduler.correct(scopes, claim.model_asked, before, after, claim.started)


def _claim(
    call: Call,
    candidate: Candidate,
    record: CallRecord,
    spent: AttemptUsage | None,
    counted: Demand,
) -> Claim:
    cost, known = record.cost, AttemptUsage(UsageState.REPORTED)
    if spent is not None:
        known = together(AttemptUsage(UsageState.REPORTED, None, Cost(0, 0, "")), spent)
    return Claim(
        record.call_id, record.key, route_name(call.key, candidate.route), record.started,
        record.model_asked, candidate.model, record.usage,
        listed=0 if cost is None else cost.listed,
        charged=0 if cost is None else cost.charged,
        counted=(counted[LimitUnit.INPUT], counted[LimitUnit.OUTPUT], counted[LimitUnit.MONEY]),
        state=known.state,
        whole=known.cost is None or known.cost.whole,
        priced_as=candidate.price_name,
    )  # fmt: skip
