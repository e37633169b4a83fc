"""Text of `sidecar explain`: a summary, then each candidate with its limits."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from sidecar import humanize

View = dict[str, Any]
INDENT = "   "
NO_PRICE = "no price is known: its calls spend no budget, and a spent budget rejects them"
_RIGHT = frozenset({1, 3})
"""The columns of figures."""


def explanation_lines(found: View) -> Iterator[str]:
    """Yield the lines."""
    yield from _about(found)
    shared = _shared(found["candidates"])
    if shared:
        yield from ("", "on every candidate", *_gates(shared))
    for number, each in enumerate(found["candidates"], 1):
        yield ""
        yield _candidate(number, each, found["model"])
        is_budgeted = any(limiter["unit"] == "usd" for limiter in each.get("gates", ()))
        if is_budgeted and "price" in each and each["price"] is None:
            yield f"{INDENT}{NO_PRICE}"
        own = [
            limiter for limiter in each.get("gates", ()) if _name(limiter) not in map(_name, shared)
        ]
        yield from _gates(own)
    if found["skipped"]:
        yield from ("", "skipped")
        yield from (f"{INDENT}{skip['provider']}: {skip['why']}" for skip in found["skipped"])


def _about(found: View) -> Iterator[str]:
    yield (
        f'key "{found["key"]}" of group "{found["group"]}" ({found["urgency"]}, waits up to '
        f"{humanize.span(found['max_wait'])}) asks for {found['model']}"
    )
    yield ""
    yield found["now"]["text"]
    if found["home"]:
        yield f"Its conversation is pinned to {found['home']}."
    if found["waiting"]:
        yield f"Calls waiting now: {found['waiting']:,}."
    need = found["candidates"][0].get("reserves") if found["candidates"] else None
    if need is not None:
        yield _reserves(need)


def _reserves(need: View) -> str:
    known = need["input_tokens"]
    read = "its input, by the size of the request" if known is None else f"{known:,} input tokens"
    why = "learned from its answers" if need["learned"] else "too few answers to learn from"
    return f"It would reserve {read}, and {need['output_tokens']:,} output tokens ({why})."


def _shared(candidates: Sequence[View]) -> list[View]:
    """Return the limiters on every candidate, where there are several candidates."""
    if len(candidates) < 2:
        return []
    first, *others = [each.get("gates", []) for each in candidates]
    names = [set(map(_name, limiters)) for limiters in others]
    return [limiter for limiter in first if all(_name(limiter) in each for each in names)]


def _name(limiter: View) -> tuple[object, ...]:
    """Return what identifies a limiter; its figures may differ a little between candidates."""
    return tuple(limiter.get(field) for field in ("what", "scope", "kind", "models", "name"))


def _candidate(number: int, one: View, model: str) -> str:
    credential = f" with {one['credential']}" if one["credential"] else ""
    renamed = "" if one["model"] == model else f" as {one['model']}"
    share = "" if one["share"] == 1 else f", {one['share']:.0%} of the calls"
    place = f"{number}. {one['provider']}{renamed}{credential} ({one['line']}{share})"
    standing = _standing(one)
    return f"{place}: {standing}" if standing else place


def _standing(one: View) -> str:
    """Return whether a candidate is open; "" when that is unknown."""
    behind = one.get("behind")
    if behind is None:
        return "open" if one.get("goes") else ""
    if behind["kind"] == "hold":
        return f"{behind['scope']} is paused"
    before = behind["before"]
    parts = [
        f"blocked by {behind['scope']}, {behind['kind'].replace('_', ' ')}",
        f"{humanize.plural(before, 'call')} before it" if before else "",
        f"room in {humanize.span(behind['opens'])} at the earliest" if behind["opens"] else "",
    ]
    return "; ".join(part for part in parts if part)


def _gates(limiters: Sequence[View]) -> Iterator[str]:
    rows = [_row(limiter) for limiter in limiters if limiter["what"] in {"limit", "quota"}]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if number in _RIGHT else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
            if width
        ]
        yield (INDENT + "  ".join(cells)).rstrip()
    yield from (INDENT + line for line in map(_sentence, limiters) if line)


def _row(limiter: View) -> list[str]:
    unit, reset, known = limiter["unit"], limiter["reset"], limiter["used"] is not None
    return [
        limiter["scope"],
        f"{humanize.amount(limiter['used'], unit)} of" if known else "",
        humanize.limit(limiter),
        f"{humanize.amount(limiter['left'], unit)} left" if known else "",
        f"free in {humanize.span(reset)}" if reset else "",
        limiter["line"] if limiter["what"] == "limit" else "reported by its vendor",
        humanize.notes(limiter),
    ]


def _sentence(limiter: View) -> str:
    match limiter["what"]:
        case "cooldown":
            return humanize.cooling(limiter)
        case "network":
            return humanize.network(limiter)
        case "hold":
            return f"paused: {humanize.paused(limiter, time.time())}"
    return ""
