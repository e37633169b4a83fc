"""Admission under any interleaving of arrivals, grants, settlements, cancellations, timeouts,
reloads and pauses: no limit is exceeded, no call is lost, and none overtakes another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from manual_clock import HandClock, turns
from sample_candidates import candidate

from sidecar.config.model import Urgency
from sidecar.scheduling.admission import Admission
from sidecar.scheduling.lease import AdmissionOption, Lease, NotAdmitted, Waiter
from sidecar.scheduling.limiter import Limiter, LimitUnit, demand_of
from sidecar.scheduling.pauses import PauseLimiter
from sidecar.scheduling.windows import ConcurrencyLimit, CountingLimiter, SlidingWindow

KEYS, PROVIDERS = ("a", "b", "c"), ("p", "q")


class Checked:
    """Mixed into a window: checks each grant against the limit when it is made."""

    def acquire(self, amount: int, urgency: int, now: float) -> Any:
        assert isinstance(self, CountingLimiter)
        self.advance(now)
        assert self.limit > 0
        fits = not amount or self.used <= 0 or self.used + amount <= self.limit
        assert fits, "granted beyond the limit"
        return super().acquire(amount, urgency, now)  # type: ignore[misc]


class CheckedWindow(Checked, SlidingWindow):
    pass


class CheckedSlots(Checked, ConcurrencyLimit):
    pass


def new_limiters() -> dict[str, Limiter]:
    found: dict[str, Limiter] = {}
    for key in KEYS:
        found[f"key {key}"] = CheckedWindow(key, "rpm", LimitUnit.CALLS, f"key {key}", 6)
        found[f"slots {key}"] = CheckedSlots(key, "concurrency", LimitUnit.CALLS, f"slots {key}", 3)
    for place in PROVIDERS:
        found[f"tokens {place}"] = CheckedWindow(
            place, "tpm", LimitUnit.TOKENS, f"tokens {place}", 100
        )
        found[f"slots {place}"] = CheckedSlots(place, "concurrency", LimitUnit.CALLS, place, 2)
    found["all"] = CheckedWindow("all", "rpm", LimitUnit.CALLS, "all", 20)
    for name in ("tokens p", "slots q", "all"):
        limiter = found[name]
        assert isinstance(limiter, CountingLimiter)
        limiter.headroom = {Urgency.NORMAL: 0.2, Urgency.BACKGROUND: 0.5}
    return found


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = HandClock()
        self.admission = Admission(self.clock, self.clock.call_at)
        self.limiters = new_limiters()
        self.pause: PauseLimiter | None = None
        self.tasks: list[asyncio.Task[Lease]] = []
        self.waiters: dict[asyncio.Task[Lease], Waiter] = {}
        self.running: list[Lease] = []
        self.rejected = 0

    def options(self, key: str, places: Sequence[str], tokens: int) -> list[AdmissionOption]:
        paused = () if self.pause is None else (self.pause,)
        return [
            AdmissionOption(
                candidate(place),
                (
                    *paused, self.limiters[f"key {key}"], self.limiters[f"slots {key}"],
                    self.limiters[f"tokens {place}"], self.limiters[f"slots {place}"],
                    self.limiters["all"],
                ),
                demand_of(tokens, 0),
            )
            for place in places
        ]  # fmt: skip

    def settle_down(self) -> None:
        """Run every task as far as it can go, and collect the results."""
        self.loop.run_until_complete(turns())
        for task in [task for task in self.tasks if task.done()]:
            self.tasks.remove(task)
            if task.cancelled():
                continue
            error = task.exception()
            if error is None:
                self.running.append(task.result())
            else:
                assert isinstance(error, NotAdmitted), error
                self.rejected += 1

    @rule(
        key=st.sampled_from(KEYS), urgency=st.sampled_from(list(Urgency)),
        places=st.sampled_from([("p",), ("q",), ("p", "q"), ("q", "p")]),
        tokens=st.integers(0, 130), max_wait=st.floats(0, 200),
        sticky_wait=st.sampled_from([0.0, 5.0]),
    )  # fmt: skip
    def arrive(
        self, key: str, urgency: Urgency, places: tuple[str, ...], tokens: int, max_wait: float,
        sticky_wait: float,
    ) -> None:  # fmt: skip
        def renew() -> list[AdmissionOption]:
            return self.options(key, places, tokens)

        waiter = self.admission.new_waiter(key, 1.0, urgency, renew(), renew)
        task = self.loop.create_task(
            self.admission.acquire(waiter, max_wait, sticky_wait=sticky_wait)
        )
        self.tasks.append(task)
        self.waiters[task] = waiter
        self.settle_down()

    @rule(seconds=st.sampled_from([0.0, 0.3, 1.0, 4.0, 11.0, 31.0, 61.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.settle_down()

    @precondition(lambda self: self.running)
    @rule(number=st.integers(0, 99), tokens=st.integers(0, 150), how=st.sampled_from("skrS"))
    def end(self, number: int, tokens: int, how: str) -> None:
        lease = self.running.pop(number % len(self.running))
        match how:
            case "s":
                lease.settle(demand_of(tokens, 0))
            case "k":
                lease.keep()
            case "r":
                lease.refund()
            case "S":
                lease.refund(sent=True)
        self.settle_down()

    @precondition(lambda self: self.tasks)
    @rule(number=st.integers(0, 99))
    def leave(self, number: int) -> None:
        self.tasks[number % len(self.tasks)].cancel()
        self.settle_down()

    @precondition(lambda self: self.tasks and self.running)
    @rule(number=st.integers(0, 99))
    def leave_when_a_lease_is_granted(self, number: int) -> None:
        """A lease is granted, and the task is cancelled before it resumes."""
        self.running.pop().refund()
        self.tasks[number % len(self.tasks)].cancel()
        self.settle_down()

    @rule(name=st.sampled_from(sorted(new_limiters())), limit=st.sampled_from([0, 1, 3, 8, 150]))
    def reload(self, name: str, limit: int) -> None:
        limiter = self.limiters[name]
        assert isinstance(limiter, CountingLimiter)
        limiter.limit = limit
        self.admission.reevaluate()
        self.settle_down()

    @rule()
    def pause_or_resume(self) -> None:
        self.pause = PauseLimiter("all", "everything is paused") if self.pause is None else None
        self.admission.reevaluate()
        self.settle_down()

    @invariant()
    def reservations_are_those_of_running_calls(self) -> None:
        assert self.admission.leases == set(self.running)
        for limiter in self.limiters.values():
            if isinstance(limiter, ConcurrencyLimit):
                assert limiter.used == sum(
                    limiter in lease.option.limiters for lease in self.running
                )
            assert isinstance(limiter, CountingLimiter)
            assert limiter.used >= 0

    @invariant()
    def waiting_calls_are_in_a_queue(self) -> None:
        assert {w.seq for w in self.admission} == {self.waiters[t].seq for t in self.tasks}
        for waiter in self.admission:
            assert waiter.queued_at
            assert all(limiter.queue and waiter in limiter.queue for limiter in waiter.queued_at)
        for limiter in self.limiters.values():
            members = sum(limiter in waiter.queued_at for waiter in self.admission)
            assert len(limiter.queue or ()) == members

    @invariant()
    def head_of_a_queue_has_no_room_there(self) -> None:
        """So each waiting call waits for this very limiter, or behind a call that does."""
        for limiter in self.limiters.values():
            front = limiter.queue.head(self.clock()) if limiter.queue else None
            if front is not None:
                waiter = next(w for w in self.admission if w.seq == front.seq)
                amount = waiter.queued_at[limiter].demand[limiter.unit]
                assert limiter.queue is not None
                aged = limiter.queue.is_aged_head(waiter, self.clock())
                assert not limiter.allows(amount, 0 if aged else waiter.urgency, self.clock())

    @invariant()
    def no_free_option_waits(self) -> None:
        for waiter in self.admission:
            for option in waiter.options:
                assert any(self.is_blocked(limiter, waiter, option) for limiter in option.limiters)

    def is_blocked(self, limiter: Limiter, waiter: Waiter, option: AdmissionOption) -> bool:
        now, amount, queue = self.clock(), option.demand[limiter.unit], limiter.queue
        aged = queue is not None and queue.is_aged_head(waiter, now)
        if not limiter.allows(amount, 0 if aged else waiter.urgency, now):
            return True
        return bool(queue) and queue is not None and not queue.may_pass(waiter, now)

    def teardown(self) -> None:
        for task in self.tasks:
            task.cancel()
        self.settle_down()
        for lease in self.running:
            lease.keep()
        self.running.clear()
        self.reservations_are_those_of_running_calls()
        assert len(self.admission) == 0
        for limiter in self.limiters.values():
            assert not limiter.queue
            assert isinstance(limiter, CountingLimiter)
            limiter.advance(self.clock() + 61)
            assert limiter.used == 0
        self.loop.close()


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
