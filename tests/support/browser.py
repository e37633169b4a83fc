"""A real browser in front of a real sidecar: Debian's chromium, best its shell without windows."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from console_session import code_of
from playwright.async_api import Browser, BrowserContext, Dialog, Locator, Page, async_playwright
from running_sidecar import Sidecar, sidecar
from scripted_vendor import Script, ScriptedVendor, scripted_vendor

CHROMIUM = (
    os.environ.get("SIDECAR_CHROMIUM")
    or shutil.which("chromium-headless-shell")  # the same engine, in half the processor time
    or shutil.which("chromium")
    or ""
)
MISSING = (
    "no chromium here: the console was not driven in a browser (apt-get install chromium, or name "
    "one in SIDECAR_CHROMIUM)"
)
OPTIONS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip
TIMEOUT_MILLISECONDS = 15_000
AXE = "axe_playwright_python/axe.min.js"


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A browser with a profile of its own, which is gone afterwards."""
    if not CHROMIUM:
        pytest.skip(MISSING)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        await browser.close()


@dataclass
class Tab:
    """One page of a browser, and what it complained about."""

    page: Page
    proxy: Sidecar
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(TIMEOUT_MILLISECONDS)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("dialog", self._alerted)

    def _said(self, message: Any) -> None:
        # Answers that a test provokes (401, 404, 409, 412, 422) are logged by the browser itself.
        if message.type in {"error", "warning"} and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)

    async def _alerted(self, dialog: Dialog) -> None:
        self.complaints.append(f"alert: {dialog.message}")
        await dialog.dismiss()

    @property
    def url(self) -> str:
        return self.proxy.running.admin_url

    async def sign_in(self) -> Tab:
        """Come by a one-time link."""
        await self.page.goto(f"{self.url}/#code={await code_of(self.proxy)}")
        await self.heading("API keys")
        return self

    async def go(self, place: str, heading: str) -> None:
        """Go to a page of the console."""
        await self.page.goto(f"{self.url}/#/{place}")
        await self.heading(heading)

    async def heading(self, text: str) -> None:
        await self.page.get_by_role("heading", level=1, name=text, exact=True).wait_for()

    def button(self, name: str) -> Locator:
        """A button, of the dialog if one is open."""
        return self.scope.get_by_role("button", name=name, exact=True)

    @property
    def scope(self) -> Locator:
        return self.page.locator("dialog[open], body:not(:has(dialog[open]))").last

    @property
    def dialog(self) -> Locator:
        return self.page.locator("dialog[open]")

    async def press(self, name: str) -> None:
        await self.button(name).click()

    async def confirm(self, name: str) -> None:
        """Press a button of the dialog that opens."""
        await self.dialog.last.get_by_role("button", name=name, exact=True).click()

    async def type(self, label: str, text: str) -> None:
        await self.scope.get_by_label(label, exact=True).fill(text)

    async def choose(self, label: str, value: str) -> None:
        await self.scope.get_by_label(label, exact=True).select_option(value)

    async def says(self, text: str) -> None:
        """Wait until the page says so, visibly."""
        await self.page.get_by_text(text).first.wait_for()

    async def row(self, name: str) -> str:
        """The words of a row of the page's table."""
        found: str = await self.page.locator("tbody tr", has_text=name).inner_text()
        return found

    async def violations(self) -> list[str]:
        """Return the serious and critical violations that axe-core finds on the page now.

        The script is loaded once a document: it is half a megabyte.
        """
        import axe_playwright_python

        if not await self.page.evaluate("'axe' in window"):
            source = Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text()
            await self.page.evaluate(source)
        found = await self.page.evaluate("axe.run({resultTypes: ['violations']})")
        return [
            f"{each['id']}: {node['html'][:200]}"
            for each in found["violations"]
            if each["impact"] in {"serious", "critical"}
            for node in each["nodes"]
        ]


@asynccontextmanager
async def a_window(browser: Browser, **options: Any) -> AsyncIterator[BrowserContext]:
    """A window of its own: no tab in it knows of another window's session."""
    context = await browser.new_context(**options)
    try:
        yield context
    finally:
        await context.close()


def served(yaml: str, names: tuple[str, ...], first: Script) -> tuple[Any, Any]:
    """The fixtures `vendor` and `proxy` of a module whose tests share a browser: a vendor that
    begins with that answer, and a sidecar in front of it, with `URL` in its file."""

    @pytest_asyncio.fixture(loop_scope="session")
    async def vendor() -> AsyncIterator[ScriptedVendor]:
        async with scripted_vendor() as started:
            started.play(first)
            yield started

    @pytest_asyncio.fixture(loop_scope="session")
    async def proxy(tmp_path: Path, vendor: ScriptedVendor) -> AsyncIterator[Sidecar]:
        async with sidecar(tmp_path, yaml.replace("URL", vendor.url), names) as started:
            yield started

    return vendor, proxy
