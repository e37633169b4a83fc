"""Keeps which upstream created an object, so that calls that name it go there.

The ledger has the objects of this process. Those of other processes are asked for when a call
names one, and are then in the ledger, too.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence

import msgspec

from sidecar.errors import ErrorKind, ProxyError
from sidecar.ledger.ledger import Ledger
from sidecar.ledger.model import Claim, ObjectKey, Owner
from sidecar.plugin_api.dialect import Meter
from sidecar.routing.call import Call
from sidecar.routing.candidates import Candidate
from sidecar.shared.engine import Engine

log = logging.getLogger("sidecar.routing")


def named_object(call: Call) -> ObjectKey | None:
    """Return the object that a call names; None if it names none."""
    kind, object_id = call.endpoint.owned, call.located.object_id
    if call.facts.previous_id is not None:
        kind, object_id = call.endpoint.creates, call.facts.previous_id
    return None if kind is None or object_id is None else (kind, object_id)


class Owners:
    """The owners of objects.

    Args:
        engine: Has the objects of all processes; None if nothing is shared.
    """

    def __init__(self, ledger: Ledger, engine: Engine | None) -> None:
        self._ledger = ledger
        self._ids = None if engine is None else engine.object_ids

    async def restrict(
        self, call: Call, named: ObjectKey, candidates: Sequence[Candidate]
    ) -> Sequence[Candidate]:
        """Return the candidates at the upstream that created the object that the call names; all
        of them if its owner is not recorded.

        Raises:
            ProxyError: 404 if another group owns the object, 503 if its provider is no candidate.
        """
        kind, object_id = named
        owner = self._ledger.owner(*named) or await self._learn(named)
        if owner is None:
            return candidates
        if owner.group != call.key.group.name:
            raise ProxyError(ErrorKind.NOT_FOUND, f"there is no {kind} {object_id[:80]} here")
        same = [c for c in candidates if c.provider.name == owner.provider]
        if not same:
            raise ProxyError(
                ErrorKind.UNAVAILABLE,
                f'{kind} {object_id[:80]} was created at provider "{owner.provider}", which this '
                "key cannot use now",
            )
        return [c for c in same if c.credential_name == owner.credential] or same

    def record(self, call: Call, candidate: Candidate, meter: Meter, claim: Claim | None) -> None:
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
            self._ledger.remember(kind, object_id, owner)
            if self._ids is not None:
                names = (owner.provider, owner.credential, owner.group)
                text = msgspec.json.encode(names).decode()
                self._ids.publish(_digest((kind, object_id)), text)

    async def _learn(self, named: ObjectKey) -> Owner | None:
        """Return the owner of an object of another process, and record it here."""
        text = "" if self._ids is None else await self._ids.find(_digest(named))
        if not text:
            return None
        try:
            owner = Owner(*msgspec.json.decode(text, type=tuple[str, str, str]))
        except msgspec.MsgspecError:
            log.warning("the owner of %s %s, of another process, cannot be read",
                        named[0], named[1][:80])  # fmt: skip
            return None
        self._ledger.remember(*named, owner)
        return owner


def _digest(named: ObjectKey) -> str:
    return hashlib.sha256("\0".join(named).encode("utf-8", "surrogateescape")).hexdigest()[:40]
