"""Pins conversations to an upstream, for its prompt cache.

An upstream is a provider with one credential.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from sidecar.routing.candidates import Candidate

MAX_PINNED = 20_000
"""Conversations that are pinned; the least recently served are dropped."""
AFFINITY_TTL_SECONDS = 3600.0
"""Seconds without a call after which a pin ends: no vendor keeps a prompt cache for longer."""

ConversationKey = tuple[str, str, str]
"""The key, the client's name of the conversation (else the client's program), the model."""


class Affinity:
    """Keeps the upstream that each conversation used last. `clock` returns monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._pinned: OrderedDict[ConversationKey, tuple[str, str, float]] = OrderedDict()

    def prefer_pinned(
        self, session: ConversationKey, candidates: Sequence[Candidate]
    ) -> tuple[Sequence[Candidate], bool]:
        """Return the candidates, the pinned ones first, and whether there is a pinned one."""
        pin = self._pinned.get(session)
        if pin is None or self._clock() - pin[2] > AFFINITY_TTL_SECONDS:
            return candidates, False
        pinned = [c for c in candidates if (c.provider.name, c.credential_name) == pin[:2]]
        if not pinned or len(pinned) == len(candidates):
            return candidates, bool(pinned)
        return [*pinned, *(c for c in candidates if c not in pinned)], True

    def pin(self, session: ConversationKey, candidate: Candidate) -> None:
        """Pin a conversation to the upstream of this candidate."""
        self._pinned.pop(session, None)
        self._pinned[session] = candidate.provider.name, candidate.credential_name, self._clock()
        if len(self._pinned) > MAX_PINNED:
            self._pinned.popitem(last=False)
