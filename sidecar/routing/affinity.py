"""Pins calls to an upstream: for its prompt cache, or because it created an object.

An upstream is a provider with one credential.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from sidecar.errors import ErrorKind, ProxyError
from sidecar.ledger.ledger import Ledger
from sidecar.ledger.model import Claim, Owner
from sidecar.plugin_api.dialect import Meter
from sidecar.routing.call import Call
from sidecar.routing.candidates import Candidate


def restrict_to_owner(
    call: Call, candidates: Sequence[Candidate], ledger: Ledger
) -> Sequence[Candidate]:
    """Return the candidates at the provider that created the object that the call names.

    Returns all candidates if the call names no object, or one whose owner is not recorded.

    Raises:
        ProxyError: 404 if another group owns the object, 503 if its provider is no candidate.
    """
    kind, object_id = _named_object(call)
    if kind is None or object_id is None:
        return candidates
    owner = ledger.owner(kind, object_id)
    if owner is None:
        return candidates
    if owner.group != call.key.group.name:
        raise ProxyError(ErrorKind.NOT_FOUND, f"there is no {kind} {object_id[:80]} here")
    same = [c for c in candidates if c.provider.name == owner.provider]
    if not same:
        raise ProxyError(
            ErrorKind.UNAVAILABLE,
            f'{kind} {object_id[:80]} was created at provider "{owner.provider}", which this key '
            "cannot use now",
        )
    return [c for c in same if c.credential_name == owner.credential] or same


def record_owner(
    call: Call, candidate: Candidate, meter: Meter, ledger: Ledger, claim: Claim | None
) -> None:
    """Record the owner of each object that a response reports as created.

    `claim` is for usage that is reported later; it is recorded only if one object was created.
    """
    kind = call.endpoint.creates
    if kind is None:
        return
    group = call.key.group.name
    created = meter.created()
    claim = claim if len(created) == 1 else None
    owner = Owner(candidate.provider.name, candidate.credential_name, group, claim)
    for object_id in created:
        ledger.remember(kind, object_id, owner)


def _named_object(call: Call) -> tuple[str | None, str | None]:
    if call.facts.previous_id is not None:
        return call.endpoint.creates, call.facts.previous_id
    return call.endpoint.owned, call.located.object_id


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
