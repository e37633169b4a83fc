"""`sidecar why`: one call, from who asked to what it cost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from sidecar.cli.books import open_books
from sidecar.cli.common import fail, json_option, state_option
from sidecar.cli.figures import UNKNOWN, count, printable
from sidecar.keytimes import ago, when
from sidecar.reports.columns import as_json as to_json
from sidecar.reports.columns import plain
from sidecar.reports.trail import latest, trail

LATEST = 20


@click.command("why")
@click.argument("call_id", required=False)
@json_option
@state_option
def why_command(call_id: str | None, as_json: bool, state: Path) -> None:
    """Tell a call's whole story: who asked, what was tried, what it waited for, used and cost.

    CALL_ID stands in the header x-sidecar-call of the answer and in the log. Without one, the
    latest calls are listed.

    \b
    Examples:
      sidecar why
      sidecar why call_1f2e3d4c5b
    """
    with open_books(state) as books:
        if call_id is None:
            calls = latest(books, LATEST)
            click.echo(to_json(calls)) if as_json else _list(calls)
            return
        story = trail(books, call_id.strip())
    if story is None:
        fail(
            f"{call_id!a} is not on the books: it may still be running, or be older than the calls "
            "that are kept (the latest ones: sidecar why)"
        )
    if as_json:
        click.echo(to_json(story))
        return
    for title, text in _lines(story):
        click.echo(f"{title:9} {printable(text)}".rstrip())


def _list(calls: list[dict[str, Any]]) -> None:
    from sidecar.cli.tables import print_table

    now = time.time()
    print_table(
        ("call", "began", "key", "model", "provider", "status", "outcome", "tokens", "cost"),
        [
            [
                call["call_id"],
                ago(datetime.fromisoformat(call["started"]).timestamp(), now),
                call["key"] or "-",
                printable(call["model"] or "-"),
                call["provider"] or "-",
                str(call["status"]),
                call["outcome"],
                _in_and_out(call),
                "-" if call["usage"] == "none" else _dollars(call["cost_usd"]),
            ]
            for call in calls
        ],
        right={5, 7, 8},
    )


def _in_and_out(call: dict[str, Any]) -> str:
    if call["usage"] in {"none", "unknown"}:
        return "-" if call["usage"] == "none" else UNKNOWN
    return f"{count(call['input_tokens'])} + {count(call['output_tokens'])}"


def _lines(story: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The story, a line for each thing that happened."""
    began = datetime.fromisoformat(story["started"]).timestamp()
    yield "call", f"{story['call_id']}, began {when(began, time.time())}"
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
    return f"{_joined(where, model, status, _seconds(attempt['duration']))}: {verdict}"


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
    parts = [
        f"{count(usage['input_tokens'])} input",
        _of("from the cache", usage["cache_read_tokens"]),
        _of("into the cache", usage["cache_write_tokens"]),
        f"{count(usage['output_tokens'])} output",
        _of("reasoning", usage["reasoning_tokens"]),
        *(f"{amount:,} {unit.replace('_', ' ')}" for unit, amount in usage["units"].items()),
        f"tier {usage['service_tier']}" if usage["service_tier"] else "",
        "as far as it was told" if story["usage_state"] == "partial" else "",
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
    factor = f" × {_ratio(listed, charged)} = {_dollars(charged)}" if listed != charged else ""
    return f"{_dollars(listed)} by {found['price']}{factor}"


def _ratio(listed: Decimal, charged: Decimal) -> str:
    """The multiplier, read back from two amounts that are rounded to the nano-dollar."""
    return f"{charged / listed:.6g}" if listed else "?"


def _dollars(amount: Decimal | None) -> str:
    return UNKNOWN if amount is None else f"${plain(amount)}"


def _seconds(amount: float) -> str:
    if amount < 1:
        return f"{amount * 1000:.0f} ms" if amount >= 0.001 else "under 1 ms"
    return f"{amount:.3g} s" if amount < 100 else f"{amount:.0f} s"


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)
