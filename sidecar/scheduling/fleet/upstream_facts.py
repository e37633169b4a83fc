"""Cooldowns and vendors' quotas that the processes of a namespace share.

An answer of a vendor that means something for all calls of an upstream becomes a fact, under the
identity of the upstream. A failure without an answer does not: its cause may be one machine.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from urllib.parse import quote, unquote

import msgspec
from msgspec import Struct

from sidecar.plugin_api.error_class import ErrorClass
from sidecar.plugin_api.vendor import Quota, QuotaKind
from sidecar.routing.upstream_key import UpstreamKey
from sidecar.scheduling.fleet.identity import Identities
from sidecar.scheduling.limiter import MINUTE_SECONDS, NEVER, Limiter
from sidecar.scheduling.upstream_health import UpstreamHealth, Upstreams
from sidecar.scheduling.vendor_quota import MAX_COOLDOWN_SECONDS, PLENTY_SHARE
from sidecar.shared.engine import Engine
from sidecar.shared.facts import Fact

COOLDOWN, QUOTA = "cooldown", "quota"
"""The kinds of facts."""
HALF_OPEN_SECONDS = 60.0
"""Seconds for which a cooldown that ended is still a fact: so a success is one for all."""
QUOTA_INTERVAL_SECONDS = 1.0
"""Seconds between two facts about one quota, unless it has just run out."""


class CooldownFact(Struct, frozen=True):
    """A cooldown. `resets_after` is the seconds from its end until the quota is full again; `host`
    is the machine of the process that got the answer."""

    error_class: ErrorClass
    reason: str
    host: str
    resets_after: float | None = None


class UpstreamFacts:
    """Publishes what this process learns about upstreams, and applies what others learn.

    Args:
        clock: Returns monotonic seconds.
        recheck: Called with limiters that may have opened.
    """

    def __init__(
        self, engine: Engine, upstreams: Upstreams, identities: Identities,
        clock: Callable[[], float], recheck: Callable[[Collection[Limiter]], None],
    ) -> None:  # fmt: skip
        self._engine = engine
        self._facts = engine.facts
        self._upstreams = upstreams
        self._identities = identities
        self._clock = clock
        self._recheck = recheck
        self._identity: dict[tuple[str, str], str] = {}
        self._credentials: dict[tuple[str, str], list[str]] = {}
        self._published: dict[tuple[object, ...], tuple[float, bool]] = {}
        upstreams.on_cooldown = self._publish_cooldown
        upstreams.on_quota = self._publish_quota
        upstreams.on_providers = self._reconcile
        self._reconcile()

    def identity_of(self, provider: str, credential: str) -> str | None:
        """Return the identity of an upstream; None for one that is not shared."""
        return self._identity.get((provider, credential))

    def _reconcile(self) -> None:
        """Follow new providers and secrets, and apply what holds for them."""
        self._identity.clear()
        self._credentials.clear()
        self._published.clear()
        for provider in self._upstreams.providers.values():
            for credential, identity in self._identities.of(provider):
                self._identity[provider.name, credential] = identity
                self._credentials.setdefault((provider.name, identity), []).append(credential)
        self._facts.follow(COOLDOWN, self._apply_cooldown)
        self._facts.follow(QUOTA, self._apply_quota)

    def _publish_cooldown(self, health: UpstreamHealth) -> None:
        cooldown, name = health.cooldown, self._name(health.key)
        if name is None:
            return
        if not cooldown.is_active:
            self._facts.withdraw(COOLDOWN, name)
            return
        resets_after = None if cooldown.resets_at == NEVER else cooldown.resets_at - cooldown.until
        found = CooldownFact(
            cooldown.error_class, cooldown.reason, self._engine.about().host, resets_after
        )
        seconds = cooldown.until - self._clock() + HALF_OPEN_SECONDS
        self._facts.publish(COOLDOWN, name, _encoded(found), seconds, longest=True)

    def _publish_quota(self, key: UpstreamKey, reported: Quota) -> None:
        limit, remaining, now = reported.limit, reported.remaining, self._clock()
        if remaining is None or remaining >= (limit or 1) * PLENTY_SHARE:
            return
        quota_id = (key, reported.kind, reported.window)
        before, had_run_out = self._published.get(quota_id, (-QUOTA_INTERVAL_SECONDS, False))
        if now - before < QUOTA_INTERVAL_SECONDS and (remaining or had_run_out):
            return
        name = self._name(key, reported.kind.value, f"{reported.window or ''}")
        if name is None:
            return
        self._published[quota_id] = now, not remaining
        seconds = min(reported.reset or reported.window or MINUTE_SECONDS, MAX_COOLDOWN_SECONDS)
        found = [limit, remaining, seconds, reported.window, reported.at_once]
        self._facts.publish(QUOTA, name, _encoded(found), seconds)

    def _apply_cooldown(self, fact: Fact) -> None:
        found = msgspec.json.decode(fact.value, type=CooldownFact) if fact.value else None
        until = fact.until - HALF_OPEN_SECONDS
        for key, _ in self._upstreams_of(fact):
            cooldown = self._upstreams.cooldown(key)
            if found is None:
                if cooldown.record_success():
                    self._recheck([cooldown])
                continue
            after = found.resets_after
            cooldown.adopt(
                until, found.error_class, f"{found.reason} at {found.host}",
                NEVER if after is None else until + after,
            )  # fmt: skip

    def _apply_quota(self, fact: Fact) -> None:
        if not fact.value:
            return
        kind = tuple[int | None, int, float, float | None, bool]
        limit, remaining, seconds, window, at_once = msgspec.json.decode(fact.value, type=kind)
        for key, (unit, _) in self._upstreams_of(fact):
            reported = Quota(QuotaKind(unit), limit, remaining, seconds, window, at_once)
            self._recheck(self._upstreams.adopt_quota(key, reported, fact.until - seconds))

    def _name(self, key: UpstreamKey, *more: str) -> str | None:
        """Return the name of a fact about an upstream; None for one that is not shared."""
        identity = self.identity_of(key.provider, key.credential)
        if identity is None or key.account:
            return None
        return "/".join(
            quote(each, safe="") for each in (key.provider, identity, key.family, *more)
        )

    def _upstreams_of(self, fact: Fact) -> Iterator[tuple[UpstreamKey, list[str]]]:
        """Yield the upstreams of this process that a fact is about, and the rest of its name."""
        provider, identity, family, *more = map(unquote, fact.name.split("/"))
        for credential in self._credentials.get((provider, identity), ()):
            yield UpstreamKey(provider, credential, family), more


def _encoded(found: object) -> str:
    return msgspec.json.encode(found).decode()
