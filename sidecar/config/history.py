"""The accepted texts of a configuration file, newest first, so that a user can go back.

    STATE/versions/FILE/000042.yaml    the accepted text, byte for byte
    STATE/versions/FILE/000042.json    its time and its effective changes

FILE is a digest of the file's path: one state directory may serve several files, and the keys of
one must never come into force for another. All files are private. Accepted texts hold references
to credentials and no credential.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from sidecar.files import content_digest, write_private

KEPT_VERSIONS = 20
"""The most versions of a file; the oldest are removed first."""
_NAME = re.compile(r"\d{6,}\.yaml")


class Version(msgspec.Struct, frozen=True):
    """One accepted text: number, time (seconds since the epoch), SHA-256 in hex, and changes.

    `difference` has a line for each effective change.
    """

    number: int
    at: float
    digest: str
    difference: tuple[str, ...] = ()


class Versions:
    """The accepted texts below one folder. Blocking; a broken disk costs only the history."""

    @classmethod
    def of(cls, state: Path, file: Path) -> Versions:
        """Return the versions of one configuration file.

        Links are resolved in its folder only: orchestrators swap the file's own link.
        """
        path = file.parent.resolve() / file.name
        return cls(state / "versions" / content_digest(os.fsencode(path))[:16])

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._listed: list[Version] | None = None

    def listed(self) -> list[Version]:
        """Return all versions, newest first."""
        if self._listed is None:
            found = sorted((p.stem for p in _texts(self._folder)), key=int, reverse=True)
            self._listed = [self._read(int(stem)) for stem in found]
        return list(self._listed)

    def text(self, number: int) -> bytes | None:
        """Return the text of a version; None when it is not kept any more."""
        try:
            return self._path(number, "yaml").read_bytes()
        except OSError:
            return None

    def newest(self) -> bytes | None:
        """Return the text that was accepted last; None when none is kept."""
        return self.text(self.listed()[0].number) if self.listed() else None

    def with_digest(self, digest: str) -> bytes | None:
        """Return the text of that digest; None when none is kept."""
        found = next((each for each in self.listed() if each.digest == digest), None)
        return None if found is None else self.text(found.number)

    def keep(self, text: bytes, at: float, difference: Sequence[str]) -> None:
        """Keep an accepted text, unless it is the newest one again without a change.

        Raises `OSError`; the older versions are then still there.
        """
        before = self.listed()
        digest = content_digest(text)
        if before and before[0].digest == digest and not difference:
            return
        number = before[0].number + 1 if before else 1
        version = Version(number, at, digest, tuple(difference))
        for folder in (self._folder.parent, self._folder):
            folder.mkdir(mode=0o700, exist_ok=True)
        write_private(self._path(number, "json"), msgspec.json.encode(version))
        write_private(self._path(number, "yaml"), text)
        self._listed = [version, *before][:KEPT_VERSIONS]
        for old in before[KEPT_VERSIONS - 1 :]:
            for kind in ("yaml", "json"):
                self._path(old.number, kind).unlink(missing_ok=True)

    def _read(self, number: int) -> Version:
        with suppress(OSError, msgspec.MsgspecError):
            return msgspec.json.decode(self._path(number, "json").read_bytes(), type=Version)
        path = self._path(number, "yaml")
        with suppress(OSError):
            return Version(number, path.stat().st_mtime, content_digest(path.read_bytes()))
        return Version(number, 0.0, "")

    def _path(self, number: int, kind: str) -> Path:
        return self._folder / f"{number:06d}.{kind}"


def _texts(folder: Path) -> list[Path]:
    with suppress(OSError):
        return [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]
    return []
