"""What would become of a call that nobody made: which of its ways are open now, who goes before it
where they are not, and when it would get through.

Looks only: nothing is reserved, and nobody's turn changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sidecar.admin.introspect.limit_views import View, span
from sidecar.admin.introspect.live import LiveView, places
from sidecar.config.model import Key
from sidecar.proxy.rejection import reasons, to_proxy_error, when
from sidecar.records import NANODOLLARS
from sidecar.routing.affinity import Affinity
from sidecar.routing.candidates import Candidate
from sidecar.scheduling.estimates import LEAST_NANO_DOLLARS
from sidecar.scheduling.lease import AdmissionOption, Blocked, NotAdmitted, Waiter
from sidecar.scheduling.limiter import LimitUnit
from sidecar.scheduling.pauses import PauseLimiter


class HypotheticalCall(NamedTuple):
    """A call that nobody made: of a key for a model. As far as they are known: the conversation it
    belongs to, in its client's words, the bytes of its request, and the bound on its output."""

    key: Key
    model: str
    session: str | None = None
    size: int | None = None
    max_output: int | None = None


def supposed(key: Key, asked: Mapping[str, str]) -> HypotheticalCall:
    """The call that a query describes: its `model`, and `session`, `size`, `max_output`."""
    return HypotheticalCall(
        key,
        asked.get("model", ""),
        asked.get("session"),
        _whole(asked.get("size")),
        _whole(asked.get("max_output")),
    )


class CandidateForecast(NamedTuple):
    """One candidate: what must be passed and taken there, what shuts it now, and how many go
    before (None when nobody can tell)."""

    candidate: Candidate
    option: AdmissionOption
    blocked: Blocked | None
    before: int | None


class Forecaster(NamedTuple):
    """What a call is seen against: the calls of this moment, and where conversations are at
    home."""

    board: LiveView
    affinity: Affinity

    @property
    def known(self) -> bool:
        """Whether a process runs that knows what is used."""
        return self.board.known

    @property
    def waiting(self) -> int | None:
        """How many calls wait in all."""
        return len(self.board.scheduler.waiting) if self.known else None

    def at_home_first(
        self, call: HypotheticalCall, candidates: Sequence[Candidate]
    ) -> tuple[Sequence[Candidate], bool]:
        """The candidates in the order of a call's conversation, and whether that is at home at
        the first of them."""
        if call.session is None:
            return candidates, False
        return self.affinity.prefer_pinned((call.key.name, call.session, call.model), candidates)

    def ways(
        self, call: HypotheticalCall, candidates: Sequence[Candidate]
    ) -> list[CandidateForecast]:
        """Each candidate, open or shut; those left out whose price would have to be known."""
        waiter, blocked = self.board.scheduler.dry_run(
            call.key, call.model, candidates, call.size or 0, call.max_output
        )
        shut = {each.option: each for each in blocked}
        return [
            CandidateForecast(
                option.candidate, option, shut.get(option), self._before(waiter, shut.get(option))
            )
            for option in waiter.options
        ]

    def see(self, call: HypotheticalCall, way: CandidateForecast) -> View:
        """One way as values: whether it is open, what shuts it, what stands on it."""
        now, names = self.board.scheduler.now(), self.board.names()
        blocked = way.blocked
        limiters = (self.board.gate(each, names, call.key.urgency) for each in way.option.limiters)
        return {
            "goes": blocked is None if self.known or blocked else None,
            "behind": None if blocked is None else {
                "gate": blocked.limiter.name,
                "scope": blocked.limiter.scope,
                "kind": blocked.limiter.kind,
                "before": way.before,
                "opens": span(blocked.available_at, now),
            },
            "reserves": self._reserves(call, way),
            "price": self.board.scheduler.price_source(call.model, way.candidate),
            "gates": [each for each in limiters if each is not None],
        }  # fmt: skip

    def foresee(
        self, call: HypotheticalCall, ways: Sequence[CandidateForecast], *, at_home: bool
    ) -> View:
        """What it would come to, in one sentence and for programs."""
        first, now = ways[0], self.board.scheduler.now()
        taken = next((each for each in ways if each.blocked is None), None)
        if taken is None:
            return self._shut(call, ways)
        name = taken.candidate.provider.name
        if not self.known:
            text = f"It would go to {name}, if there is room: no process runs that would know."
            return ending("unknown", text, taken.candidate)
        if first.blocked is None:
            return ending("goes", f"It would go to {name} now.", taken.candidate)
        shut = [each.blocked for each in ways[: ways.index(taken)] if each.blocked is not None]
        home = first.candidate.provider.name
        sticky = call.key.sticky_wait
        if at_home and 0 < sticky < call.key.max_wait:
            text = (
                f"It would wait up to {sticky:g} s for {home}, where its conversation is at home, "
                f"and then go to {name}: {reasons(shut[:1])}; {when(shut[0], now)}."
            )
            seconds = min(sticky, shut[0].available_at - now)
            return ending("waits", text, first.candidate, seconds=round(seconds, 3))
        text = f"It would go to {name} now, and not to {home}: {reasons(shut)}."
        return ending("goes", text, taken.candidate)

    def _shut(self, call: HypotheticalCall, ways: Sequence[CandidateForecast]) -> View:
        key, now = call.key, self.board.scheduler.now()
        no_room = NotAdmitted([each.blocked for each in ways if each.blocked is not None], 0.0, now)
        soonest = no_room.soonest
        if soonest.available_at - now > key.max_wait:
            no = to_proxy_error(no_room, key.max_wait).reply
            text = f"It would be refused at once with {no.kind.status}: {no.message}."
            return ending("refused", text, status=no.kind.status)
        way = next(each for each in ways if each.blocked is soonest)
        text = f"It would wait: {reasons(no_room.blocked)}; {_turn(way)}{when(soonest, now)}."
        if isinstance(soonest.limiter, PauseLimiter):
            text = f"It would wait until that is resumed: {reasons(no_room.blocked)}."
        return ending("waits", text, way.candidate, seconds=span(soonest.available_at, now))

    def _before(self, waiter: Waiter, blocked: Blocked | None) -> int | None:
        if blocked is None:
            return 0
        return places(blocked.limiter, self.board.scheduler.now(), waiter).get(waiter.seq)

    def _reserves(self, call: HypotheticalCall, way: CandidateForecast) -> View:
        """What would be counted until the vendor tells. Its input is not known without its size."""
        need = way.option.demand
        return {
            "input_tokens": None if call.size is None else need[LimitUnit.INPUT],
            "output_tokens": need[LimitUnit.OUTPUT],
            "usd": need[LimitUnit.MONEY] / NANODOLLARS
            if need[LimitUnit.MONEY] > LEAST_NANO_DOLLARS
            else None,
            "learned": self.board.scheduler.has_learned(call.key.name, call.model),
        }


def ending(
    outcome: str, text: str, place: Candidate | None = None, *,
    status: int | None = None, seconds: float | None = None,
) -> View:  # fmt: skip
    """What a call comes to: it "goes", "waits" or is "refused", or that is "unknown"."""
    return {
        "outcome": outcome,
        "provider": None if place is None else place.provider.name,
        "credential": None if place is None else place.credential_name or None,
        "status": status,
        "seconds": seconds,
        "text": text,
    }


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() and len(text) < 16 else None


def _turn(way: CandidateForecast) -> str:
    match way.before:
        case None:
            return "many calls go before it; "
        case 0:
            return ""
        case 1:
            return "1 call goes before it; "
    return f"{way.before} calls go before it; "
