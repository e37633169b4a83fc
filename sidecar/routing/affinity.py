"""Pins calls to an upstream: warm prompt caches, and ids that a provider created."""

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
    """The candidates that know the id which this call names, if it names one that is remembered.

    Raises `ProxyError` (404) when the id is another group's, or its provider is no candidate now.
    """
    kind, object_id = _named(call)
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
            f'{kind} {object_id[:80]} was made at provider "{owner.provider}", which this key '
            "cannot use now",
        )
    return [c for c in same if c.credential_name == owner.credential] or same


def record_owner(
    call: Call, candidate: Candidate, meter: Meter, ledger: Ledger, claim: Claim | None
) -> None:
    """Note who made what an answer says was created, and what is to be booked for it later."""
    kind = call.endpoint.creates
    if kind is None:
        return
    group = call.key.group.name
    made = meter.created()
    claim = claim if len(made) == 1 else None
    owner = Owner(candidate.provider.name, candidate.credential_name, group, claim)
    for object_id in made:
        ledger.remember(kind, object_id, owner)


def _named(call: Call) -> tuple[str | None, str | None]:
    if call.facts.previous_id is not None:
        return call.endpoint.creates, call.facts.previous_id
    return call.endpoint.owned, call.located.object_id


MAX_PINNED = 20_000
"""Conversations that are remembered; the longest silent are forgotten."""
AFFINITY_TTL_SECONDS = 3600.0
"""Seconds of silence after which a conversation is at home nowhere: no vendor's cache is kept for
longer."""

ConversationKey = tuple[str, str, str]
"""The key, the conversation in its client's words (else the client), and the model."""


class Affinity:
    """Where conversations were served last. `clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._pinned: OrderedDict[ConversationKey, tuple[str, str, float]] = OrderedDict()

    def prefer_pinned(
        self, session: ConversationKey, candidates: Sequence[Candidate]
    ) -> tuple[Sequence[Candidate], bool]:
        """The candidates with the session's own one first, and whether it has one."""
        home = self._pinned.get(session)
        if home is None or self._clock() - home[2] > AFFINITY_TTL_SECONDS:
            return candidates, False
        own = [c for c in candidates if (c.provider.name, c.credential_name) == home[:2]]
        if not own:
            return candidates, False
        return [*own, *(c for c in candidates if c not in own)], True

    def pin(self, session: ConversationKey, candidate: Candidate) -> None:
        """This is where it is at home from now on."""
        self._pinned.pop(session, None)
        home = (candidate.provider.name, candidate.credential_name, self._clock())
        self._pinned[session] = home
        if len(self._pinned) > MAX_PINNED:
            self._pinned.popitem(last=False)
