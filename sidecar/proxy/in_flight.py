"""Calls in flight, and checkpoints of long ones so that a kill loses none."""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Protocol

from msgspec import Struct, structs

from sidecar.callers import CallerLookup
from sidecar.config.model import Key, Urgency
from sidecar.errors import ErrorKind, LocalReply
from sidecar.plugin_api.dialect import Meter
from sidecar.records import (
    AttemptRecord,
    AttemptUsage,
    Caller,
    CallRecord,
    Outcome,
    Usage,
    UsageState,
    Wait,
    together,
)
from sidecar.scheduling.lease import Waiter

log = logging.getLogger("sidecar")

MAX_LOGGED_CALLS = 50
"""Attempts of one call that its record tells."""


LEAST_WAIT_SECONDS = 0.001
MAX_REASON_CHARACTERS = 2000
MAX_NAME_CHARACTERS = 512
"""What a vendor or a client says of a call, as far as it is kept with it."""


class Passing(Protocol):
    """An answer on its way: when it began (monotonic seconds), and its bytes so far."""

    first_byte: float | None
    passed: int


class LiveCall(Struct, eq=False):
    """One call while it runs. Times are monotonic seconds, but `started`, which is wall clock."""

    call_id: str
    method: str
    program: str
    began: float
    started: float
    task: asyncio.Task[object] | None
    key: Key | None = None
    dialect: str = ""
    endpoint: str = ""
    model_asked: str | None = None
    streaming: bool = False
    session: str | None = None
    provider: str = ""
    credential: str = ""
    model_served: str | None = None
    status: int = 0
    outcome: Outcome = Outcome.CANCELLED
    reason: str = ""
    attempts: list[AttemptRecord] = []
    spent: AttemptUsage | None = None
    """What attempts used that came to nothing; `usage` is what the answer used."""
    wait: float = 0.0
    most_wait: float | None = None
    """Seconds that its client lets it wait, if that is known."""
    tell_by: float | None = None
    """When its client should hear of its provider's trouble, on the clock of `began`."""
    first_byte: float | None = None
    usage: Usage | None = None
    usage_state: UsageState = UsageState.NONE
    ending: LocalReply | None = None
    refusal: ErrorKind | None = None
    urgency: Urgency = Urgency.NORMAL
    waits: list[Wait] = []
    waiter: Waiter | None = None
    """Its place in the queue, while it waits."""
    counts: bool = False
    """The vendor bills tokens for it."""
    retold: bool = False
    """Its response repeats the usage of an earlier call."""
    noted: bool = False
    """It is recorded already, as a call that has not ended."""
    repeated: bool = False
    """A provider was asked for it more than once."""
    passing: Passing | None = None
    """Its response, which may not have begun."""
    meter: Meter | None = None
    """The meter of its response, once there is one."""
    sighting: CallerLookup | None = None

    @property
    def caller(self) -> Caller | None:
        """The process that called, as far as it is known by now."""
        return None if self.sighting is None else self.sighting.caller

    def note(self, attempt: AttemptRecord) -> None:
        """An attempt is over, but for the answer that it may have brought."""
        del self.attempts[MAX_LOGGED_CALLS:]  # of an endless outage, the beginning and the end
        self.attempts.append(attempt)
        if attempt.spent is not None:
            spent = self.spent
            self.spent = attempt.spent if spent is None else together(spent, attempt.spent)

    def note_wait(self, behind: str, seconds: float) -> None:
        """Add a stretch of waiting, if there was any."""
        if seconds >= LEAST_WAIT_SECONDS:
            self.wait += seconds
            self.waits.append(Wait(behind, seconds))

    def end(self, refusal: LocalReply) -> None:
        """Have the call end now, wherever it is, with this reason."""
        self.ending = refusal
        if self.task is not None:
            self.task.cancel()

    def record(self, now: float) -> CallRecord:
        """The finished call; `now` is monotonic."""
        key = self.key
        model_served = self.model_served and self.model_served[:MAX_NAME_CHARACTERS]
        return CallRecord(
            call_id=self.call_id,
            started=self.started,
            key="" if key is None else key.name,
            group="" if key is None else key.group.name,
            vendor="" if key is None else key.group.vendor.name,
            dialect=self.dialect,
            endpoint=self.endpoint,
            method=self.method[:MAX_NAME_CHARACTERS],
            model_asked=self.model_asked,
            streaming=self.streaming,
            provider=self.provider,
            credential=self.credential,
            model_served=model_served,
            status=self.status,
            outcome=self.outcome,
            reason=self.reason[:MAX_REASON_CHARACTERS],
            attempts=tuple(self.attempts),
            wait=self.wait,
            first_byte=None if self.first_byte is None else self.first_byte - self.began,
            duration=now - self.began,
            usage=self.usage,
            usage_state=self.usage_state,
            session=self.session,
            program=self.program,
            refusal=self.refusal,
            urgency="" if key is None else self.urgency.name.lower(),
            waits=tuple(self.waits),
            caller=self.caller,
        )


class LiveCalls:
    """All calls of this moment, by id."""

    def __init__(self, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self._clock = clock
        self._wall = wall
        self._calls: dict[str, LiveCall] = {}
        # A counter behind a random start: unique over restarts, and cheap.
        self._numbers = itertools.count(secrets.randbits(40) << 20)

    def open(self, method: str, program: str) -> LiveCall:
        """Register a new call of the running task."""
        call = LiveCall(
            call_id=f"call_{next(self._numbers):x}",
            method=method,
            program=program,
            began=self._clock(),
            started=self._wall(),
            task=asyncio.current_task(),
        )
        self._calls[call.call_id] = call
        return call

    def close(self, call: LiveCall) -> CallRecord:
        """The call is over."""
        self._calls.pop(call.call_id, None)
        return call.record(self._clock())

    def __iter__(self) -> Iterator[LiveCall]:
        """The calls that run now, oldest first."""
        return iter(list(self._calls.values()))

    def __len__(self) -> int:
        """Return the number of calls in flight."""
        return len(self._calls)

    def get(self, call_id: str) -> LiveCall | None:
        """The call of that id, while it runs."""
        return self._calls.get(call_id)

    def end(self, refusal: LocalReply, *, key: str | None = None) -> int:
        """End every call (of one key, if given) now; return their number."""
        ended = [call for call in self if key is None or (call.key and call.key.name == key)]
        for call in ended:
            call.end(refusal)
        return len(ended)

    async def drained(self, max_wait: float, stop_soon: asyncio.Event) -> None:
        """Wait `max_wait` seconds for the calls in flight, or until `stop_soon` is set, then end
        the rest. Paused calls end at once: their clients retry at the next process."""
        why = LocalReply(ErrorKind.DRAINING, "Sidecar is shutting down")
        deadline = self._clock() + max_wait
        while self._calls and self._clock() < deadline and not stop_soon.is_set():
            for call in self:
                if call.waiter is not None and call.waiter.is_parked and call.ending is None:
                    call.end(why)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop_soon.wait(), 0.1)
        left = self.end(why)
        if left:
            log.warning("%d calls were cut at the end of the drain (server.drain)", left)
            await asyncio.sleep(0.1)


CHECKPOINT_SECONDS = 0.25
"""Seconds between two looks at the calls of the moment."""
CHECKPOINT_AFTER_SECONDS = 0.5
"""Seconds after which a call is noted; with the looks and the ledger's gathering, one in all."""
KILLED = "Sidecar was killed while it ran"


async def watch_calls(
    live: LiveCalls, note: Callable[[CallRecord], None], clock: Callable[[], float]
) -> None:
    """Call `note` forever, once for each long-running call, with the record it gets if the process
    is killed. `clock` returns monotonic seconds."""
    while True:
        await asyncio.sleep(CHECKPOINT_SECONDS)
        now = clock()
        for call in live:
            if call.provider and not call.noted and now - call.began >= CHECKPOINT_AFTER_SECONDS:
                call.noted = True
                note(_unended(call, now))


def _unended(call: LiveCall, now: float) -> CallRecord:
    state = UsageState.UNKNOWN if call.counts else UsageState.NONE
    return structs.replace(
        call.record(now), outcome=Outcome.CUT, reason=KILLED, usage=None, usage_state=state
    )
