"""Detect days on which a key used far more than its baseline, and log each once."""

from __future__ import annotations

import logging
import shlex
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta

from msgspec import Struct

from sidecar.ledger.model import NewProgram

WINDOW_DAYS = 14
"""Days before today that are compared."""
MIN_DAYS = 5
"""Days with use that a baseline needs."""
SPIKE_FACTOR = 4
MIN_COST, MIN_TOKENS = 1_000_000_000, 1_000_000
"""Nano-dollars and tokens: a day below both is never reported."""

_SELECT = """
    SELECT key, day, sum(1.0 * cost_charged), sum(1.0 * input_tokens), sum(1.0 * output_tokens)
    FROM days WHERE day >= ? AND day <= ? AND key <> '' GROUP BY key, day ORDER BY key, day
"""


class Spike(Struct, frozen=True):
    """A key's usage of one day, far above its baseline.

    `amount` and `usual` are nano-dollars when `measure` is "cost", and tokens when it is "tokens".
    """

    key: str
    day: date
    measure: str
    amount: int
    usual: int

    def __str__(self) -> str:
        """Return `$12.30 today, 6 times its usual $2.05`."""
        times = f"{self.amount / self.usual:.0f} times its usual"
        if self.measure == "cost":
            return f"${self.amount / 1e9:.2f} today, {times} ${self.usual / 1e9:.2f}"
        return f"{self.amount:,} tokens today, {times} {self.usual:,}"


class DayUsage(Struct, frozen=True):
    """Usage of a key in one day, in nano-dollars and in tokens; None for unknown."""

    day: date
    cost: float | None
    tokens: float | None


def find_spikes(connection: sqlite3.Connection, today: date) -> dict[str, Spike]:
    """Return, by key, the spikes of `today` in the open ledger."""
    days: dict[str, list[DayUsage]] = {}
    window = (today - timedelta(days=WINDOW_DAYS)).isoformat(), today.isoformat()
    for key, day, cost, read, written in connection.execute(_SELECT, window):
        tokens = None if read is None and written is None else (read or 0) + (written or 0)
        days.setdefault(key, []).append(DayUsage(date.fromisoformat(day), cost, tokens))
    found = {key: find_spike(key, today, used) for key, used in days.items()}
    return {key: spike for key, spike in found.items() if spike is not None}


def find_spike(key: str, today: date, days: Sequence[DayUsage]) -> Spike | None:
    """Compare today with the days before it; None when it is no spike."""
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
    """Return the median of the days with use; None with fewer than `MIN_DAYS`. Unknown days are
    skipped."""
    from statistics import median  # slow to import

    used = [amount for amount in days if amount]
    return median(used) if len(used) >= MIN_DAYS else None


LOG = logging.getLogger("sidecar.ledger.anomalies")


class AnomalyNotices:
    """Logs spikes and new programs.

    `spikes`: the keys that are far above their baseline today, as of the last check. It is replaced
    as a whole, so that any thread may read it.
    """

    def __init__(self) -> None:
        self.spikes: Mapping[str, Spike] = {}
        self._logged: set[tuple[str, date]] = set()

    def log_new_programs(self, found: Iterable[NewProgram]) -> None:
        """Log programs that used a key for the first time."""
        for each in found:
            earlier = ", ".join(each.earlier[:3]) + (", …" if len(each.earlier) > 3 else "")
            LOG.info(
                'key "%s" is used from a new program: %s (until now: %s)',
                each.key, each.program, earlier,
            )  # fmt: skip

    def update(self, spikes: Mapping[str, Spike]) -> None:
        """Replace `spikes`, and log each new one once a day."""
        self.spikes = spikes
        for key, spike in spikes.items():
            if (key, spike.day) not in self._logged:
                self._logged = {each for each in self._logged if each[1] == spike.day}
                self._logged.add((key, spike.day))
                LOG.warning(
                    'key "%s": %s (see: sidecar usage --by day,model --key %s)',
                    key, spike, shlex.quote(key),
                )  # fmt: skip
