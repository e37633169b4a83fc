"""Who goes next at one gate: by urgency, then fair between keys, then by arrival.

Between keys of one urgency the gate's room is shared by weight, in what the gate counts (calls,
tokens, money): start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996). Nobody starves: of
every `OLDEST_EVERY_N` calls let through while somebody has waited for `AGING_AFTER_SECONDS`
seconds, one is the oldest.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, Protocol

AGING_AFTER_SECONDS = 30.0
"""Seconds of waiting after which a call takes part in the turns of the oldest."""
OLDEST_EVERY_N = 10
"""Of so many calls that pass, one is the oldest that waits, if it is of that age."""
MAX_FLOWS = 1000
"""Keys whose share is remembered at one gate while they do not wait there."""


class QueueMember(Protocol):
    """What a line must know of a call. `seq` grows with arrival and is nobody else's; `share` is
    its key's weight; `since` when it began to wait, later than any moment if it does not."""

    seq: int
    key: str
    share: float
    urgency: int
    since: float


class _Flow:
    """The calls of one key and urgency. `virtual` is how much of the gate they have had, by their
    share."""

    __slots__ = ("seqs", "virtual")

    def __init__(self) -> None:
        self.virtual = 0.0
        self.seqs: list[int] = []


class FairQueue:
    """The calls that wait at one gate. All operations are O(log n)."""

    __slots__ = ("_admitted", "_flows", "_members", "_oldest", "_ready", "_starts")

    def __init__(self) -> None:
        self._members: dict[int, QueueMember] = {}
        self._flows: dict[tuple[int, str], _Flow] = {}
        self._ready: tuple[list[tuple[float, int]], ...] = ([], [], [])
        self._oldest: list[int] = []
        self._starts = [0.0, 0.0, 0.0]
        self._admitted = 0

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, waiting: QueueMember) -> bool:
        return waiting.seq in self._members

    def add(self, waiting: QueueMember) -> None:
        """Somebody waits here from now on."""
        seq = waiting.seq
        flow = self._flow(waiting)
        if not self._head(flow):
            flow.virtual = max(flow.virtual, self._starts[waiting.urgency])
        self._members[seq] = waiting
        heappush(flow.seqs, seq)
        heappush(self._oldest, seq)
        if flow.seqs[0] == seq:
            heappush(self._ready[waiting.urgency], (flow.virtual, seq))

    def remove(self, waiting: QueueMember) -> None:
        """Somebody waits here no longer."""
        flow = self._flow(waiting)
        was_head = self._head(flow) == waiting.seq
        if self._members.pop(waiting.seq, None) is not None and was_head:
            self._offer(waiting.urgency, flow)

    def head(self, now: float) -> QueueMember | None:
        """Who goes next; None when nobody waits."""
        turn = self._aged_head(now)
        if turn is not None:
            return turn
        for ready in self._ready:
            while ready:
                virtual, seq = ready[0]
                waiting = self._members.get(seq)
                if waiting is not None and self._flow(waiting).virtual == virtual:
                    return waiting
                heappop(ready)
        return None

    def is_aged_head(self, waiting: QueueMember, now: float) -> bool:
        """Whether somebody, in the line or not, goes next because nobody in it has waited for
        longer. That it does not depend on who stands where keeps a call that is old and waits
        elsewhere from going back and forth."""
        if self._admitted < OLDEST_EVERY_N - 1 or now - waiting.since < AGING_AFTER_SECONDS:
            return False
        oldest = self._oldest_member()
        return oldest is None or waiting.seq <= oldest.seq

    def may_pass(self, waiting: QueueMember, now: float) -> bool:
        """Whether somebody, in the line or not, goes before all others in it."""
        if self.is_aged_head(waiting, now):
            return True
        front = self.head(now)
        if front is None or front.seq == waiting.seq:
            return True
        if self._aged_head(now) is front:
            return False
        if waiting.urgency != front.urgency:
            return waiting.urgency < front.urgency
        mine, theirs = self._virtual(waiting), self._flow(front).virtual
        return mine < theirs if mine != theirs else waiting.seq < front.seq

    def order(
        self, takes: Callable[[Any], int], now: float, *also: QueueMember
    ) -> list[QueueMember]:
        """Who goes when, if nobody else comes; `takes` says how much of the gate each one takes,
        and `also` are others who would come now. For showing only: O(n log n)."""
        tags: list[tuple[int, float, int, QueueMember]] = []
        following: dict[tuple[int, str], float] = {}
        turn = self._aged_head(now)
        for each in sorted((*self._members.values(), *also), key=lambda one: one.seq):
            if each is turn:
                continue
            name = (each.urgency, each.key)
            begins = following.get(name, self._virtual(each))
            following[name] = begins + max(takes(each), 1) / each.share
            tags.append((each.urgency, begins, each.seq, each))
        tags.sort()
        return ([] if turn is None else [turn]) + [each for *_, each in tags]

    def charge(self, waiting: QueueMember, amount: int, now: float) -> None:
        """Somebody takes this much of the gate while others wait: it is charged for it."""
        flow, starts, urgency = self._flow(waiting), self._starts, waiting.urgency
        begins = max(flow.virtual, starts[urgency])
        turn = self.is_aged_head(waiting, now)
        if not turn:  # who goes out of turn says nothing of the others
            starts[urgency] = begins
        flow.virtual = begins + max(amount, 1) / waiting.share
        self._offer(urgency, flow)
        oldest = self._oldest_member()
        if turn or (oldest is not None and waiting.seq <= oldest.seq):
            self._admitted = 0
        elif oldest is not None and now - oldest.since >= AGING_AFTER_SECONDS:
            self._admitted += 1

    def _aged_head(self, now: float) -> QueueMember | None:
        if self._admitted < OLDEST_EVERY_N - 1:
            return None
        oldest = self._oldest_member()
        return oldest if oldest is not None and now - oldest.since >= AGING_AFTER_SECONDS else None

    def _oldest_member(self) -> QueueMember | None:
        while self._oldest:
            waiting = self._members.get(self._oldest[0])
            if waiting is not None:
                return waiting
            heappop(self._oldest)
        return None

    def _flow(self, waiting: QueueMember) -> _Flow:
        name = (waiting.urgency, waiting.key)
        flow = self._flows.get(name)
        if flow is None:
            if len(self._flows) >= MAX_FLOWS:
                self._forget_idle()
            flow = self._flows[name] = _Flow()
            flow.virtual = self._starts[waiting.urgency]
        return flow

    def _virtual(self, waiting: QueueMember) -> float:
        flow = self._flows.get((waiting.urgency, waiting.key))
        start = self._starts[waiting.urgency]
        return start if flow is None else max(flow.virtual, start)

    def _head(self, flow: _Flow) -> int | None:
        while flow.seqs and flow.seqs[0] not in self._members:
            heappop(flow.seqs)
        return flow.seqs[0] if flow.seqs else None

    def _offer(self, urgency: int, flow: _Flow) -> None:
        head = self._head(flow)
        if head is not None:
            heappush(self._ready[urgency], (flow.virtual, head))

    def _forget_idle(self) -> None:
        self._flows = {
            name: flow
            for name, flow in self._flows.items()
            if self._head(flow) is not None or flow.virtual > self._starts[name[0]]
        }
