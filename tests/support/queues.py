"""The waiters of a single queue, in order."""

from __future__ import annotations

from dataclasses import dataclass

from sidecar.config.model import Urgency


@dataclass(eq=False)
class Person:
    seq: int
    key: str = "a"
    share: float = 1.0
    urgency: int = Urgency.NORMAL
    since: float = 0.0
    amount: int = 1
