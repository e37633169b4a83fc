"""Calls in flight, checkpoints of long ones, and the records of finished ones.

A killed process loses no record of a call that took long: its checkpoint is in the ledger.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Protocol, Self

from msgspec import structs

from sidecar.callers import CallerLookup, Callers
from sidecar.config.model import Key, Urgency
from sidecar.errors import ErrorKind, LocalReply
from sidecar.plugin_api.dialect import Meter
from sidecar.pricing.prices import Prices
from sidecar.records import (
    AttemptRecord,
    AttemptUsage,
    Caller,
    CallRecord,
    Cost,
    Outcome,
    Usage,
    UsageState,
    Wait,
    together,
    with_spent,
)
from sidecar.routing.call import Call
from sidecar.routing.candidates import Candidate
from sidecar.scheduling.lease import Waiter

log = logging.getLogger("sidecar")

MAX_LOGGED_ATTEMPTS = 50
"""Attempts in the record of a call: the first of them, and the latest one besides."""
LEAST_WAIT_SECONDS = 0.001
MAX_REASON_CHARACTERS = 2000
MAX_NAME_CHARACTERS = 512
"""Characters of a name, from a vendor or a client, that a record keeps."""
_URGENCIES = [each.name.lower() for each in Urgency]


class Passing(Protocol):
    """A response in progress: the time of its first byte (monotonic seconds), its bytes so far."""

    first_byte: float | None
    passed: int


class LiveCall:
    """A call in flight. Times are monotonic seconds; `started` is seconds since the epoch."""

    # No struct: a plain class sets a field in a third of the time, and a call sets twenty.
    key: Key | None = None
    call: Call | None = None
    """Set once its request is read."""
    session: str | None = None
    candidate: Candidate | None = None
    """Where its latest attempt goes; None if a transform has answered, too."""
    relayed_from: Candidate | None = None
    """Where its response comes from, once that is relayed."""
    model_named: str | None = None
    """The model that its response names."""
    status: int = 0
    outcome: Outcome = Outcome.CANCELLED
    reason: str = ""
    spent: AttemptUsage | None = None
    """The usage of failed attempts; `usage` is that of the response."""
    wait: float = 0.0
    first_byte: float | None = None
    usage: Usage | None = None
    usage_state: UsageState = UsageState.NONE
    cost: Cost | None = None
    """The cost of `usage`, once it is computed."""
    ending: LocalReply | None = None
    refusal: ErrorKind | None = None
    waiter: Waiter | None = None
    """Set while it waits for a lease."""
    repeats_usage: bool = False
    """True if its response reports the usage of an earlier call."""
    noted: int = 0
    """How far it had come at its latest checkpoint; 0 before."""
    wait_logged: bool = False
    """True once the log has a line of its wait."""
    asked_again: bool = False
    """True if a candidate was tried more than once."""
    passing: Passing | None = None
    """Its response, which may not have begun."""
    meter: Meter | None = None
    """The meter of its response, once there is one."""
    caller_lookup: CallerLookup | None = None
    transform: str = ""
    """The transforms that changed its latest request, in order."""
    ended: float = 0.0
    """When it ended."""

    def __init__(
        self, call_id: str, method: str, program: str, began: float, started: float,
        task: asyncio.Task[object] | None,
    ) -> None:  # fmt: skip
        self.call_id, self.method, self.program = call_id, method, program
        self.began, self.started, self.task = began, started, task
        self.attempts: list[AttemptRecord] = []
        self.waits: list[Wait] = []

    @property
    def caller(self) -> Caller | None:
        """The caller; None until its lookup has a result."""
        return None if self.caller_lookup is None else self.caller_lookup.caller

    @property
    def provider(self) -> str:
        """The name of the provider of its latest attempt; "" before."""
        return "" if self.candidate is None else self.candidate.provider.name

    @property
    def model_asked(self) -> str | None:
        """The model that its request names."""
        return None if self.call is None else self.call.model

    @property
    def model_served(self) -> str | None:
        """The model that its response names, else the one that its latest attempt asks for."""
        if self.model_named is not None or self.candidate is None:
            return self.model_named
        return self.candidate.model

    def note(self, attempt: AttemptRecord) -> None:
        """Record an attempt, whose response may still be relayed."""
        if len(self.attempts) > MAX_LOGGED_ATTEMPTS:
            del self.attempts[MAX_LOGGED_ATTEMPTS:]  # keep the first ones and the latest
        self.attempts.append(attempt)
        if attempt.spent is not None:
            spent = self.spent
            self.spent = attempt.spent if spent is None else together(spent, attempt.spent)

    def note_wait(self, behind: str, seconds: float) -> None:
        """Record a wait of at least `LEAST_WAIT_SECONDS`; `behind` names the limiter."""
        if seconds >= LEAST_WAIT_SECONDS:
            self.wait += seconds
            self.waits.append(Wait(behind, seconds))

    def end(self, refusal: LocalReply) -> None:
        """Cancel the call's task; its client gets `refusal`."""
        self.ending = refusal
        if self.task is not None:
            self.task.cancel()

    @property
    def progress(self) -> int:
        """The number of steps that it has come: to its key, to an attempt, and to an answer."""
        return (self.key is not None) + (self.candidate is not None) + (self.status != 0)

    def price(self, prices: Prices) -> None:
        """Compute the cost of the ended call, unless that is done; log it if no price is known."""
        at, key = self.relayed_from, self.key
        if at is None or key is None or self.repeats_usage or self.cost is not None:
            return
        self.cost = prices.cost(self, at.provider, key.group, at.price_name)
        if self.cost is None and self.usage is not None:
            prices.log_unpriced(
                key.name, self.model_asked, self.model_served or self.model_asked,
                at.provider.name, "the cost of its calls is unknown",
            )  # fmt: skip

    def final_record(self, prices: Prices) -> CallRecord:
        """Return the record of the ended call, with its cost and the usage of its failed
        attempts."""
        self.price(prices)
        record = self.record(self.ended)
        return record if self.spent is None else with_spent(record, self.spent)

    def record(self, now: float) -> CallRecord:
        """Return the call's record as of `now`, in monotonic seconds."""
        key, call, lookup, at = self.key, self.call, self.caller_lookup, self.candidate
        name = group = vendor = urgency = dialect = endpoint = ""
        model, streaming, first_byte = None, False, self.first_byte
        if key is not None:
            name, group, vendor = key.name, key.group.name, key.group.vendor.name
            urgency = _URGENCIES[(call or key).urgency]
        if call is not None:
            dialect, endpoint = call.dialect.name, call.endpoint.name
            model, streaming = call.model, call.facts.streaming
        provider, credential = ("", "") if at is None else at.names
        served = self.model_served
        # By position, in the order of the fields: by name, 30 fields take eight times as long.
        return CallRecord(
            self.call_id, self.started, name, group, vendor,
            dialect, endpoint, self.method[:MAX_NAME_CHARACTERS],
            model, streaming, provider, credential,
            served and served[:MAX_NAME_CHARACTERS],
            self.status, self.outcome, self.reason[:MAX_REASON_CHARACTERS],
            tuple(self.attempts), self.wait,
            None if first_byte is None else first_byte - self.began,
            now - self.began,
            self.usage, self.usage_state, self.session, self.program, self.refusal, urgency,
            tuple(self.waits), self.cost,
            None if lookup is None else lookup.caller,
            self.transform,
        )  # fmt: skip


class LiveCalls:
    """All calls in flight, by id."""

    def __init__(self, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self._clock = clock
        self._wall = wall
        self._calls: dict[str, LiveCall] = {}
        # A counter behind a random start: unique over restarts, and cheap.
        self._numbers = itertools.count(secrets.randbits(40) << 20)

    def open(self, method: str, program: str, task: asyncio.Task[None] | None) -> LiveCall:
        """Register a new call, served by `task`; None for one that cannot be ended early."""
        call_id = f"call_{next(self._numbers):x}"
        call = LiveCall(call_id, method, program, self._clock(), self._wall(), task)
        self._calls[call_id] = call
        return call

    def close(self, call: LiveCall) -> None:
        """Remove a finished call, and drop what may hold much of its response."""
        self._calls.pop(call.call_id, None)
        call.ended = self._clock()
        call.passing = call.meter = None

    def __iter__(self) -> Iterator[LiveCall]:
        """Iterate over the calls in flight, oldest first."""
        return iter(list(self._calls.values()))

    def __len__(self) -> int:
        """Return the number of calls in flight."""
        return len(self._calls)

    def get(self, call_id: str) -> LiveCall | None:
        """Return the call with this id; None if it is not in flight."""
        return self._calls.get(call_id)

    def end(self, refusal: LocalReply, *, key: str | None = None) -> int:
        """End every call (of one key, if given) now; return their number."""
        of_key = [each for each in self if key is None or (each.key and each.key.name == key)]
        return self._end(of_key, refusal)

    def end_child(self, refusal: LocalReply, child: str) -> int:
        """End every call of a child key now; return their number."""
        return self._end([call for call in self if call.key and call.key.child == child], refusal)

    def _end(self, ended: Sequence[LiveCall], refusal: LocalReply) -> int:
        for call in ended:
            call.end(refusal)
        return len(ended)

    async def drained(self, max_wait: float, stop_soon: asyncio.Event) -> None:
        """Wait until all calls have ended, for at most `max_wait` seconds or until `stop_soon` is
        set; then end the rest. Paused calls end at once: their clients retry at the next process.
        """
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


BATCH_SECONDS = 0.05
"""Seconds for which the records of finished calls are collected."""


class OnFinished(Protocol):
    """A function that takes the records of finished calls."""

    def __call__(self, *records: CallRecord) -> None:
        """Take the records of one batch."""


class FinishedCalls:
    """Passes the records of finished calls on, in batches: code that runs again at once is faster
    (docs/decisions/0003-speed.md).

    A record is made and passed on after at most `BATCH_SECONDS`, but not before its caller is
    known. Call `flush` before records or metrics are read, and before other prices are in force;
    the end of the context does.

    Args:
        ended: Called with each call.
        counted: Called with each record, without waiting for its caller (metrics, times of keys).
        published: Called with the records whose callers are known: most of a batch, or one.
    """

    def __init__(
        self, callers: Callers, prices: Prices, ended: Callable[[LiveCall], None],
        counted: Sequence[Callable[[CallRecord], None]], published: Sequence[OnFinished],
    ) -> None:  # fmt: skip
        self._callers, self._prices = callers, prices
        self._ended, self._counted, self._published = ended, counted, published
        self._loop = asyncio.get_running_loop()
        self._waiting: list[LiveCall] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()

    def add(self, call: LiveCall) -> None:
        """Take a call that has ended. It must not change any more."""
        self._waiting.append(call)
        if len(self._waiting) == 1:
            self._loop.call_later(BATCH_SECONDS, self.flush)

    def flush(self) -> None:
        """Pass on what was collected."""
        waiting, self._waiting = self._waiting, []
        known: list[CallRecord] = []
        for call in waiting:
            try:
                record = call.final_record(self._prices)
                for count in self._counted:
                    count(record)
                completed = self._callers.complete(record, call.caller_lookup, self._publish)
                if completed is not None:
                    known.append(completed)
                self._ended(call)
            except Exception:
                log.exception("the record of call %s is incomplete", call.call_id)
        if known:
            self._publish(*known)

    async def settle(self) -> None:
        """Pass on what was collected, and wait for the lookups of callers, as `Callers.settle`."""
        self.flush()
        await self._callers.settle()

    def _publish(self, *records: CallRecord) -> None:
        for listener in self._published:
            try:
                listener(*records)
            except Exception:
                ids = " ".join(record.call_id for record in records)
                log.exception("the record of call %s is incomplete", ids)


CHECKPOINT_SECONDS = 0.1
"""Seconds between two checks for calls that need a checkpoint, while there are calls."""
CHECKPOINT_AFTER_SECONDS = 0.5
"""Seconds after which a call gets its checkpoint, and another when it has come further. With the
interval of the checks and of the ledger's writes, it is on disk after 0.7 s. The rest of the second
is for a busy machine."""
LOGGED_WAIT_SECONDS = 5.0
"""Seconds of a wait after which the log has a line of it."""
KILLED = "Sidecar was killed while it ran"


async def watch_calls(
    live: LiveCalls, note: Callable[[CallRecord], None], clock: Callable[[], float]
) -> None:
    """Run forever; call `note` for each long call when it has come further, with its record for the
    case that the process is killed, and log each long wait once. `clock` returns monotonic seconds.
    """
    while True:
        # Without a call none gets old enough before, and an idle process sleeps.
        await asyncio.sleep(CHECKPOINT_SECONDS if len(live) else CHECKPOINT_AFTER_SECONDS)
        now = clock()
        for call in live:
            if call.noted != call.progress and now - call.began >= CHECKPOINT_AFTER_SECONDS:
                call.noted = call.progress
                note(_unended(call, now))
            if call.waiter is not None and not call.wait_logged:
                _log_long_wait(call, call.waiter, now)


def _log_long_wait(call: LiveCall, waiter: Waiter, now: float) -> None:
    blocked = waiter.blocked_log
    if blocked and call.key is not None and now - blocked[0][0] >= LOGGED_WAIT_SECONDS:
        call.wait_logged = True
        log.info(
            'call %s of key "%s" has waited for %.0f s: %s; see: sidecar top',
            call.call_id, call.key.name, now - blocked[0][0], blocked[-1][1],
        )  # fmt: skip


def _unended(call: LiveCall, now: float) -> CallRecord:
    state = UsageState.UNKNOWN if call.call and call.call.bills else UsageState.NONE
    return structs.replace(
        call.record(now), outcome=Outcome.CUT, reason=KILLED, usage=None, usage_state=state
    )
