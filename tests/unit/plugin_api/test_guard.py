"""The guard around plugin code: what it suppresses, and what it logs."""

from __future__ import annotations

import asyncio
import logging

import pytest

from sidecar.plugin_api.dialect import Dialect
from sidecar.plugin_api.guard import log_plugin_error, plugin_guard
from sidecar.plugin_api.vendor import Vendor
from sidecar_vendors.openai.dialect import OpenAI, OpenAIDialect


@pytest.mark.parametrize(
    ("plugin", "subject"),
    [
        (OpenAI(), "vendor plugin openai"),
        (OpenAIDialect(), "dialect plugin openai"),
        ("plugin audit", "plugin audit"),
    ],
    ids=["vendor", "dialect", "text"],
)
def test_guard_logs_subject_hook_error_and_consequence(
    plugin: Vendor | Dialect | str, subject: str, caplog: pytest.LogCaptureFixture
) -> None:
    with plugin_guard(plugin, "read_quota", "its quota is unknown") as guard:
        raise KeyError("a prompt")
    assert isinstance(guard.error, KeyError)
    assert guard.reason == f"{subject}: read_quota raised KeyError"
    assert [(each.levelno, each.getMessage()) for each in caplog.records] == [
        (logging.WARNING, f"{subject}: read_quota raised KeyError; its quota is unknown")
    ]


def test_plugin_error_is_logged_as_the_guard_logs_it(caplog: pytest.LogCaptureFixture) -> None:
    with plugin_guard(OpenAI(), "estimate", "4 bytes count as a token"):
        raise KeyError("a prompt")
    log_plugin_error(KeyError("a prompt"), OpenAI(), "estimate", "4 bytes count as a token")
    first, second = caplog.records
    assert (first.levelno, first.getMessage()) == (second.levelno, second.getMessage())


def test_guard_without_an_error_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with plugin_guard(OpenAI(), "family") as guard:
        pass
    assert guard.error is None
    assert caplog.records == []


@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyboardInterrupt(), SystemExit()])
def test_guard_does_not_suppress_cancellation_or_exit(error: BaseException) -> None:
    with pytest.raises(type(error)), plugin_guard(OpenAI(), "family"):
        raise error


def test_guard_at_another_level_logs_at_that_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with plugin_guard(OpenAI(), "estimate", level=logging.DEBUG):
        raise ValueError
    assert [each.levelno for each in caplog.records] == [logging.DEBUG]
