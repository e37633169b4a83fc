"""Any interleaving of arriving, being let through, streaming, settling, leaving, waiting too long,
reloading and pausing: nothing is let through beyond a limit, nobody is lost, nobody jumps the line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from manual_clock import HandClock, turns

from sidecar.config.model import Urgency
from sidecar.scheduling.admission import Admission
from sidecar.scheduling.lease import AdmissionOption, Lease, NotAdmitted, Waiter
from sidecar.scheduling.limiter import Limiter, LimitUnit, demand_of
from sidecar.scheduling.pauses import PauseLimiter
from sidecar.scheduling.windows import ConcurrencyLimit, CountingLimiter, SlidingWindow

KEYS, PLACES = ("a", "b", "c"), ("p", "q")


class Watched:
    """Mixed into a window: what it lets through is checked in the moment in which it does."""

    def acquire(self, amount: int, urgency: int, now: float) -> Any:
        assert isinstance(self, CountingLimiter)
        self.advance(now)
        assert self.limit > 0
        fits = not amount or self.used <= 0 or self.used + amount <= self.limit
        assert fits, "granted beyond the limit"
        return super().acquire(amount, urgency, now)  # type: ignore[misc]


class WatchedMinute(Watched, SlidingWindow):
    pass


class WatchedSlots(Watched, ConcurrencyLimit):
    pass


def gate_set() -> dict[str, Limiter]:
    found: dict[str, Limiter] = {}
    for key in KEYS:
        found[f"key {key}"] = WatchedMinute(key, "rpm", LimitUnit.CALLS, f"key {key}", 6)
        found[f"slots {key}"] = WatchedSlots(key, "concurrency", LimitUnit.CALLS, f"slots {key}", 3)
    for place in PLACES:
        found[f"tokens {place}"] = WatchedMinute(
            place, "tpm", LimitUnit.TOKENS, f"tokens {place}", 100
        )
        found[f"slots {place}"] = WatchedSlots(place, "concurrency", LimitUnit.CALLS, place, 2)
    found["all"] = WatchedMinute("all", "rpm", LimitUnit.CALLS, "all", 20)
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
        self.gates = gate_set()
        self.hold: PauseLimiter | None = None
        self.tasks: list[asyncio.Task[Lease[str]]] = []
        self.waiters: dict[asyncio.Task[Lease[str]], Waiter[str]] = {}
        self.running: list[Lease[str]] = []
        self.refused = 0

    def options(self, key: str, places: Sequence[str], tokens: int) -> list[AdmissionOption[str]]:
        held = () if self.hold is None else (self.hold,)
        return [
            AdmissionOption(
                place,
                (
                    *held, self.gates[f"key {key}"], self.gates[f"slots {key}"],
                    self.gates[f"tokens {place}"], self.gates[f"slots {place}"], self.gates["all"],
                ),
                demand_of(tokens, 0),
            )
            for place in places
        ]  # fmt: skip

    def settle_down(self) -> None:
        """Let every task go as far as it can, and collect what came of it."""
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
                self.refused += 1

    @rule(
        key=st.sampled_from(KEYS), urgency=st.sampled_from(list(Urgency)),
        places=st.sampled_from([("p",), ("q",), ("p", "q"), ("q", "p")]),
        tokens=st.integers(0, 130), max_wait=st.floats(0, 200), alone=st.sampled_from([0.0, 5.0]),
    )  # fmt: skip
    def arrive(
        self, key: str, urgency: Urgency, places: tuple[str, ...], tokens: int, max_wait: float,
        alone: float,
    ) -> None:  # fmt: skip
        def renew() -> list[AdmissionOption[str]]:
            return self.options(key, places, tokens)

        waiter = self.admission.new_waiter(key, 1.0, urgency, renew(), renew)
        task = self.loop.create_task(self.admission.acquire(waiter, max_wait, alone=alone))
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
    def leave_in_the_moment_of_being_let_through(self, number: int) -> None:
        """Room comes, and before the task has heard of it its client leaves."""
        self.running.pop().refund()
        self.tasks[number % len(self.tasks)].cancel()
        self.settle_down()

    @rule(name=st.sampled_from(sorted(gate_set())), limit=st.sampled_from([0, 1, 3, 8, 150]))
    def reload(self, name: str, limit: int) -> None:
        limiter = self.gates[name]
        assert isinstance(limiter, CountingLimiter)
        limiter.limit = limit
        self.admission.reevaluate()
        self.settle_down()

    @rule()
    def pause_or_resume(self) -> None:
        self.hold = PauseLimiter("all", "everything is paused") if self.hold is None else None
        self.admission.reevaluate()
        self.settle_down()

    @invariant()
    def what_is_reserved_is_what_runs(self) -> None:
        assert self.admission.leases == set(self.running)
        for limiter in self.gates.values():
            if isinstance(limiter, ConcurrencyLimit):
                assert limiter.used == sum(
                    limiter in lease.option.limiters for lease in self.running
                )
            assert isinstance(limiter, CountingLimiter)
            assert limiter.used >= 0

    @invariant()
    def who_waits_is_known_and_stands_somewhere(self) -> None:
        assert {w.seq for w in self.admission} == {self.waiters[t].seq for t in self.tasks}
        for waiter in self.admission:
            assert waiter.queued_at
            assert all(limiter.queue and waiter in limiter.queue for limiter in waiter.queued_at)
        for limiter in self.gates.values():
            members = sum(limiter in waiter.queued_at for waiter in self.admission)
            assert len(limiter.queue or ()) == members

    @invariant()
    def who_is_first_in_a_line_has_no_room_there(self) -> None:
        """So every waiting call waits for this very gate, or behind one that does."""
        for limiter in self.gates.values():
            front = limiter.queue.head(self.clock()) if limiter.queue else None
            if front is not None:
                waiter = next(w for w in self.admission if w.seq == front.seq)
                amount = waiter.queued_at[limiter].demand[limiter.unit]
                assert limiter.queue is not None
                turn = limiter.queue.is_aged_head(waiter, self.clock())
                assert not limiter.allows(amount, 0 if turn else waiter.urgency, self.clock())

    @invariant()
    def no_open_option_is_left_waiting(self) -> None:
        for waiter in self.admission:
            for option in waiter.options:
                assert any(self.is_shut(limiter, waiter, option) for limiter in option.limiters)

    def is_shut(self, limiter: Limiter, waiter: Waiter[str], option: AdmissionOption[str]) -> bool:
        now, amount, line = self.clock(), option.demand[limiter.unit], limiter.queue
        turn = line is not None and line.is_aged_head(waiter, now)
        if not limiter.allows(amount, 0 if turn else waiter.urgency, now):
            return True
        return bool(line) and line is not None and not line.may_pass(waiter, now)

    def teardown(self) -> None:
        for task in self.tasks:
            task.cancel()
        self.settle_down()
        for lease in self.running:
            lease.keep()
        self.running.clear()
        self.what_is_reserved_is_what_runs()
        assert len(self.admission) == 0
        for limiter in self.gates.values():
            assert not limiter.queue
            assert isinstance(limiter, CountingLimiter)
            limiter.advance(self.clock() + 61)
            assert limiter.used == 0
        self.loop.close()


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
