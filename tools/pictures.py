"""The pictures of README and docs: `make pictures`. Needs chromium.

Three pages of the console and a frame of `sidecar top`, of one process with the same calls.
"""

from __future__ import annotations

import asyncio
import io
import re
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from browser import Tab, a_window, chromium
from playwright.async_api import Browser
from rich.console import Console
from running_sidecar import Sidecar, sidecar
from screenshots import NAMES, YAML, running_calls, some_history, some_traffic
from scripted_vendor import scripted_vendor

from sidecar.admin.api_types.live import LiveState
from sidecar.cli.client import find_process
from sidecar.cli.render.top import ScreenSize, frame

PAGES = {"keys": "keys", "live": "live", "usage": "usage?days=30"}
WINDOW = {"width": 1280, "height": 800}
TERMINAL = ScreenSize(138)
FONTS = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)
"""Fonts that a page would load from another server; a picture cannot."""


async def main(folder: Path) -> None:
    """Take the pictures into `folder`."""
    async with AsyncExitStack() as stack:
        browser = await stack.enter_async_context(chromium())
        vendor = await stack.enter_async_context(scripted_vendor())
        here = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        proxy = await stack.enter_async_context(
            sidecar(here, YAML.replace("URL", vendor.url), NAMES)
        )
        some_history(proxy)
        await some_traffic(proxy, vendor)
        async with running_calls(proxy, vendor):
            await pages(browser, proxy, folder)
            (folder / "top.svg").write_text(await top(proxy))


async def pages(browser: Browser, proxy: Sidecar, folder: Path) -> None:
    async with a_window(browser, viewport=WINDOW, color_scheme="light") as context:
        tab = await Tab(await context.new_page(), proxy).sign_in()
        for name, place in PAGES.items():
            await tab.page.goto("about:blank")  # else only the fragment would change
            await tab.page.goto(f"{tab.url}/#/{place}")
            await tab.page.locator("main h1").wait_for()
            await tab.page.wait_for_timeout(700)
            await tab.page.screenshot(path=folder / f"{name}.png")


async def top(proxy: Sidecar) -> str:
    """Return a frame of `sidecar top` as a drawing."""
    process = await asyncio.to_thread(find_process, proxy.state)
    assert process is not None
    view = await asyncio.to_thread(process.get, "/api/live", LiveState)
    console = Console(
        record=True, width=TERMINAL.width, file=io.StringIO(), force_terminal=True,
        highlight=False, color_system="truecolor",
    )  # fmt: skip
    console.print(frame(view, TERMINAL))
    return FONTS.sub("", console.export_svg(title="sidecar top", unique_id="top"))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
