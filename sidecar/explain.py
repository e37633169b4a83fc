"""What would happen to a call of one key for one model, in words and as data."""

from __future__ import annotations

from collections.abc import Mapping

from sidecar import routing
from sidecar.config import Allowance, Key
from sidecar.dialect import Dialect, Endpoint, ModelAt

ANY = Endpoint("any", ModelAt.BODY)
"""Stands for a dialect's main endpoints."""


def explain(
    key: Key, model: str, dialects: Mapping[str, Dialect], usable: routing.Usable
) -> dict[str, object]:
    """The ordered candidates, those left out and why, and the limits on the way.

    `text` says it all for people. Deterministic: providers of equal priority come by weight.
    """
    dialect = dialects[next(iter(key.group.vendor.dialects))]
    found = routing.plan(key, dialect, _main(key), (model,), usable, draw=lambda: 0.0)
    candidates = [
        {
            "provider": each.provider.name,
            "credential": each.credential_name or None,
            "model": each.model,
            "base_url": each.serving.base(each.provider.base_url),
            "limits": limits_of(each.route.allowance) + limits_of(each.provider.allowance),
        }
        for each in found.candidates
    ]
    skipped = [{"provider": skip.provider, "why": skip.why} for skip in found.skipped]
    return {
        "key": key.name,
        "group": key.group.name,
        "model": model,
        "allowed": routing.may_use(key, model),
        "enabled": key.enabled,
        "urgency": key.urgency.name.lower(),
        "limits": limits_of(key.allowance) + limits_of(key.group.allowance),
        "candidates": candidates,
        "skipped": skipped,
        "text": "\n".join(_lines(key, model, found)),
    }


def _main(key: Key) -> Endpoint:
    """An endpoint that the first provider of the vendor's own API has: what most calls use."""
    serving = next(iter(key.group.vendor.dialects.values()))
    return ANY if serving.endpoints is None else Endpoint(min(serving.endpoints), ModelAt.BODY)


def _lines(key: Key, model: str, found: routing.Plan) -> list[str]:
    urgency = key.urgency.name.lower()
    lines = [f'key "{key.name}" of group "{key.group.name}" ({urgency}) asks for {model}']
    if not key.enabled:
        lines.append(f"  the key is disabled ({key.place.short}): every call is refused with 403")
    for number, each in enumerate(found.candidates, 1):
        renamed = "" if each.model == model else f" as {each.model}"
        credential = f" with {each.credential_name}" if each.credential else ""
        lines.append(f"  {number}. {each.provider.name}{renamed}{credential}")
        lines += [f"       {limit}" for limit in limits_of(each.route.allowance)]
        lines += [f"       {limit}" for limit in limits_of(each.provider.allowance)]
    lines += [f"  -  {skip.provider}: {skip.why}" for skip in found.skipped]
    if not found.candidates and not routing.may_use(key, model):
        lines.append(f"  refused with 403: {routing.not_offered(key, model)}")
    elif not found.candidates:
        lines.append("  refused with 503: nothing is available")
    lines += [
        f"  limit {limit}" for limit in limits_of(key.allowance) + limits_of(key.group.allowance)
    ]
    return lines


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
