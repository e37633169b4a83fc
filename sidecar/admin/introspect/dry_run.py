"""Dry run of a call: for each candidate, whether its limiters would admit it now, how many calls
are queued before it, and the expected wait.

Read-only: nothing is reserved, and no queue changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sidecar.admin.api_types.limits import LimiterState
from sidecar.admin.api_types.live import ForecastOutcome, Obstacle, Reservation
from sidecar.admin.introspect.limit_states import seconds_until
from sidecar.admin.introspect.live import LiveView, queue_places
from sidecar.config.model import Key
from sidecar.proxy.rejection import reasons, to_proxy_error, when
from sidecar.proxy.stream.transforming import TransformNotes
from sidecar.records import NANODOLLARS
from sidecar.routing.affinity import Affinity, ConversationKey
from sidecar.routing.candidates import Candidate
from sidecar.scheduling.estimates.money import LEAST_NANO_DOLLARS
from sidecar.scheduling.lease import AdmissionOption, Blocked, NotAdmitted, Waiter
from sidecar.scheduling.limiter import LimitUnit
from sidecar.scheduling.pauses import PauseLimiter


class HypotheticalCall(NamedTuple):
    """A call of a key for a model. Where known: the session that it belongs to, the bytes of its
    request, and the bound on its output tokens."""

    key: Key
    model: str
    session: str | None = None
    size: int | None = None
    max_output: int | None = None

    @classmethod
    def from_query(cls, key: Key, query: Mapping[str, str]) -> HypotheticalCall:
        """Return the call that a query describes: `model`, `session`, `size`, `max_output`."""
        return cls(
            key,
            query.get("model", ""),
            query.get("session"),
            _count(query.get("size")),
            _count(query.get("max_output")),
        )


class CandidateForecast(NamedTuple):
    """One candidate: its demand, the limiter that does not admit it now, and how many calls are
    queued before it there (None: too many to rank)."""

    candidate: Candidate
    option: AdmissionOption
    blocked: Blocked | None
    before: int | None


class CandidateOutlook(NamedTuple):
    """A candidate's forecast for the API; the fields are those of `CandidateState`."""

    goes: bool | None
    behind: Obstacle | None
    reserves: Reservation
    price: str | None
    gates: list[LimiterState]


class Forecaster(NamedTuple):
    """Makes forecasts from the live view and the pinned sessions. `notes` has what transforms
    reported of earlier calls."""

    board: LiveView
    affinity: Affinity
    notes: TransformNotes

    @property
    def known(self) -> bool:
        """Return whether a running process was asked."""
        return self.board.known

    @property
    def waiting(self) -> int | None:
        """Return how many calls wait; None without a process."""
        return self.board.queued if self.known else None

    def prefer_pinned(
        self, call: HypotheticalCall, candidates: Sequence[Candidate]
    ) -> tuple[Sequence[Candidate], bool]:
        """Return the candidates with the pinned one first, and whether the session is pinned."""
        if call.session is None:
            return candidates, False
        conversation = ConversationKey(call.key.name, call.session, call.model)
        return self.affinity.prefer_pinned(conversation, candidates)

    def forecast(
        self, call: HypotheticalCall, candidates: Sequence[Candidate]
    ) -> list[CandidateForecast]:
        """Return the forecast of each candidate; those without a price that is needed are left
        out."""
        waiter, blocked = self.board.scheduler.dry_run(
            call.key, call.model, candidates, call.size or 0, call.max_output
        )
        by_option = {each.option: each for each in blocked}
        return [
            CandidateForecast(
                option.candidate,
                option,
                by_option.get(option),
                self._before(waiter, by_option.get(option)),
            )
            for option in waiter.options
        ]

    def outlook(self, call: HypotheticalCall, forecast: CandidateForecast) -> CandidateOutlook:
        """Return the state of a candidate: whether it is admitted, and of each of its limiters."""
        names, blocked = self.board.names(), forecast.blocked
        limiters = (
            self.board.limiter_state(each, names, call.key.urgency)
            for each in forecast.option.limiters
        )
        return CandidateOutlook(
            goes=blocked is None if self.known or blocked else None,
            behind=None if blocked is None else self._obstacle(blocked, forecast.before),
            reserves=self._reserves(call, forecast),
            price=self.board.scheduler.pricing.source(call.model, forecast.candidate),
            gates=[each for each in limiters if each is not None],
        )

    def outcome(
        self, call: HypotheticalCall, forecasts: Sequence[CandidateForecast], *, pinned: bool
    ) -> ForecastOutcome:
        """Return what becomes of the call; `pinned` is whether its session is pinned to the first
        candidate."""
        first, now = forecasts[0], self.board.scheduler.now()
        taken = next((each for each in forecasts if each.blocked is None), None)
        if taken is None:
            return self._not_admitted(call, forecasts)
        name = taken.candidate.provider.name
        if not self.known:
            text = f"It would go to {name}, if there is room: no process runs that could be asked."
            return outcome("unknown", text, taken.candidate)
        if first.blocked is None:
            return outcome("goes", f"It would go to {name} now.", taken.candidate)
        before = forecasts[: forecasts.index(taken)]
        blocked = [each.blocked for each in before if each.blocked is not None]
        preferred = first.candidate.provider.name
        sticky = call.key.sticky_wait
        if pinned and 0 < sticky < call.key.max_wait:
            text = (
                f"It would wait up to {sticky:g} s for {preferred}, to which its session is "
                f"pinned, and then go to {name}: {reasons(blocked[:1])}; {when(blocked[0], now)}."
            )
            seconds = min(sticky, blocked[0].available_at - now)
            return outcome("waits", text, first.candidate, seconds=round(seconds, 3))
        text = f"It would go to {name} now, and not to {preferred}: {reasons(blocked)}."
        return outcome("goes", text, taken.candidate)

    def _not_admitted(
        self, call: HypotheticalCall, forecasts: Sequence[CandidateForecast]
    ) -> ForecastOutcome:
        key, now = call.key, self.board.scheduler.now()
        blocked = [each.blocked for each in forecasts if each.blocked is not None]
        failure = NotAdmitted(blocked, 0.0, now)
        soonest = failure.soonest
        if soonest.available_at - now > key.max_wait:
            reply = to_proxy_error(failure, key.max_wait).reply
            text = f"It would be refused at once with {reply.kind.status}: {reply.message}."
            return outcome("refused", text, status=reply.kind.status)
        first = next(each for each in forecasts if each.blocked is soonest)
        text = f"It would wait: {reasons(blocked)}; {_queue_text(first)}{when(soonest, now)}."
        if isinstance(soonest.limiter, PauseLimiter):
            text = f"It would wait until that is resumed: {reasons(blocked)}."
        seconds = seconds_until(soonest.available_at, now)
        return outcome("waits", text, first.candidate, seconds=seconds)

    def _before(self, waiter: Waiter, blocked: Blocked | None) -> int | None:
        if blocked is None:
            return 0
        return queue_places(blocked.limiter, self.board.scheduler.now(), waiter).get(waiter.seq)

    def _obstacle(self, blocked: Blocked, before: int | None) -> Obstacle:
        limiter, now = blocked.limiter, self.board.scheduler.now()
        return Obstacle(
            gate=limiter.name,
            scope=limiter.scope,
            kind=limiter.kind,
            before=before,
            opens=seconds_until(blocked.available_at, now),
        )

    def _reserves(self, call: HypotheticalCall, forecast: CandidateForecast) -> Reservation:
        """Return what the call would reserve; its input is unknown without its size."""
        demand = forecast.option.demand
        money = demand[LimitUnit.MONEY]
        return Reservation(
            input_tokens=None if call.size is None else demand[LimitUnit.INPUT],
            output_tokens=demand[LimitUnit.OUTPUT],
            usd=money / NANODOLLARS if money > LEAST_NANO_DOLLARS else None,
            learned=self.board.scheduler.has_learned(call.key.name, call.model),
        )


def outcome(
    code: str,
    text: str,
    at: Candidate | None = None,
    *,
    status: int | None = None,
    seconds: float | None = None,
) -> ForecastOutcome:
    """Return an outcome at a candidate; the codes are those of `ForecastOutcome`."""
    return ForecastOutcome(
        outcome=code,
        provider=None if at is None else at.provider.name,
        credential=None if at is None else at.credential_name or None,
        status=status,
        seconds=seconds,
        text=text,
    )


def _count(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() and len(text) < 16 else None


def _queue_text(forecast: CandidateForecast) -> str:
    match forecast.before:
        case None:
            return "many calls go before it; "
        case 0:
            return ""
        case 1:
            return "1 call goes before it; "
    return f"{forecast.before} calls go before it; "
