"""The board: what runs, what waits and behind what, what is used and what is shut at this moment.

Looks only, and as plain values: for `sidecar top`, `sidecar explain`, `sidecar status` and the
console. Durations are seconds; null is not known. Times of day are seconds since the epoch.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from msgspec import structs

from sidecar.admin.introspect.limit_views import (
    View,
    cooldown_view,
    hold_view,
    limit_view,
    outage_view,
    quota_view,
    span,
    waiting_at,
)
from sidecar.config.model import Budget, Limit, Urgency
from sidecar.plugin_api.guard import plugin_guard
from sidecar.proxy.in_flight import LiveCall, LiveCalls
from sidecar.scheduling.cooldown import Cooldown, OfflineBreaker
from sidecar.scheduling.lease import Waiter
from sidecar.scheduling.limiter import MAX_SAVED_RETRIES, Limiter
from sidecar.scheduling.pauses import PauseLimiter
from sidecar.scheduling.scheduler import Scheduler
from sidecar.scheduling.upstream_health import UpstreamHealth
from sidecar.scheduling.vendor_quota import VendorQuota, quota_name
from sidecar.scheduling.windows import CountingLimiter

MAX_CALLS_SHOWN = 200
"""Calls that are told of one by one; the rest only as a number."""
MAX_LABEL_CHARS = 256
"""Characters of a name that a client made up."""
MAX_RANKED = 1000
"""Calls in a line up to which anybody's place in it is reckoned."""

LimiterNames = dict[Limiter, Limit | Budget | str]
"""What the file says of a counter, or the name of a vendor's limit."""


class LiveView:
    """What there is to see of the calls of this process. `wall` gives seconds since the epoch;
    `known` is false where no process counts, and all there is to see is what is written."""

    def __init__(
        self, scheduler: Scheduler, live: LiveCalls, wall: Callable[[], float], *,
        known: bool = True,
    ) -> None:  # fmt: skip
        self.scheduler = scheduler
        self.known = known
        self._live = live
        self._wall = wall
        self._started = wall()

    def standing(self) -> View:
        """In short: how many calls wait, what is paused, and whether the network is there."""
        scheduler = self.scheduler
        return {
            "waiting": len(scheduler.waiting),
            "holds": self._holds(),
            "network": outage_view(scheduler.offline_breaker, scheduler.now()),
        }

    def show(self) -> View:
        """All of it, as it is now."""
        scheduler, now = self.scheduler, self.scheduler.now()
        calls = list(self._live)
        waiting = Counter(waiter.urgency for waiter in scheduler.waiting)
        accounts = scheduler.upstreams
        return {
            "at": self._wall(),
            "pid": os.getpid(),
            "started": self._started,
            "in_flight": len(calls),
            "waiting": {each.name.lower(): waiting[each] for each in Urgency},
            "granted": scheduler.granted,
            "calls": [call_view(each, now) for each in calls[:MAX_CALLS_SHOWN]],
            "lines": self._lines(calls, now),
            "limits": [limit_view(each.window, each.written, now) for each in scheduler.limits],
            "quotas": [
                _account(account) | quota_view(bucket, now, quota_name(*limit))
                for account in accounts
                for limit, bucket in account.quotas.items()
            ],
            "cooldowns": [
                _account(account) | cooldown_view(account.cooldown, now, self._wall())
                for account in accounts
                if account.cooldown.is_active
            ],
            "holds": self._holds(),
            "network": outage_view(scheduler.offline_breaker, now),
            "unpriced": [each._asdict() for each in scheduler.unpriced],
            "retries": {"left": int(scheduler.retries_remaining), "most": int(MAX_SAVED_RETRIES)},
        }

    def names(self) -> LimiterNames:
        """The counters of the configuration in force with what the file says of them, and the
        vendors' limits with their names."""
        found: LimiterNames = {each.window: each.written for each in self.scheduler.limits}
        for health in self.scheduler.upstreams:
            found |= {quota: quota_name(*limit) for limit, quota in health.quotas.items()}
        return found

    def gate(self, limiter: Limiter, names: LimiterNames, urgency: int) -> View | None:
        """One gate on the way of a call; None when it says nothing, such as an account that is
        well."""
        now = self.scheduler.now()
        match limiter:
            case CountingLimiter() if isinstance(written := names.get(limiter), Limit | Budget):
                return limit_view(limiter, written, now, urgency, known=self.known)
            case VendorQuota() if isinstance(name := names.get(limiter), str):
                return quota_view(limiter, now, name)
            case OfflineBreaker():
                return outage_view(limiter, now)
            case Cooldown() if limiter.is_active:
                return cooldown_view(limiter, now, self._wall())
            case PauseLimiter():
                return next(each for each in self._holds() if each["scope"] == limiter.scope)
        return None

    def _holds(self) -> list[View]:
        scheduler = self.scheduler
        return [
            hold_view(each, waiting_at(scheduler.pause_limiter(each.target)))
            for each in scheduler.pauses
        ]

    def _lines(self, calls: list[LiveCall], now: float) -> list[View]:
        """The calls that wait, each where it stands, by gate and by place."""
        orders: dict[Limiter, dict[int, int]] = {}
        found = []
        standing = [each for each in calls if each.waiter is not None and each.waiter.queued_at]
        for call in standing[:MAX_CALLS_SHOWN]:
            assert call.waiter is not None  # noqa: S101 - only those are in it
            found.append(_waits(call, call.waiter, orders, now))
        return sorted(found, key=_by_place)


def call_view(call: LiveCall, now: float) -> View:
    """A call that runs, as far as it has come."""
    key, begun = call.key, None if call.passing is None else call.passing.first_byte
    usage = _usage(call)
    return {
        "call": call.call_id,
        "state": _state(call, begun),
        "key": None if key is None else key.name,
        "group": None if key is None else key.group.name,
        "urgency": None if key is None else call.urgency.name.lower(),
        "program": call.program[:MAX_LABEL_CHARS] or None,
        "caller": None if call.caller is None else structs.asdict(call.caller),
        "endpoint": call.endpoint or None,
        "model": _cut(call.model_asked),
        "streaming": call.streaming,
        "provider": call.provider or None,
        "credential": call.credential or None,
        "model_served": _cut(call.model_served),
        "attempts": len(call.attempts),
        "age": round(now - call.began, 3),
        "waited": round(call.wait, 3),
        "first_byte": None if begun is None else round(begun - call.began, 3),
        "bytes": 0 if call.passing is None else call.passing.passed,
        "input_tokens": None if usage is None else usage.input_tokens,
        "output_tokens": None if usage is None else usage.output_tokens,
    }


def places(limiter: Limiter, now: float, *also: Waiter) -> dict[int, int]:
    """How many go before each one who waits at a gate, by `seq`, if nobody else comes than `also`;
    empty when there are too many to tell."""
    line = limiter.queue
    if not line:
        return {each.seq: number for number, each in enumerate(also)}
    if len(line) > MAX_RANKED:
        return {}

    def takes(each: Any) -> int:
        return int(each.queued_at[limiter].demand[limiter.unit])

    return {each.seq: number for number, each in enumerate(line.order(takes, now, *also))}


def _state(call: LiveCall, begun: float | None) -> str:
    if begun is not None:
        return "answering"
    if call.waiter is not None and call.waiter.queued_at:
        return "waiting"
    return "asked" if call.provider else "arriving"


def _cut(name: str | None) -> str | None:
    return None if name is None else name[:MAX_LABEL_CHARS]


def _usage(call: LiveCall) -> Any:
    """What the vendor said so far. Between two events only: a meter must not be asked for the
    figures of half a one."""
    # The error is logged once, when the call ends.
    with plugin_guard("meter of a call in flight", "usage", level=logging.DEBUG):
        return call.meter.usage() if call.meter is not None and call.meter.at_boundary else None
    return None


def _account(account: UpstreamHealth) -> View:
    return {
        "provider": account.key.provider,
        "credential": account.key.credential or None,
        "family": account.key.family or None,
    }


def _waits(
    call: LiveCall, waiter: Waiter, orders: dict[Limiter, dict[int, int]], now: float
) -> View:
    parked = waiter.is_parked
    max_wait = waiter.deadline(now) - now
    return {
        "call": call.call_id,
        "key": waiter.key,
        "group": None if call.key is None else call.key.group.name,
        "urgency": Urgency(waiter.urgency).name.lower(),
        "model": _cut(call.model_asked),
        "waited": round(now - waiter.since, 3),
        "patience": None if parked else round(max(0.0, max_wait), 3),
        "behind": list(_stands(waiter, orders, now)),
    }


def _stands(waiter: Waiter, orders: dict[Limiter, dict[int, int]], now: float) -> Iterator[View]:
    for limiter, option in waiter.queued_at.items():
        if limiter not in orders:
            orders[limiter] = places(limiter, now)
        yield {
            "gate": limiter.name,
            "scope": limiter.scope,
            "kind": limiter.kind,
            "provider": option.candidate.provider.name,
            "before": orders[limiter].get(waiter.seq),
            "waiting": waiting_at(limiter),
            "opens": span(option.available_at(waiter.urgency, now), now),
        }


def _by_place(view: View) -> tuple[str, int]:
    first = view["behind"][0]
    return first["gate"], MAX_CALLS_SHOWN if first["before"] is None else first["before"]
