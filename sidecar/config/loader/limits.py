"""Build limits, budgets, headroom and timeouts from the fields of one scope."""

from __future__ import annotations

from collections.abc import Mapping

from sidecar.config.model import Allowance, Budget, Limit, LimitKind, Timeouts, Urgency
from sidecar.config.patterns import Pattern
from sidecar.config.yaml.reader import Record

NO_HEADROOM: Mapping[Urgency, float] = {}


def allowance(record: Record, headroom: Mapping[Urgency, float] = NO_HEADROOM) -> Allowance:
    """Return the limits, budgets and headroom of a scope; `headroom` where it has none."""
    written = record.get("headroom")
    return Allowance(
        limits(record.get("limits")),
        tuple(Budget(*each) for each in record.get("budget", ())),
        headroom if written is None else headroom_of(written),
    )


def limits(record: Record | None) -> tuple[Limit, ...]:
    """Return every limit in the order of the file, those of models last."""
    if record is None:
        return ()
    found = _kinds(record, None)
    for entry in record.get("models", ()):
        found += _kinds(entry.value, entry.name)
    return tuple(found)


def headroom_of(record: Record) -> Mapping[Urgency, float]:
    """Return the part kept free of each class, from 0 to 1.

    The part that is kept free of `normal` calls is kept free of `background` ones too.
    """
    normal = record.get("normal", 0.0)
    background = max(record.get("background", 0.0), normal)
    parts = {Urgency.BACKGROUND: background, Urgency.NORMAL: normal}
    return {urgency: part for urgency, part in parts.items() if part}


def timeouts(record: Record | None, otherwise: Timeouts) -> Timeouts:
    """Return the timeouts; each missing one as in `otherwise`."""
    if record is None:
        return otherwise
    return Timeouts(
        record.get("connect", otherwise.connect),
        record.get("first_byte", otherwise.first_byte),
        record.get("idle", otherwise.idle),
    )


def _kinds(record: Record, models: Pattern | None) -> list[Limit]:
    return [
        Limit(LimitKind(name), amount, record.at(name), models)
        for name, amount in record.values.items()
        if name != "models"
    ]
