"""How each credential stands with its vendor: what is left by its headers, and what it refused.

Whatever is learned goes by (provider, credential), and where the vendor counts by model, by the
family that the vendor's plugin names. Kept over reloads, by name; nothing here decides who goes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from sidecar.config.model import CredentialRef, Provider
from sidecar.plugin_api.error_class import Classification, ErrorClass
from sidecar.plugin_api.guard import plugin_guard
from sidecar.plugin_api.vendor import Quota, QuotaKind, Vendor
from sidecar.scheduling.cooldown import Cooldown
from sidecar.scheduling.lease import Lease
from sidecar.scheduling.limiter import Limiter
from sidecar.scheduling.vendor_quota import VendorQuota, quota_name

MAX_FAMILIES = 2000
"""Families of models that are told apart at all providers together."""

HEADER_READ_INTERVAL_SECONDS = 0.1
"""Seconds for which the headers of one answer stand for those of the next, while much is left."""
PLENTY_SHARE = 0.5
"""The part of a limit that is much."""

log = logging.getLogger("sidecar.scheduling.upstream_health")


class UpstreamHealth:
    """One credential, for one family of models (or for all of them: "")."""

    __slots__ = ("answered", "cooldown", "credential", "family", "provider", "quotas", "read_at")

    def __init__(self, provider: str, credential: str, family: str) -> None:
        self.provider = provider
        self.credential = credential
        self.family = family
        self.answered = False
        self.read_at = -HEADER_READ_INTERVAL_SECONDS
        whose = f"provider {provider}" + (f" ({credential})" if credential else "")
        whose += f" for {family}" if family else ""
        self.cooldown = Cooldown(whose, f"{whose} is cooling down")
        self.quotas: dict[tuple[QuotaKind, float | None], VendorQuota] = {}

    def limiters(self) -> Iterator[Limiter]:
        """What a call must pass here."""
        yield self.cooldown
        yield from self.quotas.values()

    def forget(self) -> None:
        """Start anew, as its credential did."""
        self.cooldown.record_success()
        self.quotas.clear()
        self.read_at = -HEADER_READ_INTERVAL_SECONDS

    def has_plenty(self, now: float) -> bool:
        """Whether what was read a moment ago says that there is plenty left: reading headers is
        a twentieth of what a small call costs."""
        if now - self.read_at >= HEADER_READ_INTERVAL_SECONDS:
            return False
        return all(
            bucket.remaining(now) >= bucket.limit * PLENTY_SHARE for bucket in self.quotas.values()
        )

    @property
    def is_idle(self) -> bool:
        """Whether nothing would be lost with it but what the vendor says again anyway. What spans
        all models also says whether anybody ever answered; there are as many as credentials."""
        return (
            bool(self.family)
            and not self.cooldown.is_active
            and not any(limiter.queue for limiter in self.limiters())
        )


class Upstreams:
    """All of them. `clock` gives monotonic seconds, `wall` seconds since the epoch, `draw` a
    random number from 0 to 1; `changed` is called when a gate came into being."""

    def __init__(
        self, clock: Callable[[], float], wall: Callable[[], float], draw: Callable[[], float],
        changed: Callable[[], None],
    ) -> None:  # fmt: skip
        self._clock = clock
        self._wall = wall
        self._draw = draw
        self._changed = changed
        self._upstreams: dict[tuple[str, str, str], UpstreamHealth] = {}
        self._forgetting = False

    def __iter__(self) -> Iterator[UpstreamHealth]:
        return iter(list(self._upstreams.values()))

    def limiters(self, provider: Provider, credential: str, model: str | None) -> Iterator[Limiter]:
        """What a call for this model must pass at this provider with this credential."""
        yield from self._at(provider.name, credential, "").limiters()
        family = family_of(provider, model)
        if family:
            yield from self._at(provider.name, credential, family).limiters()

    def read_response(
        self, provider: Provider, credential: str, model: str | None, lease: Lease[Any],
        headers: Mapping[str, str], *, well: bool,
    ) -> list[Limiter]:  # fmt: skip
        """The vendor answered an attempt, well or badly, with these headers. Returns the gates
        that may have opened."""
        account = self._at(provider.name, credential, family_of(provider, model))
        now = self._clock()
        if well and account.has_plenty(now):
            return []
        account.read_at = now
        opened: list[Limiter] = []
        for quota in self._read(provider, headers):
            limit = (quota.kind, quota.window)
            bucket = account.quotas.get(limit)
            if bucket is None:
                scope = account.cooldown.scope
                name = f"{scope} is at the vendor's limit on {quota_name(*limit)}"
                bucket = account.quotas[limit] = VendorQuota(scope, name, quota.kind)
                self._changed()
            bucket.observe(quota, lease.reservation(bucket), now)
            opened.append(bucket)
        return opened

    def record_success(
        self, provider: Provider, credential: str, model: str | None
    ) -> list[Limiter]:
        """An attempt was taken: whatever was shut is open. Returns the gates that opened."""
        self._at(provider.name, credential, "").answered = True
        return [
            account.cooldown
            for family in {"", family_of(provider, model)}
            if (account := self._at(provider.name, credential, family)).cooldown.record_success()
        ]

    def has_answered(self, provider: Provider, credential: str) -> bool:
        """Whether an attempt was ever taken there."""
        return self._at(provider.name, credential, "").answered

    def record_failure(
        self, provider: Provider, credential: str, model: str | None,
        classification: Classification, *, tolerated: int = 0,
    ) -> float:  # fmt: skip
        """An attempt was refused or failed: shut for a while; for how many seconds. So many
        failures in a row are `tolerated`.

        A model that a provider does not know says nothing about its other calls, nor does a
        request that is wrong; a credential that is rejected may be mended at any moment.
        """
        if classification.error_class not in {
            ErrorClass.RATE_LIMITED,
            ErrorClass.OVERLOADED,
            ErrorClass.QUOTA_EXHAUSTED,
        }:
            return 0.0
        family = "" if classification.whole_credential else family_of(provider, model)
        account = self._at(provider.name, credential, family)
        seconds = account.cooldown.record_failure(
            classification, self._clock(), spread=self._draw(), tolerated=tolerated
        )
        log.debug("%s for %.1f s: %s", account.cooldown.name, seconds, classification.reason)
        return seconds

    def forget(self, credentials: Iterable[CredentialRef]) -> None:
        """Forget the cooldowns and quotas of credentials whose secret was replaced, and have
        waiting calls judged anew. That a provider answered before stays known."""
        names = {each.name for each in credentials}
        affected = [account for account in self if account.credential in names]
        for account in affected:
            account.forget()
        if affected:
            self._changed()

    def reconcile(self, providers: Mapping[str, Provider]) -> None:
        """Follow the configuration: forget the providers that are gone."""
        for name in [n for n in self._upstreams if n[0] not in providers]:
            del self._upstreams[name]

    def _at(self, provider: str, credential: str, family: str) -> UpstreamHealth:
        name = (provider, credential, family)
        account = self._upstreams.get(name)
        if account is None:
            if len(self._upstreams) >= MAX_FAMILIES and not self._forgetting:
                self._forget_idle()
            account = self._upstreams[name] = UpstreamHealth(*name)
        return account

    def _forget_idle(self) -> None:
        idle = [name for name, account in self._upstreams.items() if account.is_idle]
        for name in idle[: MAX_FAMILIES // 2]:
            del self._upstreams[name]
        self._forgetting = (
            True  # those that wait look theirs up again: that must not come back here
        )
        try:
            self._changed()
        finally:
            self._forgetting = False

    def _read(self, provider: Provider, headers: Mapping[str, str]) -> tuple[Quota, ...]:
        with plugin_guard(provider.vendor, "read_quota", "its quota is unknown"):
            found = tuple(provider.vendor.read_quota(headers, self._wall()))
            if all(isinstance(each, Quota) for each in found):
                return found
            raise TypeError
        return ()


def family_of(provider: Provider, model: str | None) -> str:
    """The name under which the vendor counts this model; "" for calls without one."""
    return "" if model is None else _family(provider.vendor, model)


@lru_cache(maxsize=4096)
def _family(vendor: Vendor, model: str) -> str:
    with plugin_guard(vendor, "family", "the model is its own family"):
        return vendor.family(model)[:128]
    return model[:128]
