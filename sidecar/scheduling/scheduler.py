"""Who may go now, who waits, and what came of it: limits, holds and the vendors' word in one place.

The path of a call asks for a lease over its candidates and tells how each attempt went; everything
else (explain, the metrics, the console) only looks.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sidecar.config.model import Key, Snapshot
from sidecar.errors import Fault, Kind, Refused, UpstreamError
from sidecar.plugin_api.error_class import Judgement
from sidecar.pricing.prices import Prices
from sidecar.records import Cost, Count, Usage
from sidecar.routing.call import Call
from sidecar.routing.candidates import Candidate
from sidecar.scheduling.admission import Admission
from sidecar.scheduling.cooldown import Network, as_judgement, is_remote
from sidecar.scheduling.estimates import (
    LEAST_NANO_DOLLARS,
    UNPRICED,
    Estimates,
    Pricing,
    binds_free_calls,
    counted,
    guess,
    settled_amount,
    size_of,
    unpriced_at,
)
from sidecar.scheduling.lease import CallAt, Lease, NoRoom, Option, Waiter
from sidecar.scheduling.limiter import Gate, Need, Unit, need
from sidecar.scheduling.limits import Limits, route_name
from sidecar.scheduling.pauses import Held, Holds, in_words
from sidecar.scheduling.upstream_health import Accounts
from sidecar.scheduling.windows import sharing

TOLERATED = 5
"""Failures in a row that may lie in what was asked, before an account is left alone."""
MOST_WAYS = 8192
"""Ways of calls whose gates are remembered; past it all are looked up anew."""

log = logging.getLogger("sidecar.scheduling")


class Sources(NamedTuple):
    """What the scheduler takes from outside: monotonic seconds, seconds since the epoch, a random
    number from 0 to 1, and the loop's timers."""

    clock: Callable[[], float]
    wall: Callable[[], float]
    draw: Callable[[], float]
    call_at: CallAt


class Scheduler:
    """One for a process. `keep` hears of each count that must outlive it; `state` is where holds
    are kept."""

    def __init__(
        self, sources: Sources, prices: Prices, keep: Callable[[Count], None], state: Path
    ) -> None:
        self._clock = sources.clock
        self.pricing = Pricing(prices)
        self.limits = Limits(sources.wall, keep)
        self.accounts = Accounts(sources.clock, sources.wall, sources.draw, self._gates_changed)
        self.admission = Admission(sources.clock, sources.call_at)
        self.estimates = Estimates()
        self.holds = Holds(state, sources.wall)
        self.network = Network(sources.clock, sources.draw)
        self._ways: dict[tuple[object, ...], tuple[object, tuple[Gate, ...]]] = {}
        self._snapshot: Snapshot | None = None
        self.waits: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.admission.on_block = self._has_to_wait

    def asks(
        self, call: Call, candidates: Sequence[Candidate], further: tuple[Gate, ...] = ()
    ) -> Waiter[Candidate]:
        """A call that wants to go to one of the candidates, as `admission` takes it, past
        `further` gates besides theirs. Raises `Refused`, now or when the configuration changes,
        when its key is there no longer."""

        def options() -> Sequence[Option[Candidate]]:
            key = self._today(call.key)
            found = [self._option(key, call, each, further) for each in candidates]
            priced = [option for option in found if option is not None]
            if not priced:
                raise Refused(Kind.FORBIDDEN, f"{UNPRICED}: {unpriced_at(candidates)}")
            return priced

        key = call.key
        return self.admission.asks(key.name, key.share, call.urgency, options(), options)

    def answered(self, lease: Lease[Candidate], headers: Mapping[str, str], *, well: bool) -> None:
        """An attempt was answered, well or badly; its headers may say what the vendor has left."""
        at = lease.place
        opened = self.accounts.answered(
            at.provider, at.credential_name, at.model, lease, headers, well=well
        )
        if opened and len(self.admission):
            self.admission.recheck(opened)

    def good(self, candidate: Candidate) -> None:
        """An attempt was taken: its account is well, and so is the network."""
        at = candidate
        opened = self.accounts.good(at.provider, at.credential_name, at.model)
        if is_remote(at.provider) and self.network.good():
            log.warning("the network is back: calls go on")
            self._rejudge()
        if opened:
            self.admission.recheck(opened)

    def bad(self, candidate: Candidate, judgement: Judgement, *, passing: bool = True) -> None:
        """An attempt was refused: leave its account alone for as long as the vendor says. What is
        not `passing` may lie in what was asked, and says something of the account only when it
        happens again and again."""
        at = candidate
        self.accounts.bad(
            at.provider, at.credential_name, at.model, judgement,
            tolerated=0 if passing else TOLERATED,
        )  # fmt: skip

    def failed(self, candidate: Candidate, error: UpstreamError) -> None:
        """An attempt did not get through. A network that is gone is nobody's fault: remote calls
        are parked until one gets through."""
        if error.offline and is_remote(candidate.provider) and self.network.is_gone():
            if self.network.bad():
                log.warning("the network is gone: calls to remote providers wait until it is back")
                self._rejudge()
            return
        if error.fault is Fault.CONNECT and not self.has_answered(candidate):
            return  # it may just not run: whoever asks hears so at once
        passing = error.fault in {Fault.CONNECT, Fault.TIMEOUT}
        self.bad(candidate, as_judgement(error), passing=passing)

    def has_answered(self, candidate: Candidate) -> bool:
        """Whether its account was well at any time since the start."""
        return self.accounts.has_answered(candidate.provider, candidate.credential_name)

    def settle(
        self, lease: Lease[Candidate], call: Call, usage: Usage | None, cost: Cost | None,
        *, whole: bool, typical: bool = True,
    ) -> Need:  # fmt: skip
        """An answer is over: count what it took and cost, and return that. `whole`: the figures are
        final; what is not known stays as estimated. `typical`: its like is estimated by it."""
        estimate = lease.option.need
        supposed, most = estimate[Unit.INPUT], estimate[Unit.OUTPUT_AT_MOST]
        money = settled_amount(estimate[Unit.MONEY], None if cost is None else cost.charged)
        if usage is None:
            lease.settle(used := need(supposed, most, money))
            return used
        read, made = counted(lease.place, usage)
        read = supposed if usage.input_tokens is None else read
        made = made if whole and usage.output_tokens is not None else max(made, most)
        lease.settle(used := need(read, made, money))
        if whole and typical and call.model is not None:
            guessed, _ = guess(lease.place, size_of(call), call.facts.max_output)
            self.estimates.learn(call.key.name, call.model, guessed, read, made)
        return used

    @property
    def granted(self) -> int:
        """How many attempts were let through."""
        return self.admission.granted

    def now(self) -> float:
        """This moment, as all gates know it."""
        return self._clock()

    def refused(self, no_room: NoRoom) -> None:
        """A call was not let through in its time."""
        self.refusals["queue" if no_room.full else no_room.soonest.last.kind] += 1

    def pause(self, held: Held, hashes: tuple[str, ...] = (), by: str = "") -> bool:
        """Park what is called from now on; whether that is news. A key is known again by its
        `hashes`; `by` says from where it is asked for."""
        news = self.holds.pause(held, hashes, by)
        if news:
            log.warning("%s is paused", in_words(held))
            self._rejudge()
        return news

    def resume(self, held: Held) -> bool:
        """Let it go on; whether it was held."""
        news = self.holds.resume(held)
        if news:
            log.warning("%s goes on", in_words(held))
            self._rejudge()
        return news

    def reconcile(self, snapshot: Snapshot) -> None:
        """Follow the configuration: every count stays, every waiting call is judged anew."""
        self._snapshot = snapshot
        self.pricing.reconcile()
        self.holds.reconcile(snapshot)
        self.limits.reconcile(snapshot)
        self.accounts.reconcile(snapshot.providers)
        self._rejudge()

    def gates(
        self, key: Key, candidate: Candidate, model: str | None, route: str = ""
    ) -> tuple[Gate, ...]:
        """All that a call of a key for a model must pass on `route` to a candidate."""
        provider, credential = candidate.provider, candidate.credential_name
        route = route or route_name(key, candidate.route)
        return (
            *self.holds.gates(key.name, key.group.name, provider.name),
            *(self.network.gates() if is_remote(provider) else ()),
            *self.limits.windows(key.name, route, key.group.name, provider.name, credential, model),
            *self.accounts.gates(provider, credential, candidate.model),
        )

    def tokens(self, call: Call, candidate: Candidate) -> tuple[int, int]:
        """The input and output tokens that a call is likely to take at a candidate."""
        if not call.endpoint.counts or call.model is None:
            return 0, 0
        bound = call.facts.max_output
        return self._tokens(call.key.name, call.model, candidate, size_of(call), bound)

    def supposed(
        self, key: Key, model: str, candidate: Candidate, size: int, bound: int | None
    ) -> Option[Candidate] | None:
        """The way of a call that nobody made, of so many bytes and with this bound on its output;
        None as for any other."""
        read, made = self._tokens(key.name, model, candidate, size, bound)
        return self._priced(key, model, candidate, self.gates(key, candidate, model), read, made)

    def _option(
        self, key: Key, call: Call, candidate: Candidate, further: tuple[Gate, ...]
    ) -> Option[Candidate] | None:
        """The way to a candidate; None when its price is unknown and such calls are refused."""
        read, made = self.tokens(call, candidate)
        gates = (*self._gates(key, call, candidate), *further)
        if call.is_free:
            return Option(candidate, gates, need(0, 0))
        option = self._priced(key, call.model, candidate, gates, read, made)
        if option is not None and option.need[Unit.MONEY] == LEAST_NANO_DOLLARS:
            self.pricing.note_unpriced(key, call.model, candidate)
        return option

    def _priced(
        self, key: Key, model: str | None, candidate: Candidate, gates: tuple[Gate, ...],
        read: int, made: int,
    ) -> Option[Candidate] | None:  # fmt: skip
        likely = self.estimates.likely(key.name, model or "", made, sharing(gates))
        if not any(gate.unit is Unit.MONEY for gate in gates):
            return Option(candidate, gates, need(read, likely, 0, made))
        money = self.pricing.expected(key, model, candidate, read, made)
        if money is None and self._snapshot is not None and self._snapshot.refuse_unpriced:
            return None
        money = LEAST_NANO_DOLLARS if money is None else money
        return Option(candidate, gates, need(read, likely, money, made))

    def _tokens(
        self, key: str, model: str, candidate: Candidate, size: int, bound: int | None
    ) -> tuple[int, int]:
        guessed, asked = guess(candidate, size, bound)
        return self.estimates.input(key, model, guessed), self.estimates.output(key, model, asked)

    def _gates(self, key: Key, call: Call, candidate: Candidate) -> tuple[Gate, ...]:
        route = candidate.route
        names = (call.model, candidate.model, call.is_free)
        way = (key.name, id(route), candidate.credential_name, *names)
        found = self._ways.get(way)
        if found is None:
            if len(self._ways) >= MOST_WAYS:
                self._ways.clear()
            # The route is kept with it: its id must not become another's.
            # By the key that it came in with: today's has no such route object.
            name = route_name(call.key, route)
            gates = self.gates(key, candidate, call.model, name)
            gates = tuple(filter(binds_free_calls, gates)) if call.is_free else gates
            found = self._ways[way] = (route, gates)
        return found[1]

    def _today(self, key: Key) -> Key:
        """The key as the configuration in force has it, by its hash, else by its name."""
        snapshot = self._snapshot
        if snapshot is None or snapshot.keys.get(key.name) is key:
            return key
        found = [
            snapshot.by_digest[t.digest][0] for t in key.hashes if t.digest in snapshot.by_digest
        ]
        today = found[0] if found else None if key.hashes else snapshot.keys.get(key.name)
        if today is None or not today.enabled:
            what = "removed" if today is None else f"disabled ({today.place.short})"
            raise Refused(Kind.KEY_DISABLED, f'key "{key.name}" was {what} while its call waited')
        return today

    def _has_to_wait(self, gate: Gate) -> None:
        self.waits[gate.kind] += 1

    def _gates_changed(self) -> None:
        self._ways.clear()
        if len(self.admission):
            self.admission.rejudge()

    def _rejudge(self) -> None:
        self._ways.clear()
        self.admission.rejudge()
