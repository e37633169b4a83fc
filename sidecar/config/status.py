"""The status of the configuration, and the result of each reload. Values only."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct


class ConfigStatus(Struct, frozen=True):
    """The configuration in force, and why a newer edit was rejected, if one was.

    `digest` is that of the accepted text; times are seconds since the epoch. `stays` has a line
    for each thing that the rejected file would have taken away.
    """

    digest: str
    accepted_at: float
    problems: tuple[str, ...] = ()
    refused_at: float | None = None
    stays: tuple[str, ...] = ()


class ReloadResult(Struct, frozen=True):
    """The result of one reload. `difference` has a line for each effective change."""

    accepted: bool
    problems: tuple[str, ...] = ()
    difference: tuple[str, ...] = ()


class ReloadEvent(Struct, frozen=True):
    """A changed file that was accepted or rejected, at `at` (seconds since the epoch).

    Has the problems of a rejected file, the effective changes of an accepted one.
    """

    at: float
    accepted: bool
    problems: tuple[str, ...] = ()
    difference: tuple[str, ...] = ()


def in_force(status: ConfigStatus) -> str:
    """Return a line for people: which file stays in force after a rejected edit, and what stays."""
    since = _time(status.accepted_at)
    stays = "".join(f"; {line}" for line in status.stays)
    return f"REFUSED: the file of {since} stays in force{stays}"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")
