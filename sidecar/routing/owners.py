"""Keeps which upstream created an object, so that calls that name it go there.

The ledger has the objects of this process. Those of other processes are asked for when a call
names one, and are then in the ledger, too, unless their usage is unknown. Usage that this process
learns of such an object is a fact, which the process that created it counts.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec
from msgspec import Struct, structs

from sidecar.errors import ErrorKind, ProxyError
from sidecar.ledger.ledger import Ledger
from sidecar.ledger.model import MAX_OBJECTS, Claim, ObjectKey, Owner
from sidecar.plugin_api.dialect import Meter
from sidecar.records import Usage
from sidecar.routing.call import Call
from sidecar.routing.candidates import Candidate
from sidecar.shared.engine import Engine
from sidecar.shared.facts import Fact

log = logging.getLogger("sidecar.routing")
K = TypeVar("K")
V = TypeVar("V")

FACT_KIND = "usage"
"""The kind of the facts about usage of objects that another process created."""
KEPT_SECONDS = 7 * 86400.0
"""Seconds for which the process that created an object may be down, and still gets its usage."""
COUNTED_SECONDS = 3600.0
"""Seconds for which a fact is kept once its usage is counted: for a restart before the ledger has
written it."""
MAX_REPORTS = 2_000
"""Facts about usage that hold at one time."""
MAX_REPORT_CHARACTERS = 3_900


class SharedOwner(Struct, frozen=True, array_like=True):
    """The owner of an object, for other processes; `awaits_usage` while the usage is unknown."""

    provider: str
    credential: str
    group: str
    awaits_usage: bool = False


class Report(Struct, frozen=True):
    """The usage of an object as a response reports it, and the model that served it."""

    usage: Usage
    model: str | None


def _named_object(call: Call) -> ObjectKey | None:
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
        self._facts = None if engine is None else engine.facts
        self._elsewhere: dict[ObjectKey, Owner] = {}
        """Objects of other processes that await their usage."""
        self._awaiting: dict[str, ObjectKey] = {}
        """Objects of this process that await their usage, by digest."""

    async def restrict(self, call: Call, candidates: Sequence[Candidate]) -> Sequence[Candidate]:
        """Return the candidates at the upstream that created the object that the call names; all
        of them if it names none, or its owner is not recorded.

        Raises:
            ProxyError: 404 if another group owns the object, 503 if its provider is no candidate.
        """
        named = _named_object(call)
        if named is None:
            return candidates
        kind, object_id = named
        owner = self._ledger.owner(*named) or self._elsewhere.get(named)
        owner = owner or await self._learn(named)
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
            self._publish((kind, object_id), owner)

    def report(self, named: ObjectKey, group: str, report: Report) -> None:
        """Let the process that created an object have its usage, if it awaits it."""
        owner = self._elsewhere.get(named)
        if owner is None or owner.group != group or self._facts is None:
            return
        text = msgspec.json.encode(report).decode()
        if (
            len(text) > MAX_REPORT_CHARACTERS
            or sum(1 for _ in self._facts.known(FACT_KIND)) >= MAX_REPORTS
        ):
            log.warning("the process that created %s %s cannot get its usage: it is too long, or "
                        "too many wait", named[0], named[1][:80])  # fmt: skip
            return
        self._facts.publish(FACT_KIND, _digest(named), text, KEPT_SECONDS)
        del self._elsewhere[named]
        self._ledger.remember(*named, owner)

    def follow(self, count: Callable[[ObjectKey, Report], None]) -> None:
        """Call `count` with each report about an object of this process that awaits its usage. It
        calls `counted` when it has counted the usage."""
        if self._facts is None:
            return

        def apply(fact: Fact) -> None:
            named = self._awaiting.get(fact.name)
            if named is not None and fact.value:
                count(named, msgspec.json.decode(fact.value, type=Report))

        self._awaiting |= {_digest(named): named for named in self._ledger.claimed()}
        self._facts.follow(FACT_KIND, apply)

    def counted(self, named: ObjectKey, owner: Owner) -> None:
        """Let all processes have it that the usage of an object is counted."""
        digest = _digest(named)
        if self._facts is None or self._awaiting.pop(digest, None) is None:
            return
        self._publish(named, structs.replace(owner, claim=None))
        fact = self._facts.get(FACT_KIND, digest)
        if fact is not None:
            self._facts.publish(FACT_KIND, digest, fact.value, COUNTED_SECONDS)

    def _publish(self, named: ObjectKey, owner: Owner) -> None:
        """Let all processes find the owner of an object of this one."""
        if self._ids is None:
            return
        digest, awaits = _digest(named), owner.claim is not None
        shared = SharedOwner(owner.provider, owner.credential, owner.group, awaits)
        self._ids.publish(digest, msgspec.json.encode(shared).decode())
        if awaits:
            _keep_newest(self._awaiting, digest, named)

    async def _learn(self, named: ObjectKey) -> Owner | None:
        """Return the owner of an object of another process, and record it here."""
        text = "" if self._ids is None else await self._ids.find(_digest(named))
        if not text:
            return None
        try:
            found = msgspec.json.decode(text, type=SharedOwner)
        except msgspec.MsgspecError:
            log.warning("the owner of %s %s, of another process, cannot be read",
                        named[0], named[1][:80])  # fmt: skip
            return None
        owner = Owner(found.provider, found.credential, found.group)
        if found.awaits_usage:
            _keep_newest(self._elsewhere, named, owner)
        else:
            self._ledger.remember(*named, owner)
        return owner


def _keep_newest(kept: dict[K, V], key: K, value: V) -> None:
    kept[key] = value
    if len(kept) > MAX_OBJECTS:
        del kept[next(iter(kept))]


def _digest(named: ObjectKey) -> str:
    return hashlib.sha256("\0".join(named).encode("utf-8", "surrogateescape")).hexdigest()[:40]
