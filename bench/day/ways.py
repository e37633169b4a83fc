"""Three ways from the agents to one account: Sidecar's own code, a plain queue, and nothing.

A way takes a job and gives the answer that a client sees: whole after a 200.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

from day.account import Account
from day.jobs import Answer, Job, Unreachable
from day.laptop import MODEL, Laptop, usage
from sidecar.config.credentials import Vault
from sidecar.errors import Fault, ProxyError, UpstreamError
from sidecar.http.wire.agent_messages import AgentRequest, RequestHead
from sidecar.http.wire.framing import IncomingBody
from sidecar.proxy.attempt import AttemptResult, Attempts
from sidecar.proxy.attempt_usage import AttemptUsageReader
from sidecar.proxy.dispatch import Dispatcher
from sidecar.proxy.in_flight import LiveCalls
from sidecar.proxy.relay import Passage, Relay
from sidecar.routing.affinity import Affinity
from sidecar.routing.call import Call
from sidecar.routing.candidates import Candidate
from sidecar.routing.request_rewrite import Rewriter
from sidecar.scheduling.estimates.tokens import Estimates
from sidecar.scheduling.limiter import Demand, LimitUnit, demand_of
from sidecar.scheduling.windows import CountingLimiter


class Way(Protocol):
    """One way to share an account."""

    async def call(self, job: Job) -> Answer:
        """The answer to a call, whole after a 200. Raises `Unreachable`."""


class Direct:
    """Nothing in between."""

    def __init__(self, account: Account) -> None:
        self._account = account

    async def call(self, job: Job) -> Answer:
        """Straight to the vendor."""
        answer = await self._account.ask(job)
        if answer.status == 200:
            await self._account.finish(job, answer)
        return answer


class Sidecar:
    """All that Sidecar does between a request that was read and an answer that is relayed, with an
    account in the place of the network."""

    def __init__(self, laptop: Laptop, account: Account) -> None:
        self._laptop = laptop
        self._account = account
        clock = laptop.clock
        wire: Any = _Wire(account)
        attempts = Attempts(
            wire, Vault({}, clock), {}, clock, AttemptUsageReader(laptop.prices), {}
        )
        self._live = LiveCalls(clock, laptop.wall)
        client: Any = None
        content = IncomingBody(lambda: None)
        head = RequestHead("1.1", [])
        self._request = AgentRequest(
            client, "POST", "", head, head.headers, content, keep_alive=True
        )
        self._dispatch = Dispatcher(attempts, laptop.scheduler, Affinity(clock), clock)

    async def call(self, job: Job) -> Answer:
        """What a client of Sidecar sees."""
        _sent.set(job)
        call, candidates = self._laptop.understood(job)
        live = self._live.open("POST", "", None)
        no_stream: Any = None
        passage = Passage(self._request, live, call.held, Relay(self._request))
        try:
            rewriter = Rewriter(call, no_stream)
            attempted = await self._dispatch.send(passage, call, candidates, rewriter)
            return await self._relayed(job, call, attempted, passage)
        except ProxyError as refused:
            return self._laptop.refused(refused.reply)
        finally:
            self._live.close(live)

    async def _relayed(
        self, job: Job, call: Call, attempted: AttemptResult, passage: Passage
    ) -> Answer:
        reply: Any = attempted.reply
        if attempted.body is not None:
            # As `answers.relayed_headers` has it: what was tried again here is not multiplied.
            never = {"x-should-retry": "false"} if passage.live.asked_again else {}
            return Answer(reply.status, {**reply.fields, **never})
        assert passage.lease is not None
        await self._account.finish(job, reply.answer)
        self._laptop.scheduler.settle(passage.lease, call, usage(job), None, complete=True)
        return Answer(200)


_sent: ContextVar[Job] = ContextVar("_sent")
"""The job of the running call: requests need not be written out to be known again."""


class _Wire:
    """In the place of `sidecar.http.client.Upstream`."""

    def __init__(self, account: Account) -> None:
        self._account = account

    async def send(self, *request: object, at_least_once: bool = False) -> _Reply:
        """The head of an answer."""
        try:
            return _Reply(await self._account.ask(_sent.get()))
        except Unreachable:
            raise UpstreamError(Fault.CONNECT, "it refuses connections", sent=False) from None


@dataclass
class _Reply:
    """Takes the place of `sidecar.http.client.Reply`."""

    answer: Answer
    reason: str = ""
    mask: None = None
    peeked: bytes = b""
    content_type: str = "application/json"
    media_type: str = "application/json"
    coding: str = ""

    @property
    def status(self) -> int:
        return self.answer.status

    @property
    def fields(self) -> Mapping[str, str]:
        return self.answer.headers

    async def read_all(self, maximum: int) -> tuple[bytes, bool]:
        kind = {429: "rate_limit_error", 529: "overloaded_error"}.get(self.status, "api_error")
        return b'{"type":"error","error":{"type":"%s","message":"no"}}' % kind.encode(), True

    def close(self) -> None:
        """Nothing is held."""


@dataclass(eq=False)
class _Place:
    """A place in the plain queue; its turn gives what the windows want to see again."""

    windows: Sequence[CountingLimiter]
    wanted: Demand
    turn: asyncio.Future[list[Any]]

    def settle(self, used: Demand, now: float) -> None:
        """Its call is over, and took this much."""
        for window, mark in zip(self.windows, self.turn.result(), strict=True):
            window.settle(mark, used[window.unit], now)


class Fifo:
    """A plain queue in front of the same limits: strictly by arrival, one line for everything, as
    patient as Sidecar. It guesses what a call will take as well as Sidecar does, but does not hear
    what the vendor says: that goes to its clients."""

    def __init__(self, laptop: Laptop, account: Account) -> None:
        self._laptop = laptop
        self._account = account
        self._estimates = Estimates()
        self._line: deque[_Place] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def call(self, job: Job) -> Answer:
        """The vendor's answer, or a 429 of its own."""
        call, (candidate, *_) = self._laptop.understood(job)
        windows = self._laptop.windows(call, candidate)
        guessed, _ = candidate.provider.vendor.estimate(job.size, job.bound)
        tokens = self._estimates.tokens(job.agent, MODEL, guessed, job.bound)
        wanted = demand_of(*tokens)
        place = _Place(windows, wanted, asyncio.get_running_loop().create_future())
        used = demand_of(0, 0)
        try:
            if not await self._has_turn(place):
                return Answer(429, {"retry-after": "2"})
            answer = await self._account.ask(job)
            if answer.status == 200:
                await self._account.finish(job, answer)
                used = self._learn(job, candidate)
            return answer
        finally:
            if place.turn.done():
                place.settle(used, self._laptop.clock())
                self._look()

    async def _has_turn(self, place: _Place) -> bool:
        self._line.append(place)
        self._look()
        await asyncio.wait([place.turn], timeout=self._laptop.max_wait)
        if not place.turn.done():
            self._line.remove(place)
        return place.turn.done()

    def _look(self) -> None:
        """Let those go that may, from the first on."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._line:
            first, now = self._line[0], self._laptop.clock()
            amounts = [first.wanted[window.unit] for window in first.windows]
            pairs = list(zip(first.windows, amounts, strict=True))
            shut = [
                (window, amount) for window, amount in pairs if not window.allows(amount, 0, now)
            ]
            if shut:
                opens = max(window.available_at(amount, 0, now) for window, amount in shut)
                if opens > now:
                    loop = asyncio.get_running_loop()
                    self._timer = loop.call_at(opens + 0.001, self._look)
                return
            self._line.popleft().turn.set_result([w.acquire(amount, 0, now) for w, amount in pairs])

    def _learn(self, job: Job, candidate: Candidate) -> Demand:
        vendor = candidate.provider.vendor
        used = demand_of(*vendor.rate_limited_tokens(usage(job)))
        guessed, _ = vendor.estimate(job.size, job.bound)
        self._estimates.learn(
            job.agent, MODEL, guessed, used[LimitUnit.INPUT], used[LimitUnit.OUTPUT]
        )
        return used
