"""Pins conversations to an upstream, for its prompt cache.

An upstream is a provider with one credential.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from msgspec import Struct

from sidecar.routing.candidates import Candidate
from sidecar.routing.shared_pins import SharedPins

MAX_PINNED = 20_000
"""Conversations that are pinned; the least recently served are dropped."""
AFFINITY_TTL_SECONDS = 3600.0
"""Seconds without a call after which a pin ends: no vendor keeps a prompt cache for longer."""


class ConversationKey(Struct, frozen=True):
    """The key and the model of a conversation, and the session that its client names; without
    one (not `is_named`), the client's program stands for it."""

    key: str
    session: str
    model: str
    is_named: bool = True


class Affinity:
    """Keeps the upstream that each conversation used last. `clock` returns monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._pinned: OrderedDict[ConversationKey, tuple[tuple[str, str], float]] = OrderedDict()
        self._shared: SharedPins | None = None

    def share(self, shared: SharedPins) -> None:
        """Have the pins of named conversations in common with other processes from now on."""
        self._shared = shared

    def prefer_pinned(
        self, conversation: ConversationKey, candidates: Sequence[Candidate]
    ) -> tuple[Sequence[Candidate], bool]:
        """Return the candidates, the pinned ones first, and whether there is a pinned one."""
        pinned = self._find(conversation, candidates)
        if not pinned or len(pinned) == len(candidates):
            return candidates, bool(pinned)
        return [*pinned, *(c for c in candidates if c not in pinned)], True

    def pin(self, conversation: ConversationKey, candidate: Candidate) -> None:
        """Pin a conversation to the upstream that answers its call, which had others, too."""
        self._keep(conversation, candidate, self._clock())
        if self._shared is not None and conversation.is_named:
            self._shared.publish(conversation, candidate, AFFINITY_TTL_SECONDS)

    def pin_ended(
        self, conversation: ConversationKey, candidate: Candidate, began: float, ended: float
    ) -> None:
        """Pin a conversation to the upstream of an ended call, unless it was pinned since the call
        began. No other process gets to know."""
        pin = self._pinned.get(conversation)
        if pin is None or pin[1] < began:
            self._keep(conversation, candidate, ended)

    def _keep(self, conversation: ConversationKey, candidate: Candidate, at: float) -> None:
        pinned = self._pinned
        pinned[conversation] = candidate.names, at
        pinned.move_to_end(conversation)
        if len(pinned) > MAX_PINNED:
            pinned.popitem(last=False)

    def _find(
        self, conversation: ConversationKey, candidates: Sequence[Candidate]
    ) -> Sequence[Candidate]:
        """Return the candidates that a conversation is pinned to."""
        if self._shared is not None and conversation.is_named and len(candidates) > 1:
            found = self._shared.find(conversation, candidates)
            if found:
                return found
        pin = self._pinned.get(conversation)
        if pin is None or self._clock() - pin[1] > AFFINITY_TTL_SECONDS:
            return ()
        return [each for each in candidates if each.names == pin[0]]
