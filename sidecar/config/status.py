"""How the configuration stands, and what became of changed files. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class ConfigStatus:
    """How the configuration stands: the digest in force and since when (wall-clock seconds), and
    what is wrong with a newer edit, if it was refused."""

    digest: str
    accepted_at: float
    problems: tuple[str, ...] = ()
    refused_at: float | None = None
    stays: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReloadResult:
    """What a look at the file came to."""

    accepted: bool
    problems: tuple[str, ...] = ()
    difference: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReloadEvent:
    """A changed file that was taken over, or refused: when (wall-clock seconds), the problems of
    a refused one, the effective differences of an accepted one."""

    at: float
    accepted: bool
    problems: tuple[str, ...] = ()
    difference: tuple[str, ...] = ()


def in_force(standing: ConfigStatus) -> str:
    """What a refused edit means for now: which file is in force, and what therefore stays."""
    since = _time(standing.accepted_at)
    stays = "".join(f"; {line}" for line in standing.stays)
    return f"REFUSED: the file of {since} stays in force{stays}"


def _time(moment: float) -> str:
    return datetime.fromtimestamp(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")
