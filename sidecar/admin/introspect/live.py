"""The board: what runs, what waits and behind what, what is used and what is shut at this moment.

Looks only, and as plain values: for `sidecar top`, `sidecar explain`, `sidecar status` and the
console. Durations are seconds; null is not known. Times of day are seconds since the epoch.
"""

from __future__ import annotations

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
from sidecar.config.model import Urgency
from sidecar.proxy.in_flight import LiveCall, LiveCalls
from sidecar.routing.candidates import Candidate
from sidecar.scheduling.cooldown import Cooldown, Outage
from sidecar.scheduling.lease import Waiter
from sidecar.scheduling.limiter import MOST, Gate, RetryBudget
from sidecar.scheduling.limits import Name
from sidecar.scheduling.pauses import Hold
from sidecar.scheduling.scheduler import Scheduler
from sidecar.scheduling.upstream_health import Account
from sidecar.scheduling.vendor_quota import Bucket, per
from sidecar.scheduling.windows import Window

MOST_SHOWN = 200
"""Calls that are told of one by one; the rest only as a number."""
LONGEST = 256
"""Characters of a name that a client made up."""
MOST_PLACED = 1000
"""Calls in a line up to which anybody's place in it is reckoned."""


class Board:
    """What there is to see of the calls of this process. `wall` gives seconds since the epoch;
    `known` is false where no process counts, and all there is to see is what is written."""

    def __init__(
        self, scheduler: Scheduler, live: LiveCalls, retries: RetryBudget,
        wall: Callable[[], float], *, known: bool = True,
    ) -> None:  # fmt: skip
        self.scheduler = scheduler
        self.known = known
        self._live = live
        self._retries = retries
        self._wall = wall
        self._started = wall()

    def standing(self) -> View:
        """In short: how many calls wait, what is paused, and whether the network is there."""
        scheduler = self.scheduler
        return {
            "waiting": len(scheduler.admission),
            "holds": self._holds(),
            "network": outage_view(scheduler.network.outage, scheduler.now()),
        }

    def show(self) -> View:
        """All of it, as it is now."""
        scheduler, now = self.scheduler, self.scheduler.now()
        calls = list(self._live)
        waiting = Counter(waiter.urgency for waiter in scheduler.admission)
        accounts = list(scheduler.accounts)
        return {
            "at": self._wall(),
            "pid": os.getpid(),
            "started": self._started,
            "in_flight": len(calls),
            "waiting": {each.name.lower(): waiting[each] for each in Urgency},
            "granted": scheduler.granted,
            "calls": [call_view(each, now) for each in calls[:MOST_SHOWN]],
            "lines": self._lines(calls, now),
            "limits": [
                limit_view(window, scheduler.limits.written(name), now)
                for name, window in scheduler.limits
            ],
            "quotas": [
                _account(account) | quota_view(bucket, now, per(*limit))
                for account in accounts
                for limit, bucket in account.buckets.items()
            ],
            "cooldowns": [
                _account(account) | cooldown_view(account.cooldown, now, self._wall())
                for account in accounts
                if account.cooldown.cooling
            ],
            "holds": self._holds(),
            "network": outage_view(scheduler.network.outage, now),
            "unpriced": [each._asdict() for each in scheduler.pricing.unpriced],
            "retries": {"left": int(self._retries.left), "most": int(MOST)},
        }

    def names(self) -> dict[Gate, Name]:
        """The counters of the configuration in force, and the vendors' limits, by what they are
        called."""
        found: dict[Gate, Name] = {window: name for name, window in self.scheduler.limits}
        for account in self.scheduler.accounts:
            found |= {bucket: (per(*limit),) for limit, bucket in account.buckets.items()}
        return found

    def gate(self, gate: Gate, names: dict[Gate, Name], urgency: int) -> View | None:
        """One gate on the way of a call; None when it says nothing, such as an account that is
        well."""
        now = self.scheduler.now()
        match gate:
            case Window() if gate in names:
                written = self.scheduler.limits.written(names[gate])
                return limit_view(gate, written, now, urgency, known=self.known)
            case Bucket() if gate in names:
                return quota_view(gate, now, *names[gate])
            case Outage():
                return outage_view(gate, now)
            case Cooldown() if gate.cooling:
                return cooldown_view(gate, now, self._wall())
            case Hold():
                return next(each for each in self._holds() if each["scope"] == gate.scope)
        return None

    def _holds(self) -> list[View]:
        holds = self.scheduler.holds
        return [hold_view(each, waiting_at(holds.gate(each.held))) for each in holds]

    def _lines(self, calls: list[LiveCall], now: float) -> list[View]:
        """The calls that wait, each where it stands, by gate and by place."""
        orders: dict[Gate, dict[int, int]] = {}
        found = []
        standing = [each for each in calls if each.waiter is not None and each.waiter.stands]
        for call in standing[:MOST_SHOWN]:
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
        "program": call.program[:LONGEST] or None,
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


def places(gate: Gate, now: float, *also: Waiter[Any]) -> dict[int, int]:
    """How many go before each one who waits at a gate, by `seq`, if nobody else comes than `also`;
    empty when there are too many to tell."""
    line = gate.line
    if not line:
        return {each.seq: number for number, each in enumerate(also)}
    if len(line) > MOST_PLACED:
        return {}

    def takes(each: Any) -> int:
        return int(each.stands[gate].need[gate.unit])

    return {each.seq: number for number, each in enumerate(line.order(takes, now, *also))}


def _state(call: LiveCall, begun: float | None) -> str:
    if begun is not None:
        return "answering"
    if call.waiter is not None and call.waiter.stands:
        return "waiting"
    return "asked" if call.provider else "arriving"


def _cut(name: str | None) -> str | None:
    return None if name is None else name[:LONGEST]


def _usage(call: LiveCall) -> Any:
    """What the vendor said so far. Between two events only: a meter must not be asked for the
    figures of half a one."""
    try:
        return call.meter.usage() if call.meter is not None and call.meter.at_boundary else None
    except Exception:  # noqa: BLE001 - the guard around foreign code; the call's end tells of it
        return None


def _account(account: Account) -> View:
    return {
        "provider": account.provider,
        "credential": account.credential or None,
        "family": account.family or None,
    }


def _waits(
    call: LiveCall, waiter: Waiter[Candidate], orders: dict[Gate, dict[int, int]], now: float
) -> View:
    parked = waiter.is_parked
    patience = waiter.deadline(now) - now
    return {
        "call": call.call_id,
        "key": waiter.key,
        "group": None if call.key is None else call.key.group.name,
        "urgency": Urgency(waiter.urgency).name.lower(),
        "model": _cut(call.model_asked),
        "waited": round(now - waiter.since, 3),
        "patience": None if parked else round(max(0.0, patience), 3),
        "behind": list(_stands(waiter, orders, now)),
    }


def _stands(
    waiter: Waiter[Candidate], orders: dict[Gate, dict[int, int]], now: float
) -> Iterator[View]:
    for gate, option in waiter.stands.items():
        if gate not in orders:
            orders[gate] = places(gate, now)
        yield {
            "gate": gate.name,
            "scope": gate.scope,
            "kind": gate.kind,
            "provider": option.place.provider.name,
            "before": orders[gate].get(waiter.seq),
            "waiting": waiting_at(gate),
            "opens": span(option.opens(waiter.urgency, now), now),
        }


def _by_place(view: View) -> tuple[str, int]:
    first = view["behind"][0]
    return first["gate"], MOST_SHOWN if first["before"] is None else first["before"]
