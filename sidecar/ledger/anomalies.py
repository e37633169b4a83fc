"""Days on which a key used far more than its baseline, each logged once."""

from __future__ import annotations

import logging
import shlex
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from statistics import median

from sidecar.ledger.model import NewProgram

WINDOW_DAYS = 14
"""Days before today that are looked at."""
MIN_DAYS = 5
"""Of these, days of use without which there is no habit yet."""
SPIKE_FACTOR = 4
MIN_COST, MIN_TOKENS = 1_000_000_000, 1_000_000
"""In nano-dollars, and in tokens: less than that in a day alarms nobody."""

_SELECT = """
    SELECT key, day, sum(1.0 * cost_charged), sum(1.0 * input_tokens), sum(1.0 * output_tokens)
    FROM days WHERE day >= ? AND day <= ? AND key <> '' GROUP BY key, day ORDER BY key, day
"""


@dataclass(frozen=True, slots=True)
class Spike:
    """A key's use of one day, far above its habit: `amount` against what is `usual`, both in
    nano-dollars (`measure` "cost") or in tokens ("tokens")."""

    key: str
    day: date
    measure: str
    amount: int
    usual: int

    def __str__(self) -> str:
        """`$12.30 today, 6 times its usual $2.05`."""
        times = f"{self.amount / self.usual:.0f} times its usual"
        if self.measure == "cost":
            return f"${self.amount / 1e9:.2f} today, {times} ${self.usual / 1e9:.2f}"
        return f"{self.amount:,} tokens today, {times} {self.usual:,}"


@dataclass(frozen=True, slots=True)
class DayUsage:
    """What a key used in a day, in nano-dollars and in tokens; None for unknown."""

    day: date
    cost: float | None
    tokens: float | None


def find_spikes(connection: sqlite3.Connection, today: date) -> dict[str, Spike]:
    """The keys whose use of today is far above their habit, by the books that are open."""
    days: dict[str, list[DayUsage]] = {}
    window = (today - timedelta(days=WINDOW_DAYS)).isoformat(), today.isoformat()
    for key, day, cost, read, written in connection.execute(_SELECT, window):
        tokens = None if read is None and written is None else (read or 0) + (written or 0)
        days.setdefault(key, []).append(DayUsage(date.fromisoformat(day), cost, tokens))
    found = {key: find_spike(key, today, used) for key, used in days.items()}
    return {key: spike for key, spike in found.items() if spike is not None}


def find_spike(key: str, today: date, days: Sequence[DayUsage]) -> Spike | None:
    """What today is against the days before it; None when it is nothing much."""
    before = [each for each in days if each.day < today]
    for now in (each for each in days if each.day == today):
        for measure, amount, floor, usual in (
            ("cost", now.cost, MIN_COST, _usual(each.cost for each in before)),
            ("tokens", now.tokens, MIN_TOKENS, _usual(each.tokens for each in before)),
        ):
            if usual and amount is not None and amount > SPIKE_FACTOR * usual and amount >= floor:
                return Spike(key, today, measure, round(amount), round(usual))
    return None


def _usual(days: Iterable[float | None]) -> float | None:
    """What a day of use comes to; None without enough of them. An unknown day tells nothing."""
    used = [amount for amount in days if amount]
    return median(used) if len(used) >= MIN_DAYS else None


LOG = logging.getLogger("sidecar.ledger.anomalies")


class AnomalyNotices:
    """Writes them to the log. `spikes` are the keys whose use of today is far above their habit,
    as of the last look, replaced whole: any thread may read it."""

    def __init__(self) -> None:
        self.spikes: Mapping[str, Spike] = {}
        self._told: set[tuple[str, date]] = set()

    def new_programs(self, found: Iterable[NewProgram]) -> None:
        """These programs used keys that others had used before."""
        for each in found:
            earlier = ", ".join(each.earlier[:3]) + (", …" if len(each.earlier) > 3 else "")
            LOG.info(
                'key "%s" is used from a new program: %s (until now: %s)',
                each.key, each.program, earlier,
            )  # fmt: skip

    def looked(self, spikes: Mapping[str, Spike]) -> None:
        """This is how things stand."""
        self.spikes = spikes
        for key, spike in spikes.items():
            if (key, spike.day) not in self._told:
                self._told = {each for each in self._told if each[1] == spike.day}
                self._told.add((key, spike.day))
                LOG.warning(
                    'key "%s": %s (see: sidecar usage --by day,model --key %s)',
                    key, spike, shlex.quote(key),
                )  # fmt: skip
