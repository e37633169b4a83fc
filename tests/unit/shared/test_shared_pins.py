"""The upstream of a conversation in every process that shares state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest
from namespaces import Namespace, namespace
from real_redis import needs_redis, redis_server

from sidecar.config.model import CredentialRef, Provider, Route, SecretSource
from sidecar.errors import SourceLocation
from sidecar.plugin_api.vendor import Serving, Vendor
from sidecar.routing.affinity import AFFINITY_TTL_SECONDS, Affinity, ConversationKey
from sidecar.routing.candidates import Candidate
from sidecar.routing.shared_pins import FACT_KIND, SharedPins
from sidecar.shared.engine import Engine

pytestmark = needs_redis
PLACE = SourceLocation("routes.yaml", 7)
TALK = ConversationKey("laptop", "session-4711", "gpt-5")


class Plain(Vendor):
    name = "plain"
    title = "Plain"
    dialects = {"talk": Serving()}


def candidate(provider: str, credential: str) -> Candidate:
    ref = CredentialRef(SecretSource.ENV, credential, PLACE, credential)
    found = Provider(provider, Plain(), "https://v.example", (ref,), PLACE)
    return Candidate(Route(found, PLACE), ref, Serving(), None)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with redis_server() as url:
        yield url


class Process:
    """A process with the providers `a`, `b` and `login`, whose credentials have names of its own.
    Calls of a login are at no upstream that is shared."""

    def __init__(self, engine: Engine, clock: Callable[[], float], name: str) -> None:
        self.engine = engine
        self.a, self.b, self.login = (candidate(each, name) for each in ("a", "b", "login"))
        self.affinity = Affinity(clock)
        pins = SharedPins(engine.facts, self._identity_of, lambda _: b"digest of the key", clock)
        self.affinity.share(pins)

    def _identity_of(self, provider: str, _: str) -> str | None:
        return None if provider == "login" else f"identity-{provider}"

    def first(
        self, talk: ConversationKey = TALK, *, of: Sequence[Candidate] = ()
    ) -> tuple[str, bool]:
        """The provider that a call would go to first, and whether it is pinned."""
        ordered, pinned = self.affinity.prefer_pinned(talk, of or [self.a, self.b, self.login])
        return ordered[0].provider.name, pinned

    def serve(self, at: Candidate, talk: ConversationKey = TALK) -> None:
        self.affinity.pin(talk, at)

    @property
    def facts(self) -> list[str]:
        return [f"{each.name} {each.value}" for each in self.engine.facts.known(FACT_KIND)]


async def join(to: Namespace, name: str) -> Process:
    return Process(*await to.join(), name)


async def sync(*processes: Process) -> None:
    for each in processes * 2:
        await each.engine.facts.sync()


async def test_conversation_goes_to_the_upstream_that_served_it_last_in_any_process(
    server: str,
) -> None:
    async with namespace(server) as found:
        one, other = await join(found, "ONE"), await join(found, "OTHER")
        one.serve(one.b)
        await sync(one, other)
        assert (one.first(), other.first()) == (("b", True), ("b", True))
        other.serve(other.a)
        await sync(one, other)
        assert (one.first(), other.first()) == (("a", True), ("a", True))
        assert other.first(ConversationKey("laptop", "another", "gpt-5")) == ("a", False)
        one.serve(one.login)  # which the other one cannot use: its own pin holds there
        await sync(one, other)
        assert (one.first(), other.first()) == (("login", True), ("a", True))


async def test_pin_at_a_provider_that_a_process_lacks_is_ignored(server: str) -> None:
    async with namespace(server) as found:
        one, other = await join(found, "ONE"), await join(found, "OTHER")
        one.serve(one.b)
        await sync(one, other)
        assert other.first(of=[other.a, other.login]) == ("a", False)


async def test_pin_is_published_again_when_half_of_its_time_has_passed(server: str) -> None:
    async with namespace(server) as found:
        one, other = await join(found, "ONE"), await join(found, "OTHER")
        ends = set()
        for _ in range(5):  # a call in every quarter
            one.serve(one.b)
            [fact] = one.engine.facts.known(FACT_KIND)
            ends.add(round(fact.until))
            await sync(one, other)
            found.clock.advance(AFFINITY_TTL_SECONDS / 4 + 1)
        assert len(ends) == 3
        assert other.first() == ("b", True)
        found.clock.advance(AFFINITY_TTL_SECONDS)
        assert (one.first(), other.first()) == (("a", False), ("a", False))


async def test_pin_of_a_call_without_a_session_or_a_choice_is_not_published(server: str) -> None:
    async with namespace(server) as found:
        one = await join(found, "ONE")
        one.affinity.pin_ended(TALK, one.b, found.clock(), found.clock())
        one.serve(one.b, ConversationKey("laptop", "codex/1.0", "gpt-5", is_named=False))
        assert one.facts == []
        assert not one.engine.facts.has_unsent


async def test_published_pin_has_no_name_of_key_session_or_model(server: str) -> None:
    async with namespace(server) as found:
        one = await join(found, "ONE")
        one.serve(one.b)
        [fact] = one.facts
        assert not any(each in fact for each in ("laptop", "4711", "gpt", "ONE"))


async def test_pins_of_any_number_of_conversations_take_a_limited_number_of_facts(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.routing.shared_pins.MAX_SHARED_PINS", 8)
    async with namespace(server) as found:
        one, other = await join(found, "ONE"), await join(found, "OTHER")
        talks = [ConversationKey("laptop", f"s{number}", "gpt-5") for number in range(100)]
        for each in talks:
            one.serve(one.b, each)
        await sync(one, other)
        assert len(other.facts) == 8
        assert other.first(talks[-1]) == ("b", True)
        assert sum(other.first(each) == ("b", True) for each in talks) == 8
