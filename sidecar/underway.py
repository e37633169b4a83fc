"""Notes the calls that run for long, so that a process that is killed takes none away without a
trace: what was sent may be billed, whoever hears of the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec import structs

from sidecar.live import LiveCall, LiveCalls
from sidecar.usage import CallRecord, Outcome, UsageState

EVERY = 0.25
"""Seconds between two looks at the calls of the moment."""
LONG = 0.5
"""Seconds after which a call is noted; with the looks and the ledger's gathering, one in all."""
KILLED = "Sidecar was killed while it ran"


async def watch_calls(
    live: LiveCalls, note: Callable[[CallRecord], None], clock: Callable[[], float]
) -> None:
    """Tell `note` for ever, once of each call that a provider works for, what is to be said of it
    if nothing more is heard. `clock` is monotonic seconds."""
    while True:
        await asyncio.sleep(EVERY)
        now = clock()
        for call in live:
            if call.provider and not call.noted and now - call.began >= LONG:
                call.noted = True
                note(_unended(call, now))


def _unended(call: LiveCall, now: float) -> CallRecord:
    state = UsageState.UNKNOWN if call.counts else UsageState.NONE
    return structs.replace(
        call.record(now), outcome=Outcome.CUT, reason=KILLED, usage=None, usage_state=state
    )
