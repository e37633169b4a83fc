"""How clients come back after a no: the SDKs and agents as they were found to behave.

Stainless (the OpenAI and Anthropic SDKs): two retries, 0.5 and 1 s less up to a quarter, or the
hint. Claude Code: ten, by a table of its own. Codex: gives up at a 429 without a hint.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol

from day.jobs import Answer

GIVE_UP: None = None
RETRIED = frozenset({408, 409, 429})


class Client(Protocol):
    """`again` says after how many seconds a call that was refused `failures` times is repeated;
    None: never. An `answer` of None is a connection that failed."""

    def again(self, answer: Answer | None, failures: int, draw: random.Random) -> float | None:
        """Seconds, or None."""


def hint(headers: Mapping[str, str]) -> float | None:
    """The seconds that an answer asks for, as the clients read them."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        with suppress(ValueError):
            return float(headers.get(name, "")) * unit
    return None


def _may_pass(answer: Answer | None) -> bool:
    return answer is None or answer.status in RETRIED or answer.status >= 500


class Stainless:
    """The SDKs of Anthropic (`longest` None) and OpenAI (120 s: past it they do not come back)."""

    def __init__(self, longest: float | None) -> None:
        self._longest = longest

    def again(self, answer: Answer | None, failures: int, draw: random.Random) -> float | None:
        said = {} if answer is None else answer.headers
        wanted = said.get("x-should-retry")
        if failures > 2 or wanted == "false" or not (wanted == "true" or _may_pass(answer)):
            return GIVE_UP
        asked = hint(said)
        if asked is not None and asked > 0:
            return asked if self._longest is None or asked <= self._longest else GIVE_UP
        return min(0.5 * 2.0 ** (failures - 1), 8.0) * (1 - draw.random() / 4)


class ClaudeCode:
    """Its own loop around the SDK; hints of more than a minute end it."""

    gaps = (0.6, 1.3, 2.3, 4.6, 9.0, 18.0, 38.0, 35.0, 35.0, 35.0)

    def again(self, answer: Answer | None, failures: int, draw: random.Random) -> float | None:
        said = {} if answer is None else answer.headers
        refuses = said.get("x-should-retry") == "false" or not _may_pass(answer)
        if failures > len(self.gaps) or refuses:
            return GIVE_UP
        asked = hint(said)
        if asked is not None and asked > 60:
            return GIVE_UP
        own = self.gaps[failures - 1] * (0.9 + draw.random() / 5)
        return asked * 1.2 if asked is not None and asked > 0 else own


class Codex:
    """Four retries within each of five streams for whatever may pass; at a 429 it waits for as
    long as it is told, and gives up when it is told nothing."""

    def again(self, answer: Answer | None, failures: int, draw: random.Random) -> float | None:
        if answer is not None and answer.status == 429:
            asked = hint(answer.headers)
            return GIVE_UP if asked is None or asked < 0 or failures > 4 else asked
        if failures >= 30 or not _may_pass(answer):
            return GIVE_UP
        return 0.2 * 2.0 ** ((failures - 1) % 5) * (0.9 + draw.random() / 5)
