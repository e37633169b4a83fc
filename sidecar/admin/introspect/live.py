"""The live view: calls in flight, queues, and the state of every limiter at this moment.

Read-only: for `sidecar top`, `sidecar explain`, `sidecar status` and the console.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from sidecar.admin.api_types.limits import (
    LimiterState,
    NetworkState,
    PauseState,
    SharedServerState,
    SubscriptionState,
)
from sidecar.admin.api_types.live import (
    LiveCallState,
    LiveState,
    QueuedCall,
    QueuePlace,
    RetriesLeft,
    UnpricedUse,
)
from sidecar.admin.introspect.limit_states import (
    cooldown_state,
    limit_state,
    network_state,
    pause_state,
    queue_length,
    quota_state,
    seconds_until,
    upstream_cooldown,
    upstream_quota,
)
from sidecar.config.model import Budget, Limit, Urgency
from sidecar.proxy.in_flight import LiveCall, LiveCalls
from sidecar.records import Usage
from sidecar.scheduling.cooldown import Cooldown, OfflineBreaker
from sidecar.scheduling.fleet.gate import Gate
from sidecar.scheduling.lease import Waiter
from sidecar.scheduling.limiter import MAX_SAVED_RETRIES, Limiter
from sidecar.scheduling.pauses import PauseLimiter
from sidecar.scheduling.scheduler import Scheduler
from sidecar.scheduling.upstream_health import Subscription
from sidecar.scheduling.vendor_quota import VendorQuota, quota_name
from sidecar.scheduling.windows import CountingLimiter

MAX_CALLS_SHOWN = 200
"""Calls that are listed; the rest are only counted."""
MAX_LABEL_CHARS = 256
"""Characters of a name that a client chose."""
MAX_RANKED = 1000
"""The longest queue whose calls are ranked."""


LimiterNames = dict[Limiter, Limit | Budget | str]
"""What the file states of a counter, or the name of a vendor's quota."""


class LiveView:
    """The calls of this process and its limiters.

    Args:
        wall: Returns seconds since the epoch.
        known: False where no process counts, so that only what is written can be shown.
    """

    def __init__(
        self, scheduler: Scheduler, live: LiveCalls,
        wall: Callable[[], float], *, known: bool = True,
    ) -> None:  # fmt: skip
        self.scheduler = scheduler
        self.known = known
        self._live = live
        self._wall = wall
        self._started = wall()

    @property
    def queued(self) -> int:
        """Return how many calls wait."""
        return len(self.scheduler.waiting)

    def network(self) -> NetworkState:
        """Return whether the network is up."""
        return network_state(self.scheduler.offline_breaker, self.scheduler.now())

    def shared(self) -> SharedServerState | None:
        """Return whether the server of shared state works; None if nothing is shared."""
        engine = self.scheduler.engine
        if engine is None:
            return None
        return SharedServerState(
            up=engine.is_reached, failure=engine.failure, seconds=engine.outage,
            processes=engine.nodes, latency=engine.latency,
        )  # fmt: skip

    def pauses(self) -> list[PauseState]:
        """Return every pause, and how many calls each keeps waiting."""
        limiter = self.scheduler.pauses.limiter
        return [
            pause_state(each, queue_length(limiter(each.target))) for each in self.scheduler.pauses
        ]

    def subscriptions(self) -> list[SubscriptionState]:
        """Return the windows of callers' subscriptions, the one that was reported last first.

        Of several logins at one provider with one key, the latest: a renewed login is another one.
        """
        now = self.scheduler.now()
        known = [
            (each.key.provider, each.subscription)
            for each in self.scheduler.upstreams
            if each.subscription is not None
        ]
        latest: dict[tuple[str, str], Subscription] = {}
        for provider, found in sorted(known, key=lambda each: each[1].at, reverse=True):
            latest.setdefault((provider, found.used_by), found)
        return [
            SubscriptionState(
                provider=provider, key=key, window=window.name, used=window.used,
                reset=None if window.reset is None else round(window.reset, 3),
            )
            for (provider, key), found in latest.items()
            for window in found.remaining(now)
        ]  # fmt: skip

    def show(self) -> LiveState:
        """Return the state of this moment."""
        scheduler, now, wall = self.scheduler, self.scheduler.now(), self._wall()
        calls, upstreams = list(self._live), list(scheduler.upstreams)
        waiting = Counter(waiter.urgency for waiter in scheduler.waiting)
        return LiveState(
            at=wall,
            pid=os.getpid(),
            started=self._started,
            in_flight=len(calls),
            waiting={each.name.lower(): waiting[each] for each in Urgency},
            granted=scheduler.granted,
            calls=[call_state(each, now) for each in calls[:MAX_CALLS_SHOWN]],
            lines=self._queued_calls(calls, now),
            limits=[limit_state(each.window, each.written, now) for each in scheduler.limits],
            quotas=[
                upstream_quota(each, bucket, now, quota_name(*limit))
                for each in upstreams
                for limit, bucket in each.quotas.items()
            ],
            cooldowns=[
                upstream_cooldown(each, now, wall) for each in upstreams if each.cooldown.is_active
            ],
            subscriptions=self.subscriptions(),
            holds=self.pauses(),
            network=self.network(),
            shared=self.shared(),
            unpriced=[UnpricedUse(**each._asdict()) for each in scheduler.pricing.unpriced],
            retries=RetriesLeft(left=int(scheduler.retries_remaining), most=int(MAX_SAVED_RETRIES)),
        )

    def names(self) -> LimiterNames:
        """Return what the file states of each of its limits, and the names of the vendors'
        quotas."""
        found: LimiterNames = {each.window: each.written for each in self.scheduler.limits}
        for upstream in self.scheduler.upstreams:
            found |= {quota: quota_name(*limit) for limit, quota in upstream.quotas.items()}
        return found

    def limiter_state(
        self, limiter: Limiter, names: LimiterNames, urgency: int
    ) -> LimiterState | None:
        """Return the state of a limiter for a call of this urgency; None when there is nothing to
        show, such as an upstream without a cooldown."""
        now = self.scheduler.now()
        limiter = limiter.window if isinstance(limiter, Gate) else limiter
        match limiter:
            case CountingLimiter() if isinstance(written := names.get(limiter), Limit | Budget):
                return limit_state(limiter, written, now, urgency, known=self.known)
            case VendorQuota() if isinstance(name := names.get(limiter), str):
                return quota_state(limiter, now, name)
            case OfflineBreaker():
                return network_state(limiter, now)
            case Cooldown() if limiter.is_active:
                return cooldown_state(limiter, now, self._wall())
            case PauseLimiter():
                return next(each for each in self.pauses() if each.scope == limiter.scope)
        return None

    def _queued_calls(self, calls: list[LiveCall], now: float) -> list[QueuedCall]:
        """Return the calls that wait, by limiter and place."""
        orders: dict[Limiter, dict[int, int]] = {}
        found = []
        waiting = [each for each in calls if each.waiter is not None and each.waiter.queued_at]
        for call in waiting[:MAX_CALLS_SHOWN]:
            assert call.waiter is not None  # noqa: S101 - filtered above
            found.append(_queued_call(call, call.waiter, orders, now))
        return sorted(found, key=_by_place)


def call_state(call: LiveCall, now: float) -> LiveCallState:
    """Return the state of a call in flight."""
    key, begun = call.key, None if call.passing is None else call.passing.first_byte
    request, usage = call.call, _usage(call)
    return LiveCallState(
        call=call.call_id,
        state=_state(call, begun),
        key=None if key is None else key.name,
        child=(key and key.child) or None,
        group=None if key is None else key.group.name,
        urgency=None if key is None else (request or key).urgency.name.lower(),
        program=call.program[:MAX_LABEL_CHARS] or None,
        caller=call.caller,
        endpoint=None if request is None else request.endpoint.name,
        model=_cut(call.model_asked),
        streaming=request is not None and request.facts.streaming,
        provider=call.provider or None,
        credential=None if call.candidate is None else call.candidate.credential_name or None,
        model_served=_cut(call.model_served),
        attempts=len(call.attempts),
        age=round(now - call.began, 3),
        waited=round(call.wait, 3),
        first_byte=None if begun is None else round(begun - call.began, 3),
        bytes=0 if call.passing is None else call.passing.passed,
        input_tokens=None if usage is None else usage.input_tokens,
        output_tokens=None if usage is None else usage.output_tokens,
    )


def queue_places(limiter: Limiter, now: float, *also: Waiter) -> dict[int, int]:
    """Return how many calls are ahead of each waiter of a limiter, by `seq`, with `also` queued
    behind; empty when the queue is too long to rank."""
    queue = limiter.queue
    if not queue:
        return {each.seq: number for number, each in enumerate(also)}
    if len(queue) > MAX_RANKED:
        return {}

    def takes(each: Any) -> int:
        return int(each.queued_at[limiter].demand[limiter.unit])

    return {each.seq: number for number, each in enumerate(queue.order(takes, now, *also))}


def _state(call: LiveCall, begun: float | None) -> str:
    if begun is not None:
        return "answering"
    if call.waiter is not None and call.waiter.queued_at:
        return "waiting"
    return "asked" if call.provider else "arriving"


def _cut(name: str | None) -> str | None:
    return None if name is None else name[:MAX_LABEL_CHARS]


def _usage(call: LiveCall) -> Usage | None:
    """Return what the vendor reported so far. Between two events only: in the middle of one the
    meter's figures are half updated."""
    try:
        return call.meter.usage() if call.meter is not None and call.meter.at_boundary else None
    except Exception:  # noqa: BLE001 - foreign code; the end of the call logs its failure
        return None


def _queued_call(
    call: LiveCall, waiter: Waiter, orders: dict[Limiter, dict[int, int]], now: float
) -> QueuedCall:
    remaining = None if waiter.is_parked else round(max(0.0, waiter.deadline(now) - now), 3)
    return QueuedCall(
        call=call.call_id,
        key=waiter.key,
        group=None if call.key is None else call.key.group.name,
        urgency=Urgency(waiter.urgency).name.lower(),
        model=_cut(call.model_asked),
        waited=round(now - waiter.since, 3),
        remaining_wait=remaining,
        behind=list(_places(waiter, orders, now)),
    )


def _places(
    waiter: Waiter, orders: dict[Limiter, dict[int, int]], now: float
) -> Iterator[QueuePlace]:
    for limiter, option in waiter.queued_at.items():
        if limiter not in orders:
            orders[limiter] = queue_places(limiter, now)
        yield QueuePlace(
            gate=limiter.name,
            scope=limiter.scope,
            kind=limiter.kind,
            provider=option.candidate.provider.name,
            before=orders[limiter].get(waiter.seq),
            waiting=queue_length(limiter),
            opens=seconds_until(option.available_at(waiter.urgency, now), now),
        )


def _by_place(call: QueuedCall) -> tuple[str, int]:
    first = call.behind[0]
    return first.gate, MAX_CALLS_SHOWN if first.before is None else first.before
