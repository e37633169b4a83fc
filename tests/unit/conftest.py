"""How long a shared server may take before a test counts it as out."""

from __future__ import annotations

import pytest

import sidecar.shared.server

OUTAGE_SECONDS = sidecar.shared.server.TIMEOUT_SECONDS


@pytest.fixture(autouse=True)
def _slow_server_is_no_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a server take its time: on a machine with much other work it is no outage."""
    monkeypatch.setattr(sidecar.shared.server, "TIMEOUT_SECONDS", 10.0)


@pytest.fixture
def silent_server_is_out(monkeypatch: pytest.MonkeyPatch, _slow_server_is_no_outage: None) -> None:
    """Count a server as out as soon as the product does."""
    monkeypatch.setattr(sidecar.shared.server, "TIMEOUT_SECONDS", OUTAGE_SECONDS)
