"""The ordered candidates of a call, and the reason for each route that is skipped.

Its functions use no clock and keep no state. The function that decides whether a provider is
available is an argument.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import groupby
from typing import NamedTuple

from msgspec import Struct, structs

from sidecar.config.credentials import Vault
from sidecar.config.model import CredentialRef, Key, Provider, Route
from sidecar.config.patterns import matches_any
from sidecar.errors import ErrorKind, ProxyError
from sidecar.plugin_api.dialect import Dialect, Endpoint, ModelAt
from sidecar.plugin_api.guard import plugin_guard
from sidecar.plugin_api.vendor import Serving
from sidecar.routing.allowed_models import may_use, not_offered
from sidecar.routing.caller_login import CallerLogin, missing_login
from sidecar.routing.transform_steps import TransformStep, transform_steps
from sidecar.routing.upstream_key import LatestAddress, UpstreamKey, family_of, is_remote

Usable = Callable[[Provider], tuple[tuple[CredentialRef, ...], str]]
"""Returns the usable credentials of a provider; or none, and the reason."""
_UNCALLED = Serving(frozenset())
"""What a provider serves that is not called: a transform answers."""
Draw = Callable[[], float]
"""Returns a random number from 0 to 1, which decides between routes by weight."""
MAX_PLANS = 4096
"""Plans that are kept; all are made again when there are more."""


class Candidate(Struct, frozen=True, dict=True):
    """One provider with one credential that may serve a call, and the model to ask it for.

    `credential` is None for a provider that needs none. `login` is the caller's, at a provider with
    `credential: caller`; no other candidate has it. `serving` is that of the dialect in which
    the provider is called, which is the client's unless one of `steps` changes it.
    """

    route: Route
    credential: CredentialRef | None
    serving: Serving
    model: str | None
    login: CallerLogin | None = None
    steps: tuple[TransformStep, ...] = ()

    @property
    def is_local(self) -> bool:
        """True when a transform answers, and the provider is not called."""
        return bool(self.steps) and self.steps[-1].target.local

    @cached_property
    def provider(self) -> Provider:
        """The provider of the route."""
        return self.route.provider

    @cached_property
    def is_remote(self) -> bool:
        """True when the provider is on another machine."""
        return is_remote(self.provider)

    @cached_property
    def credential_name(self) -> str:
        """The name of the credential for logs and metrics; "" for none."""
        return "" if self.credential is None else self.credential.name

    @cached_property
    def price_name(self) -> str | None:
        """The model whose price its calls have; None for their own."""
        return self.route.price_name

    @cached_property
    def names(self) -> tuple[str, str]:
        """The names of the provider and of the credential."""
        return self.provider.name, self.credential_name

    @cached_property
    def latest_address(self) -> LatestAddress:
        """The address of its latest attempt: mostly that of the next one, too."""
        return LatestAddress()

    @cached_property
    def account(self) -> str:
        """The fingerprint of the caller's login; "" without one."""
        return "" if self.login is None else self.login.account

    @cached_property
    def upstream(self) -> UpstreamKey:
        """The upstream that serves its model."""
        provider = self.provider
        family = family_of(provider, self.model)
        return UpstreamKey(provider.name, self.credential_name, family, self.account)


class Skipped(Struct, frozen=True):
    """A route that cannot serve a call.

    Attributes:
        why: The reason, for people.
        barred: Whether the route never serves such a call; else it is unavailable now.
        large: Whether it is barred only by the size of the request.
        needs_login: Whether it is barred only because the call carries no vendor login.
    """

    provider: str
    why: str
    barred: bool
    large: bool = False
    needs_login: bool = False


class Plan(Struct, frozen=True):
    """The candidates of a call in order, and the routes that are skipped. `login_takers` are the
    providers of candidates that still lack the caller's login."""

    candidates: tuple[Candidate, ...]
    skipped: tuple[Skipped, ...]
    login_takers: tuple[str, ...] = ()


class _Choice(NamedTuple):
    """A route of a key, and what it makes of the calls to one endpoint for one model.

    `barred` is why it never serves them; None if it may. `made` has its candidates by credential:
    each is made once, for what it keeps.
    """

    route: Route
    barred: str | None
    serving: Serving | None
    model: str | None
    steps: tuple[TransformStep, ...]
    made: dict[CredentialRef | None, Candidate]


class Plans:
    """The plans of calls: made at the first call of a key to an endpoint for a model.

    A plan is kept for one version of the credentials; call `clear` when the configuration is
    another. Where chance or the size of the request decides, only the candidates are kept.

    Args:
        vault: The credentials that providers can use.
        draw: Returns a random number from 0 to 1.
    """

    def __init__(self, vault: Vault, draw: Draw) -> None:
        self._vault = vault
        self._draw = draw
        self._kept: dict[tuple[object, ...], _KeptPlan] = {}

    def find(
        self, key: Key, dialect: Dialect, endpoint: Endpoint, models: tuple[str, ...], size: int
    ) -> Plan:
        """Return the plan for a call; the arguments are those of `plan_candidates`."""
        asked = (id(key), dialect.name, id(endpoint), models)
        kept = self._kept.get(asked)
        if kept is None:
            if len(self._kept) >= MAX_PLANS:
                self._kept.clear()
            kept = self._kept[asked] = _kept(key, dialect, endpoint, models)
        if kept.plan is not None and kept.version == self._vault.version:
            return kept.plan
        version = self._vault.version
        plan = _plan(kept.choices, self._vault.usable, self._draw, size)
        if kept.is_fixed:
            kept.plan, kept.version = plan, version
        return plan

    def clear(self) -> None:
        """Drop all plans, and with them the keys of a configuration that was replaced."""
        self._kept.clear()


class _KeptPlan(Struct, eq=False):
    """The choices for a kind of call, and their plan by one version of the credentials.

    `key` and `endpoint` are those that the entry is found by, so they must live as long.
    `is_fixed` is whether neither chance nor the size of a request decides; else no plan is kept.
    """

    key: Key
    endpoint: Endpoint
    choices: tuple[_Choice, ...]
    is_fixed: bool
    plan: Plan | None = None
    version: int = 0


def _kept(key: Key, dialect: Dialect, endpoint: Endpoint, models: tuple[str, ...]) -> _KeptPlan:
    fixed = (
        len({route.priority for route in key.routes}) == len(key.routes)
        and all(route.max_input is None for route in key.routes)
        and all(len(route.provider.credentials) < 2 for route in key.routes)
    )
    return _KeptPlan(key, endpoint, _choices(key, dialect, endpoint, models), fixed)


def plan_candidates(
    key: Key, dialect: Dialect, endpoint: Endpoint, models: Sequence[str], usable: Usable,
    draw: Draw, size: int = 0,
) -> Plan:  # fmt: skip
    """Return every candidate for a call of `key`, the most preferred first.

    Args:
        models: The models that the request names.
        size: The bytes of the request's body.
    """
    return _plan(_choices(key, dialect, endpoint, models), usable, draw, size)


def _choices(
    key: Key, dialect: Dialect, endpoint: Endpoint, models: Sequence[str]
) -> tuple[_Choice, ...]:
    """Return what each route of a key makes of such calls, whatever their number and time."""
    found = []
    for route in key.routes:
        steps, target = transform_steps(key, route, dialect.name, endpoint.name)
        barred = _barred(key, route, dialect, endpoint, models)
        serving = route.provider.vendor.dialects.get(target.dialect)
        serving = _UNCALLED if target.local else serving
        found.append(_Choice(route, barred, serving, _renamed(route, models), steps, {}))
    return tuple(found)


def _plan(choices: Sequence[_Choice], usable: Usable, draw: Draw, size: int) -> Plan:
    candidates: list[Candidate] = []
    skipped: list[Skipped] = []
    login_takers: dict[str, None] = {}
    by_route = {id(each.route): each for each in choices}
    for route in in_order([each.route for each in choices], draw):
        _, barred, serving, model, steps, made = by_route[id(route)]
        large = None if barred else _too_large(route, size)
        if why := barred or large:
            skipped.append(Skipped(route.provider.name, why, barred=True, large=bool(large)))
            continue
        credentials, why_not = usable(route.provider)
        if why_not or serving is None:
            skipped.append(Skipped(route.provider.name, why_not, barred=False))
            continue
        if route.provider.takes_login:
            login_takers[route.provider.name] = None
        for credential in _rotated(credentials, draw) or (None,):
            if credential not in made:
                made[credential] = Candidate(route, credential, serving, model, steps=steps)
            candidates.append(made[credential])
    return Plan(tuple(candidates), tuple(skipped), tuple(login_takers))


def with_login(found: Plan, login: CallerLogin | None) -> Plan:
    """Return the plan with the caller's login at the candidates that take it; without a login they
    are skipped."""
    takers = found.login_takers
    if login is None:
        skipped = [Skipped(name, missing_login(name), True, needs_login=True) for name in takers]
        kept = tuple(each for each in found.candidates if each.provider.name not in takers)
        return Plan(kept, (*found.skipped, *skipped))
    candidates = tuple(
        structs.replace(each, login=login) if each.provider.takes_login else each
        for each in found.candidates
    )
    return Plan(candidates, found.skipped)


def require_candidates(found: Plan, key: Key, endpoint: Endpoint, models: Sequence[str]) -> None:
    """Check that a plan has a candidate.

    Raises:
        ProxyError: 401 if the call lacks a vendor login, 403 if the key may not use the model, 404
            if no route has the endpoint, 413 if the request is too large for every route, 503 if no
            provider is available now.
    """
    if found.candidates:
        return
    logins = [skip.why for skip in found.skipped if skip.needs_login]
    if logins:
        raise ProxyError(ErrorKind.INVALID_KEY, "; ".join(logins))
    unavailable = [skip for skip in found.skipped if not skip.barred]
    if unavailable:
        reasons = "; ".join(f"{skip.provider}: {skip.why}" for skip in unavailable)
        raise ProxyError(
            ErrorKind.UNAVAILABLE,
            f"no provider is available for this call: {reasons}; see: sidecar doctor",
        )
    large = [f"{skip.provider}: {skip.why}" for skip in found.skipped if skip.large]
    if large:
        raise ProxyError(ErrorKind.TOO_LARGE, f"the request is too large: {'; '.join(large)}")
    refused = [model for model in models if not may_use(key, model)]
    if refused:
        raise ProxyError(ErrorKind.MODEL_NOT_ALLOWED, not_offered(key, refused[0]))
    if endpoint.starts_work and not models:
        raise ProxyError(
            ErrorKind.MODEL_NOT_ALLOWED,
            f"{endpoint.name} names no model, so it needs a route that allows every model; key "
            f'"{key.name}" has none ({key.place.short})',
        )
    reasons = "; ".join(f"{skip.provider}: {skip.why}" for skip in found.skipped) or "no routes"
    raise ProxyError(
        ErrorKind.NOT_FOUND, f'key "{key.name}" has no route for {endpoint.name}: {reasons}'
    )


def in_order(routes: Sequence[Route], draw: Draw) -> list[Route]:
    """Return the routes by priority; equal ones in a random order by weight (RFC 2782)."""
    if len(routes) == 1:
        return list(routes)
    ordered: list[Route] = []
    for _, equals in groupby(sorted(routes, key=_priority), key=_priority):
        same = list(equals)
        while len(same) > 1:
            ordered.append(same.pop(_pick(same, draw)))
        ordered += same
    return ordered


def _rotated(credentials: tuple[CredentialRef, ...], draw: Draw) -> tuple[CredentialRef, ...]:
    """Return the credentials, rotated to begin with a random one, so that they share the calls."""
    if len(credentials) < 2:
        return credentials
    first = int(draw() * len(credentials))
    return (*credentials[first:], *credentials[:first])


def _barred(
    key: Key, route: Route, dialect: Dialect, endpoint: Endpoint, models: Sequence[str]
) -> str | None:
    """Return the reason that a route never serves such a call; None if it may."""
    if not route.enabled:
        return f"switched off ({route.place.short})"
    if unserved := _unserved(key, route, dialect, endpoint):
        return unserved
    for model in models:
        if not (matches_any(key.models, model) and matches_any(route.models, model)):
            return f'model "{model[:128]}" is not among its models ({route.place.short})'
    if endpoint.model_at is ModelAt.EACH and route.rename is not None:
        renamed = any(route.rename.served(model) != model for model in models)
        if renamed:
            return f"renames models, which {endpoint.name} cannot follow ({route.place.short})"
    restricted = key.models is not None or route.models is not None
    if not models and endpoint.starts_work and restricted:
        return f"allows only some models ({route.place.short})"
    return None


def _unserved(key: Key, route: Route, dialect: Dialect, endpoint: Endpoint) -> str | None:
    """Return the reason that the provider does not serve an endpoint; None if it does."""
    provider = route.provider
    _, target = transform_steps(key, route, dialect.name, endpoint.name)
    if target.local:
        return None
    serving = provider.vendor.dialects.get(target.dialect)
    same = target.endpoint == endpoint.name
    if serving is None or not serving.has(endpoint if same else Endpoint(target.endpoint)):
        return f"does not serve {dialect.name} {endpoint.name}"
    if target.dialect != dialect.name and provider.takes_login:
        return "gets the caller's login, which another vendor issued: give it a credential"
    return None


def _too_large(route: Route, size: int) -> str | None:
    """Return the reason that a request is too large for a route, by the vendor's own estimate of
    its tokens; None if it is not."""
    if route.max_input is None:
        return None
    tokens = size // 4
    # The scheduler calls `estimate` again, and logs an exception then.
    with plugin_guard(route.provider.vendor, "estimate", level=logging.DEBUG):
        tokens, _ = route.provider.vendor.estimate(size, None)
    if tokens <= route.max_input:
        return None
    bound = f"its max_input of {route.max_input:,} ({route.place.short})"
    return f"about {tokens:,} tokens are more than {bound}"


def _renamed(route: Route, models: Sequence[str]) -> str | None:
    if len(models) != 1:
        return None
    return models[0] if route.rename is None else route.rename.served(models[0])


def _priority(route: Route) -> int:
    return route.priority


def _pick(routes: Sequence[Route], draw: Draw) -> int:
    point = draw() * sum(route.weight for route in routes)
    for index, route in enumerate(routes):
        point -= route.weight
        if point < 0:
            return index
    return 0
