"""Ids that a provider created (files, batches, stored responses) mean nothing to another one.

Remembers who made what, and narrows later calls to that provider and credential. An id of another
group is as good as absent: 404.
"""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.dialect import Meter
from sidecar.errors import Kind, Refused
from sidecar.intake import Call
from sidecar.ledger import Ledger, Owner
from sidecar.routing import Candidate
from sidecar.tables import Claim


def narrow(call: Call, candidates: Sequence[Candidate], ledger: Ledger) -> Sequence[Candidate]:
    """The candidates that know the id which this call names, if it names one that is remembered.

    Raises `Refused` (404) when the id is another group's, or its provider is no candidate now.
    """
    kind, object_id = _named(call)
    if kind is None or object_id is None:
        return candidates
    owner = ledger.owner(kind, object_id)
    if owner is None:
        return candidates
    if owner.group != call.key.group.name:
        raise Refused(Kind.NOT_FOUND, f"there is no {kind} {object_id[:80]} here")
    same = [c for c in candidates if c.provider.name == owner.provider]
    if not same:
        raise Refused(
            Kind.UNAVAILABLE,
            f'{kind} {object_id[:80]} was made at provider "{owner.provider}", which this key '
            "cannot use now",
        )
    return [c for c in same if c.credential_name == owner.credential] or same


def remember(
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
