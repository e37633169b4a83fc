"""The health of each upstream: cooldowns after failures, and what the vendor says is left.

Recorded for each credential of a provider and, where the vendor counts by model, for each family of
models that the vendor's plugin names. A reload keeps it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

from sidecar.config.model import CredentialRef, Provider
from sidecar.plugin_api.error_class import Classification, ErrorClass
from sidecar.plugin_api.guard import plugin_guard
from sidecar.plugin_api.vendor import Quota, QuotaKind, SubscriptionWindow, Vendor
from sidecar.routing.upstream_key import UpstreamKey
from sidecar.scheduling.cooldown import Cooldown
from sidecar.scheduling.lease import Lease
from sidecar.scheduling.limiter import Limiter
from sidecar.scheduling.vendor_quota import VendorQuota, quota_name

MAX_UPSTREAMS = 2000
"""Upstreams that are kept, of all providers together."""
HEADER_READ_INTERVAL_SECONDS = 0.1
"""Seconds for which the headers of one response stand for those of the next, while plenty is
left."""
TOLERATED_FAILURES = 5
"""Failures in a row that may be due to the request before they start a cooldown."""

log = logging.getLogger("sidecar.scheduling.upstream_health")


class Headed(Protocol):
    """A response whose header fields can be read by name. They are decoded when they are read,
    which costs more than all else that is done with them here."""

    @property
    def fields(self) -> Mapping[str, str]:
        """The header fields."""


class Subscription(NamedTuple):
    """The windows of a caller's subscription, as reported `at` (monotonic seconds) to a call of
    the local key `used_by`."""

    used_by: str
    at: float
    windows: tuple[SubscriptionWindow, ...]

    def remaining(self, now: float) -> Iterator[SubscriptionWindow]:
        """Yield each window as of `now`; one that has ended since is empty."""
        for each in self.windows:
            reset = None if each.reset is None else each.reset - (now - self.at)
            ended = reset is not None and reset <= 0
            used = 0.0 if ended else each.used
            yield SubscriptionWindow(each.name, used, None if ended else reset)


class UpstreamHealth:
    """The state of one upstream.

    `credential_key`: that of its key. `has_answered`: whether an attempt succeeded since the start.
    `subscription` is that of a caller's login, if the vendor reported one.
    """

    __slots__ = (
        "cooldown", "credential_key", "has_answered", "key", "quotas", "read_at", "subscription",
    )  # fmt: skip

    def __init__(self, key: UpstreamKey) -> None:
        self.key = key
        self.credential_key = key.credential_key
        self.has_answered = False
        self.read_at = -HEADER_READ_INTERVAL_SECONDS
        self.cooldown = Cooldown(str(key), f"{key} is cooling down")
        self.quotas: dict[tuple[QuotaKind, float | None], VendorQuota] = {}
        self.subscription: Subscription | None = None

    def limiters(self) -> Iterator[Limiter]:
        """Yield the limiters of this upstream."""
        yield self.cooldown
        yield from self.quotas.values()

    def reset(self) -> None:
        """Forget cooldown and quotas: the credential's secret was replaced."""
        self.cooldown.record_success()
        self.quotas.clear()
        self.read_at = -HEADER_READ_INTERVAL_SECONDS

    @property
    def is_idle(self) -> bool:
        """Return whether it may be dropped: the vendor's next response restores what is lost.

        An entry for all models is kept, for its `has_answered`; there is one for each credential.
        Logins of callers have no such bound, so theirs may be dropped, in a cooldown, too.
        """
        is_dropped = bool(self.key.account) or (
            bool(self.key.family) and not self.cooldown.is_active
        )
        return is_dropped and not any(limiter.queue for limiter in self.limiters())


class Upstreams:
    """The health of all upstreams.

    Args:
        clock: Returns monotonic seconds.
        wall: Returns seconds since the epoch.
        draw: Returns a random number from 0 to 1.
        on_change: Called when calls must look up their limiters again.
        max_upstreams: Entries above which idle ones are dropped.

    Attributes:
        on_cooldown: Called when an answer of the vendor began a cooldown, and when a call that
            was admitted after it was answered.
        on_quota: Called with each quota that a vendor reports.
        on_providers: Called when providers or their secrets may have changed.
        providers: Those of the configuration.
    """

    def __init__(
        self, clock: Callable[[], float], wall: Callable[[], float], draw: Callable[[], float],
        on_change: Callable[[], None], max_upstreams: int = MAX_UPSTREAMS,
    ) -> None:  # fmt: skip
        self._clock = clock
        self._wall = wall
        self._draw = draw
        self._on_change = on_change
        self._max_upstreams = max_upstreams
        self._upstreams: dict[UpstreamKey, UpstreamHealth] = {}
        self._forgetting = False
        self.on_cooldown: Callable[[UpstreamHealth], None] = lambda _: None
        self.on_quota: Callable[[UpstreamKey, Quota], None] = lambda _, __: None
        self.on_providers: Callable[[], None] = lambda: None
        self.providers: Mapping[str, Provider] = {}

    def __iter__(self) -> Iterator[UpstreamHealth]:
        return iter(list(self._upstreams.values()))

    def limiters(self, key: UpstreamKey) -> Iterator[Limiter]:
        """Yield the limiters of a call to this upstream: the credential's, then the family's."""
        yield from self._at(key.credential_key).limiters()
        if key.family:
            yield from self._at(key).limiters()

    def record_answer(
        self, lease: Lease, reply: Headed | None, key: str, *, ok: bool, final: bool
    ) -> list[Limiter]:
        """Record a response to a call, and return the limiters that may have opened.

        Args:
            reply: Has the header fields with the vendor's quotas; None to read no quotas.
            key: The local key of the call.
            ok: Whether it is no error.
            final: Whether the client gets it: then the upstream is healthy.
        """
        opened: list[Limiter] = []
        upstream = lease.candidate.upstream
        health = self._upstreams.get(upstream) or self._at(upstream)  # mostly without a call
        if reply is not None:
            now, is_due = self._clock(), True
            if upstream.account:
                self._read_subscription(
                    lease.candidate.provider.vendor, upstream, reply.fields, key
                )
            # Reading the headers of a response is a twentieth of the work for a small call.
            if ok and now - health.read_at < HEADER_READ_INTERVAL_SECONDS:
                for known in health.quotas.values():
                    if known.level < known.plenty:
                        break
                else:
                    is_due = False
            if is_due:
                opened = self._read_quotas(health, lease, reply.fields, now)
        if final:
            credential = self._upstreams.get(health.credential_key)
            if (
                credential is None or not credential.has_answered
                or not credential.cooldown.at_rest or not health.cooldown.at_rest
            ):  # fmt: skip
                opened += self.record_success(upstream)
        return opened

    def adopt_quota(self, key: UpstreamKey, reported: Quota, at: float) -> list[Limiter]:
        """Follow a quota that the vendor reported to another process at that time (monotonic
        seconds); return the limiters that may have opened."""
        quota = self._quota(self._at(key), reported)
        if quota.is_newer_than(at):
            return []
        quota.observe(reported, None, at)
        return [quota]

    def cooldown(self, key: UpstreamKey) -> Cooldown:
        """Return the cooldown of an upstream."""
        return self._at(key).cooldown

    def record_success(self, key: UpstreamKey) -> list[Limiter]:
        """End the cooldowns of an upstream that answered; return the limiters that opened."""
        health = self._at(key)
        credential = self._at(health.credential_key)
        credential.has_answered = True
        opened: list[Limiter] = []
        for each in (credential, health):  # without a family, one twice
            if not each.cooldown.at_rest:
                now = self._clock()
                tried = each.cooldown.until <= now
                if each.cooldown.record_success(now):
                    opened.append(each.cooldown)
                    if tried:
                        self.on_cooldown(each)
        return opened

    def has_answered(self, key: UpstreamKey) -> bool:
        """Return whether an attempt with this credential succeeded since the start."""
        return self._at(key.credential_key).has_answered

    def record_failure(
        self, key: UpstreamKey, classification: Classification, *, transient: bool = True,
        answered: bool = True,
    ) -> float:  # fmt: skip
        """Start a cooldown after a failed attempt, and return its seconds.

        Only rate limits, overload and an exhausted quota start one. An unknown model or an invalid
        request has no meaning for other calls, and a rejected credential may be replaced at any
        moment.

        Args:
            transient: Whether the failure cannot be due to the request. Else the first
                `TOLERATED_FAILURES` in a row start no cooldown.
            answered: Whether the vendor answered; else the cause may be this machine.
        """
        if classification.error_class not in {
            ErrorClass.RATE_LIMITED,
            ErrorClass.OVERLOADED,
            ErrorClass.QUOTA_EXHAUSTED,
        }:
            return 0.0
        health = self._at(key.credential_key if classification.whole_credential else key)
        seconds = health.cooldown.record_failure(
            classification,
            self._clock(),
            jitter=self._draw(),
            tolerated=0 if transient else TOLERATED_FAILURES,
        )
        log.debug("%s for %.1f s: %s", health.cooldown.name, seconds, classification.reason)
        if answered and seconds:
            self.on_cooldown(health)
        return seconds

    def forget(self, credentials: Iterable[CredentialRef]) -> None:
        """Forget the cooldowns and quotas of credentials whose secret was replaced.

        `has_answered` is kept. Waiting calls are reevaluated.
        """
        names = {each.name for each in credentials}
        affected = [health for health in self if health.key.credential in names]
        for health in affected:
            health.reset()
        self.on_providers()
        if affected:
            self._on_change()

    def reconcile(self, providers: Mapping[str, Provider]) -> None:
        """Drop the upstreams of providers that the configuration no longer has."""
        self.providers = providers
        for key in [each for each in self._upstreams if each.provider not in providers]:
            del self._upstreams[key]
        self.on_providers()

    def _at(self, key: UpstreamKey) -> UpstreamHealth:
        health = self._upstreams.get(key)
        if health is None:
            if len(self._upstreams) >= self._max_upstreams and not self._forgetting:
                self._forget_idle()
            health = self._upstreams[key] = UpstreamHealth(key)
        return health

    def _read_quotas(
        self, health: UpstreamHealth, lease: Lease, headers: Mapping[str, str], now: float
    ) -> list[Limiter]:
        """Update the quotas of an upstream from a response to the call of a lease."""
        health.read_at = now
        opened: list[Limiter] = []
        for reported in self._read_quota(lease.candidate.provider.vendor, headers):
            quota = self._quota(health, reported)
            if quota.observe(reported, lease.reservation(quota), now):
                lease.drop_reservation(quota)
            opened.append(quota)
            self.on_quota(health.key, reported)
        return opened

    def _quota(self, health: UpstreamHealth, reported: Quota) -> VendorQuota:
        quota_id = (reported.kind, reported.window)
        quota = health.quotas.get(quota_id)
        if quota is None:
            name = f"{health.key} is at the vendor's limit on {quota_name(*quota_id)}"
            quota = health.quotas[quota_id] = VendorQuota(str(health.key), name, reported.kind)
            self._on_change()
        return quota

    def _forget_idle(self) -> None:
        idle = [key for key, health in self._upstreams.items() if health.is_idle]
        for key in idle[: self._max_upstreams // 2]:
            del self._upstreams[key]
        # Waiting calls look up their limiters again, which must not drop entries once more.
        self._forgetting = True
        try:
            self._on_change()
        finally:
            self._forgetting = False

    def _read_subscription(
        self, vendor: Vendor, key: UpstreamKey, headers: Mapping[str, str], used_by: str
    ) -> None:
        with plugin_guard(vendor, "read_subscription", "the subscription's windows are unknown"):
            found = tuple(vendor.read_subscription(headers, self._wall()))
            if not all(isinstance(each, SubscriptionWindow) for each in found):
                raise TypeError
            if found:
                health = self._at(key.credential_key)
                health.subscription = Subscription(used_by, self._clock(), found)

    def _read_quota(self, vendor: Vendor, headers: Mapping[str, str]) -> tuple[Quota, ...]:
        with plugin_guard(vendor, "read_quota", "the response's quota is not read"):
            found = tuple(vendor.read_quota(headers, self._wall()))
            if all(isinstance(each, Quota) for each in found):
                return found
            raise TypeError
        return ()
