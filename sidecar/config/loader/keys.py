"""Build keys from the `keys` section, and the index of keys by the hash of their secret."""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct

from sidecar.config.loader.groups import Router, Tier
from sidecar.config.loader.limits import allowance
from sidecar.config.model import Key, KeyHash
from sidecar.config.patterns import Pattern, covers
from sidecar.config.schema.types import Named
from sidecar.config.yaml.reader import Reader, Record, suggest
from sidecar.config.yaml.secret_forms import shown

Found = tuple[Key, KeyHash]


class Waits(Struct, frozen=True):
    """The default waits of a key, in seconds."""

    longest: float = 120.0
    sticky: float = 5.0


class Keys:
    """The keys of a file, by name and by hash."""

    def __init__(
        self, reader: Reader, router: Router, tiers: Mapping[str, Tier | None], waits: Waits
    ) -> None:
        self._reader = reader
        self._router = router
        self._tiers = tiers
        self._waits = waits
        self.by_name: dict[str, Key] = {}
        self.by_digest: dict[bytes, Found] = {}

    def enter(self, entry: Named) -> None:
        """Add one key, if it is valid."""
        record: Record = entry.value
        tier = self._tier(record)
        if tier is None:
            return
        key = self._build(entry, record, tier)
        self.by_name[key.name] = key
        for each in key.hashes:
            self._index(key, each, record)
        self._check(key, record)

    def of_runs(self, tier: Tier) -> Key:
        """Return the parent of a group's own child keys: all that the group gives to a key."""
        return Key(
            name=f"{tier.group.name} (run)",
            group=tier.group,
            routes=tier.group.routes,
            place=tier.group.place,
            urgency=tier.urgency,
            models=tier.models,
            max_wait=self._waits.longest,
            sticky_wait=self._waits.sticky,
        )

    def _tier(self, record: Record) -> Tier | None:
        name = record.get("group")
        if name is None:
            return None
        if name not in self._tiers:
            fix = suggest(name, self._tiers, "define it under groups:")
            self._reader.error(record.at("group"), f"group {shown(name)} is not defined", fix)
        return self._tiers.get(name)

    def _build(self, entry: Named, record: Record, tier: Tier) -> Key:
        own_routes = "routes" in record.values
        routes = tier.group.routes
        if own_routes:
            routes = self._router.key_routes(tier, record.get("routes"))
        return Key(
            name=entry.name,
            group=tier.group,
            routes=routes,
            place=entry.place,
            hashes=_hashes(record),
            own_routes=own_routes,
            description=record.get("description", ""),
            urgency=record.get("urgency", tier.urgency),
            enabled=record.get("enabled", True),
            created=record.get("created"),
            expires=record.get("expires"),
            models=self._models(record, tier),
            allowance=allowance(record),
            share=record.get("share", 1.0),
            max_wait=record.get("max_wait", self._waits.longest),
            sticky_wait=record.get("sticky_wait", self._waits.sticky),
            transforms=self._router.transforms(record),
        )

    def _models(self, record: Record, tier: Tier) -> tuple[Pattern, ...] | None:
        """Return the key's own patterns, each of which must lie within one of the group's."""
        own: tuple[Pattern, ...] | None = record.get("models")
        if own is None or tier.models is None:
            return tier.models if own is None else own
        for pattern in own:
            if not any(covers(wide, pattern) for wide in tier.models):
                what = (
                    f"models {shown(pattern.text)} reaches beyond what the group "
                    f"{shown(tier.group.name)} allows (line {tier.models_place.line})"
                )
                allowed = ", ".join(shown(each.text) for each in tier.models)
                fix = f"a key can only narrow: {allowed}"
                self._reader.error(record.at("models"), what, fix)
        return own

    def _index(self, key: Key, key_hash: KeyHash, record: Record) -> None:
        other = self.by_digest.setdefault(key_hash.digest, (key, key_hash))[0]
        if other is not key or len({each.digest for each in key.hashes}) < len(key.hashes):
            place = record.at("hash" if key_hash.until is None else "previous")
            whose = f"of key {shown(other.name)} (line {other.place.line})"
            what = f"this hash is also that {whose}"
            if other is not key or key_hash.until is not None:
                fix = f"create a new secret: sidecar keys rotate {_quoted(key.name)}"
                self._reader.error(place, what, fix)

    def _check(self, key: Key, record: Record) -> None:
        if "hash" not in record.places:
            what = f"key {shown(key.name)} has no hash, so no agent can use it"
            fix = f"create its secret: sidecar keys rotate {_quoted(key.name)}"
            self._reader.warn(key.place, what, fix)
        if key.created and key.expires and key.expires <= key.created:
            self._reader.warn(record.at("expires"), f"key {shown(key.name)} ends before it begins")


def _hashes(record: Record) -> tuple[KeyHash, ...]:
    current = record.get("hash")
    found = [] if current is None else [KeyHash(current)]
    previous: Record | None = record.get("previous")
    if previous is not None and previous.get("hash") and previous.get("until"):
        found.append(KeyHash(previous.get("hash"), previous.get("until")))
    return tuple(found)


def _quoted(name: str) -> str:
    return f"'{name}'" if re.search(r"[^\w.-]", name) else name
