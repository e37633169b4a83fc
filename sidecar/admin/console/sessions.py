"""Who may use the console: one-time codes that `sidecar open` mints, and the tokens they buy.

A code travels in a link's fragment, which no browser sends anywhere, and works once. A token
travels in a header. Both are 256 random bits; this process keeps only their hashes, in memory, so
a restart ends every session.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sidecar.api_keys import digest
from sidecar.errors import ErrorKind, ProxyError

CODE_TTL_SECONDS = 300.0
"""Seconds until a code that nobody used is worth nothing."""
IDLE_SECONDS = 3600.0
"""Seconds without a request, and without a tab that listens, after which a session is over."""
SESSION_LIFETIME_SECONDS = 12 * 3600.0
"""Seconds after which any session is over."""
MAX_CODES = 16
MAX_SESSIONS = 64
_AGAIN = "get a new link with: sidecar open"


@dataclass(slots=True, eq=False)
class Session:
    """One exchanged code. Times are monotonic seconds; `listeners`, one for each open stream, are
    told when it ends."""

    began: float
    last_used: float
    over: bool = False
    listeners: list[Callable[[], None]] = field(default_factory=list)

    def end(self) -> None:
        """It is over."""
        self.over = True
        for tell in self.listeners:
            tell()

    def ends(self) -> float:
        """When it ends unless it is used again."""
        idle = float("inf") if self.listeners else self.last_used + IDLE_SECONDS
        return min(idle, self.began + SESSION_LIFETIME_SECONDS)


class Sessions:
    """All codes and sessions of one process. `clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._codes: dict[bytes, float] = {}
        self._sessions: dict[bytes, Session] = {}

    def mint_code(self) -> str:
        """A new code, good for one exchange within `CODE_TTL_SECONDS`."""
        code = secrets.token_urlsafe(32)
        self._codes[digest(code)] = self._clock() + CODE_TTL_SECONDS
        while len(self._codes) > MAX_CODES:
            del self._codes[next(iter(self._codes))]
        return code

    def exchange(self, code: str) -> str:
        """The token of a new session, for a code. Raises `ProxyError` (401)."""
        until = self._codes.pop(digest(code), None)
        now = self._clock()
        if until is None or now > until:
            raise ProxyError(
                ErrorKind.INVALID_KEY, f"this link was used already, or is too old; {_AGAIN}"
            )
        token = secrets.token_urlsafe(32)
        self._sweep(now)
        while len(self._sessions) >= MAX_SESSIONS:
            self._end(min(self._sessions, key=lambda each: self._sessions[each].last_used))
        self._sessions[digest(token)] = Session(now, now)
        return token

    def use(self, token: str) -> Session:
        """The session of a token, used now. Raises `ProxyError` (401)."""
        now = self._clock()
        self._sweep(now)
        session = self._sessions.get(digest(token)) if token else None
        if session is None:
            raise ProxyError(ErrorKind.INVALID_KEY, f"no session, or it is over; {_AGAIN}")
        session.last_used = now
        return session

    @contextmanager
    def listening(self, session: Session, tell: Callable[[], None]) -> Iterator[None]:
        """Until the block ends the session is in use; `tell` is called if it ends before."""
        session.listeners.append(tell)
        try:
            yield
        finally:
            session.listeners.remove(tell)
            session.last_used = self._clock()

    def end(self, token: str) -> None:
        """Sign out."""
        self._end(digest(token))

    def end_all(self) -> int:
        """End every session and code; how many sessions there were."""
        count = len(self._sessions)
        for key in list(self._sessions):
            self._end(key)
        self._codes.clear()
        return count

    def sweep(self) -> None:
        """End what has become too old."""
        self._sweep(self._clock())

    def _sweep(self, now: float) -> None:
        for key, session in list(self._sessions.items()):
            if now > session.ends():
                self._end(key)

    def _end(self, key: bytes) -> None:
        session = self._sessions.pop(key, None)
        if session is not None:
            session.end()
