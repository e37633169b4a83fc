"""`sidecar open`: sign one browser in to the console."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

import click

from sidecar.admin.api_types.config import ConsoleLink, SessionsEnded
from sidecar.cli.client import ProcessError, find_process
from sidecar.cli.commands.status import NOT_RUNNING
from sidecar.cli.options import fail, note, state_option
from sidecar.files import write_private

PAGE = """<!doctype html>
<meta charset="utf-8">
<meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0; url={url}">
<title>Sidecar</title>
<p><a href="{url}">Open the console</a></p>
"""


@click.command("open")
@click.option("--print", "only_print", is_flag=True, help="Print the link and open no browser.")
@click.option("--sign-out", is_flag=True, help="End every session and link instead.")
@state_option
def open_command(only_print: bool, sign_out: bool, state: Path) -> None:
    """Open the console of the running process in your browser.

    The link works once, for one browser, within five minutes. It is also printed. It never
    appears in the list of processes: the browser opens a private page in the state directory.

    \b
    Examples:
      sidecar open
      sidecar open --print
      sidecar open --sign-out

    Exit status: 0 done; 3 no process runs.
    """
    try:
        live = find_process(state)
        if live is None:
            fail(f"no process runs with the state {state}; start one: sidecar serve", NOT_RUNNING)
        if sign_out:
            ended = live.post(SessionsEnded, "api", "close").ended
            note(f"{ended} sessions ended; unused links are void")
            return
        link = live.post(ConsoleLink, "api", "open")
    except ProcessError as error:
        fail(str(error), NOT_RUNNING)
    click.echo(link.url)
    note(f"lets one browser in, once, within {link.seconds / 60:.0f} minutes")
    if "SSH_CONNECTION" in os.environ:
        port = urlsplit(link.url).port
        note(f"from another machine: ssh -L {port}:127.0.0.1:{port} HOST, then open it there")
    if not only_print and has_browser():
        show(link.url, state)


def has_browser() -> bool:
    """Return whether a browser window can open here."""
    if os.environ.get("BROWSER"):
        return True
    if sys.platform in {"darwin", "win32"}:
        return "SSH_CONNECTION" not in os.environ
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def show(url: str, state: Path) -> None:
    """Open a local page that leads to `url`: other users can read a browser's arguments."""
    import webbrowser

    page = state / "open.html"
    write_private(page, PAGE.format(url=url).encode())
    if not webbrowser.open(page.absolute().as_uri()):
        note("no browser could be started; open the link yourself")
