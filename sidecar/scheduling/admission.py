"""Admits calls: at once those that fit, the others when their turn comes.

A call gets one lease over all limiters of the first of its options that is free. Otherwise it waits
in the queue of the first limiter that blocks each option, the narrowest first: so a call is never
delayed by one that waits for something else. Event-driven: an event rechecks the limiters that it
may have freed, and a timer rechecks those that time frees.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

from sidecar.scheduling.estimates.demand import CallLimiters
from sidecar.scheduling.fair_queue import FairQueue
from sidecar.scheduling.lease import (
    TIMER_SLACK_SECONDS,
    AdmissionOption,
    Blocked,
    CallAt,
    Lease,
    NotAdmitted,
    Renew,
    Waiter,
)
from sidecar.scheduling.limiter import NEVER, Demand, Limiter
from sidecar.scheduling.vendor_quota import take_all

log = logging.getLogger("sidecar.scheduling.admission")

MAX_WAITING = 10_000
"""Calls that may wait at one time; further calls are rejected at once."""
MAX_CHECKS_PER_WAITER = 1000
"""Checks of limiters per waiting call after one change; more means a cycle, which is a bug."""
RECHECK_AFTER_CYCLE_SECONDS = 1.0


class Admission:
    """All waiting calls and all leases of the process.

    Args:
        clock: Returns monotonic seconds.
        call_at: Sets a timer on that clock.

    Attributes:
        leases: The leases that have not ended.
        granted: The number of leases since the start.
        on_block: Called with the first limiter that makes a call wait.
    """

    def __init__(self, clock: Callable[[], float], call_at: CallAt) -> None:
        self._clock = clock
        self._call_at = call_at
        self._numbers = itertools.count()
        self._waiters: dict[int, Waiter] = {}
        # Limiters whose queue's head may be admitted or may wait elsewhere; and those checked.
        self._to_check: dict[Limiter, None] = {}
        self._checked: set[Limiter] = set()
        self._draining = False
        self.leases: set[Lease] = set()
        self.granted = 0
        self.on_block: Callable[[Limiter], None] = lambda _: None

    def __iter__(self) -> Iterator[Waiter]:
        """Iterate over the waiting calls in order of arrival."""
        return iter(sorted(self._waiters.values(), key=lambda each: each.seq))

    def __len__(self) -> int:
        return len(self._waiters)

    @property
    def waiting(self) -> Collection[Waiter]:
        """A live view of the waiting calls, in the order in which they began to wait."""
        return self._waiters.values()

    def new_waiter(
        self, key: str, share: float, urgency: int, options: Sequence[AdmissionOption], renew: Renew
    ) -> Waiter:
        """Return a call that may ask for a lease; it does not wait yet."""
        return Waiter(next(self._numbers), key, share, urgency, options, renew)

    def try_lease(self, waiter: Waiter) -> Lease | None:
        """Return a lease on the first option that is free now; None if none is."""
        now = self._clock()
        for option in waiter.all_options:
            if self._first_blocking(waiter, option, now) is None:
                lease = self._grant(waiter, option, now)
                if self._to_check:
                    self._drain()
                return lease
            if waiter.first_only:
                break
        return None

    def lease_at_once(
        self, option: AdmissionOption, limiters: CallLimiters, urgency: int, renew: Renew
    ) -> Lease | None:
        """Return a lease on an option that is free and at whose limiters no call waits; else None,
        and nothing has changed.

        `try_lease` returns the same lease, and decides where calls wait, too.
        """
        for cooldown in limiters.cooldowns:
            if not cooldown.at_rest or cooldown.queue:
                return None
        demand, now, others = option.demand, self._clock(), limiters.others
        for limiter in others:
            if limiter.queue or not limiter.allows(demand[limiter.unit], urgency, now):
                return None
        taken: list[tuple[Limiter, Any]] = []
        if limiters.quotas and not take_all(limiters.quotas, demand, now, taken):
            return None
        for limiter in others:
            reservation = limiter.acquire(demand[limiter.unit], urgency, now)
            if reservation is not None:
                taken.append((limiter, reservation))
        lease = self._new_lease(option, taken, renew)
        if self._to_check:
            self._drain()
        return lease

    async def acquire(self, waiter: Waiter, max_wait: float, *, sticky_wait: float = 0.0) -> Lease:
        """Return a lease as soon as an option is free and the call is next.

        Args:
            max_wait: Seconds to wait at most; pauses do not count.
            sticky_wait: Seconds for which only the first option is waited for.
        Raises:
            NotAdmitted: After `max_wait`, or at once if no option can be free by then.
        """
        waiter.first_only = sticky_wait > 0
        lease = self.try_lease(waiter)
        if lease is not None:
            return lease
        future: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()
        waiter.future = future
        self._enter(waiter, max_wait, sticky_wait)
        try:
            return await future
        except asyncio.CancelledError:
            # A lease may have been granted in the turn of the loop that cancelled the task.
            if future.done() and not future.cancelled() and future.exception() is None:
                future.result().refund()
            raise
        finally:
            self._leave(waiter)

    def end(self, lease: Lease, used: Demand, sent: Demand) -> None:
        """End a lease; see `OnLeaseEnd`."""
        if lease.ended:
            raise AssertionError("a lease ends once")
        lease.ended = True
        if lease.on_settled is not None:
            lease.on_settled(used, sent)
        now = self._clock()
        self.leases.discard(lease)
        for limiter, reservation in lease.taken:
            amount = (sent if limiter.counts_sent else used)[limiter.unit]
            limiter.settle(reservation, amount, now)
        if self._waiters:
            self.recheck(lease.option.limiters)

    def recheck(self, limiters: Iterable[Limiter]) -> None:
        """Admit the calls that changes at these limiters make room for."""
        self._mark_for_check(limiters)
        self._drain()

    def reevaluate(self) -> None:
        """Apply a change of the configuration, of a pause or of an upstream's state.

        Renews the options of every waiting call, and counts running calls in concurrency limits
        that are new.
        """
        for lease in tuple(self.leases):
            lease.join_new_limits(self._clock())
        for waiter in list(self):
            if waiter.seq not in self._waiters:
                continue  # admitted meanwhile, by room that an earlier one of these released
            try:
                waiter.all_options = waiter.renew()
            except Exception as error:  # noqa: BLE001 - the call that waits raises it
                self._resolve(waiter, error)
                continue
            self._leave_queues(waiter)
            if not self._admit_or_queue(waiter, self._clock()) and waiter.cannot_be_admitted(
                self._clock()
            ):
                self._reject(waiter)
        self._drain()

    def blocked(self, waiter: Waiter, now: float) -> list[Blocked]:
        """Return the reason for each option that is blocked now; free options are left out."""
        pairs = (
            (option, self._first_blocking(waiter, option, now)) for option in waiter.all_options
        )
        return [
            option.blocked(limiter, waiter.urgency, now)
            for option, limiter in pairs
            if limiter is not None
        ]

    def _enter(self, waiter: Waiter, max_wait: float, sticky_wait: float) -> None:
        now = self._clock()
        again = waiter.since != NEVER  # it was admitted here, and not by other processes
        if not again:
            waiter.since, waiter.max_wait = now, max_wait
        waiter.first_only = waiter.first_only and waiter.should_wait_for_first(sticky_wait, now)
        full = len(self._waiters) >= MAX_WAITING
        if full or waiter.cannot_be_admitted(now):
            raise NotAdmitted(self.blocked(waiter, now), waiter.waited(now), now, full=full)
        self._waiters[waiter.seq] = waiter
        waiter.timers.append(self._call_at(waiter.next_check_at(now), self._expire, waiter))
        if waiter.first_only:
            waiter.timers.append(
                self._call_at(now + sticky_wait, self._stop_waiting_for_first, waiter)
            )
        if not self._admit_or_queue(waiter, now) and not again:
            self.on_block(next(iter(waiter.queued_at)))
        self._drain()

    def _leave(self, waiter: Waiter) -> None:
        self._waiters.pop(waiter.seq, None)
        waiter.park(self._clock(), parked=False)
        for timer in waiter.timers:
            timer.cancel()
        waiter.timers.clear()
        self._leave_queues(waiter)
        self._drain()

    def _leave_queues(self, waiter: Waiter) -> None:
        """Remove the call from every queue; the calls behind it may be next."""
        for limiter in waiter.queued_at:
            if limiter.queue is not None:
                limiter.queue.remove(waiter)
        self._mark_for_check(waiter.queued_at)
        waiter.queued_at = {}

    def _first_blocking(
        self, waiter: Waiter, option: AdmissionOption, now: float
    ) -> Limiter | None:
        """Return the first limiter that blocks this option now; None if it is free."""
        demand, urgency = option.demand, waiter.urgency
        for limiter in option.limiters:
            queue = limiter.queue
            if queue is None:
                if not limiter.at_rest and not limiter.allows(demand[limiter.unit], urgency, now):
                    return limiter
                continue
            if not limiter.allows(demand[limiter.unit], waiter.urgency_at(queue, now), now):
                return limiter
            if queue and not queue.may_pass(waiter, now):
                if limiter not in self._checked:
                    self._to_check[limiter] = None  # the calls before it may not wait here any more
                return limiter
        return None

    def _grant(self, waiter: Waiter, option: AdmissionOption, now: float) -> Lease:
        demand, urgency = option.demand, waiter.urgency
        taken = []
        for limiter in option.limiters:
            if limiter.queue:
                limiter.queue.charge(waiter, demand[limiter.unit], now)
                self._to_check[limiter] = None  # the charge may put the oldest call first
            if not limiter.at_rest:
                reservation = limiter.acquire(demand[limiter.unit], urgency, now)
                if reservation is not None:
                    taken.append((limiter, reservation))
        return self._new_lease(option, taken, waiter.renew)

    def _new_lease(
        self, option: AdmissionOption, taken: list[tuple[Limiter, Any]], renew: Renew
    ) -> Lease:
        lease = Lease(option, option.candidate, taken, renew, self.end)
        self.leases.add(lease)
        self.granted += 1
        self._checked.clear()
        return lease

    def _admit_or_queue(self, waiter: Waiter, now: float) -> bool:
        """Admit a waiting call, or queue it at the limiters that block it; return whether it was
        admitted."""
        queued_at: dict[Limiter, AdmissionOption] = {}
        for option in waiter.options:
            limiter = self._first_blocking(waiter, option, now)
            if limiter is None:
                waiter.park(now, parked=False)
                self._resolve(waiter, self._grant(waiter, option, now))
                return True
            waiter.queue_option(queued_at, limiter, option)
        if queued_at.keys() != waiter.queued_at.keys():
            self._change_queues(waiter, queued_at)
        waiter.queued_at = queued_at
        waiter.park(now, parked=all(limiter.is_pause for limiter in queued_at))
        return False

    def _change_queues(self, waiter: Waiter, queued_at: dict[Limiter, AdmissionOption]) -> None:
        left = [limiter for limiter in waiter.queued_at if limiter not in queued_at]
        for limiter in left:
            if limiter.queue is not None:
                limiter.queue.remove(waiter)
        for limiter in queued_at:
            if limiter.queue is None:
                limiter.queue = FairQueue(counts=limiter.counts_turns)
            if limiter not in waiter.queued_at:
                limiter.queue.add(waiter)
        waiter.record_blocked(self._clock(), next(iter(queued_at)))
        self._mark_for_check((*left, *queued_at))

    def _mark_for_check(self, limiters: Iterable[Limiter]) -> None:
        self._checked.clear()
        for limiter in limiters:
            if limiter.queue:
                self._to_check[limiter] = None

    def _resolve(self, waiter: Waiter, answer: Lease | Exception) -> None:
        future = waiter.future
        assert future is not None  # noqa: S101 - set before it waits
        self._waiters.pop(waiter.seq, None)
        self._leave_queues(waiter)
        if future.done():  # cancelled, and not left yet
            if isinstance(answer, Lease):
                answer.refund()
        elif isinstance(answer, Lease):
            future.set_result(answer)
        else:
            future.set_exception(answer)

    def _drain(self) -> None:
        """Check limiters until none is marked."""
        if self._draining:
            return
        self._draining = True
        try:
            checks = MAX_CHECKS_PER_WAITER + MAX_CHECKS_PER_WAITER * len(self._waiters)
            for _ in range(checks):
                if not self._to_check:
                    return
                self._admit_from(self._to_check.popitem()[0])
            log.error(
                "scheduler: queues did not settle after %d checks, which is a bug; next check in "
                "%g s",
                checks,
                RECHECK_AFTER_CYCLE_SECONDS,
            )
            self._call_at(self._clock() + RECHECK_AFTER_CYCLE_SECONDS, self._drain)
        finally:
            self._draining = False

    def _admit_from(self, limiter: Limiter) -> None:
        """Admit calls from the head of a limiter's queue until one has to wait there."""
        now = self._clock()
        queue = limiter.queue
        if limiter.spent:  # running calls cannot make room for the calls that wait here
            for each in [e for e in self if limiter in e.queued_at and e.cannot_be_admitted(now)]:
                self._reject(each)
        while queue and (head := queue.head(now)) is not None:
            waiter = self._waiters[head.seq]
            if not self._admit_or_queue(waiter, now) and limiter in waiter.queued_at:
                self._checked.add(limiter)
                self._to_check.pop(limiter, None)
                self._schedule_wakeup(limiter, waiter, now)
                return

    def _schedule_wakeup(self, limiter: Limiter, head: Waiter, now: float) -> None:
        """Recheck a limiter when time alone may admit the head of its queue."""
        urgency, demand = head.urgency_at(limiter.queue, now), head.queued_at[limiter].demand
        at = limiter.next_check_at(demand[limiter.unit], urgency, now)
        limiter.schedule_wakeup(max(at, now + TIMER_SLACK_SECONDS), self._call_at, self.recheck)

    def _expire(self, waiter: Waiter) -> None:
        if waiter.seq not in self._waiters:
            return
        now = self._clock()
        if waiter.next_check_at(now) <= now:
            self._reject(waiter)
        if waiter.seq in self._waiters:
            waiter.timers[0] = self._call_at(waiter.next_check_at(now), self._expire, waiter)

    def _reject(self, waiter: Waiter) -> None:
        now = self._clock()
        waiter.first_only = False
        # Room, or a pause, may have come at this very moment.
        if not self._admit_or_queue(waiter, now) and not waiter.is_parked:
            self._resolve(waiter, NotAdmitted(self.blocked(waiter, now), waiter.waited(now), now))

    def _stop_waiting_for_first(self, waiter: Waiter) -> None:
        """End the sticky wait: from now on the call takes any option."""
        if waiter.seq in self._waiters:
            waiter.first_only = False
            self._admit_or_queue(waiter, self._clock())
            self._drain()
