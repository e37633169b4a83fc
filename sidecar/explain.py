"""What would happen to a call of one key for one model: the candidates in order, what stands on the
way to each, and what it would come to now.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from sidecar import routing
from sidecar.config import Allowance, Key
from sidecar.dialect import Dialect, Endpoint, ModelAt
from sidecar.errors import Kind, Refused
from sidecar.foresight import Outlook, Supposed, ending
from sidecar.gateviews import View
from sidecar.routing import Candidate
from sidecar.scheduler import UNPRICED

ANY = Endpoint("any", ModelAt.BODY)
"""Stands for a dialect's main endpoints."""


def explain(
    call: Supposed, dialects: Mapping[str, Dialect], usable: routing.Usable,
    outlook: Outlook | None = None,
) -> View:  # fmt: skip
    """The ordered candidates, those left out and why, and what would happen `now`.

    Deterministic: providers of equal priority come by weight. Without an `outlook` it goes by the
    routes alone.
    """
    key, model = call.key, call.model
    dialect = dialects[next(iter(key.group.vendor.dialects))]
    endpoint = _main(key, dialect)
    size = call.size or 0
    found = routing.plan(key, dialect, endpoint, (model,), usable, lambda: 0.0, size)
    skipped = [_left_out(skip.provider, skip.why) for skip in found.skipped]
    candidates: Sequence[Candidate] = found.candidates
    at_home = False
    seen: list[View] = [{} for _ in candidates]
    now = _refused(key, model, endpoint, found)
    if outlook is not None and candidates:
        candidates, at_home = outlook.at_home_first(call, candidates)
        ways = outlook.ways(call, candidates)
        priced = {id(way.candidate): outlook.see(call, way) for way in ways}
        unpriced = [each for each in candidates if id(each) not in priced]
        skipped += [_left_out(each.provider.name, UNPRICED) for each in unpriced]
        at_home = at_home and candidates[0] not in unpriced
        candidates, seen = [way.candidate for way in ways], list(priced.values())
        now = now or (outlook.foresee(call, ways, at_home=at_home) if ways else None)
    if not candidates:
        now = now or _no(Kind.FORBIDDEN, UNPRICED)
    return {
        "key": key.name,
        "group": key.group.name,
        "model": model,
        "allowed": routing.may_use(key, model),
        "enabled": key.enabled,
        "urgency": key.urgency.name.lower(),
        "max_wait": key.max_wait,
        "live": outlook is not None and outlook.known,
        "home": candidates[0].provider.name if at_home else None,
        "waiting": None if outlook is None else outlook.waiting,
        "candidates": [
            _candidate(each, candidates) | view for each, view in zip(candidates, seen, strict=True)
        ],
        "skipped": skipped,
        "now": now or ending("unknown", f"It would go to {candidates[0].provider.name} first."),
    }


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
        return _no(Kind.KEY_DISABLED, f'key "{key.name}" is disabled ({key.place.short})')
    if key.expires is not None and key.expires <= datetime.now(UTC):
        return _no(Kind.KEY_DISABLED, f'key "{key.name}" has expired ({key.place.short})')
    try:
        routing.require(found, key, endpoint, (model,))
    except Refused as no:
        return _no(no.refusal.kind, no.refusal.message)
    return None


def _no(kind: Kind, why: str) -> View:
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
