"""Which provider and credential a conversation is at home: there its prompt cache is warm, and
there alone its earlier answers are known.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from sidecar.routing import Candidate

MOST = 20_000
"""Conversations that are remembered; the longest silent are forgotten."""
LONGEST = 3600.0
"""Seconds of silence after which a conversation is at home nowhere: no vendor's cache is kept for
longer."""

Session = tuple[str, str, str]
"""The key, the conversation in its client's words (else the client), and the model."""


class Affinity:
    """Where conversations were served last. `clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._homes: OrderedDict[Session, tuple[str, str, float]] = OrderedDict()

    def first(
        self, session: Session, candidates: Sequence[Candidate]
    ) -> tuple[Sequence[Candidate], bool]:
        """The candidates with the session's own one first, and whether it has one."""
        home = self._homes.get(session)
        if home is None or self._clock() - home[2] > LONGEST:
            return candidates, False
        own = [c for c in candidates if (c.provider.name, c.credential_name) == home[:2]]
        if not own:
            return candidates, False
        return [*own, *(c for c in candidates if c not in own)], True

    def served(self, session: Session, candidate: Candidate) -> None:
        """This is where it is at home from now on."""
        self._homes.pop(session, None)
        home = (candidate.provider.name, candidate.credential_name, self._clock())
        self._homes[session] = home
        if len(self._homes) > MOST:
            self._homes.popitem(last=False)
