"""The kinds of days that are played."""

from __future__ import annotations

from dataclasses import dataclass

from day.account import Anthropic, Hints, OpenAI, Shape, Spells, Trouble, calm
from day.agents import WIDTHS
from day.jobs import Answer

MINUTES = 60.0
ABSURD = ("518400", "-5", "soon", "0", "nan", None)
"""Six days, and other things that vendors and the proxies before them have said."""


@dataclass(frozen=True)
class Scenario:
    """A kind of day. `demand` is what the agents want of the quota that is `short`, as a part of
    it; of the others there is twice as much. With `written`, the quotas stand in the file as
    limits, else the vendor's headers alone tell of them. `widths` and `rest` are of the agents that
    work off lists; `max_wait` is seconds; `part` is how much of a day it lasts."""

    name: str
    says: str
    demand: float
    shape: type[Shape] = Anthropic
    short: str = "input-tokens"
    written: bool = True
    trouble: Trouble = calm
    widths: tuple[int, ...] = WIDTHS
    rest: bool = True
    max_wait: float = 120.0
    part: float = 1.0


SCENARIOS = (
    Scenario("calm", "the agents want 0.6 of the quota", 0.6),
    Scenario("tight", "they want 1.3 times the quota", 1.3),
    Scenario("unwritten", "the same, but no limit stands in the file", 1.3, written=False),
    Scenario(
        "openai", "the same, at a vendor of OpenAI's shape", 1.3, OpenAI, "tokens", written=False
    ),
    Scenario("wordy", "as tight, but it is output that is short", 1.3, short="output-tokens"),
    Scenario(
        "greedy", "they want 4 times the quota, some far more at once than others", 4.0,
        widths=(4, 6, 8, 12, 16, 24), rest=False, max_wait=300.0, part=0.25,
    ),
    Scenario(
        "hints", "0.5% of calls get a 429 with an absurd retry-after", 0.8,
        trouble=Hints(0.005, ABSURD),
    ),
    Scenario(
        "overload", "for 40 s of every 10 min, 7 of 10 calls get a 529", 0.8,
        trouble=Spells(5 * MINUTES, 10 * MINUTES, 40.0, 0.7, Answer(529)),
    ),
    Scenario(
        "outage", "for 5 min of every 2 h, no connection: longer than max_wait", 0.8,
        trouble=Spells(20 * MINUTES, 120 * MINUTES, 300.0, 1.0, None),
    ),
    Scenario(
        "flapping", "for 3 of every 20 s, no connection", 0.8,
        trouble=Spells(10 * MINUTES, 20.0, 3.0, 1.0, None),
    ),
)  # fmt: skip
