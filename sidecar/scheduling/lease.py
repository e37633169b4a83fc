"""What a call asks for and what it gets: options, the lease of one of them, or why there is none.

Waiter ──Options──▶ admission ──▶ Lease (ends once: settle, keep or refund)
                             └──▶ NoRoom (what kept each option shut)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from msgspec import Struct

from sidecar.errors import SidecarError
from sidecar.scheduling.limiter import NEVER, Gate, Need
from sidecar.scheduling.windows import Slots

if TYPE_CHECKING:
    from sidecar.scheduling.fair_queue import Line


Place = TypeVar("Place")

PARKED = 1.0
"""Seconds at least between two looks at the patience of a call that is parked."""
GRAIN = 0.001
"""Seconds that a timer is set ahead at least, so that rounding never makes it spin."""


class Option(Struct, Generic[Place], frozen=True, eq=False):
    """One way to serve a call: where, past which gates (the narrowest first), for how much."""

    place: Place
    gates: tuple[Gate, ...]
    need: Need

    def opens(self, urgency: int, now: float) -> float:
        """No sooner than then can all of it be open, whoever else waits; `NEVER` when it can't.

        A hold ends when it ends: nobody gives up because of one, nor of what is full meanwhile.
        """
        if any(gate.holds and not gate.fits(1, urgency, now) for gate in self.gates):
            return now
        return max((opens for opens, _ in self._shut(urgency, now)), default=now)

    def blocked(self, gate: Gate, urgency: int, now: float) -> Blocked:
        """What to say of it while it is `gate` that keeps it shut."""
        opens = self.opens(urgency, now)
        later = (last for at, last in self._shut(urgency, now) if at == opens > now)
        return Blocked(self, gate, opens, next(later, gate))

    def _shut(self, urgency: int, now: float) -> Iterator[tuple[float, Gate]]:
        for gate in self.gates:
            amount = self.need[gate.unit]
            if not gate.holds and not gate.fits(amount, urgency, now):
                yield gate.opens(amount, urgency, now), gate


class Blocked(Struct, frozen=True):
    """What keeps one option shut, and the soonest moment (monotonic) at which it may be open.

    `gate` is where its call stands, and `last` the one that is shut for longest.
    """

    option: Option[Any]
    gate: Gate
    opens: float
    last: Gate


class NoRoom(SidecarError):
    """A call was not let through within its patience. `full`: too many wait already. `waited` is
    seconds; `now` the moment (monotonic) of the no."""

    def __init__(
        self, blocked: Sequence[Blocked], waited: float, now: float, *, full: bool = False
    ) -> None:
        super().__init__(blocked[0].gate.name if blocked else "no option is left")
        self.blocked = tuple(blocked)
        self.waited = waited
        self.now = now
        self.full = full

    @property
    def soonest(self) -> Blocked:
        """The option that may open first."""
        return min(self.blocked, key=lambda each: each.opens)


class Timer(Protocol):
    """What `CallAt` gives."""

    def cancel(self) -> None:
        """Do not ring."""


CallAt = Callable[..., Timer]
"""As `asyncio.AbstractEventLoop.call_at`: a monotonic moment, a function, its arguments."""

Renew = Callable[[], Sequence[Option[Place]]]
"""Makes the options of a call anew, as the configuration and the vendors have them now."""
TakeBack = Callable[["Lease[Any]", Sequence[Any], Sequence[int]], None]


class Lease(Generic[Place]):
    """Permission for one attempt: taken at every gate on its way, and given back exactly once."""

    __slots__ = ("_marks", "_renew", "_take_back", "ended", "option")

    def __init__(
        self, option: Option[Place], marks: list[Any], renew: Renew[Place], take_back: TakeBack
    ) -> None:
        self._marks = marks
        self._renew = renew
        self._take_back = take_back
        self.option = option
        self.ended = False

    @property
    def place(self) -> Place:
        """Where the attempt may go."""
        return self.option.place

    def settle(self, used: Need) -> None:
        """The attempt is over, and this is what it took."""
        self._end([used[gate.unit] for gate in self.option.gates])

    def keep(self) -> None:
        """The attempt is over, and nobody knows what it took: the estimate stands."""
        self.settle(self.option.need)

    def refund(self, *, sent: bool = False) -> None:
        """The attempt came to nothing. What was `sent` still counts where the vendor counts it."""
        need = self.option.need
        self._end(
            [need[gate.unit] if sent and gate.keeps_sent else 0 for gate in self.option.gates]
        )

    def mark(self, gate: Gate) -> Any:
        """What `gate` gave this lease; None when it is not on its way."""
        for each, mark in zip(self.option.gates, self._marks, strict=True):
            if each is gate:
                return mark
        return None

    def catch_up(self, now: float) -> None:
        """Take a slot at gates that count running calls and were not there when this began."""
        try:
            today = [option for option in self._renew() if option.place is self.place]
        except Exception:  # noqa: BLE001 - its key is gone, and with it what it would count in
            return
        option = self.option
        new = [g for o in today for g in o.gates if isinstance(g, Slots) and g not in option.gates]
        self._marks += [gate.take(option.need[gate.unit], 0, now) for gate in new]
        self.option = Option(option.place, (*option.gates, *new), option.need)

    def _end(self, amounts: Sequence[int]) -> None:
        if self.ended:
            raise AssertionError("a lease ends once")
        self.ended = True
        self._take_back(self, self._marks, amounts)


class Waiter(Generic[Place]):
    """A call that asks to be let through: of a key with its `share`, at an urgency.

    `every` are its options, by preference; while `alone`, only the first is wanted. `renew` makes
    them anew when the configuration changes; it may raise, which ends the wait. `stands` are the
    gates in whose lines it is, and `trail` when it came to stand behind what, in words. Times are
    monotonic; `patience` is seconds.
    """

    __slots__ = (
        "_parked", "_parked_since", "alone", "every", "future", "key", "patience", "renew", "seq",
        "share", "since", "stands", "timers", "trail", "urgency",
    )  # fmt: skip

    def __init__(
        self, seq: int, key: str, share: float, urgency: int,
        every: Sequence[Option[Place]], renew: Renew[Place],
    ) -> None:  # fmt: skip
        self.seq = seq
        self.key = key
        self.share = share
        self.urgency = urgency
        self.every = every
        self.renew = renew
        self.alone = False
        self.since, self.patience = NEVER, 0.0
        self._parked, self._parked_since = 0.0, NEVER
        self.stands: dict[Gate, Option[Place]] = {}
        self.trail: list[tuple[float, str]] = []
        self.future: asyncio.Future[Lease[Place]] | None = None
        self.timers: list[Timer] = []

    @property
    def options(self) -> Sequence[Option[Place]]:
        """The options that it would take now."""
        return self.every[:1] if self.alone else self.every

    def parked(self, now: float) -> float:
        """Seconds for which all of its ways were shut on purpose: its patience stood still."""
        return self._parked + max(0.0, now - self._parked_since)

    @property
    def is_parked(self) -> bool:
        """Whether they are now."""
        return self._parked_since != NEVER

    @staticmethod
    def stand(stands: dict[Gate, Option[Place]], gate: Gate, option: Option[Place]) -> None:
        """Have an option wait at a gate: of several the one that asks least, as it opens first."""
        other = stands.get(gate)
        if other is None or option.need[gate.unit] < other.need[gate.unit]:
            stands[gate] = option

    def stood(self, now: float, gate: Gate) -> None:
        """It came to stand behind this; standing behind the same again is no news."""
        if not self.trail or self.trail[-1][1] != gate.name:
            self.trail.append((now, gate.name))

    def park(self, now: float, *, parked: bool) -> None:
        """Have its patience stand still from now on, or go on."""
        if parked != self.is_parked:
            self._parked = self.parked(now)
            self._parked_since = now if parked else NEVER

    def deadline(self, now: float) -> float:
        """When its patience ends, if it is not parked from now on."""
        return self.since + self.patience + self.parked(now)

    def waited(self, now: float) -> float:
        """Seconds of its patience that are gone."""
        return now - self.since - self.parked(now)

    def next_look(self, now: float) -> float:
        """When to look at its patience again; `now` when that is over."""
        left = self.deadline(now) - now
        if self.is_parked:
            return now + max(left, PARKED)
        return now + left if left > GRAIN else now

    def urgency_at(self, line: Line | None, now: float) -> int:
        """Its urgency in a line: the oldest one's turn counts as urgent, since headroom must not
        make it hold others up."""
        return 0 if line is not None and line.has_turn(self, now) else self.urgency

    def is_well_alone(self, seconds: float, now: float) -> bool:
        """Whether to wait for the first option alone so long: it may open by itself (or sooner, as
        calls there come to less than was thought), and there is more than that to wait for, and
        longer."""
        opens = self.every[0].opens(self.urgency, now)
        return len(self.every) > 1 and seconds < self.patience and opens != NEVER

    def is_hopeless(self, now: float) -> bool:
        """Whether it is plain that none of its options opens within its patience."""
        deadline = self.deadline(now)
        return all(option.opens(self.urgency, now) > deadline for option in self.every)
