"""Where the unix socket of the admin side is: in the state directory, or elsewhere where its path
there would be too long for a socket.

    STATE/admin.sock           the socket
    STATE/admin.socket-path    the socket's path, where it is elsewhere
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NAME = "admin.sock"
_POINTER = "admin.socket-path"
MAX_SOCKET_PATH_BYTES = 100
"""A little less than the smallest of the systems: Linux has room for 107, macOS for 103."""

log = logging.getLogger("sidecar")


def socket_of(state: Path) -> Path | None:
    """Return the path of the process's socket; None when it is elsewhere and nothing says where."""
    if _fits(state.absolute() / _NAME):
        return state / _NAME
    with suppress(OSError):
        return Path((state / _POINTER).read_text().strip())
    return None


@contextmanager
def socket_place(state: Path) -> Iterator[Path]:
    """Yield the path to listen on. One elsewhere is in a folder for this user alone, which is
    removed at the end."""
    if _fits(state.absolute() / _NAME):
        yield state / _NAME
        return
    import tempfile  # takes a while, and commands need none of it

    pointer = state / _POINTER
    _remove(socket_of(state))  # of a process that was killed
    try:
        place = (
            Path(tempfile.mkdtemp(prefix="sidecar-", dir=_short_folder(tempfile.gettempdir())))
            / _NAME
        )
        pointer.unlink(missing_ok=True)
        with os.fdopen(os.open(pointer, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"{place}\n")
    except OSError as error:
        log.warning("commands cannot reach this process: %s: %s", pointer, error)
        yield state / _NAME
        return
    log.warning("%s is too long for a socket; commands reach this process at %s", state, place)
    try:
        yield place
    finally:
        pointer.unlink(missing_ok=True)
        _remove(place)


def _short_folder(temporary: str) -> str:
    """Return the first folder for short-lived files whose path leaves room for a socket's."""
    wanted = (os.environ.get("XDG_RUNTIME_DIR", ""), temporary)
    example = Path("sidecar-12345678") / _NAME
    fitting = (
        each for each in wanted if each and Path(each).is_dir() and _fits(Path(each) / example)
    )
    return next(fitting, "/tmp")  # noqa: S108 - a private folder is made in it


def _remove(place: Path | None) -> None:
    if place is not None:
        with suppress(OSError):
            place.unlink(missing_ok=True)
            place.parent.rmdir()


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES
