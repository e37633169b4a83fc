"""Cooldowns and quotas of two processes on one server, each with a clock of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import pytest
from manual_clock import HandClock
from namespaces import Namespace, namespace
from real_redis import needs_redis, real_redis, redis_server
from vendor_apis import until

from sidecar.config.loader import load
from sidecar.config.model import CredentialRef, Provider, Route
from sidecar.plugin_api.error_class import Classification, ErrorClass
from sidecar.plugin_api.manager import discover
from sidecar.plugin_api.vendor import Secret, Serving
from sidecar.routing.candidates import Candidate
from sidecar.routing.upstream_key import UpstreamKey
from sidecar.scheduling.admission import Admission
from sidecar.scheduling.fleet.identity import Identities
from sidecar.scheduling.fleet.upstream_facts import UpstreamFacts
from sidecar.scheduling.lease import AdmissionOption
from sidecar.scheduling.limiter import Limiter, demand_of
from sidecar.scheduling.upstream_health import Upstreams
from sidecar.shared.engine import Engine

pytestmark = needs_redis
REGISTRY = discover()
REMOTE = "https://api.openai.test/v1"
SECRET = "canary-4711"
LIMITED = Classification(ErrorClass.RATE_LIMITED, "429 rate_limited", 20.0, whole_credential=True)
EMPTY = {
    "x-ratelimit-limit-requests": "60",
    "x-ratelimit-remaining-requests": "0",
    "x-ratelimit-reset-requests": "60s",
}
HALF = {**EMPTY, "x-ratelimit-remaining-requests": "30", "x-ratelimit-reset-requests": "30s"}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with redis_server() as url:
        yield url


def provider_at(url: str, reference: str) -> Provider:
    text = f'providers: {{oa: {{plugin: openai, base_url: "{url}", credential: {reference}}}}}'
    return load(text.encode(), file="routes.yaml", registry=REGISTRY).providers["oa"]


class Head(NamedTuple):
    fields: Mapping[str, str]


class Process:
    """What one process has learnt about its provider `oa`."""

    def __init__(
        self, engine: Engine, clock: Callable[[], float], provider: Provider, secret: str
    ) -> None:
        self.engine, self.clock, self.secret = engine, clock, secret
        self.opened: list[Limiter] = []
        self.upstreams = Upstreams(clock, clock, lambda: 0.0, lambda: None)
        self.upstreams.reconcile({"oa": provider})
        [self.credential] = provider.credentials
        self.key = UpstreamKey("oa", self.credential.name)
        UpstreamFacts(
            engine, self.upstreams, Identities(self._secret_of), clock, self.opened.extend
        )

    def _secret_of(self, _: CredentialRef) -> Secret:
        return Secret(self.secret)

    def fail(self, found: Classification = LIMITED, *, answered: bool = True) -> None:
        self.upstreams.record_failure(self.key, found, answered=answered)

    def read(self, headers: Mapping[str, str]) -> None:
        provider = self.upstreams.providers["oa"]
        candidate = Candidate(Route(provider, provider.place), self.credential, Serving(), None)
        admission = Admission(self.clock, HandClock().call_at)
        options = [AdmissionOption(candidate, (), demand_of(1, 1))]
        lease = admission.try_lease(admission.new_waiter("k", 1.0, 1, options, lambda: options))
        assert lease
        self.upstreams.record_answer(lease, Head(headers), "k", ok=False, final=False)

    def waits(self) -> float:
        """The seconds until a call may go."""
        now = self.clock()
        limiters = self.upstreams.limiters(self.key)
        return max(each.available_at(1, 1, now) for each in limiters) - now

    async def sync(self) -> float:
        await self.engine.facts.sync()
        return self.waits()


async def join(
    to: Namespace, url: str = REMOTE, secret: str = SECRET, reference: str = "env:K"
) -> Process:
    engine, clock = await to.join()
    return Process(engine, clock, provider_at(url, reference), secret)


async def test_cooldown_holds_in_every_process_and_in_one_that_joins(server: str) -> None:
    async with namespace(server) as found:
        one, other = await join(found), await join(found, reference="env:OTHER_NAME")
        one.fail()
        await one.sync()
        found.clock.advance(5.0)
        for each in (other, await join(found)):
            assert await each.sync() == pytest.approx(15.0, abs=0.01)
            assert each.upstreams.cooldown(each.key).reason == "429 rate_limited at host0"


async def test_probe_that_succeeds_ends_the_cooldown_in_every_process(server: str) -> None:
    async with namespace(server) as found:
        one, other = await join(found), await join(found)
        one.fail()
        await one.sync()
        await other.sync()
        assert other.upstreams.record_success(other.key) == []  # of a call that was sent before
        assert await other.sync() > 19.0
        found.clock.advance(20.1)
        assert other.upstreams.cooldown(other.key).is_active  # half-open
        one.upstreams.record_success(one.key)
        await one.sync()
        await other.sync()
        assert not other.upstreams.cooldown(other.key).is_active
        assert other.opened == [other.upstreams.cooldown(other.key)]


async def test_exhausted_quota_resets_at_the_same_time_in_every_process(server: str) -> None:
    async with namespace(server) as found:
        one, other = await join(found), await join(found)
        one.fail(Classification(ErrorClass.QUOTA_EXHAUSTED, "402", 3000.0, resets=True))
        waits = await one.sync()
        assert waits == 3000.0
        assert await other.sync() == pytest.approx(waits, abs=0.01)


async def test_quota_of_headers_holds_in_every_process_as_of_when_it_was_reported(
    server: str,
) -> None:
    async with namespace(server) as found:
        one, other = await join(found), await join(found)
        one.read(EMPTY)
        await one.sync()
        found.clock.advance(0.5)
        assert await other.sync() == pytest.approx(0.5, abs=0.01)
        other.read(HALF)  # is newer than what the first one has read
        await other.sync()
        one.read(EMPTY)
        assert await other.sync() == 0.0


@pytest.mark.parametrize(
    ("url", "secret"),
    [(REMOTE, "another"), ("https://elsewhere.test/v1", SECRET)],
    ids=["credential", "address"],
)
async def test_upstream_with_another_identity_is_left_alone(
    server: str, url: str, secret: str
) -> None:
    async with namespace(server) as found:
        one, other = await join(found), await join(found, url, secret)
        one.fail()
        one.read(EMPTY)
        await one.sync()
        assert await other.sync() == 0.0


async def test_new_secret_gets_what_others_learnt_about_it(server: str) -> None:
    async with namespace(server) as found:
        one, other = await join(found, secret="new"), await join(found)
        one.fail()
        await one.sync()
        assert await other.sync() == 0.0
        other.secret = "new"
        other.upstreams.forget([other.credential])
        assert other.waits() == pytest.approx(20.0, abs=0.01)


async def test_failure_without_an_answer_is_of_one_process(server: str) -> None:
    async with namespace(server) as found:
        one, other = await join(found), await join(found)
        one.fail(answered=False)
        assert await one.sync() == 20.0
        assert await other.sync() == 0.0


async def test_server_gets_no_secret(server: str) -> None:
    async with namespace(server) as found:
        one = await join(found)
        one.fail()
        one.read(EMPTY)
        await one.sync()
        [entries] = await one.engine._server.send([("HGETALL", f"{one.engine._base}:f")])
        assert len(entries) == 2
        assert SECRET not in str(entries)


async def test_process_sends_what_holds_after_the_server_lost_its_data(server: str) -> None:
    async with namespace(server) as found:
        one = await join(found)
        one.fail()
        await one.sync()
        await one.engine._server.send([("FLUSHALL",)])
        await one.engine.beat()
        await one.sync()
        assert (await join(found)).waits() == pytest.approx(20.0, abs=0.01)


async def test_cooldown_of_an_outage_is_sent_after_it() -> None:
    with real_redis() as stopped:
        async with namespace(stopped.url) as found:
            one, other = await join(found), await join(found)
            stopped.kill()
            for each in (one, other):
                await asyncio.gather(each.engine.beat(), return_exceptions=True)
            one.fail()
            assert (one.waits(), other.waits()) == (20.0, 0.0)
            stopped.start()
            for each in (one, other):
                await each.engine.beat()
            await until(lambda: other.waits() > 19.0)
