"""What this node counts on the engine, to restore it after an outage.

Leases of the last sixty seconds and running ones are kept by name. After an outage the engine gets
those that it never had; if it lost its data, it gets all of them. What the calls of days, weeks and
months took is summed, and sent once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

from sidecar.shared.scopes import CalendarPeriod, Scope

MINUTE_SECONDS = 60.0
KEPT_SECONDS = 8 * 86400
"""Seconds for which a calendar count is kept after its period."""
SLOTS_SECONDS = 30 * 86400
MAX_AT_ONCE = 200
"""Leases that one message restores."""
MICROSECONDS = 1_000_000

Change = tuple[str, CalendarPeriod, int]
"""A limit, its period, and what to add to its count."""


class Entry(Struct):
    """A lease. Times are monotonic seconds.

    Attributes:
        amounts: What it took, in the order of its scopes; None while its call runs.
        missing: Whether the engine may not have it.
        sent: Whether the engine may have it.
        whole: Whether calendar counts are restored with it, not with the sum.
    """

    name: str
    at: float
    scopes: Sequence[Scope]
    sent: bool
    missing: bool
    amounts: Sequence[int] | None = None
    whole: bool = True


class Journal:
    """The leases of a node.

    Args:
        clock: Returns monotonic seconds.
        server_time: Returns the server's time of now, in seconds since the epoch.

    Attributes:
        own_counts: Returns all that this node counts in the current calendar periods, for a server
            that lost its data.
    """

    def __init__(self, clock: Callable[[], float], server_time: Callable[[], float]) -> None:
        self._clock = clock
        self._server_time = server_time
        self._entries: dict[str, Entry] = {}
        self._ended: deque[tuple[float, str]] = deque()
        self._owed: dict[tuple[str, CalendarPeriod], int] = {}
        self.own_counts: Callable[[], Iterable[Change]] = lambda: ()

    def add(self, name: str, scopes: Sequence[Scope], *, granted: bool) -> None:
        """Add a lease that began now; `granted` if the engine has it."""
        now = self._clock()
        self._entries[name] = Entry(name, now, scopes, granted, not granted)
        while self._ended and self._ended[0][0] + MINUTE_SECONDS <= now:
            self._entries.pop(self._ended.popleft()[1], None)

    def end(self, name: str, amounts: Sequence[int]) -> bool:
        """Record what a lease took; return whether the engine may have the lease."""
        entry = self._entries.get(name)
        if entry is None:
            return True
        entry.amounts = amounts
        self._ended.append((self._clock(), name))
        if not entry.sent:
            entry.whole = False
            self.owe(
                (scope.id, period, amount)
                for scope, amount in zip(entry.scopes, amounts, strict=True)
                if (period := self._period(scope)) is not None
            )
        return entry.sent

    def owe(self, changes: Iterable[Change]) -> None:
        """Add to the calendar counts that the engine has not got."""
        for name, period, amount in changes:
            self._owed[name, period] = self._owed.get((name, period), 0) + amount

    def check_running(self) -> None:
        """Have running leases sent again: the engine may have given them up in an outage."""
        for entry in self._entries.values():
            entry.missing = entry.missing or entry.amounts is None

    def settled(self) -> list[tuple[str, Sequence[int]]]:
        """Return the leases that the engine had and that ended, with what they took: a replica
        that took its place may lack their end."""
        return [
            (each.name, each.amounts)
            for each in self._entries.values()
            if each.sent and each.amounts is not None
        ]

    def lose(self) -> None:
        """Have everything sent again: the server lost its data."""
        self._owed.clear()
        self.owe(self.own_counts())
        for entry in self._entries.values():
            entry.missing, entry.sent = True, False
            entry.whole = entry.amounts is None
            if entry.whole:
                self.owe(
                    (scope.id, period, -scope.amount)
                    for scope in entry.scopes
                    if (period := self._period(scope)) is not None
                )

    def missing(self) -> list[Entry]:
        """Return leases that the engine may not have, a limited number."""
        found = []
        for entry in self._entries.values():
            if entry.missing:
                found.append(entry)
                if len(found) == MAX_AT_ONCE:
                    break
        return found

    def take_owed(self) -> list[Change]:
        """Return the calendar counts that the engine has not got, and forget them."""
        found = [(*key, amount) for key, amount in self._owed.items() if amount]
        self._owed.clear()
        return found

    def words(self, entry: Entry) -> list[str]:
        """Return the words of the script for a lease, which may have it from now on."""
        entry.sent = True
        runs = entry.amounts is None
        at = self._server_time() + entry.at - self._clock()
        found: list[str] = []
        amounts = [each.amount for each in entry.scopes] if entry.amounts is None else entry.amounts
        for scope, amount in zip(entry.scopes, amounts, strict=True):
            period, held = self._period(scope), amount if runs and scope.holds else 0
            if period is not None and not entry.whole:
                continue
            label = "" if period is None else period.label
            found += [scope.id, scope.kind, label, self.keep(period), str(amount), str(held)]
        head = [entry.name, str(round(at * MICROSECONDS)), str(int(runs)), str(len(found) // 6)]
        return head + found

    def keep(self, period: CalendarPeriod | None) -> str:
        """Return the seconds for which the server keeps a count."""
        if period is None:
            return str(SLOTS_SECONDS)
        return str(max(1, int(period.ends - self._server_time()) + KEPT_SECONDS))

    def _period(self, scope: Scope) -> CalendarPeriod | None:
        if scope.periods is None:
            return None
        first, following = scope.periods
        return first if self._server_time() < first.ends else following
