"""The simulated day: vendor and clients behave as described, and the scheduler reaches its aims."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from project_paths import ROOT

BENCH = ROOT / "bench"
HALF = 0.5


@pytest.fixture(autouse=True)
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`day` is a package of bench/."""
    monkeypatch.syspath_prepend(str(BENCH))
    yield
    for name in [name for name in sys.modules if name == "day" or name.startswith("day.")]:
        del sys.modules[name]


def played(name: str, *ways: str, seed: int = 1, hours: float = HALF) -> list[Any]:
    from day.scenarios import SCENARIOS
    from day.simulation import play, quotas_for

    (scenario,) = (each for each in SCENARIOS if each.name == name)
    quotas = quotas_for(scenario, seed, hours)
    return [play(scenario, quotas, way, seed, hours) for way in ways]


@pytest.mark.parametrize("name", ["tight", "unwritten", "openai"])
def test_simulated_day_has_no_failures_and_a_twentieth_of_the_429s(name: str) -> None:
    ours, none = played(name, "sidecar", "none")
    assert ours.failed == 0 < none.failed
    assert ours.throttled * 20 <= none.throttled


@pytest.mark.parametrize("name", ["hints", "overload", "outage", "flapping"])
def test_vendor_outage_of_minutes_reaches_no_client(name: str) -> None:
    ours, fifo = played(name, "sidecar", "fifo")
    assert ours.failed == 0 < fifo.failed
    assert 0 < ours.troubled <= fifo.troubled


def test_equal_keys_get_equal_shares_for_any_demand() -> None:
    ours, fifo = played("greedy", "sidecar", "fifo", hours=4 * HALF)
    assert ours.failed == 0
    assert fifo.fairness < 0.9
    assert ours.fairness >= 0.98
    assert ours.waits["normal"][1] < fifo.waits["normal"][1] / 2


def test_simulated_day_is_determined_by_its_seed() -> None:
    first, again, other = (
        played("unwritten", "sidecar", seed=seed, hours=0.2) for seed in (1, 1, 2)
    )
    assert first == again != other


def test_token_bucket_gives_its_limit_and_its_refill() -> None:
    from day.account import Pool

    pool, draw, taken, now = Pool(600.0), random.Random(1), 0.0, 0.0
    while now < 600:
        now += draw.uniform(0.0, 3.0)
        pool.fill(now)
        amount = draw.uniform(1, 90)
        if wait := pool.lacks(amount):
            assert pool.level < amount
            pool.fill(now + wait)
            assert pool.lacks(amount) == pytest.approx(0)
            now += wait
        else:
            pool.take(amount)
            taken += amount
    assert taken <= 600 + now * 10
    assert taken == pool.counted > 0.9 * now * 10


@pytest.mark.parametrize(
    ("client", "status", "headers", "pauses"),
    [
        ("Stainless", 429, {"retry-after": "7"}, [7.0, 7.0, None]),
        ("Stainless", 429, {"retry-after-ms": "250"}, [0.25, 0.25, None]),
        ("Stainless", 529, {"x-should-retry": "false"}, [None]),
        ("Stainless", 400, {}, [None]),
        ("Stainless", 429, {"retry-after": "518400"}, [None]),
        ("ClaudeCode", 429, {"retry-after": "2"}, [2.4] * 10 + [None]),
        ("ClaudeCode", 429, {"retry-after": "120"}, [None]),
        ("Codex", 429, {}, [None]),
        ("Codex", 429, {"retry-after": "120"}, [120.0] * 4 + [None]),
    ],
)
def test_simulated_clients_retry_like_the_real_sdks(
    client: str, status: int, headers: dict[str, str], pauses: list[float | None]
) -> None:
    from day import clients
    from day.jobs import Answer

    made = clients.Stainless(120.0) if client == "Stainless" else getattr(clients, client)()
    answer, draw = Answer(status, headers), random.Random(1)
    found = [made.again(answer, failures + 1, draw) for failures in range(len(pauses))]
    assert found == [pause if pause is None else pytest.approx(pause) for pause in pauses]


def test_simulated_sdks_without_a_hint_wait_half_a_second_and_one() -> None:
    from day.clients import Stainless

    draw = random.Random(1)
    for failures, most in ((1, 0.5), (2, 1.0)):
        pause = Stainless(None).again(None, failures, draw)
        assert pause is not None
        assert most * 0.75 <= pause <= most


def ran(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(BENCH / script), *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_schedule_command_prints_every_figure() -> None:
    (day,) = json.loads(ran("schedule.py", "--scenario", "calm", "--hours", "0.1", "--json"))
    assert list(day["ways"]) == ["sidecar", "fifo", "none"]
    assert {way["failed"] for way in day["ways"].values()} == {0}
    assert all(aim["met"] is not False for aim in day["aims"])
    text = ran("schedule.py", "--scenario", "calm", "--hours", "0.1")
    assert "no failed call: met (0)" in text


def test_lease_cost_is_measured_with_any_number_of_waiters() -> None:
    lines = ran("leases.py", "--times", "20").splitlines()
    assert [len(line.split()[-4:]) for line in lines[:4]] == [4] * 4
    assert all(float(cell) > 0 for line in lines[1:4] for cell in line.split()[-3:])
