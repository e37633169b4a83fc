"""Until one answers: a lease, an attempt, and what it teaches; else the best error there was.

Before the first byte of an answer another candidate may be tried, or the same one again when it is
well; what the client did wrong is never repeated. Nothing goes to the client from here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sidecar.errors import Fault, Kind, Refused
from sidecar.http.body_memory import stored_while_waiting
from sidecar.plugin_api.error_class import Verdict
from sidecar.proxy.attempt import Attempted, Attempts
from sidecar.proxy.in_flight import LiveCall
from sidecar.proxy.rejection import refusal
from sidecar.records import Spent, UsageState, Wait
from sidecar.routing.affinity import Affinity
from sidecar.routing.call import Call
from sidecar.routing.candidates import Candidate
from sidecar.routing.request_rewrite import Rewriter
from sidecar.scheduling.lease import Lease, NoRoom
from sidecar.scheduling.limiter import RetryBudget
from sidecar.scheduling.scheduler import Scheduler

_PASSING = frozenset({429, 503, 529})
"""Statuses that say of themselves that they will pass, as does a vendor's throttling under any
other. After any other failure the same provider is not asked again: what was sent may have been
served, and paid for."""


_ABSENT = frozenset({Fault.CONNECT, Fault.TLS})
"""Faults of a place where, for all that is known, nobody may be."""


@dataclass(slots=True)
class Served:
    """The answer for the client. `lease` is to be settled when it is over; None when it took
    nothing that counts."""

    attempted: Attempted
    lease: Lease[Candidate] | None = None


@dataclass(slots=True)
class _Errand:
    """One call on its way: what is left to try, what failed, and how long it may still wait."""

    call: Call
    live: LiveCall
    rewriter: Rewriter
    session: tuple[str, str, str]
    candidates: Sequence[Candidate]
    patience: float
    alone: float
    failed: list[Attempted] = field(default_factory=list)

    def has_tried(self, candidate: Candidate) -> bool:
        """Whether it failed at this candidate before."""
        return any(each.candidate is candidate for each in self.failed)

    def note(self, attempted: Attempted) -> None:
        """It failed there: of each candidate the latest failure is what it has to say."""
        for place, each in enumerate(self.failed):
            if each.candidate is attempted.candidate:
                self.failed[place] = attempted
                return
        self.failed.append(attempted)

    def leave_out(self, attempted: Attempted) -> None:
        """Do not try this candidate again; where a provider does not know the model, none of its
        credentials does."""
        failed = attempted.candidate
        if attempted.verdict is Verdict.MISSING:
            self.candidates = [c for c in self.candidates if c.provider is not failed.provider]
        else:
            self.candidates = [c for c in self.candidates if c is not failed]


class Dispatch:
    """Finds the answer of a call among its candidates. `clock` gives monotonic seconds."""

    def __init__(
        self, attempts: Attempts, scheduler: Scheduler, affinity: Affinity, retries: RetryBudget,
        clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._attempts = attempts
        self._scheduler = scheduler
        self._affinity = affinity
        self._retries = retries
        self._clock = clock

    async def serve(
        self, call: Call, candidates: Sequence[Candidate], rewriter: Rewriter, live: LiveCall
    ) -> Served:
        """The first answer worth passing on; else the best error answer that came.

        The caller closes it and settles its lease. Raises `Refused` when the call was not let
        through in its time, no provider answered at all, or all of them rejected our credential.
        """
        errand = self._errand(call, candidates, rewriter, live)
        self._retries.call()
        while True:
            try:
                lease = await self._wait(errand)
            except TimeoutError:  # only what has failed is told of early
                return Served(self._best(errand))
            except NoRoom as no_room:
                if errand.failed:
                    return Served(self._best(errand))
                self._scheduler.refused(no_room)
                raise refusal(no_room, call.key.max_wait, live.most_wait) from None
            try:
                await call.held.restore(copy=rewriter.edits(lease.place))
            except BaseException:
                lease.refund(sent=False)
                raise
            attempted = await self._attempt(errand, lease)
            if attempted.final:
                return self._won(errand, attempted, lease)
            errand.note(attempted)
            try:
                self._learn(attempted)  # before others get the room that this one had
            finally:
                self._give_back(errand, lease, attempted.spent, sent=attempted.sent)
            if attempted.lost:
                raise _lost(errand.failed)
            if not self._may_pass(attempted):
                errand.leave_out(attempted)
            if errand.rewriter.consumed or not errand.candidates:
                return Served(self._best(errand))

    def _errand(
        self, call: Call, candidates: Sequence[Candidate], rewriter: Rewriter, live: LiveCall
    ) -> _Errand:
        key = call.key
        # Without a word from the client, its program stands for the conversation.
        session = (key.name, live.session or live.program, call.model or "")
        ordered, at_home = self._affinity.first(session, candidates)
        # Only who said which conversation it is would lose something by going elsewhere at once.
        alone = key.sticky_wait if at_home and live.session else 0.0
        patience = max(0.0, key.max_wait - live.wait)
        if live.most_wait is not None:
            patience = min(patience, live.most_wait)
        return _Errand(call, live, rewriter, session, ordered, patience, alone)

    async def _wait(self, errand: _Errand) -> Lease[Candidate]:
        began = self._clock()
        live = errand.live
        # A network that is gone costs no tries: they harm nobody.
        again = bool(errand.failed) and not self._scheduler.network.gone
        further = (self._retries,) if again else ()
        waiter = self._scheduler.asks(errand.call, errand.candidates, further)
        live.waiter = waiter
        try:
            if errand.call.held.is_large:
                errand.rewriter.forget_copies()
            tell_by = live.tell_by if errand.failed else None
            async with asyncio.timeout_at(tell_by), stored_while_waiting(errand.call.held):
                return await self._scheduler.admission.lease(
                    waiter, errand.patience, alone=errand.alone
                )
        finally:
            live.waiter = None
            errand.alone = 0.0  # it is at home nowhere any more, or there already
            if waiter.trail:
                ended = self._clock()
                live.wait += ended - began
                waited = ended - began - waiter.parked(ended)
                errand.patience = max(0.0, errand.patience - waited)
                ends = [at for at, _ in waiter.trail[1:]] + [ended]
                for (at, name), until in zip(waiter.trail, ends, strict=True):
                    _add_wait(live.waits, name, until - at)

    async def _attempt(self, errand: _Errand, lease: Lease[Candidate]) -> Attempted:
        live = errand.live
        live.repeated = live.repeated or errand.has_tried(lease.place)
        try:
            attempted = await self._attempts.one(errand.call, lease.place, errand.rewriter, live)
        except BaseException:  # the client left, or we failed
            self._give_back(errand, lease, live.attempts[-1].spent, sent=True)
            raise
        try:
            reply = attempted.reply
            slow = attempted.verdict is Verdict.SLOW_DOWN and not attempted.outdated
            if reply is not None and (reply.status < 400 or slow):
                # A vendor counts free calls by themselves, apart from paid ones.
                fields = {} if errand.call.is_free else reply.fields
                self._scheduler.answered(lease, fields, well=reply.status < 400)
        except BaseException:
            lease.keep()
            attempted.close()
            raise
        return attempted

    def _won(self, errand: _Errand, attempted: Attempted, lease: Lease[Candidate]) -> Served:
        self._scheduler.good(attempted.candidate)
        if attempted.verdict is Verdict.CLIENT:
            self._give_back(errand, lease, attempted.spent, sent=True)
            return Served(attempted)
        self._affinity.served(errand.session, attempted.candidate)
        return Served(attempted, lease)

    def _give_back(
        self, errand: _Errand, lease: Lease[Candidate], spent: Spent | None, *, sent: bool
    ) -> None:
        """End the lease of an attempt that came to nothing; what may be billed stays counted."""
        if spent is None:
            lease.refund(sent=sent)
        else:
            whole = spent.state is UsageState.REPORTED
            self._scheduler.settle(
                lease, errand.call, spent.usage, spent.cost, whole=whole, typical=False
            )

    def _learn(self, attempted: Attempted) -> None:
        if attempted.outdated:
            return
        if attempted.error is not None and attempted.reply is None and not attempted.in_stream:
            self._scheduler.failed(attempted.candidate, attempted.error)
        else:
            reply = attempted.reply
            passing = (
                reply is None or reply.status in _PASSING or attempted.verdict is Verdict.SPENT
            )
            self._scheduler.bad(attempted.candidate, attempted.judgement, passing=passing)

    def _may_pass(self, attempted: Attempted) -> bool:
        """Whether a failure is one of the moment, so that the same candidate may answer later.

        One that cannot be reached is waited for only if it answered before: it may just not run.
        """
        if attempted.verdict not in {Verdict.SLOW_DOWN, Verdict.OVERLOADED}:
            return False
        if attempted.reply is not None:
            if attempted.reply.fields.get("x-should-retry", "").strip().lower() == "false":
                return False  # the vendor says that asking it again does not help
            throttled = attempted.verdict is Verdict.SLOW_DOWN
            return throttled or attempted.reply.status in _PASSING
        if attempted.in_stream:
            return True
        unreachable = attempted.error is not None and attempted.error.fault is Fault.CONNECT
        return unreachable and (
            self._scheduler.network.gone or self._scheduler.has_answered(attempted.candidate)
        )

    def _best(self, errand: _Errand) -> Attempted:
        def may_run(candidate: Candidate) -> bool:
            return self._scheduler.network.gone or self._scheduler.has_answered(candidate)

        return best(errand.failed, may_run)


def _add_wait(waits: list[Wait], behind: str, seconds: float) -> None:
    """One more stretch; behind the same as before it is the same stretch."""
    if waits and waits[-1].behind == behind:
        seconds += waits.pop().seconds
    waits.append(Wait(behind, seconds))


def best(failed: Sequence[Attempted], may_run: Callable[[Candidate], bool]) -> Attempted:
    """The last answer of the most preferred candidate that gave one, but for rejected credentials:
    those are ours to mend, and the client must not think that its own key is wrong.

    Raises `Refused` when no provider answered, or all of them rejected our credential; as final
    where none could be reached that `may_run`: agents would ask again for minutes, in silence."""
    first = failed[0].candidate
    for attempted in [*(a for a in reversed(failed) if a.candidate is first), *failed]:
        if attempted.reply is not None and attempted.verdict is not Verdict.CREDENTIAL:
            return attempted
    tried = _tried(failed)
    rejected = [each for each in failed if each.verdict is Verdict.CREDENTIAL]
    if rejected:
        names = ", ".join(f"{each.candidate.credential_name or 'none'}" for each in rejected)
        raise Refused(
            Kind.CREDENTIAL_REJECTED,
            "upstream_credential_rejected: the provider rejects Sidecar's own credential "
            f"({names}), not your key. Tried: {tried}",
        )
    last = failed[-1]
    if last.in_stream:
        slow = last.verdict is Verdict.SLOW_DOWN
        kind = Kind.RATE_LIMITED if slow else Kind.OVERLOADED
        raise Refused(kind, f"the provider answers with errors. Tried: {tried}", retry_after=5.0)
    faults = {each.error.fault for each in failed if each.error is not None}
    absent = faults <= _ABSENT and not any(may_run(each.candidate) for each in failed)
    raise Refused(_kind(failed), f"no provider could be reached. Tried: {tried}", final=absent)


def _lost(failed: Sequence[Attempted]) -> Refused:
    """Return the refusal of a call whose last request may have been served: whatever others
    answered before, a client that follows them would have it served twice."""
    name = failed[-1].candidate.provider.name
    return Refused(
        _kind(failed[-1:]),
        f"provider {name} took the request and gave no answer, so that it may have been served: "
        "it is not sent again, here or elsewhere, unless the route says `retry: at-least-once`. "
        f"Tried: {_tried(failed)}",
    )


def _kind(failed: Sequence[Attempted]) -> Kind:
    faults = {each.error.fault for each in failed if each.error is not None}
    return {
        frozenset({Fault.TIMEOUT}): Kind.UPSTREAM_TIMEOUT,
        frozenset({Fault.PROTOCOL}): Kind.UPSTREAM_INVALID,
    }.get(frozenset(faults), Kind.UPSTREAM_UNREACHABLE)


def _tried(failed: Sequence[Attempted]) -> str:
    reasons = (f"{each.candidate.provider.name}: {each.reason}" for each in failed)
    return "; ".join(dict.fromkeys(reasons))
