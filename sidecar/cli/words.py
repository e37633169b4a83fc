"""Figures and gates in words, as the commands that look print them."""

from __future__ import annotations

import math
from typing import Any

from sidecar.keytimes import ago

_SIZES = ((10**9, "G"), (10**6, "M"), (10**3, "k"))


def amount(value: float | None, unit: str) -> str:
    """A figure as it is: `1,204`, `$2.50`; `?` when it is not known."""
    if value is None:
        return "?"
    return f"${value:,.2f}" if unit == "usd" else f"{value:,.0f}"


def short(value: float | None, unit: str = "") -> str:
    """A figure in five characters or so: `104k`, `1.2M`, `$2.50`."""
    if value is None:
        return "?"
    if unit == "usd":
        return f"${value:,.2f}"
    for size, letter in _SIZES:
        if abs(value) >= size:
            found = value / size
            return f"{found:.0f}{letter}" if abs(found) >= 99.95 else f"{found:.3g}{letter}"
    return f"{value:.0f}"


def span(seconds: float | None) -> str:
    """How long: `80 ms`, `2.4 s`, `31 s`, `4 min`, `3 h`, `2 d`; rounded up from ten seconds on."""
    if seconds is None:
        return "?"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{math.ceil(seconds)} s"
    for size, unit, most in ((60, "min", 120), (3600, "h", 48)):
        if seconds / size < most:
            return f"{math.ceil(seconds / size)} {unit}"
    return f"{math.ceil(seconds / 86400)} d"


def limit(gate: dict[str, Any]) -> str:
    """What a limit or a quota allows: `60 rpm for gpt-5*`, `$10.00 a day`, `500 requests`."""
    models = f" for {gate['models']}" if gate.get("models") else ""
    if gate["unit"] == "usd":
        return f"{amount(gate['limit'], 'usd')} a {gate['kind'].partition('/')[2]}{models}"
    kind = gate["kind"].replace("_", " ")
    return f"{amount(gate['limit'], gate['unit'])} {kind}{models}"


def notes(gate: dict[str, Any]) -> str:
    """What else there is to say of a limit."""
    kept, waiting = gate.get("kept"), gate["waiting"]
    reserved = gate.get("reserved") if gate["unit"] == "usd" else None
    parts = [
        f"{amount(reserved, gate['unit'])} reserved by running calls" if reserved else "",
        f"{amount(kept, gate['unit'])} kept for more urgent calls" if kept else "",
        f"{waiting} wait here" if waiting else "",
    ]
    return ", ".join(part for part in parts if part)


def cooling(gate: dict[str, Any]) -> str:
    """Why an account is left alone, and how long."""
    seconds = gate["seconds"]
    when = f"for {span(seconds)} more" if seconds else "until the next call got through"
    return f"{gate['scope']} is left alone {when}: {gate['reason'] or gate['verdict']}"


def network(gate: dict[str, Any]) -> str:
    """How the network is."""
    if gate["up"]:
        return "the network is there"
    next_try = f"the next one tries in {span(gate['seconds'])}"
    return f"the network is gone; calls to remote providers wait, {next_try}"


def paused(hold: dict[str, Any], now: float) -> str:
    """What is paused, since when and from where, and what lets it go on."""
    waiting = f", {plural(hold['waiting'], 'call')} waiting" if hold["waiting"] else ""
    by = f" by {hold['by']}" if hold["by"] else ""
    return f"{hold['scope']}, {ago(hold['since'], now)}{by}{waiting} ({hold['resume']})"


def plural(count: int, noun: str) -> str:
    """`1 call`, `2 calls`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
