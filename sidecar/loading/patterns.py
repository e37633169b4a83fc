"""What lists of model patterns say together: which lies within which, and what two of them allow.

Asks no vendor which models there are.
"""

from __future__ import annotations

import re

from sidecar.config import Pattern

ALL = (Pattern("*"),)


def covers(wide: Pattern, narrow: Pattern) -> bool:
    """Whether every name that `narrow` matches, `wide` matches as well.

    Exact for patterns whose `*` do not have to share work; else it errs on the side of no.
    """
    pieces = {"*": ".*", "?": "[^\0]"}
    regex = "".join(pieces.get(c) or re.escape(c) for c in wide.text)
    sample = narrow.text.replace("*", "\0").replace("?", "\1")
    return re.fullmatch(regex, sample, re.DOTALL) is not None


def both(one: tuple[Pattern, ...] | None, other: tuple[Pattern, ...] | None) -> tuple[Pattern, ...]:
    """The patterns that both lists allow (None allows all), for a person to read: of two that
    overlap only in part, the one of `one` stands for what they share."""
    if one is None or other is None:
        return one or other or ALL
    within = [p for p in one if _in(p, other)]
    rest = [p for p in other if p not in within and _in(p, one)]
    found = within + rest
    wild = [p for p in one if not p.literal and p not in found and _partly(p, other)]
    return tuple(found + wild)


def lost(old: tuple[Pattern, ...], new: tuple[Pattern, ...]) -> tuple[Pattern, ...]:
    """The patterns of `old` that lie in none of `new`."""
    return tuple(pattern for pattern in old if not _in(pattern, new))


def listed(patterns: tuple[Pattern, ...]) -> str:
    """For a message: `gpt-5*, o3`; `all models`; `nothing`."""
    if patterns == ALL:
        return "all models"
    return ", ".join(each.text for each in patterns) or "nothing"


def _partly(pattern: Pattern, others: tuple[Pattern, ...]) -> bool:
    """Whether a wild pattern may share names with others, none of which lies within it."""
    inside = any(covers(pattern, other) for other in others)
    return not inside and any(not other.literal for other in others)


def _in(pattern: Pattern, others: tuple[Pattern, ...]) -> bool:
    return any(covers(wide, pattern) for wide in others)
