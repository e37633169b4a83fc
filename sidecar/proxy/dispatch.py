"""Tries the candidates of a call until one answers; else returns the best error response.

Each try takes a lease, makes an attempt and records its result with the scheduler. After a failure
another candidate is tried, or the same one after its cooldown. An error of the client is not
retried. This module sends nothing to the client.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from msgspec import Struct

from sidecar.errors import Fault
from sidecar.http.body_memory import stored_while_waiting
from sidecar.plugin_api.error_class import ErrorClass
from sidecar.proxy.attempt import AttemptResult, Attempts
from sidecar.proxy.in_flight import LiveCall
from sidecar.proxy.rejection import best_failure, lost, to_proxy_error
from sidecar.proxy.relay import Passage
from sidecar.proxy.stream.keepalive import ClientTimeouts, KeepAlive, client_timeouts
from sidecar.records import AttemptUsage, UsageState, Wait
from sidecar.routing.affinity import Affinity, ConversationKey
from sidecar.routing.call import Call
from sidecar.routing.candidates import Candidate
from sidecar.routing.request_rewrite import Rewriter
from sidecar.scheduling.lease import Lease, NotAdmitted, Waiter
from sidecar.scheduling.scheduler import Scheduler

log = logging.getLogger("sidecar.proxy.dispatch")

_CLIENT_ERROR = ErrorClass.CLIENT_ERROR  # bound, as in `relay`
_FINAL = frozenset({ErrorClass.OK, _CLIENT_ERROR})
"""Classes of a response that the client gets, success or error."""
_TEMPORARY_STATUSES = frozenset({429, 503, 529})
"""Statuses of a transient failure. A rate limit with any other status is transient, too. After any
other failure the call is not sent to the same candidate again: it may have been served and
billed."""


class RetryState(Struct, eq=False):
    """The state of a call between attempts.

    Attributes:
        began: When the call could be sent first, in monotonic seconds.
        candidates: The candidates that may still be tried.
        conversation: What is pinned to an upstream as soon as one answers; None if there was only
            one candidate at first.
        sticky_wait: Seconds that the first lease waits for the pinned upstream.
        wait_left: Seconds that the call may still wait for a lease; None before it waits.
        failures: The latest failure of each candidate that was tried.
        latest: The latest of all failures.
        keep_alive: Keeps the client of a call that has waited; None before.
    """

    passage: Passage
    live: LiveCall
    call: Call
    rewriter: Rewriter
    began: float
    candidates: Sequence[Candidate]
    conversation: ConversationKey | None = None
    sticky_wait: float = 0.0
    wait_left: float | None = None
    failures: list[AttemptResult] = []
    latest: AttemptResult | None = None
    keep_alive: KeepAlive | None = None

    @property
    def client_timeouts(self) -> ClientTimeouts:
        """The time that the client waits."""
        return client_timeouts(self.passage.request, self.call, self.live.began)

    def keep_client(self, now: float) -> None:
        """Have the client get pings from its first wait on."""
        if self.keep_alive is None:
            self.keep_alive = KeepAlive(self.passage, self.call, now - self.began)

    def has_tried(self, candidate: Candidate) -> bool:
        """Return whether this candidate has failed for the call."""
        return any(each.candidate is candidate for each in self.failures)

    def note(self, attempted: AttemptResult) -> None:
        """Record a failure in place of an earlier one of the same candidate."""
        self.latest = attempted
        for place, each in enumerate(self.failures):
            if each.candidate is attempted.candidate:
                self.failures[place] = attempted
                return
        self.failures.append(attempted)

    def log_failover(self, candidate: Candidate) -> None:
        """Log that the call goes to another candidate than the one that failed, and why."""
        failed = self.latest
        if failed is not None and failed.candidate is not candidate:
            log.warning(
                'call %s of key "%s" goes from %s to %s, because: %s', self.live.call_id,
                self.call.key.name, _label(failed.candidate), _label(candidate), _cause(failed),
            )  # fmt: skip

    def leave_out(self, attempted: AttemptResult) -> None:
        """Remove the failed candidate; if its provider lacks the model, remove every candidate of
        that provider."""
        failed = attempted.candidate
        if attempted.error_class is ErrorClass.MODEL_NOT_FOUND and attempted.refusal is None:
            self.candidates = [c for c in self.candidates if c.provider is not failed.provider]
        else:
            self.candidates = [c for c in self.candidates if c is not failed]


class Dispatcher:
    """Sends a call to its candidates, one after another. `clock` returns monotonic seconds."""

    def __init__(
        self, attempts: Attempts, scheduler: Scheduler, affinity: Affinity,
        clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._attempts = attempts
        self._scheduler = scheduler
        self.affinity = affinity
        self.notes = attempts.notes
        self._clock = clock

    async def send(
        self, passage: Passage, call: Call, candidates: Sequence[Candidate], rewriter: Rewriter
    ) -> AttemptResult:
        """Return the first final response; if there is none, the best error response.

        The calling code must close the response and settle the lease of the passage, if it has one
        then.

        Raises:
            ProxyError: The call was not admitted in time, no provider answered, all of them
                rejected Sidecar's credential, or the request may have been served without a
                response.
        """
        retry = self._new_state(passage, call, candidates, rewriter)
        try:
            # Most calls get their first lease here, and need no waiter.
            lease = self._scheduler.lease_at_once(call, retry.candidates)
            while True:
                if lease is None:
                    lease = await self._lease(retry)
                    if lease is None:
                        return self._best(retry)
                attempted = await self._attempt(retry, lease)
                if attempted.classification.error_class in _FINAL:
                    return self._succeed(retry, attempted, lease)
                self._fail(retry, attempted, lease)
                lease = None
                if rewriter.consumed or not retry.candidates:
                    return self._best(retry)
        finally:
            if retry.keep_alive is not None:
                retry.keep_alive.stop()

    def _new_state(
        self, passage: Passage, call: Call, candidates: Sequence[Candidate], rewriter: Rewriter
    ) -> RetryState:
        live = passage.live
        retry = RetryState(passage, live, call, rewriter, self._clock(), candidates)
        if len(candidates) > 1:
            retry.conversation = talk = _conversation(live, call)
            retry.candidates, pinned = self.affinity.prefer_pinned(talk, candidates)
            # Only a named conversation is likely to have a warm cache at its pinned upstream.
            retry.sticky_wait = call.key.sticky_wait if pinned and talk.is_named else 0.0
        if live.waits:  # for memory
            retry.keep_client(retry.began)
        return retry

    async def _lease(self, retry: RetryState) -> Lease | None:
        """Return a lease on a candidate, after a wait if none is free. None if there is none in
        time, and attempts have failed."""
        call = retry.call
        try:
            waiter = self._scheduler.new_waiter(
                call, retry.candidates, is_retry=bool(retry.failures)
            )
            # Only the first lease waits for the pinned upstream.
            sticky_wait = 0.0 if retry.failures else retry.sticky_wait
            lease = await self._scheduler.try_lease(waiter, first_only=sticky_wait > 0)
            return await self._wait(retry, waiter, sticky_wait) if lease is None else lease
        except TimeoutError:  # only failures are reported early
            return None
        except NotAdmitted as no_room:
            if retry.failures:
                return None
            self._scheduler.record_rejection(no_room)
            most = retry.client_timeouts.max_wait
            raise to_proxy_error(no_room, call.key.max_wait, most) from None

    async def _wait(self, retry: RetryState, waiter: Waiter, sticky_wait: float) -> Lease:
        began, live = self._clock(), retry.live
        wait_left = _max_wait(retry) if retry.wait_left is None else retry.wait_left
        error_deadline = retry.client_timeouts.error_deadline if retry.failures else None
        retry.keep_client(began)
        live.waiter = waiter
        try:
            if retry.call.held.is_large:
                retry.rewriter.forget_copies()
            async with asyncio.timeout_at(error_deadline), stored_while_waiting(retry.call.held):
                return await self._scheduler.wait(waiter, wait_left, sticky_wait=sticky_wait)
        finally:
            live.waiter = None
            if waiter.blocked_log:
                ended = self._clock()
                live.wait += ended - began
                waited = ended - began - waiter.parked(ended)
                retry.wait_left = max(0.0, wait_left - waited)
                ends = [at for at, _ in waiter.blocked_log[1:]] + [ended]
                for (at, name), until in zip(waiter.blocked_log, ends, strict=True):
                    _add_wait(live.waits, name, until - at)

    async def _attempt(self, retry: RetryState, lease: Lease) -> AttemptResult:
        call, rewriter, live, candidate = retry.call, retry.rewriter, retry.live, lease.candidate
        try:
            edits = rewriter.edits(candidate)
            if edits or call.held.stored is not None:
                await call.held.restore(copy=edits)
        except BaseException:
            lease.refund(sent=False)
            raise
        if retry.failures:
            retry.log_failover(candidate)
            live.asked_again = live.asked_again or retry.has_tried(candidate)
        try:
            attempted = await self._attempts.send(call, candidate, rewriter, live)
        except BaseException:  # the client left, or we failed
            self._release(retry, lease, live.attempts[-1].spent, sent=True)
            raise
        try:
            self._record_answer(call, attempted, lease)
        except BaseException:
            lease.keep()
            attempted.close()
            raise
        return attempted

    def _fail(self, retry: RetryState, attempted: AttemptResult, lease: Lease) -> None:
        """Record a failed attempt, and leave out its candidate unless it may be tried again. Raises
        `ProxyError` if the call may not be sent again at all."""
        retry.note(attempted)
        try:
            self._record_failure(attempted)  # before the lease admits another call
        finally:
            self._release(retry, lease, attempted.spent, sent=attempted.was_sent)
        if attempted.lost:
            raise lost(retry.failures)
        if not self._is_transient(attempted):
            retry.leave_out(attempted)

    def _record_answer(self, call: Call, attempted: AttemptResult, lease: Lease) -> None:
        """Record the vendor's quotas that a response reports, and that its upstream is healthy if
        the client gets it."""
        reply, found = attempted.reply, attempted.classification
        if reply is None:
            return
        is_ok = reply.status < 400
        # Vendors have separate quotas for free calls.
        reports = not call.is_free and (is_ok or found.resets or attempted.is_slowed)
        is_final, key = found.error_class in _FINAL, call.key.name
        self._scheduler.record_answer(
            lease, reply if reports else None, key, ok=is_ok, final=is_final
        )

    def _succeed(self, retry: RetryState, attempted: AttemptResult, lease: Lease) -> AttemptResult:
        """Record the final response and return it, with its lease in the passage unless that has
        ended."""
        if attempted.answer is not None:
            lease.refund(sent=False)  # a transform has answered
            return attempted
        if attempted.classification.error_class is _CLIENT_ERROR:
            self._release(retry, lease, attempted.spent, sent=True)
            return attempted
        if retry.conversation is not None:
            self.affinity.pin(retry.conversation, attempted.candidate)
        retry.passage.lease = lease
        return attempted

    def pin_ended(self, live: LiveCall) -> None:
        """Pin the conversation of a call that has ended: that of one without a choice is not pinned
        before, as nothing needs it sooner."""
        if live.call is not None and live.relayed_from is not None:
            conversation = _conversation(live, live.call)
            self.affinity.pin_ended(conversation, live.relayed_from, live.began, live.ended)

    def _release(
        self, retry: RetryState, lease: Lease, spent: AttemptUsage | None, *, sent: bool
    ) -> None:
        """End the lease of a failed attempt; usage that may be billed stays counted."""
        if spent is None:
            lease.refund(sent=sent)
        else:
            whole = spent.state is UsageState.REPORTED
            self._scheduler.settle(
                lease, retry.call, spent.usage, spent.cost, complete=whole, typical=False
            )

    def _record_failure(self, attempted: AttemptResult) -> None:
        if attempted.outdated or attempted.refusal is not None:
            return  # it is no failure of the provider's
        if attempted.error is not None and attempted.reply is None and not attempted.in_stream:
            self._scheduler.record_connection_failure(attempted.candidate, attempted.error)
        else:
            reply = attempted.reply
            passing = (
                reply is None
                or reply.status in _TEMPORARY_STATUSES
                or attempted.error_class is ErrorClass.QUOTA_EXHAUSTED
            )
            self._scheduler.record_failure(
                attempted.candidate, attempted.classification, transient=passing
            )

    def _is_transient(self, attempted: AttemptResult) -> bool:
        """Return whether the failure is transient, so that the same candidate is tried again.

        An unreachable provider is tried again only if it has answered before, or if the network is
        offline: else it may not run at all.
        """
        if attempted.classification.resets:
            return True
        if attempted.error_class not in {ErrorClass.RATE_LIMITED, ErrorClass.OVERLOADED}:
            return False
        if attempted.reply is not None:
            if attempted.reply.fields.get("x-should-retry", "").strip().lower() == "false":
                return False  # the vendor asks not to retry
            throttled = attempted.error_class is ErrorClass.RATE_LIMITED
            return throttled or attempted.reply.status in _TEMPORARY_STATUSES
        if attempted.in_stream:
            return True
        unreachable = attempted.error is not None and attempted.error.fault is Fault.CONNECT
        return unreachable and (
            self._scheduler.is_offline or self._scheduler.has_answered(attempted.candidate)
        )

    def _best(self, retry: RetryState) -> AttemptResult:
        def may_run(candidate: Candidate) -> bool:
            return self._scheduler.is_offline or self._scheduler.has_answered(candidate)

        return best_failure(retry.failures, may_run)


def _conversation(live: LiveCall, call: Call) -> ConversationKey:
    name = live.session or live.program
    return ConversationKey(call.key.name, name, call.model or "", bool(live.session))


def _max_wait(retry: RetryState) -> float:
    """Return the seconds that a call may wait for a lease: at most what its client waits."""
    left, bound = retry.call.key.max_wait - retry.live.wait, retry.client_timeouts.max_wait
    return max(0.0, left if bound is None else min(left, bound))


def _add_wait(waits: list[Wait], behind: str, seconds: float) -> None:
    """Add a wait; extend the latest one if the same limiter blocked the call."""
    if waits and waits[-1].behind == behind:
        seconds += waits.pop().seconds
    waits.append(Wait(behind, seconds))


def _label(candidate: Candidate) -> str:
    name, credential = candidate.provider.name, candidate.credential_name
    return f"{name} ({credential})" if credential else name


def _cause(failed: AttemptResult) -> str:
    """Return why an attempt failed, without the vendor's text, which may quote a request."""
    if failed.reply is not None:
        return f"it answered {failed.reply.status} ({failed.error_class.value})"
    return failed.error_class.value if failed.in_stream else failed.reason
