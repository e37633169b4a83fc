"""The upstreams that conversations are pinned to in all processes that share state.

A fact has a digest of the conversation and the identity of its upstream, so that the server has no
name of either.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sidecar.routing.candidates import Candidate
from sidecar.shared.facts import SharedFacts

if TYPE_CHECKING:
    from sidecar.routing.affinity import ConversationKey

FACT_KIND = "pin"
MAX_SHARED_PINS = 8_192
"""Names of facts: that of a conversation is chosen by its digest, so another one may replace it.
This bounds the memory of each process and of the server."""


class SharedPins:
    """The pins of a namespace.

    Args:
        identity_of: Returns the identity of a provider with a credential; None for an upstream
            that is not shared.
        digest_of: Returns the digest of a key's secret, which the server does not have; b"" for
            none.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self, facts: SharedFacts, identity_of: Callable[[str, str], str | None],
        digest_of: Callable[[str], bytes], clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._facts = facts
        self._identity_of = identity_of
        self._digest_of = digest_of
        self._clock = clock

    def publish(self, conversation: ConversationKey, candidate: Candidate, seconds: float) -> None:
        """Let all processes have the upstream of a conversation, unless they have had it for less
        than half of `seconds`."""
        slot, digest = self._place(conversation)
        value = f"{digest} {self._identity(candidate)}"
        fact = self._facts.get(FACT_KIND, slot)
        if fact is None or fact.value != value or fact.until - self._clock() < seconds / 2:
            self._facts.publish(FACT_KIND, slot, value, seconds)

    def find(
        self, conversation: ConversationKey, candidates: Sequence[Candidate]
    ) -> Sequence[Candidate]:
        """Return the candidates at the upstream that a conversation used last, in any process."""
        slot, digest = self._place(conversation)
        fact = self._facts.get(FACT_KIND, slot)
        if fact is None:
            return ()
        pinned_digest, _, identity = fact.value.partition(" ")
        if pinned_digest != digest or not identity:
            return ()
        return [each for each in candidates if self._identity(each) == identity]

    def _identity(self, candidate: Candidate) -> str:
        """Return the identity of an upstream; "" for one that is not shared."""
        return self._identity_of(candidate.provider.name, candidate.credential_name) or ""

    def _place(self, conversation: ConversationKey) -> tuple[str, str]:
        """Return the name of the fact for a conversation, and the conversation's digest."""
        names = (conversation.key, conversation.session, conversation.model)
        text = "\0".join(names).encode("utf-8", "surrogateescape")
        salt = self._digest_of(conversation.key)
        digest = hashlib.blake2b(text, key=salt, digest_size=12)
        slot = int.from_bytes(digest.digest()[:4]) % MAX_SHARED_PINS
        return str(slot), digest.hexdigest()
