"""What every end-to-end test needs: a scripted vendor and a sidecar in front of it.

With `SIDECAR_NO_SKIPS=1` a test that would skip fails: where everything can be installed, nothing
may be left out.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from hypothesis import settings
from property_tests import EXAMPLES, MAX_EXAMPLES
from pytest_timeout import Settings
from running_sidecar import Sidecar
from running_sidecar import sidecar as start_sidecar
from scripted_vendor import ScriptedVendor
from scripted_vendor import scripted_vendor as start_vendor

if TYPE_CHECKING:
    from browser import Tab
    from playwright.async_api import Browser, BrowserContext

# A busy machine must not fail a property, and two runs of one commit must not differ. `make explore`
# looks for new examples, and more of them; each failure that it finds is kept with @example.
settings.register_profile("same", deadline=None, derandomize=True, max_examples=EXAMPLES)
settings.register_profile("explore", deadline=None, print_blob=True, max_examples=MAX_EXAMPLES)
settings.load_profile("same")

YAML = """
providers:
  oa: {{plugin: openai, base_url: "{url}/v1", credential: env:UPSTREAM_KEY, timeouts: {{connect: 2s, first_byte: 30s, idle: 30s}}}}
  an: {{plugin: anthropic, base_url: "{url}", credential: env:UPSTREAM_KEY}}
  ge: {{plugin: gemini, base_url: "{url}", credential: env:UPSTREAM_KEY}}
groups:
  GPT: {{vendor: openai, routes: [oa]}}
  Claude: {{vendor: anthropic, routes: [an]}}
  Gemini: {{vendor: gemini, routes: [ge]}}
keys:
  gpt: {{group: GPT, hash: "{{gpt}}"}}
  claude: {{group: Claude, hash: "{{claude}}"}}
  gemini: {{group: Gemini, hash: "{{gemini}}"}}
  off: {{group: GPT, hash: "{{off}}", enabled: false}}
  old: {{group: GPT, hash: "{{old}}", expires: 2020-01-01}}
  mini: {{group: GPT, hash: "{{mini}}", models: [gpt-5-mini]}}
  renamed:
    group: GPT
    hash: "{{renamed}}"
    routes: [oa: {{as: {{"gpt-*": "vendor/gpt-*", whisper-1: ears}}}}]
"""
KEYS = ("gpt", "claude", "gemini", "off", "old", "mini", "renamed")


NOTHING_LEFT_OUT = "SIDECAR_NO_SKIPS"
REPEAT_TIMEOUT_SECONDS = 5.0
"""Seconds until a timeout that did not end its test is raised again."""
Report = pytest.TestReport | pytest.CollectReport


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Report, Report]:
    return _insist((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Report, Report]:
    return _insist((yield))


@pytest.hookimpl(wrapper=True)
def pytest_timeout_set_timer(settings: Settings) -> Generator[None, object, object]:
    """Raise a timeout again and again until the test has ended: the first may be raised in a task
    that nobody awaits, or be taken for a failure of one example."""
    done = yield
    if settings.method == "signal":
        signal.setitimer(signal.ITIMER_REAL, settings.timeout, REPEAT_TIMEOUT_SECONDS)
    return done


def _insist(report: Report) -> Report:
    """A skipped test or module, as a failure where none may skip; an expected failure stays."""
    insists = os.environ.get(NOTHING_LEFT_OUT) == "1"
    if insists and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"left out, where nothing may be: {report.longreprtext}"
    return report


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--calls`, the size of the crash test; `make conserve` runs the long one."""
    parser.addoption(
        "--calls", type=int, default=1500, help="calls of the test of crash consistency"
    )


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the tests themselves, which last, out of every garbage collection."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture
async def vendor() -> AsyncIterator[ScriptedVendor]:
    async with start_vendor() as started:
        yield started


@pytest.fixture
async def other() -> AsyncIterator[ScriptedVendor]:
    """A second vendor."""
    async with start_vendor() as started:
        yield started


@pytest.fixture
async def proxy(tmp_path: Path, vendor: ScriptedVendor) -> AsyncIterator[Sidecar]:
    async with start_sidecar(tmp_path, YAML.format(url=vendor.url), KEYS) as started:
        yield started


@pytest.fixture
async def impatient(tmp_path: Path, vendor: ScriptedVendor) -> AsyncIterator[Sidecar]:
    """A sidecar with `max_wait: 0s`: each response of the vendor is relayed at once."""
    text = "defaults: {max_wait: 0s}" + YAML.format(url=vendor.url)
    async with start_sidecar(tmp_path, text, KEYS) as started:
        yield started


@pytest.fixture
def restless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the wait for an edited file to settle, where the test writes it at once."""
    monkeypatch.setattr("sidecar.config.manager.SETTLE_SECONDS", 0.001)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One chromium for all tests that need one; without one they are skipped, and say so."""
    from browser import chromium

    async with chromium() as started:
        yield started


@pytest_asyncio.fixture(loop_scope="session")
async def window(browser: Browser) -> AsyncIterator[BrowserContext]:
    """A window of its own."""
    from browser import a_window

    async with a_window(browser) as context:
        yield context


@pytest_asyncio.fixture(loop_scope="session")
async def tab(window: BrowserContext, proxy: Sidecar) -> AsyncIterator[Tab]:
    """A signed-in page of the module's own sidecar, which complains of nothing and asks nobody
    else."""
    from browser import Tab

    found = await Tab(await window.new_page(), proxy).sign_in()
    yield found
    assert not found.complaints
    assert not [url for url in found.asked if not url.startswith((found.url + "/", "blob:"))]
