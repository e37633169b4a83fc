"""Sessions of the console: one-time codes of `sidecar open`, and the tokens that replace them.

A code travels in a link's fragment, which no browser sends anywhere, and works once. A token
travels in a header. Both are 256 random bits; this process keeps only their hashes, in memory, so
a restart ends every session.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec import Struct

from sidecar.errors import ErrorKind, ProxyError

CODE_TTL_SECONDS = 300.0
"""How long an unused code is valid."""
IDLE_SECONDS = 3600.0
"""How long a session lasts without a request and without an open stream."""
SESSION_LIFETIME_SECONDS = 12 * 3600.0
"""How long a session lasts at most."""
MAX_CODES = 16
MAX_SESSIONS = 64
_NEW_LINK = "get a new link with: sidecar open"


class Session(Struct, eq=False):
    """One exchanged code. Times are monotonic seconds; `listeners`, one for each open stream, are
    called when it ends."""

    began: float
    last_used: float
    over: bool = False
    listeners: list[Callable[[], None]] = []

    def end(self) -> None:
        """End the session and its event streams."""
        self.over = True
        for tell in self.listeners:
            tell()

    def ends(self) -> float:
        """Return when it ends unless it is used again."""
        idle = float("inf") if self.listeners else self.last_used + IDLE_SECONDS
        return min(idle, self.began + SESSION_LIFETIME_SECONDS)


class Sessions:
    """All codes and sessions of one process. `clock` returns monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._codes: dict[bytes, float] = {}
        self._sessions: dict[bytes, Session] = {}

    def mint_code(self) -> str:
        """Return a new code, valid for one exchange within `CODE_TTL_SECONDS`."""
        code = secrets.token_urlsafe(32)
        self._codes[_digest(code)] = self._clock() + CODE_TTL_SECONDS
        while len(self._codes) > MAX_CODES:
            del self._codes[next(iter(self._codes))]
        return code

    def exchange(self, code: str) -> str:
        """Exchange a code for the token of a new session. Raises `ProxyError` (401)."""
        until = self._codes.pop(_digest(code), None)
        now = self._clock()
        if until is None or now > until:
            raise ProxyError(
                ErrorKind.INVALID_KEY, f"this link was used already, or is too old; {_NEW_LINK}"
            )
        token = secrets.token_urlsafe(32)
        self._sweep(now)
        while len(self._sessions) >= MAX_SESSIONS:
            self._end(min(self._sessions, key=lambda each: self._sessions[each].last_used))
        self._sessions[_digest(token)] = Session(now, now)
        return token

    def use(self, token: str) -> Session:
        """Return the session of a token, and record its use. Raises `ProxyError` (401)."""
        now = self._clock()
        self._sweep(now)
        session = self._sessions.get(_digest(token)) if token else None
        if session is None:
            raise ProxyError(ErrorKind.INVALID_KEY, f"no session, or it is over; {_NEW_LINK}")
        session.last_used = now
        return session

    @contextmanager
    def listening(self, session: Session, tell: Callable[[], None]) -> Iterator[None]:
        """Keep the session in use until the block ends; `tell` is called if it ends before."""
        session.listeners.append(tell)
        try:
            yield
        finally:
            session.listeners.remove(tell)
            session.last_used = self._clock()

    def end(self, token: str) -> None:
        """End the session of a token."""
        self._end(_digest(token))

    def end_all(self) -> int:
        """End every session and code, and return how many sessions there were."""
        count = len(self._sessions)
        for digest in list(self._sessions):
            self._end(digest)
        self._codes.clear()
        return count

    def sweep(self) -> None:
        """End the sessions that are too old."""
        self._sweep(self._clock())

    def _sweep(self, now: float) -> None:
        for digest, session in list(self._sessions.items()):
            if now > session.ends():
                self._end(digest)

    def _end(self, digest: bytes) -> None:
        session = self._sessions.pop(digest, None)
        if session is not None:
            session.end()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
