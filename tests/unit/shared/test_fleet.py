"""A fleet on a real server, in virtual time, uses the whole of an account's quota and no more."""

from __future__ import annotations

from typing import Any

import pytest
from project_paths import ROOT
from real_redis import needs_redis


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    return __import__("fleet")


@needs_redis
def test_fleet_uses_its_quota_and_gets_no_429(fleet: Any) -> None:
    tokens = next(each for each in fleet.SCENARIOS if each.title == "tokens are scarce")
    result = fleet.play(tokens, nodes=10, minutes=4, seed=1)
    assert result.is_good, "\n".join(fleet.lines(result))
    assert len(result.account.accepted) > 90
    assert all(each.waits for each in result.agents)
