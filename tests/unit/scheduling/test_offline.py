"""When the network counts as offline, and how it is probed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from manual_clock import HandClock
from running_sidecar import Sidecar, sidecar
from sample_answers import CHAT, body
from scripted_vendor import ScriptedVendor, answer
from vendor_apis import until

from sidecar.config.model import Provider
from sidecar.errors import SourceLocation
from sidecar.plugin_api.vendor import Vendor
from sidecar.routing.upstream_key import is_remote
from sidecar.scheduling.cooldown import (
    MAX_OFFLINE_RETRY_SECONDS,
    OFFLINE_AFTER_SECONDS,
    Network,
)


class Acme(Vendor):
    name = "acme"
    title = "Acme"


def provider(base_url: str) -> Provider:
    return Provider("p", Acme(), base_url, (), SourceLocation("f", 1))


@pytest.mark.parametrize(
    ("base_url", "remote"),
    [
        ("https://api.example.com/v1", True), ("http://gpu.lan:8000", True),
        ("http://192.168.1.9/v1", True), ("http://127.0.0.1:11434", False),
        ("http://127.9.9.9", False), ("http://[::1]:8000/v1", False),
        ("http://localhost:1234", False), ("http://a.localhost", False), ("", False),
    ],
)  # fmt: skip
def test_provider_is_remote_unless_its_address_is_loopback(base_url: str, remote: bool) -> None:
    assert is_remote(provider(base_url)) is remote


def test_network_is_offline_only_after_a_success_and_then_silence() -> None:
    clock = HandClock()
    network = Network(clock, lambda: 0.0)
    assert not network.check_offline()  # no remote provider ever answered: the address may be wrong
    network.record_success()
    clock.advance(OFFLINE_AFTER_SECONDS - 1)
    assert not network.check_offline()  # another provider answered just now: only this one is down
    clock.advance(1)
    assert network.check_offline()
    assert network.record_failure()
    assert network.is_offline
    assert not network.record_failure()


def test_offline_network_is_probed_by_one_call_at_a_time_until_one_succeeds() -> None:
    clock = HandClock()
    network = Network(clock, lambda: 0.0)
    network.record_success()
    clock.advance(OFFLINE_AFTER_SECONDS)
    network.record_failure()
    [limiter] = network.limiters()
    for _ in range(6):
        at = limiter.available_at(1, 1, clock())
        assert clock() < at <= clock() + MAX_OFFLINE_RETRY_SECONDS
        clock.advance(at - clock())
        assert limiter.allows(1, 1, clock())
        limiter.acquire(1, 1, clock())
        assert not limiter.allows(1, 1, clock())
        network.record_failure()
    assert network.record_success()
    assert list(network.limiters()) == []


YAML = """
defaults: {{max_wait: 100ms}}
providers:
  near: {{plugin: openai, base_url: "{url}/v1", credential: env:UPSTREAM_KEY}}
  far: {{plugin: openai, base_url: "https://api.example.com/v1", credential: env:UPSTREAM_KEY}}
groups:
  Near: {{vendor: openai, routes: [near]}}
  Far: {{vendor: openai, routes: [far]}}
keys:
  near: {{group: Near, hash: "{{near}}"}}
  far: {{group: Far, hash: "{{far}}"}}
"""


@asynccontextmanager
async def both(path: Path, vendor: ScriptedVendor) -> AsyncIterator[Sidecar]:
    async with sidecar(path, YAML.format(url=vendor.url), ("near", "far")) as running:
        yield running


async def test_offline_network_queues_remote_calls_beyond_max_wait_and_admits_local_ones(
    tmp_path: Path, vendor: ScriptedVendor, caplog: pytest.LogCaptureFixture
) -> None:
    vendor.play(answer(body(CHAT)))
    async with both(tmp_path, vendor) as proxy:
        scheduler = proxy.running.services.scheduler
        network = scheduler._network
        network.record_success()
        network._last_success = scheduler.now() - OFFLINE_AFTER_SECONDS  # online, some time ago
        network.record_failure()
        for limiter in network.limiters():
            limiter.acquire(1, 1, scheduler.now())  # a probe runs
        asked = b'{"model":"gpt-5"}'
        far = asyncio.create_task(proxy.ask("/v1/chat/completions", asked, key="far"))
        await until(lambda: len(scheduler.waiting) == 1)
        assert (await proxy.ask("/v1/chat/completions", asked, key="near")).status == 200
        await asyncio.sleep(0.3)
        assert len(scheduler.waiting) == 1
        text = (await proxy.admin("/metrics")).body.decode()
        assert "sidecar_network_up 0" in text
        far.cancel()
