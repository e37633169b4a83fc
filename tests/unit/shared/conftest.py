"""Fixtures of tests with several processes on one server."""

from __future__ import annotations

import pytest

import sidecar.shared.server


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a server take its time: on a machine with much other work it is no outage."""
    monkeypatch.setattr(sidecar.shared.server, "TIMEOUT_SECONDS", 10.0)
