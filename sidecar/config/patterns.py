"""Patterns of model names: parsing, matching, containment."""

from __future__ import annotations

import re
from functools import cached_property

from msgspec import Struct


class Pattern(Struct, frozen=True, dict=True):
    """A pattern of model names: `*` matches any run of characters, `?` one character.

    It matches the whole name, case-sensitively. `[` is an ordinary character; there is no
    negation.
    """

    text: str

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        pieces = ("(.*)" if c == "*" else "." if c == "?" else re.escape(c) for c in self.text)
        return re.compile("".join(pieces), re.DOTALL)

    @property
    def literal(self) -> bool:
        """True if it names exactly one model."""
        return not any(c in self.text for c in "*?")

    def matches(self, name: str) -> bool:
        """Return whether the pattern matches the whole `name`."""
        return self._regex.fullmatch(name) is not None

    def fill(self, name: str, template: str) -> str:
        """Return `template` with its one `*` replaced by the match of this pattern's first `*`."""
        match = self._regex.fullmatch(name)
        caught = match.group(1) if match is not None and self._regex.groups else ""
        return template.replace("*", caught, 1)


ALL = (Pattern("*"),)


def covers(wide: Pattern, narrow: Pattern) -> bool:
    """Return whether `wide` matches every name that `narrow` matches.

    Exact for patterns in which each `*` matches independently; otherwise it may return False
    wrongly, never True.
    """
    pieces = {"*": ".*", "?": "[^\0]"}
    regex = "".join(pieces.get(c) or re.escape(c) for c in wide.text)
    sample = narrow.text.replace("*", "\0").replace("?", "\1")
    return re.fullmatch(regex, sample, re.DOTALL) is not None


def both(one: tuple[Pattern, ...] | None, other: tuple[Pattern, ...] | None) -> tuple[Pattern, ...]:
    """Return the patterns that both lists allow (None allows all), for messages.

    Where two patterns overlap in part, the one of `one` stands for the overlap.
    """
    if one is None or other is None:
        return one or other or ALL
    within = [p for p in one if _in(p, other)]
    rest = [p for p in other if p not in within and _in(p, one)]
    found = within + rest
    wild = [p for p in one if not p.literal and p not in found and _partly(p, other)]
    return tuple(found + wild)


def lost(old: tuple[Pattern, ...], new: tuple[Pattern, ...]) -> tuple[Pattern, ...]:
    """Return the patterns of `old` that no pattern of `new` covers."""
    return tuple(pattern for pattern in old if not _in(pattern, new))


def listed(patterns: tuple[Pattern, ...]) -> str:
    """Return patterns as text: `gpt-5*, o3`; `all models`; `nothing`."""
    if patterns == ALL:
        return "all models"
    return ", ".join(each.text for each in patterns) or "nothing"


def _partly(pattern: Pattern, others: tuple[Pattern, ...]) -> bool:
    """Return whether a wild pattern may overlap others, none of which lies within it."""
    inside = any(covers(pattern, other) for other in others)
    return not inside and any(not other.literal for other in others)


def _in(pattern: Pattern, others: tuple[Pattern, ...]) -> bool:
    return any(covers(wide, pattern) for wide in others)


def matches_any(patterns: tuple[Pattern, ...] | None, name: str) -> bool:
    """Return whether a list of patterns admits `name`; None admits every name."""
    return patterns is None or any(pattern.matches(name) for pattern in patterns)
