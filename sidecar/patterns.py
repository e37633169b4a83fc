"""How models are named in the file: whole names, with `*` and `?`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Pattern:
    """A model pattern: `*` matches any run, `?` one character, all else itself; the whole name,
    case-sensitively (`[` is an ordinary character and there is no negation)."""

    text: str

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        pieces = ("(.*)" if c == "*" else "." if c == "?" else re.escape(c) for c in self.text)
        return re.compile("".join(pieces), re.DOTALL)

    @property
    def literal(self) -> bool:
        """Whether it names exactly one model."""
        return not any(c in self.text for c in "*?")

    def matches(self, name: str) -> bool:
        """Whether the whole `name` matches."""
        return self._regex.fullmatch(name) is not None

    def fill(self, name: str, template: str) -> str:
        """`template` with its one `*` replaced by what this pattern's first `*` matched."""
        match = self._regex.fullmatch(name)
        caught = match.group(1) if match is not None and self._regex.groups else ""
        return template.replace("*", caught, 1)


def matches_any(patterns: tuple[Pattern, ...] | None, name: str) -> bool:
    """Whether a list of patterns admits `name`; no list admits everything."""
    return patterns is None or any(pattern.matches(name) for pattern in patterns)
