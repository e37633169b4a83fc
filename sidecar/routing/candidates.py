"""The ordered candidates of a call, and the reason for each route that is skipped.

Its functions use no clock and keep no state. The function that decides whether a provider is
available is an argument.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

from msgspec import Struct, structs

from sidecar.config.model import CredentialRef, Key, Provider, Route
from sidecar.config.patterns import matches_any
from sidecar.errors import ErrorKind, ProxyError
from sidecar.humanize import nearest
from sidecar.plugin_api.dialect import Dialect, Endpoint, ModelAt
from sidecar.plugin_api.guard import plugin_guard
from sidecar.plugin_api.transform import Transform, TransformTarget
from sidecar.plugin_api.vendor import Serving
from sidecar.routing.caller_login import CallerLogin, missing_login

Usable = Callable[[Provider], tuple[tuple[CredentialRef, ...], str]]
"""Returns the usable credentials of a provider; or none, and the reason."""
Draw = Callable[[], float]
"""Returns a random number from 0 to 1, which decides between routes by weight."""


class TransformStep(NamedTuple):
    """A transform that changes a candidate's calls, and how the provider is called after it."""

    transform: Transform
    target: TransformTarget


class Candidate(Struct, frozen=True):
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
    def provider(self) -> Provider:
        """The provider of the route."""
        return self.route.provider

    @property
    def credential_name(self) -> str:
        """The name of the credential for logs and metrics; "" for none."""
        return "" if self.credential is None else self.credential.name

    @property
    def account(self) -> str:
        """The fingerprint of the caller's login; "" without one."""
        return "" if self.login is None else self.login.account


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
    """The candidates of a call in order, and the routes that are skipped."""

    candidates: tuple[Candidate, ...]
    skipped: tuple[Skipped, ...]


def plan_candidates(
    key: Key,
    dialect: Dialect,
    endpoint: Endpoint,
    models: Sequence[str],
    usable: Usable,
    draw: Draw,
    size: int = 0,
) -> Plan:
    """Return every candidate for a call of `key`, the most preferred first.

    Args:
        models: The models that the request names.
        size: The bytes of the request's body.
    """
    candidates: list[Candidate] = []
    skipped: list[Skipped] = []
    for route in in_order(key.routes, draw):
        barred = _barred(key, route, dialect, endpoint, models)
        large = None if barred else _too_large(route, size)
        if why := barred or large:
            skipped.append(Skipped(route.provider.name, why, barred=True, large=bool(large)))
            continue
        credentials, why_not = usable(route.provider)
        if why_not:
            skipped.append(Skipped(route.provider.name, why_not, barred=False))
            continue
        steps, target = transform_steps(key, route, dialect.name, endpoint.name)
        serving = route.provider.vendor.dialects[target.dialect]
        model = _renamed(route, models)
        choices = _rotated(credentials, draw) or (None,)
        candidates += [
            Candidate(route, credential, serving, model, steps=steps) for credential in choices
        ]
    return Plan(tuple(candidates), tuple(skipped))


def with_login(found: Plan, login: CallerLogin | None) -> Plan:
    """Return the plan with the caller's login at the candidates that take it; without a login they
    are skipped."""
    takers = {each.provider.name: None for each in found.candidates if each.provider.takes_login}
    if not takers:
        return found
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
            ErrorKind.UNAVAILABLE, f"no provider is available for this call: {reasons}"
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


def may_use(key: Key, model: str) -> bool:
    """Return whether an enabled route of the key allows the model, available or not."""
    return matches_any(key.models, model) and any(
        route.enabled and matches_any(route.models, model) for route in key.routes
    )


def offered_models(key: Key) -> list[str]:
    """Return the model patterns that the key may use, for people; "*" if a route allows all."""
    if key.models is not None:
        return [pattern.text for pattern in key.models]
    names: dict[str, None] = {}
    for route in key.routes:
        if route.enabled:
            names.update(
                dict.fromkeys(p.text for p in route.models) if route.models else {"*": None}
            )
    return list(names)


def not_offered(key: Key, model: str) -> str:
    """Return the message for a model that the key may not use: the nearest name, the models that it
    may use, and the line of the file."""
    names = offered_models(key)
    near = nearest(model, [name for name in names if "*" not in name])
    hint = f'; did you mean "{near}"?' if near else "."
    may = f"It may use {', '.join(names)}" if names else "It has no enabled route"
    return (
        f'model "{model[:128]}" is not offered to key "{key.name}"{hint} {may} ({key.place.short})'
    )


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


def transform_steps(
    key: Key, route: Route, dialect: str, endpoint: str
) -> tuple[tuple[TransformStep, ...], TransformTarget]:
    """Return the transforms that apply to an endpoint on a route, in order, and how its provider is
    called after the last of them."""
    target = TransformTarget(dialect, endpoint)
    if not key.transforms and not route.transforms:
        return (), target
    steps: list[TransformStep] = []
    for named in (*key.transforms, *route.transforms):
        found: TransformTarget | None = target
        with plugin_guard(f"transform {named.name}", "target", "it gets the call as it is"):
            found = named.transform.target(*target, route.provider.vendor)
        if found is not None:
            steps.append(TransformStep(named.transform, found))
            target = found
    return tuple(steps), target


def _unserved(key: Key, route: Route, dialect: Dialect, endpoint: Endpoint) -> str | None:
    """Return the reason that the provider does not serve an endpoint; None if it does."""
    provider = route.provider
    _, target = transform_steps(key, route, dialect.name, endpoint.name)
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
