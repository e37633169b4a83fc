"""The order of the calls that wait at one limiter: by urgency, then fair between keys.

Keys of one urgency share the limiter's room by weight, in the unit that it counts (calls, tokens,
money). Calls of one key go in order of arrival. Aging prevents starvation: while a call has waited
for `AGING_AFTER_SECONDS`, one of every `OLDEST_EVERY_N` admitted calls is the oldest.

Source: start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996).
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, Protocol

AGING_AFTER_SECONDS = 30.0
"""Seconds of waiting after which a call may be admitted as the oldest."""
OLDEST_EVERY_N = 10
"""One of this many admitted calls is the oldest, if it has reached that age."""
MAX_FLOWS = 1000
"""Flows that are kept although no call of theirs waits."""


class QueueMember(Protocol):
    """The fields of a call that its order depends on.

    Attributes:
        seq: The order of arrival; unique.
        share: The weight of its key.
        since: When it began to wait, in monotonic seconds; `NEVER` if it does not wait.
    """

    seq: int
    key: str
    share: float
    urgency: int
    since: float


class _Flow:
    """The calls of one key and urgency. `virtual` is the amount that it was charged, divided by
    its weight."""

    __slots__ = ("seqs", "virtual")

    def __init__(self) -> None:
        self.virtual = 0.0
        self.seqs: list[int] = []


class FairQueue:
    """The calls that wait at one limiter. All operations but `order` are O(log n).

    Args:
        counts: Whether it counts the admitted calls, and so decides when the oldest goes first;
            else only `start_turn` does.
    """

    __slots__ = ("_admitted", "_counts", "_flows", "_members", "_oldest", "_ready", "_starts")

    def __init__(self, *, counts: bool = True) -> None:
        self._counts = counts
        self._members: dict[int, QueueMember] = {}
        self._flows: dict[tuple[int, str], _Flow] = {}
        self._ready: tuple[list[tuple[float, int]], ...] = ([], [], [])
        self._oldest: list[int] = []
        self._starts = [0.0, 0.0, 0.0]
        self._admitted = 0

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, member: QueueMember) -> bool:
        return member.seq in self._members

    def add(self, member: QueueMember) -> None:
        """Add a call. Its flow starts at the current virtual time if none of its calls waits."""
        seq = member.seq
        flow = self._flow(member)
        if not self._flow_head(flow):
            flow.virtual = max(flow.virtual, self._starts[member.urgency])
        self._members[seq] = member
        heappush(flow.seqs, seq)
        heappush(self._oldest, seq)
        if flow.seqs[0] == seq:
            heappush(self._ready[member.urgency], (flow.virtual, seq))

    def remove(self, member: QueueMember) -> None:
        """Remove a call; does nothing if it does not wait here."""
        flow = self._flow(member)
        was_head = self._flow_head(flow) == member.seq
        if self._members.pop(member.seq, None) is not None and was_head:
            self._offer(member.urgency, flow)

    def head(self, now: float) -> QueueMember | None:
        """Return the call that goes next; None if the queue is empty."""
        aged = self._aged_head(now)
        if aged is not None:
            return aged
        for ready in self._ready:
            while ready:
                virtual, seq = ready[0]
                member = self._members.get(seq)
                if member is not None and self._flow(member).virtual == virtual:
                    return member
                heappop(ready)
        return None

    def is_aged_head(self, member: QueueMember, now: float) -> bool:
        """Return whether aging puts this call first.

        Independent of membership: else an old call that waits in several queues would move back
        and forth between them.
        """
        if self._admitted < OLDEST_EVERY_N - 1 or now - member.since < AGING_AFTER_SECONDS:
            return False
        oldest = self.oldest()
        return oldest is None or member.seq <= oldest.seq

    def may_pass(self, member: QueueMember, now: float) -> bool:
        """Return whether this call, a member or not, goes before all others in the queue."""
        if self.is_aged_head(member, now):
            return True
        head = self.head(now)
        if head is None or head.seq == member.seq:
            return True
        if self._aged_head(now) is head:
            return False
        if member.urgency != head.urgency:
            return member.urgency < head.urgency
        mine, theirs = self._virtual(member), self._flow(head).virtual
        return mine < theirs if mine != theirs else member.seq < head.seq

    def order(
        self, amount_of: Callable[[Any], int], now: float, *also: QueueMember
    ) -> list[QueueMember]:
        """Return the calls in the order in which they go if no further call arrives.

        For display only: O(n log n).

        Args:
            amount_of: Returns the amount that a call takes of the limiter.
            also: Calls to include as if they arrived now.
        """
        tags: list[tuple[int, float, int, QueueMember]] = []
        next_start: dict[tuple[int, str], float] = {}
        aged = self._aged_head(now)
        for each in sorted((*self._members.values(), *also), key=lambda one: one.seq):
            if each is aged:
                continue
            flow_id = (each.urgency, each.key)
            start = next_start.get(flow_id, self._virtual(each))
            next_start[flow_id] = start + max(amount_of(each), 1) / each.share
            tags.append((each.urgency, start, each.seq, each))
        tags.sort()
        return ([] if aged is None else [aged]) + [each for *_, each in tags]

    def charge(self, member: QueueMember, amount: int, now: float) -> None:
        """Charge a call, a member or not, for the amount that it takes while others wait."""
        flow, starts, urgency = self._flow(member), self._starts, member.urgency
        start = max(flow.virtual, starts[urgency])
        is_aged = self.is_aged_head(member, now)
        if not is_aged:  # an aged call goes out of order: its start is not the virtual time
            starts[urgency] = start
        flow.virtual = start + max(amount, 1) / member.share
        self._offer(urgency, flow)
        oldest = self.oldest()
        if is_aged or (oldest is not None and member.seq <= oldest.seq):
            self._admitted = 0
        elif oldest is not None and now - oldest.since >= AGING_AFTER_SECONDS:
            self._admitted += self._counts

    def take_back(self, member: QueueMember, amount: int) -> None:
        """Take back what a call was charged that was not admitted after all."""
        flow = self._flow(member)
        flow.virtual -= max(amount, 1) / member.share
        self._offer(member.urgency, flow)

    def start_turn(self) -> None:
        """Let the oldest call go first, if it has reached that age."""
        self._admitted = OLDEST_EVERY_N - 1

    def end_turn(self) -> None:
        """Count anew until the oldest call goes first."""
        self._admitted = 0

    def _aged_head(self, now: float) -> QueueMember | None:
        if self._admitted < OLDEST_EVERY_N - 1:
            return None
        oldest = self.oldest()
        return oldest if oldest is not None and now - oldest.since >= AGING_AFTER_SECONDS else None

    def oldest(self) -> QueueMember | None:
        """Return the call that arrived first; None if the queue is empty."""
        while self._oldest:
            member = self._members.get(self._oldest[0])
            if member is not None:
                return member
            heappop(self._oldest)
        return None

    def _flow(self, member: QueueMember) -> _Flow:
        flow_id = (member.urgency, member.key)
        flow = self._flows.get(flow_id)
        if flow is None:
            if len(self._flows) >= MAX_FLOWS:
                self._forget_idle()
            flow = self._flows[flow_id] = _Flow()
            flow.virtual = self._starts[member.urgency]
        return flow

    def _virtual(self, member: QueueMember) -> float:
        flow = self._flows.get((member.urgency, member.key))
        start = self._starts[member.urgency]
        return start if flow is None else max(flow.virtual, start)

    def _flow_head(self, flow: _Flow) -> int | None:
        while flow.seqs and flow.seqs[0] not in self._members:
            heappop(flow.seqs)
        return flow.seqs[0] if flow.seqs else None

    def _offer(self, urgency: int, flow: _Flow) -> None:
        """Make the first call of a flow a candidate for the head of the queue."""
        head = self._flow_head(flow)
        if head is not None:
            heappush(self._ready[urgency], (flow.virtual, head))

    def _forget_idle(self) -> None:
        """Drop flows that are empty and not ahead of the virtual time: they start there anyway."""
        self._flows = {
            flow_id: flow
            for flow_id, flow in self._flows.items()
            if self._flow_head(flow) is not None or flow.virtual > self._starts[flow_id[0]]
        }
