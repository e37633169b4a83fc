"""Explain the routing of a call of one key for one model: the candidates in order, the limiters of
each, and what would become of the call now.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from sidecar.admin.api_types.limits import SubscriptionState
from sidecar.admin.api_types.live import (
    CandidateState,
    Explanation,
    ForecastOutcome,
    SkippedRoute,
    TransformState,
)
from sidecar.admin.introspect.dry_run import (
    CandidateOutlook,
    Forecaster,
    HypotheticalCall,
    outcome,
)
from sidecar.config.model import Allowance, Key
from sidecar.errors import ErrorKind, ProxyError
from sidecar.plugin_api.dialect import Dialect, Endpoint, ModelAt
from sidecar.plugin_api.transform import ANY_ENDPOINT, TransformTarget
from sidecar.routing import candidates as routing
from sidecar.routing.allowed_models import may_use
from sidecar.routing.candidates import Candidate
from sidecar.scheduling.estimates.money import UNPRICED

_ANY = Endpoint(ANY_ENDPOINT, ModelAt.BODY)


class PlannedCandidates(NamedTuple):
    """The candidates in order, each with its outlook (None: only the routes were asked); those left
    out because they have no price; whether the session is pinned to the first one."""

    candidates: Sequence[Candidate]
    outlooks: Sequence[CandidateOutlook | None]
    unpriced: Sequence[Candidate] = ()
    pinned: bool = False
    now: ForecastOutcome | None = None


def explain(
    call: HypotheticalCall, dialects: Mapping[str, Dialect], usable: routing.Usable,
    forecaster: Forecaster | None = None,
) -> Explanation:  # fmt: skip
    """Return the ordered candidates, the skipped routes and why, and what would happen `now`.

    Deterministic: providers of equal priority are ordered by weight. Without a `forecaster` only
    the routes count.
    """
    key, model = call.key, call.model
    dialect = dialects[next(iter(key.group.vendor.dialects))]
    endpoint = _main_endpoint(key, dialect)
    found = routing.plan_candidates(
        key, dialect, endpoint, (model,), usable, lambda: 0.0, call.size or 0
    )
    plan = _plan(call, found.candidates, forecaster)
    skipped = [SkippedRoute(provider=skip.provider, why=skip.why) for skip in found.skipped]
    skipped += [SkippedRoute(provider=each.provider.name, why=UNPRICED) for each in plan.unpriced]
    return Explanation(
        key=key.name,
        group=key.group.name,
        model=model,
        allowed=may_use(key, model),
        enabled=key.enabled,
        urgency=key.urgency.name.lower(),
        max_wait=key.max_wait,
        live=forecaster is not None and forecaster.known,
        home=plan.candidates[0].provider.name if plan.pinned else None,
        waiting=None if forecaster is None else forecaster.waiting,
        candidates=[
            _candidate(each, plan.candidates, outlook, TransformTarget(dialect.name, endpoint.name))
            for each, outlook in zip(plan.candidates, plan.outlooks, strict=True)
        ],
        skipped=skipped,
        subscriptions=_subscriptions(key, plan.candidates, forecaster),
        now=_rejection(key, model, endpoint, found) or plan.now,
        notes=[] if forecaster is None else forecaster.notes.of(key.name),
    )


def _subscriptions(
    key: Key, candidates: Sequence[Candidate], forecaster: Forecaster | None
) -> list[SubscriptionState]:
    """Return the windows of the subscriptions that calls of this key used at the candidates."""
    if forecaster is None:
        return []
    names = {each.provider.name for each in candidates}
    known = forecaster.board.subscriptions()
    return [each for each in known if each.key == key.name and each.provider in names]


def _plan(
    call: HypotheticalCall, candidates: Sequence[Candidate], forecaster: Forecaster | None
) -> PlannedCandidates:
    if not candidates:
        return PlannedCandidates((), ())
    if forecaster is None:
        text = f"It would go to {candidates[0].provider.name} first."
        return PlannedCandidates(candidates, [None] * len(candidates), now=outcome("unknown", text))
    ordered, pinned = forecaster.prefer_pinned(call, candidates)
    forecasts = forecaster.forecast(call, ordered)
    if not forecasts:
        return PlannedCandidates((), (), ordered, now=_refused(ErrorKind.FORBIDDEN, UNPRICED))
    priced = [each.candidate for each in forecasts]
    pinned = pinned and priced[0] is ordered[0]
    return PlannedCandidates(
        priced,
        [forecaster.outlook(call, each) for each in forecasts],
        [each for each in ordered if not any(each is one for one in priced)],
        pinned,
        forecaster.outcome(call, forecasts, pinned=pinned),
    )


def _main_endpoint(key: Key, dialect: Dialect) -> Endpoint:
    """Return the endpoint that most of the key's providers serve: most calls use it."""
    found: Counter[str] = Counter()
    for route in key.routes:
        serving = route.provider.vendor.dialects.get(dialect.name)
        found.update(serving.endpoints or () if serving is not None else ())
    name = min(found, key=lambda each: (-found[each], each), default=None)
    return _ANY if name is None else Endpoint(name, ModelAt.BODY)


def _candidate(
    one: Candidate, candidates: Sequence[Candidate], outlook: CandidateOutlook | None,
    asked: TransformTarget,
) -> CandidateState:  # fmt: skip
    route = one.route
    equals = {id(c.route): c.route for c in candidates if c.route.priority == route.priority}
    return CandidateState(
        provider=one.provider.name,
        credential=one.credential_name or None,
        model=one.model,
        base_url=one.serving.base(one.provider.base_url),
        line=route.place.short,
        transforms=_transforms(one, asked),
        share=round(route.weight / sum(each.weight for each in equals.values()), 3),
        **({} if outlook is None else outlook._asdict()),
    )


def _transforms(one: Candidate, asked: TransformTarget) -> list[TransformState]:
    found = []
    for transform, target in one.steps:
        to = f"{target.dialect} {target.endpoint}" if target != asked else None
        losses = list(transform.losses(*asked[:2], target))
        found.append(TransformState(name=transform.name, to=to, losses=losses))
        asked = target
    return found


def _rejection(
    key: Key, model: str, endpoint: Endpoint, found: routing.Plan
) -> ForecastOutcome | None:
    """Return the rejection that does not depend on any limiter; None when there is a candidate."""
    if not key.enabled:
        return _refused(ErrorKind.KEY_DISABLED, f'key "{key.name}" is disabled ({key.place.short})')
    if key.expires is not None and key.expires <= datetime.now(UTC):
        return _refused(ErrorKind.KEY_DISABLED, f'key "{key.name}" has expired ({key.place.short})')
    try:
        routing.require_candidates(found, key, endpoint, (model,))
    except ProxyError as error:
        return _refused(error.reply.kind, error.reply.message)
    return None


def _refused(kind: ErrorKind, why: str) -> ForecastOutcome:
    text = f"It would be refused with {kind.status}: {why}."
    return outcome("refused", text, status=kind.status)


def limits_of(allowance: Allowance) -> list[str]:
    """Return every limit and budget as a text, with its place in the file."""
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
