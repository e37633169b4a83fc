"""Private (0600) files, atomic replacement, bounded reads, the state directory and its lock."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sidecar.errors import EditRefused, SidecarError

LOG = logging.getLogger("sidecar.files")
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


def read_start(path: str, most: int) -> bytes:
    """The first `most` bytes of a regular file; b"" when it is none or cannot be read."""
    try:
        # A pipe in its place must not hold us up.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(handle, most) if stat.S_ISREG(os.fstat(handle).st_mode) else b""
    except OSError:
        return b""
    finally:
        os.close(handle)
