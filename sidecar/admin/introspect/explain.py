"""What would happen to a call of one key for one model: the candidates in order, what stands on the
way to each, and what it would come to now.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from sidecar.admin.introspect.dry_run import Forecaster, HypotheticalCall, ending
from sidecar.admin.introspect.limit_views import View
from sidecar.config.model import Allowance, Key
from sidecar.errors import ErrorKind, ProxyError
from sidecar.plugin_api.dialect import Dialect, Endpoint, ModelAt
from sidecar.routing import candidates as routing
from sidecar.routing.candidates import Candidate
from sidecar.scheduling.estimates import UNPRICED

ANY = Endpoint("any", ModelAt.BODY)
"""Stands for a dialect's main endpoints."""


class Seen(NamedTuple):
    """The candidates as they stand: in their order, each with what is on its way; those left out
    for want of a price; whether the conversation is at home at the first one."""

    candidates: Sequence[Candidate]
    views: Sequence[View]
    unpriced: Sequence[Candidate] = ()
    at_home: bool = False
    now: View | None = None


def explain(
    call: HypotheticalCall, dialects: Mapping[str, Dialect], usable: routing.Usable,
    outlook: Forecaster | None = None,
) -> View:  # fmt: skip
    """The ordered candidates, those left out and why, and what would happen `now`.

    Deterministic: providers of equal priority come by weight. Without an `outlook` it goes by the
    routes alone.
    """
    key, model = call.key, call.model
    dialect = dialects[next(iter(key.group.vendor.dialects))]
    endpoint = _main(key, dialect)
    found = routing.plan_candidates(
        key, dialect, endpoint, (model,), usable, lambda: 0.0, call.size or 0
    )
    seen = _seen(call, found.candidates, outlook)
    skipped = [_left_out(skip.provider, skip.why) for skip in found.skipped]
    skipped += [_left_out(each.provider.name, UNPRICED) for each in seen.unpriced]
    return {
        "key": key.name,
        "group": key.group.name,
        "model": model,
        "allowed": routing.may_use(key, model),
        "enabled": key.enabled,
        "urgency": key.urgency.name.lower(),
        "max_wait": key.max_wait,
        "live": outlook is not None and outlook.known,
        "home": seen.candidates[0].provider.name if seen.at_home else None,
        "waiting": None if outlook is None else outlook.waiting,
        "candidates": [
            _candidate(each, seen.candidates) | view
            for each, view in zip(seen.candidates, seen.views, strict=True)
        ],
        "skipped": skipped,
        "now": _refused(key, model, endpoint, found) or seen.now,
    }


def _seen(
    call: HypotheticalCall, candidates: Sequence[Candidate], outlook: Forecaster | None
) -> Seen:
    if not candidates:
        return Seen((), ())
    if outlook is None:
        text = f"It would go to {candidates[0].provider.name} first."
        return Seen(candidates, [{} for _ in candidates], now=ending("unknown", text))
    ordered, at_home = outlook.at_home_first(call, candidates)
    ways = outlook.ways(call, ordered)
    if not ways:
        return Seen((), (), ordered, now=_no(ErrorKind.FORBIDDEN, UNPRICED))
    priced = [way.candidate for way in ways]
    at_home = at_home and priced[0] is ordered[0]
    return Seen(
        priced,
        [outlook.see(call, way) for way in ways],
        [each for each in ordered if not any(each is one for one in priced)],
        at_home,
        outlook.foresee(call, ways, at_home=at_home),
    )


def _left_out(provider: str, why: str) -> View:
    return {"provider": provider, "why": why}


def _main(key: Key, dialect: Dialect) -> Endpoint:
    """An endpoint that as many of the key's providers as possible have: what most calls use."""
    found: Counter[str] = Counter()
    for route in key.routes:
        serving = route.provider.vendor.dialects.get(dialect.name)
        found.update(serving.endpoints or () if serving is not None else ())
    name = min(found, key=lambda each: (-found[each], each), default=None)
    return ANY if name is None else Endpoint(name, ModelAt.BODY)


def _candidate(one: Candidate, candidates: Sequence[Candidate]) -> View:
    route = one.route
    equals = {id(c.route): c.route for c in candidates if c.route.priority == route.priority}
    return {
        "provider": one.provider.name,
        "credential": one.credential_name or None,
        "model": one.model,
        "base_url": one.serving.base(one.provider.base_url),
        "line": route.place.short,
        "share": round(route.weight / sum(each.weight for each in equals.values()), 3),
    }


def _refused(key: Key, model: str, endpoint: Endpoint, found: routing.Plan) -> View | None:
    """The no that a call gets whatever there is room for; None when it may go somewhere."""
    if not key.enabled:
        return _no(ErrorKind.KEY_DISABLED, f'key "{key.name}" is disabled ({key.place.short})')
    if key.expires is not None and key.expires <= datetime.now(UTC):
        return _no(ErrorKind.KEY_DISABLED, f'key "{key.name}" has expired ({key.place.short})')
    try:
        routing.require_candidates(found, key, endpoint, (model,))
    except ProxyError as no:
        return _no(no.reply.kind, no.reply.message)
    return None


def _no(kind: ErrorKind, why: str) -> View:
    return ending("refused", f"It would be refused with {kind.status}: {why}.", status=kind.status)


def limits_of(allowance: Allowance) -> list[str]:
    """Every limit and budget in words, with the line of the file that says so."""
    limits = [
        f"{limit.kind.value} {limit.amount}"
        + (f" for {limit.models.text}" if limit.models is not None else "")
        + f" ({limit.place.short})"
        for limit in allowance.limits
    ]
    budgets = [
        f"budget ${budget.amount}/{budget.period.value} ({budget.place.short})"
        for budget in allowance.budgets
    ]
    return limits + budgets
