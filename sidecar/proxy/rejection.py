"""Says no when there was no room: which limit, which line of the file, and when to ask again."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sidecar.errors import Kind, Refused
from sidecar.plugin_api.error_class import Verdict
from sidecar.scheduling.cooldown import Cooldown
from sidecar.scheduling.lease import Blocked, NoRoom
from sidecar.scheduling.limiter import MINUTE, NEVER, Gate, Unit
from sidecar.scheduling.pauses import Hold
from sidecar.scheduling.windows import Minute, Window

LONGEST = 60.0
"""Seconds of the longest Retry-After: past two minutes, SDKs give up and some agents sleep."""
ANY_MOMENT = 2.0
"""Seconds of Retry-After when room may come at any moment: some other call has to end."""


def refusal(no_room: NoRoom, patience: float, most: float | None = None) -> Refused:
    """The answer to a call that was not let through. `patience` is how long it could have waited
    in all, in seconds; `most` how long its client would have let it, if that is known."""
    if no_room.full:
        return Refused(Kind.OVERLOADED, "too many calls wait already", retry_after=ANY_MOMENT)
    soonest = no_room.soonest
    gate = soonest.last
    wait = soonest.opens - no_room.now
    parts = reasons(no_room.blocked), when(soonest, no_room.now)
    why = "; ".join((*parts, _patience(no_room.waited, patience, most)))
    kind = _kind(gate)
    if kind is Kind.BUDGET_SPENT or soonest.opens == NEVER:
        figures = _figures(gate, wait, no_room.now)
        opens_in = None if soonest.opens == NEVER else wait
        return Refused(kind, why, headers=figures, final=True, opens_in=opens_in)
    retry_after = min(max(wait, 1.0), LONGEST) if wait > 0 else ANY_MOMENT
    headers = _figures(gate, wait, no_room.now)
    return Refused(kind, why, retry_after=retry_after, headers=headers)


def _kind(gate: Gate) -> Kind:
    if gate.spent:
        return Kind.BUDGET_SPENT
    if isinstance(gate, Cooldown):
        if gate.verdict is Verdict.SPENT:
            return Kind.BUDGET_SPENT
        return Kind.RATE_LIMITED if gate.verdict is Verdict.SLOW_DOWN else Kind.OVERLOADED
    return Kind.RATE_LIMITED


def reasons(blocked: Sequence[Blocked]) -> str:
    """What keeps a call, each thing once."""
    gates = (gate for each in blocked for gate in (each.gate, each.last))
    return "; ".join(dict.fromkeys(map(_reason, gates)))


def _reason(gate: Gate) -> str:
    if isinstance(gate, Cooldown) and gate.reason:
        return f"{gate.name} after {gate.reason}"
    return gate.name


def when(soonest: Blocked, now: float) -> str:
    """When there may be room; `now` is monotonic."""
    wait = soonest.opens - now
    if isinstance(soonest.gate, Hold):
        return "it goes on when that is resumed"
    if isinstance(soonest.last, Cooldown) and soonest.opens == NEVER:
        return f"it is asked again in {span(soonest.last.until - now)}"
    if soonest.opens == NEVER:
        return "nothing passes there"
    return f"room in {span(wait)} at the soonest" if wait > 0 else "room as soon as a call ends"


def span(seconds: float) -> str:
    """So long, in words; never less than it is."""
    if seconds < 120:
        return f"{max(1, math.ceil(seconds))} s"
    minutes = math.ceil(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{math.ceil(minutes / 60)} h"


def _patience(waited: float, patience: float, most: float | None) -> str:
    bound = f"its max_wait of {patience:g} s"
    if most is not None and most < patience:
        bound = f"the {most:g} s that its client's timeout leaves for waiting"
    return (
        f"that is longer than {bound}" if waited < 0.5 else f"it waited {waited:.0f} s of {bound}"
    )


def _figures(gate: Gate, wait: float, now: float) -> tuple[tuple[str, str], ...]:
    """What is left of the limit that bound, for programs: the RateLimit fields of
    draft-ietf-httpapi-ratelimit-headers (quota, window, remaining, reset in seconds)."""
    if not isinstance(gate, Window) or gate.unit is Unit.MONEY:
        return ()
    window = f";w={MINUTE:.0f}" if isinstance(gate, Minute) else ""
    left, reset = max(0, gate.left(now)), "" if wait in {0, NEVER} else f";t={math.ceil(wait)}"
    return (
        ("RateLimit-Policy", f'"{gate.kind}";q={gate.limit}{window}'),
        ("RateLimit", f'"{gate.kind}";r={left}{reset}'),
    )
