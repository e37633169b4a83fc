"""One call's trail in words, the same for the command and the console."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from sidecar.reports.columns import plain

UNKNOWN = "unknown"


def tell(story: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The story behind a call's id and its beginning: a title, which may be "", and a line for each
    thing that happened. `story` is what `trail` found."""
    yield "who", _who(story)
    if story["caller"]:
        yield "", _caller(story["caller"])
    yield "asked", _asked(story)
    for wait in story["waits"]:
        yield "waited", f"{_seconds(wait['seconds'])}: {wait['behind']}"
    if not story["waits"]:
        yield "waited", _seconds(story["wait"]) if story["wait"] else "not at all"
    for number, attempt in enumerate(story["attempts"], 1):
        yield "tried", f"{number}. {_attempt(attempt)}"
    if not story["attempts"]:
        yield "tried", "no provider"
    yield "answered", _answered(story)
    if story["reason"]:
        yield "because", story["reason"]
    yield "took", _took(story)
    yield "used", _used(story)
    parts = [] if story["usage"] is None else story["usage"]["parts"]
    for number, part in enumerate(parts, 1):
        yield "part", f"{number}. {_part(part)}"
    yield "cost", _cost(story)


def _who(story: dict[str, Any]) -> str:
    key = f'key "{story["key"]}" of group {story["group"]}' if story["key"] else "nobody we know"
    session = f"session {story['session']}" if story["session"] else ""
    return _joined(key, story["urgency"], story["program"], session)


def _caller(caller: dict[str, Any]) -> str:
    process = f"process {caller['pid']}" if caller["pid"] else ""
    where = f"in {caller['directory']}" if caller["directory"] else ""
    repo = f"repository {caller['repo']}" if caller["repo"] else ""
    branch = f"branch {caller['branch']}" if caller["branch"] else ""
    return _joined(caller["program"], process, where, repo, branch) or "an unknown process"


def _asked(story: dict[str, Any]) -> str:
    what = f"{story['dialect']} {story['endpoint']}".strip() or story["method"]
    model = story["model_asked"] or "no model"
    return _joined(what, model, "streaming" if story["streaming"] else "")


def _attempt(attempt: dict[str, Any]) -> str:
    where = f"{attempt['provider']} with {attempt['credential'] or 'no credential'}"
    status = "no answer" if attempt["status"] is None else f"status {attempt['status']}"
    verdict = attempt["verdict"] + (f" ({attempt['reason']})" if attempt["reason"] else "")
    model = attempt["model"] or ""
    spent = f"; {_spent(attempt['spent'])}" if attempt["spent"] else ""
    return f"{_joined(where, model, status, _seconds(attempt['duration']))}: {verdict}{spent}"


def _spent(spent: dict[str, Any]) -> str:
    if spent["usage"] is None:
        return "what it used is unknown"
    return f"used {_figures(spent)}, {in_dollars(spent['cost'] and spent['cost']['charged_usd'])}"


def _answered(story: dict[str, Any]) -> str:
    refused = story["refusal"] is not None
    by = "by Sidecar itself" if refused or not story["provider"] else f"by {story['provider']}"
    model = "" if refused else story["model_served"] or ""
    kind = story["refusal"] or ""
    return _joined(by, model, f"status {story['status']}", story["outcome"], kind)


def _took(story: dict[str, Any]) -> str:
    first = story["first_byte"]
    begun = "" if first is None else f", first byte after {_seconds(first)}"
    return _seconds(story["duration"]) + begun


def _used(story: dict[str, Any]) -> str:
    usage = story["usage"]
    if usage is None:
        return "nothing" if story["usage_state"] == "none" else f"{UNKNOWN}: the vendor did not say"
    return _figures(story)


def _figures(story: dict[str, Any]) -> str:
    return _joined(_tokens(story["usage"]), *_doubts(story["usage_state"]))


def _doubts(state: str) -> Iterator[str]:
    if state == "partial":
        yield "as far as it was told"
    if state == "unknown":
        yield "and what is unknown of its attempts"


def _part(part: dict[str, Any]) -> str:
    """One request of several that the vendor made of the call."""
    what = " of ".join(filter(None, (part["kind"].replace("_", " "), part["model"])))
    cost = part["cost"]
    price = f" by {cost['price']}" if cost else ""
    return f"{what}: {_tokens(part)}, {in_dollars(cost and cost['charged_usd'])}{price}"


def _tokens(usage: dict[str, Any]) -> str:
    parts = [
        f"{_count(usage['input_tokens'])} input",
        _of("from the cache", usage["cache_read_tokens"]),
        _of("into the cache", usage["cache_write_tokens"]),
        f"{_count(usage['output_tokens'])} output",
        _of("reasoning", usage["reasoning_tokens"]),
        *(f"{amount:,} {unit.replace('_', ' ')}" for unit, amount in usage["units"].items()),
        f"tier {usage['service_tier']}" if usage["service_tier"] else "",
    ]
    return _joined(*parts)


def _of(name: str, amount: int | None) -> str:
    return f"{amount:,} {name}" if amount else ""


def _cost(story: dict[str, Any]) -> str:
    found = story["cost"]
    if found is None:
        if story["usage_state"] == "none":
            return "nothing"
        known = story["usage"] is not None
        return f"{UNKNOWN}: " + ("no price is known for it" if known else "so is the usage")
    listed, charged = found["listed_usd"], found["charged_usd"]
    factor = f" × {_ratio(listed, charged)} = {in_dollars(charged)}" if listed != charged else ""
    more = "" if found["whole"] else ", and what is unknown of it"
    return f"{in_dollars(listed)} by {found['price']}{factor}{more}"


def _ratio(listed: Decimal, charged: Decimal) -> str:
    """The multiplier, read back from two amounts that are rounded to the nano-dollar."""
    return f"{charged / listed:.6g}" if listed else "?"


def in_dollars(amount: Decimal | None) -> str:
    """An amount to its last digit."""
    return UNKNOWN if amount is None else f"${plain(amount)}"


def _seconds(amount: float) -> str:
    if amount < 1:
        return f"{amount * 1000:.0f} ms" if amount >= 0.001 else "under 1 ms"
    return f"{amount:.3g} s" if amount < 100 else f"{amount:.0f} s"


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _count(amount: int | None) -> str:
    return UNKNOWN if amount is None else f"{amount:,}"
