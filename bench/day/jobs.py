"""What agents ask for and what they get back: the values that pass between the parts of a day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sidecar.config.model import Urgency


@dataclass(slots=True, eq=False)
class Job:
    """One call that an agent wants served. Tokens: `fresh` input counts against quotas, `cached`
    does not; `bound` is the largest answer asked for. `asked` and `begun` are the moments at which
    the agent wanted it and the vendor took it up for good (None: never)."""

    agent: str
    urgency: Urgency
    size: int
    fresh: int
    cached: int
    output: int
    bound: int
    asked: float = 0.0
    begun: float | None = None

    @property
    def wait(self) -> float:
        """Seconds in which nothing was done for it."""
        assert self.begun is not None
        return self.begun - self.asked


@dataclass(slots=True)
class Answer:
    """An answer's head. `rest` is how many seconds the body takes."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    rest: float = 0.0


class Unreachable(Exception):
    """No connection to the vendor."""
