"""Puts new content into a file's place: all of it or nothing, and never over another's edit."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from sidecar.errors import EditRefused

PRIVATE = 0o600


def replace_file(path: Path, expected: bytes, new: bytes) -> None:
    """Make `new` the content of `path`, which must be `expected` until then (b"" for no file yet).

    Readers see the old content or the new one. A link keeps pointing to its target, the target
    keeps its mode and owner; a new file is for its owner alone. When this returns, the change is
    on the disk. Raises `EditRefused`, and then nothing has changed.
    """
    try:
        _replace(Path(os.path.realpath(path, strict=False)), expected, new)
    except OSError as error:
        raise EditRefused(f"{path} was not changed: {error.strerror or error}") from None


def _replace(target: Path, expected: bytes, new: bytes) -> None:
    with _locked(target.parent) as folder, _temporary(target, new) as (temporary, descriptor):
        found = _look(target)
        if found is None:
            _refuse_unless(target, expected == b"")
            os.link(temporary, target)  # fails if somebody made one in the meantime
        else:
            content, status = found
            _refuse_unless(target, content == expected)
            _take_over(descriptor, status)
            temporary.replace(target)
        os.fsync(folder)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """Hold the folder, so that two of our own edits cannot cross."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _temporary(target: Path, content: bytes) -> Iterator[tuple[Path, int]]:
    """A private file beside the target, written and on the disk; gone afterwards."""
    path = target.with_name(f".{target.name[:100]}.{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, PRIVATE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
            yield path, descriptor
    finally:
        path.unlink(missing_ok=True)


def _look(target: Path) -> tuple[bytes, os.stat_result] | None:
    """The target's content and status; None when there is none."""
    try:
        # Not to hang on a pipe that somebody put there.
        descriptor = os.open(target, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise EditRefused(f"{target} is not a regular file")
        return file.read(), status


def _refuse_unless(target: Path, same: bool) -> None:  # noqa: FBT001 - private
    if not same:
        raise EditRefused(f"{target} was changed in the meantime; nothing was written, try again")


def _take_over(descriptor: int, status: os.stat_result) -> None:
    """Give the new file the owner and the mode of the old one."""
    own = os.fstat(descriptor)
    if (own.st_uid, own.st_gid) != (status.st_uid, status.st_gid):
        os.fchown(descriptor, status.st_uid, status.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
    os.fsync(descriptor)
