"""Private (0600) files, atomic replacement, bounded reads, the state directory and its lock."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sidecar.errors import EditRefused, SidecarError

try:
    import fcntl
except ImportError:  # Windows: its commands end before they lock anything
    fcntl = None  # type: ignore[assignment]

OTHERS = 0o077
"""The permission bits of the group and of others."""
PRIVATE = 0o600
EDIT_QUEUE_SECONDS = 30.0
EDIT_POLL_SECONDS = 0.02
MAX_SOCKET_PATH_BYTES = 100
"""A little less than the smallest limit: Linux allows 107, macOS 103."""

_SOCKET_NAME = "admin.sock"
_SOCKET_POINTER = "admin.socket-path"

log = logging.getLogger("sidecar.files")


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────


class NotRegularFile(OSError):
    """The path leads to a directory, a pipe, a device or a socket."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(errno.EINVAL, "it is not a regular file", str(path))


@contextmanager
def open_regular(path: str | Path, *, follow_link: bool = True) -> Iterator[int]:
    """Yield a descriptor of a regular file, open for reading. Never waits for a pipe's writer.

    Raises:
        NotRegularFile: The path leads to something else.
        OSError: The file cannot be opened.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = os.open(path, flags if follow_link else flags | os.O_NOFOLLOW)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotRegularFile(path)
        yield descriptor
    finally:
        os.close(descriptor)


def read_regular(path: str | Path, max_bytes: int = -1) -> bytes:
    """Return the first `max_bytes` of a regular file, or all of it. Raises as `open_regular`."""
    with open_regular(path) as descriptor, os.fdopen(descriptor, "rb", closefd=False) as file:
        return file.read(max_bytes)


def read_start(path: str, max_bytes: int) -> bytes:
    """Return the first `max_bytes` of a regular file; b"" when it is none or cannot be read."""
    try:
        with open_regular(path) as descriptor:
            return os.read(descriptor, max_bytes)
    except OSError:
        return b""


def content_digest(content: bytes) -> str:
    """Return the SHA-256 of a file's bytes in hex: 64 characters."""
    return hashlib.sha256(content).hexdigest()


# ── Writing ──────────────────────────────────────────────────────────────────────────────────────


def create_private(path: Path, content: bytes) -> None:
    """Create a 0600 file with this content, on the disk when this returns.

    Raises `FileExistsError` where anything has this path, a dangling link included.
    """
    with os.fdopen(_create(path), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_private(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Make `content` the whole of a 0600 file, which need not exist. Raises `OSError`.

    Readers see the old content or the new one; a link is replaced, not followed. The content is on
    the disk when this returns, unless not `durable`: the event loop must not wait for that.
    """
    with _temporary(path, content, durable=durable) as (temporary, _):
        temporary.replace(path)


def replace_file(path: Path, expected: bytes, new: bytes) -> None:
    """Replace the content of `path`, which must be `expected` until then (b"" for no file yet).

    Readers see the old content or the new one. A link keeps its target, the target keeps its mode
    and owner; a new file is private. The change is on the disk when this returns.

    Raises:
        EditRefused: Nothing has changed: the file has another content, or cannot be written.
    """
    try:
        _replace(Path(os.path.realpath(path, strict=False)), expected, new)
    except OSError as error:
        raise EditRefused(f"{path} was not changed: {error.strerror or error}") from None


def _replace(target: Path, expected: bytes, new: bytes) -> None:
    with _locked(target.parent) as folder, _temporary(target, new) as (temporary, descriptor):
        found = _content_of(target)
        if found is None:
            _refuse_unless(target, expected == b"")
            os.link(temporary, target)  # fails if another process created one in the meantime
        else:
            content, status = found
            _refuse_unless(target, content == expected)
            _copy_owner(descriptor, status)
            temporary.replace(target)
        os.fsync(folder)


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """Lock the folder against other edits of Sidecar; yield its descriptor."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _flock(descriptor, wait=True)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _temporary(target: Path, content: bytes, *, durable: bool = True) -> Iterator[tuple[Path, int]]:
    """Yield a private file beside the target with this content; remove it at the end."""
    path = target.with_name(f".{target.name[:100]}.{secrets.token_hex(8)}")
    descriptor = _create(path)
    try:
        _write_all(descriptor, content)
        if durable:
            os.fsync(descriptor)
        yield path, descriptor
    finally:
        os.close(descriptor)
        path.unlink(missing_ok=True)


def _create(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(path, flags, PRIVATE)


def _write_all(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _content_of(target: Path) -> tuple[bytes, os.stat_result] | None:
    """Return the target's content and status; None when there is no such file."""
    try:
        with (
            open_regular(target, follow_link=False) as descriptor,
            os.fdopen(descriptor, "rb", closefd=False) as file,
        ):
            return file.read(), os.fstat(descriptor)
    except FileNotFoundError:
        return None


def _refuse_unless(target: Path, same: bool) -> None:  # noqa: FBT001 - private
    if not same:
        raise EditRefused(f"{target} was changed in the meantime; nothing was written, try again")


def _copy_owner(descriptor: int, status: os.stat_result) -> None:
    """Give an open file the owner and the mode of `status`."""
    own = os.fstat(descriptor)
    if (own.st_uid, own.st_gid) != (status.st_uid, status.st_gid):
        os.fchown(descriptor, status.st_uid, status.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
    os.fsync(descriptor)


# ── The state directory ──────────────────────────────────────────────────────────────────────────


class StateInUse(SidecarError):
    """Another process serves from the same state directory; `pid` is 0 when it is not known."""

    def __init__(self, state: Path, pid: int) -> None:
        holder = f"process {pid}" if pid else "another process"
        super().__init__(
            f"{state} is in use by {holder}; stop that one, or give this one another state "
            "directory"
        )
        self.pid = pid


def prepare(state: Path) -> None:
    """Make `state` a directory that only its user can enter. Raises `OSError`."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = state.stat()
    shared = found.st_mode & stat.S_ISVTX  # /tmp and the like: every user needs it
    if found.st_uid == os.geteuid() and found.st_mode & OTHERS and not shared:
        state.chmod(stat.S_IMODE(found.st_mode) & ~OTHERS)


@contextmanager
def lock(state: Path) -> Iterator[None]:
    """Lock `state` for this process until the block ends or the process dies.

    Where no lock file can be written, the block runs without a lock: a full or read-only disk must
    not keep calls from being served.

    Raises:
        StateInUse: Another process has the lock.
    """
    try:
        handle = _open_lock(state, "lock")
    except OSError as error:
        _warn_unlocked(state, error)
        yield
        return
    try:
        _acquire(handle, state)
        yield
    finally:
        os.close(handle)


@contextmanager
def edit_lock(state: Path) -> Iterator[None]:
    """Wait for the commands that edit a configuration now; lock out others until the block ends.

    After `EDIT_QUEUE_SECONDS`, and where no lock file can be written, the block runs without a
    lock: `replace_file` still refuses to overwrite another edit.
    """
    try:
        handle = _open_lock(state, "edit.lock")
    except OSError:
        yield
        return
    try:
        _wait_for(handle)
        yield
    finally:
        os.close(handle)


def is_held(state: Path) -> bool:
    """Return whether a process serves from `state`.

    A `lock` attempted at the same moment fails, so call this only where there is no other way.
    """
    try:
        handle = os.open(state / "lock", os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        _flock(handle, shared=True)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _open_lock(state: Path, name: str) -> int:
    prepare(state)
    return os.open(state / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, PRIVATE)


def _flock(handle: int, *, shared: bool = False, wait: bool = False) -> None:
    """Lock an open file. Raises `BlockingIOError`, and `OSError` where locks are missing."""
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    fcntl.flock(handle, kind if wait else kind | fcntl.LOCK_NB)


def _wait_for(handle: int) -> None:
    deadline = time.monotonic() + EDIT_QUEUE_SECONDS
    while time.monotonic() < deadline:
        try:
            _flock(handle)
        except BlockingIOError:
            time.sleep(EDIT_POLL_SECONDS)
        except OSError:  # a file system without locks
            return
        else:
            return


def _acquire(handle: int, state: Path) -> None:
    """Lock an open file and write this process's id into it."""
    try:
        _flock(handle)
    except BlockingIOError:
        raise StateInUse(state, _written_pid(handle)) from None
    except OSError as error:  # a file system without locks
        _warn_unlocked(state, error)
        return
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:  # a full disk: the lock holds without the id
        log.warning("%s: the lock holds, but without the process's id: %s", state, error)


def _warn_unlocked(state: Path, error: OSError) -> None:
    log.warning("%s cannot be locked: %s; a second process would not be noticed", state, error)


def _written_pid(handle: int) -> int:
    text = os.pread(handle, 32, 0).strip()
    return int(text) if text.isdigit() else 0


# ── The admin socket ─────────────────────────────────────────────────────────────────────────────


def socket_of(state: Path) -> Path | None:
    """Return the path of the process's socket; None when no pointer names it."""
    if _fits(state.absolute() / _SOCKET_NAME):
        return state / _SOCKET_NAME
    with suppress(OSError):
        return Path((state / _SOCKET_POINTER).read_text().strip())
    return None


@contextmanager
def socket_place(state: Path) -> Iterator[Path]:
    """Yield the path to listen on.

    Where `state` is too long for a socket, it is in a private folder elsewhere, named by a pointer
    in `state`; both are removed at the end.
    """
    if _fits(state.absolute() / _SOCKET_NAME):
        yield state / _SOCKET_NAME
        return
    import tempfile  # slow to import, and commands do not need it

    pointer = state / _SOCKET_POINTER
    _remove(socket_of(state))  # left by a killed process
    try:
        folder = tempfile.mkdtemp(prefix="sidecar-", dir=_short_folder(tempfile.gettempdir()))
        place = Path(folder) / _SOCKET_NAME
        write_private(pointer, f"{place}\n".encode())
    except OSError as error:
        log.warning("commands cannot reach this process: %s: %s", pointer, error)
        yield state / _SOCKET_NAME
        return
    log.warning("%s is too long for a socket; commands reach this process at %s", state, place)
    try:
        yield place
    finally:
        pointer.unlink(missing_ok=True)
        _remove(place)


def _short_folder(temporary: str) -> str:
    """Return the first temporary folder whose path leaves room for a socket's."""
    wanted = (os.environ.get("XDG_RUNTIME_DIR", ""), temporary)
    example = Path("sidecar-12345678") / _SOCKET_NAME
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
