"""What a call used in all of its attempts: figures that are added up, and how much is unknown.

A sum is that of what is known; how much that is, its state says.
"""

from __future__ import annotations

from msgspec import structs

from sidecar.usage import CallRecord, Cost, Spent, Usage, UsageState

_LEAST_KNOWN = (UsageState.UNKNOWN, UsageState.PARTIAL, UsageState.REPORTED, UsageState.NONE)
_ADDED = (
    "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens",
    "cache_write_1h_tokens", "reasoning_tokens", "reported_cost",
)  # fmt: skip


def with_spent(record: CallRecord, spent: Spent) -> CallRecord:
    """The call with what was spent besides what its answer used."""
    whole = together(Spent(record.usage_state, record.usage, record.cost), spent)
    return structs.replace(record, usage=whole.usage, usage_state=whole.state, cost=whole.cost)


def together(one: Spent, other: Spent) -> Spent:
    """Both; of which as much is known as of the one of which less is."""
    state = min(one.state, other.state, key=_LEAST_KNOWN.index)
    return Spent(state, _usage(one.usage, other.usage), _cost(one, other))


def _usage(one: Usage | None, other: Usage | None) -> Usage | None:
    if one is None or other is None:
        return one or other
    units = dict(one.units)
    for name, count in other.units:
        units[name] = units.get(name, 0) + count
    return Usage(
        **{name: _sum(getattr(one, name), getattr(other, name)) for name in _ADDED},
        units=tuple(units.items()),
        service_tier=one.service_tier or other.service_tier,
        parts=one.parts + other.parts,
    )


def _sum(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other


def _cost(one: Spent, other: Spent) -> Cost | None:
    costs = [each.cost for each in (one, other) if each.cost is not None]
    used = [each for each in (one, other) if each.state is not UsageState.NONE]
    if not costs:
        return None
    prices = dict.fromkeys(price for cost in costs for price in cost.price.split(" + "))
    return Cost(
        sum(cost.listed for cost in costs),
        sum(cost.charged for cost in costs),
        " + ".join(prices),
        whole=all(cost.whole for cost in costs) and all(each.cost is not None for each in used),
        parts=_part_costs(one) + _part_costs(other),
    )


def _part_costs(spent: Spent) -> tuple[Cost | None, ...]:
    """The costs of the usage's parts, one for each."""
    parts = () if spent.usage is None else spent.usage.parts
    return tuple(spent.cost and spent.cost.of_part(number) for number in range(len(parts)))
