"""What a person has paused: a key, a group, a provider or everything.

Calls that are held are parked, they do not fail. A hold outlives the process, since whoever stopped
a runaway agent does not want a restart to let it go on.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from sidecar.pacing import Hold

EVERYTHING = ("all", "")
Held = tuple[str, str]
"""What is held: "key", "group" or "provider" and its name, or `EVERYTHING`."""

log = logging.getLogger("sidecar.holds")


class Holds:
    """All holds of this process, kept in `file` (0600)."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._gates = {held: _gate(held) for held in _read(file)}

    def __iter__(self) -> Iterator[Held]:
        return iter(self._gates)

    def __len__(self) -> int:
        return len(self._gates)

    def gates(self, key: str, group: str, provider: str) -> Iterator[Hold]:
        """The holds in the way of a call."""
        for held in (("key", key), ("group", group), ("provider", provider), EVERYTHING):
            if held in self._gates:
                yield self._gates[held]

    def pause(self, held: Held) -> bool:
        """Hold it from now on; whether that is news."""
        if held in self._gates:
            return False
        self._gates[held] = _gate(held)
        self._write()
        return True

    def resume(self, held: Held) -> bool:
        """Let it go on; whether it was held. `EVERYTHING` ends every hold."""
        gone = list(self._gates) if held == EVERYTHING else [h for h in self._gates if h == held]
        for each in gone:
            del self._gates[each]
        self._write()
        return bool(gone)

    def _write(self) -> None:
        try:
            new = self._file.with_suffix(".new")
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump([list(held) for held in self._gates], file)
            new.replace(self._file)
        except OSError as error:
            log.warning("holds are not kept over a restart: %s: %s", self._file, error.strerror)


def in_words(held: Held) -> str:
    """What is held, in words."""
    return "everything" if held == EVERYTHING else f'{held[0]} "{held[1]}"'


def _gate(held: Held) -> Hold:
    words = in_words(held)
    name = held[1] or "all"
    return Hold(words, f"{words} is paused (sidecar resume {name!r} lets it go on)")


def _read(file: Path) -> list[Held]:
    with suppress(OSError, ValueError, TypeError):
        return [(str(kind), str(name)) for kind, name in json.loads(file.read_text())]
    return []
