"""Text of `sidecar explain`: a summary, then each candidate with its limits."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from sidecar import humanize
from sidecar.admin.api_types.limits import (
    CooldownState,
    LimiterState,
    LimitState,
    NetworkState,
    PauseState,
    QuotaState,
)
from sidecar.admin.api_types.live import CandidateState, Explanation, Obstacle, Reservation
from sidecar.cli.render.limiters import (
    cooldown_text,
    limit_notes,
    limit_text,
    network_text,
    pause_text,
    subscription_text,
)

INDENT = "   "
NO_PRICE = "no price is known: its calls spend no budget, and a spent budget rejects them"
_RIGHT = frozenset({1, 3})
"""The columns of figures."""


def explanation_lines(found: Explanation) -> Iterator[str]:
    """Yield the lines."""
    yield from _about(found)
    shared = _shared(found.candidates)
    if shared:
        yield from ("", "on every candidate", *_gates(shared))
    for number, each in enumerate(found.candidates, 1):
        yield ""
        yield _candidate(number, each, found.model)
        is_budgeted = any(limiter.unit == "usd" for limiter in _limits(_gates_of(each)))
        if is_budgeted and each.price is None:
            yield f"{INDENT}{NO_PRICE}"
        yield from (INDENT + line for line in _transforms(each))
        own = [limiter for limiter in _gates_of(each) if _name(limiter) not in map(_name, shared)]
        yield from _gates(own)
    if found.notes:
        yield from ("", "what its calls lost so far", *(INDENT + note for note in found.notes))
    if found.subscriptions:
        yield from ("", "subscription")
        yield from (f"{INDENT}{subscription_text(each)}" for each in found.subscriptions)
    if found.skipped:
        yield from ("", "skipped")
        yield from (f"{INDENT}{skip.provider}: {skip.why}" for skip in found.skipped)


def _about(found: Explanation) -> Iterator[str]:
    yield (
        f'key "{found.key}" of group "{found.group}" ({found.urgency}, waits up to '
        f"{humanize.span(found.max_wait)}) asks for {found.model}"
    )
    yield ""
    if found.now is not None:
        yield found.now.text
    if found.home:
        yield f"Its conversation is pinned to {found.home}."
    if found.waiting:
        yield f"Calls waiting now: {found.waiting:,}."
    need = found.candidates[0].reserves if found.candidates else None
    if isinstance(need, Reservation):
        yield _reserves(need)


def _reserves(need: Reservation) -> str:
    known = need.input_tokens
    read = "its input, by the size of the request" if known is None else f"{known:,} input tokens"
    why = "learned from its answers" if need.learned else "too few answers to learn from"
    return f"It would reserve {read}, and {need.output_tokens:,} output tokens ({why})."


def _shared(candidates: Sequence[CandidateState]) -> list[LimiterState]:
    """Return the limiters on every candidate, where there are several candidates."""
    if len(candidates) < 2:
        return []
    first, *others = [_gates_of(each) for each in candidates]
    names = [set(map(_name, limiters)) for limiters in others]
    return [limiter for limiter in first if all(_name(limiter) in each for each in names)]


def _name(limiter: LimiterState) -> tuple[object, ...]:
    """Return what identifies a limiter; its figures may differ a little between candidates."""
    fields = ("scope", "kind", "models", "name")
    return (type(limiter), *(getattr(limiter, field, None) for field in fields))


def _candidate(number: int, one: CandidateState, model: str) -> str:
    credential = f" with {one.credential}" if one.credential else ""
    renamed = "" if one.model == model else f" as {one.model}"
    share = "" if one.share == 1 else f", {one.share:.0%} of the calls"
    place = f"{number}. {one.provider}{renamed}{credential} ({one.line}{share})"
    standing = _standing(one)
    return f"{place}: {standing}" if standing else place


def _transforms(one: CandidateState) -> Iterator[str]:
    for each in one.transforms:
        yield f"changed by {each.name}" + (f": called as {each.to}" if each.to else "")
        yield from (f"{INDENT}{loss}" for loss in each.losses)


def _standing(one: CandidateState) -> str:
    """Return whether a candidate is open; "" when that is unknown."""
    behind = one.behind
    if not isinstance(behind, Obstacle):
        return "open" if one.goes is True else ""
    if behind.kind == "hold":
        return f"{behind.scope} is paused"
    before = behind.before
    parts = [
        f"blocked by {behind.scope}, {behind.kind.replace('_', ' ')}",
        f"{humanize.plural(before, 'call')} before it" if before else "",
        f"room in {humanize.span(behind.opens)} at the soonest" if behind.opens else "",
    ]
    return "; ".join(part for part in parts if part)


def _gates_of(one: CandidateState) -> list[LimiterState]:
    return one.gates if isinstance(one.gates, list) else []


def _limits(limiters: Sequence[LimiterState]) -> list[LimitState | QuotaState]:
    return [each for each in limiters if isinstance(each, LimitState | QuotaState)]


def _gates(limiters: Sequence[LimiterState]) -> Iterator[str]:
    rows = [_row(limiter) for limiter in _limits(limiters)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if number in _RIGHT else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
            if width
        ]
        yield (INDENT + "  ".join(cells)).rstrip()
    yield from (INDENT + line for line in map(_sentence, limiters) if line)


def _row(limiter: LimitState | QuotaState) -> list[str]:
    unit, reset, known = limiter.unit, limiter.reset, limiter.used is not None
    return [
        limiter.scope,
        f"{humanize.amount(limiter.used, unit)} of" if known else "",
        limit_text(limiter),
        f"{humanize.amount(limiter.left, unit)} left" if known else "",
        f"free in {humanize.span(reset)}" if reset else "",
        limiter.line if isinstance(limiter, LimitState) else "reported by its vendor",
        limit_notes(limiter),
    ]


def _sentence(limiter: LimiterState) -> str:
    match limiter:
        case CooldownState():
            return cooldown_text(limiter)
        case NetworkState():
            return network_text(limiter)
        case PauseState():
            return f"paused: {pause_text(limiter, time.time())}"
    return ""
