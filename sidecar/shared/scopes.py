"""What a lease asks the shared engine for, and its answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sidecar.humanize import printable

NEVER = float("inf")


class Ticket(NamedTuple):
    """The order of the calls that wait at a limit: the first one's urgency and arrival, and the
    arrival of the oldest. Arrivals are monotonic seconds."""

    urgency: int
    arrival: float
    oldest: float


class CalendarPeriod(NamedTuple):
    """A calendar period; `ends` is seconds since the epoch."""

    label: str
    ends: float


class Scope(NamedTuple):
    """The amount that one lease takes of one limit.

    Attributes:
        kind: `window` (sixty seconds), `slots`, `calendar` or `budget`.
        ceiling: The part of the limit that calls of its urgency may use while headroom binds them.
        holds: Whether the amount is an estimate, of which a part may be returned.
        has_headroom: Whether a part is kept for more urgent calls.
        waiting: The other calls of this node that wait here; None if there are none.
        periods: The current calendar period and the next.
    """

    id: str
    kind: str
    limit: int
    ceiling: int
    amount: int
    holds: bool = False
    has_headroom: bool = False
    waiting: Ticket | None = None
    periods: tuple[CalendarPeriod, CalendarPeriod] | None = None


class Denied(NamedTuple):
    """The reason that a lease was denied. Times are monotonic seconds.

    Attributes:
        at: The position of the scope that may open last.
        opens_at: The earliest time at which it may; `NEVER` if waiting cannot help.
        timed_at: When time alone opens it; `NEVER` if only an event can.
        settled, reserved: What counts there.
        number: The order of this answer among the wake messages.
        urgency: The urgency that the call was compared by: 0 for the oldest call in its turn.
        is_turn: Whether it is the turn of an older call of this node.
    """

    at: int
    opens_at: float
    timed_at: float
    settled: int
    reserved: int
    number: int
    urgency: int
    is_turn: bool


class Node(NamedTuple):
    """One process among those that share, as it states itself: its machine, the version of Sidecar,
    and the digest of its file."""

    host: str
    version: str
    digest: str
    is_this: bool = False


def wake_in(message: str) -> tuple[str, int, bool] | None:
    """Return the limit of a wake message, its number, and whether it is the turn of the oldest
    call; None for a message that no node sends."""
    number, _, rest = message.partition(" ")
    limit_id, _, turn = rest.partition(" ")
    return (limit_id, int(number), turn == "turn") if number.isdecimal() else None


def nodes_of(about: Sequence[str], own: str) -> list[Node]:
    """Return the nodes by the name of each and what it states of itself, one after the other; what
    no node states is left out."""
    found = []
    for name, text in zip(about[::2], about[1::2], strict=True):
        words = printable(text).split(" ", 2)
        if len(words) == 3:
            host, version, digest = words
            found.append(Node(host, version, digest, is_this=name == own))
    return sorted(found)
