"""The state directory: private to its user, and used by one process at a time.

Knows nothing of what is kept in it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sidecar.errors import SidecarError

LOG = logging.getLogger("sidecar.state")
OTHERS = 0o077
EDIT_QUEUE_SECONDS = 30.0
EDIT_POLL_SECONDS = 0.02


class StateInUse(SidecarError):
    """Another process serves from the same state directory; `pid` is 0 when it is not known."""

    def __init__(self, state: Path, pid: int) -> None:
        who = f"process {pid}" if pid else "another process"
        super().__init__(
            f"{state} is in use by {who}; stop that one, or give this one another state directory"
        )
        self.pid = pid


def prepare(state: Path) -> None:
    """Make `state` a directory that only its user can enter; may raise OSError."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = state.stat()
    shared = found.st_mode & stat.S_ISVTX  # /tmp and its like belong to everybody
    if found.st_uid == os.geteuid() and found.st_mode & OTHERS and not shared:
        state.chmod(stat.S_IMODE(found.st_mode) & ~OTHERS)


@contextmanager
def lock(state: Path) -> Iterator[None]:
    """Hold `state` for this process until the block ends; the kernel lets go if the process dies.

    Raises `StateInUse` when another process holds it. Where no lock file can be written, the block
    runs without one: a full or read-only disk must not keep calls from being served.
    """
    handle = _lock_file(state)
    if handle is None:
        yield
        return
    try:
        _hold(handle, state)
        yield
    finally:
        os.close(handle)


@contextmanager
def edit_lock(state: Path) -> Iterator[None]:
    """Hold the right to change a configuration until the block ends, after the commands that hold
    it now.

    After `EDIT_QUEUE_SECONDS`, and where no lock file can be written, the block runs without it: an
    edit is never written over another one anyway, it is refused.
    """
    try:
        prepare(state)
        handle = os.open(state / "edit.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError:
        yield
        return
    try:
        _queue(handle)
        yield
    finally:
        os.close(handle)


def _queue(handle: int) -> None:
    deadline = time.monotonic() + EDIT_QUEUE_SECONDS
    while time.monotonic() < deadline:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(EDIT_POLL_SECONDS)
        except OSError:  # a file system without locks
            return
        else:
            return


def is_held(state: Path) -> bool:
    """Whether a process serves with `state`. A `lock` taken in this very moment would fail, so ask
    only when there is no other way to know."""
    try:
        handle = os.open(state / "lock", os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _lock_file(state: Path) -> int | None:
    try:
        prepare(state)
        return os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        LOG.warning("%s cannot be locked (%s); a second process would not be noticed", state, error)
        return None


def _hold(handle: int, state: Path) -> None:
    """Take the lock on an open file and write this process's id into it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StateInUse(state, _written_pid(handle)) from None
    except OSError as error:  # a file system without locks
        LOG.warning("%s cannot be locked (%s); a second process would not be noticed", state, error)
        return
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:  # a full disk: the lock holds, it only cannot say by whom
        LOG.warning("%s: cannot write the lock's process id (%s)", state, error)


def _written_pid(handle: int) -> int:
    text = os.pread(handle, 32, 0).strip()
    return int(text) if text.isdigit() else 0
