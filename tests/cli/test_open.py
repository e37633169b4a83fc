"""`sidecar open`: a link for one browser, that no other user of the machine can see."""

from __future__ import annotations

import http.client
import json
import os
import pty
import re
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cli_runner import PATIENCE, SIDECAR, Cli

LINK = re.compile(r"http://127\.0\.0\.1:\d+/#code=([\w-]{43})")


@pytest.fixture
def shell(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def sign_in(link: str) -> int:
    """Whether the link's code lets somebody in."""
    address, _, code = link.partition("/#code=")
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=PATIENCE)
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/console/api/session", json.dumps({"code": code}), headers)
    status = connection.getresponse().status
    connection.close()
    return status


def test_console_link_works_for_one_browser_once(shell: Cli) -> None:
    with shell.serving():
        done = shell.run("open", "--print")
        assert done.status == 0
        link = done.out.strip()
        assert LINK.fullmatch(link)
        assert [sign_in(link), sign_in(link)] == [200, 401]


def test_open_starts_the_browser_without_the_link_in_its_arguments(shell: Cli) -> None:
    seen = shell.folder / "seen"
    browser = shell.folder / "browser"
    browser.write_text(f'#!/bin/sh\necho "$@" > {seen}\n')
    browser.chmod(0o700)
    with shell.serving():
        done = shell.spawn("open", BROWSER=f"{browser} %s")
        code = LINK.search(done.out)
        assert code is not None
        page = Path(urlsplit(seen.read_text().strip()).path)
        assert code[1] not in seen.read_text()
        assert page == shell.state / "open.html"
        assert page.stat().st_mode & 0o077 == 0
        assert code[0] in page.read_text()


def test_open_without_a_screen_only_prints_the_link(shell: Cli) -> None:
    with shell.serving():
        done = shell.run("open", SSH_CONNECTION="here there")
    assert LINK.search(done.out)
    assert "ssh -L" in done.err
    assert not (shell.state / "open.html").exists()


def test_signing_out_ends_links_too(shell: Cli) -> None:
    with shell.serving():
        link = shell.run("open", "--print").out.strip()
        assert shell.run("open", "--sign-out").status == 0
        assert sign_in(link) == 401


def test_open_without_a_process_names_serve(shell: Cli) -> None:
    done = shell.run("open")
    assert done.status == 3
    assert "sidecar serve" in done.err


def test_console_link_is_shown_on_a_terminal_and_not_logged(shell: Cli) -> None:
    with shell.serving() as served:
        assert "sidecar open" in served.log.read_text()
        assert not LINK.search(served.log.read_text())
    ours, theirs = pty.openpty()
    argv = [*SIDECAR, "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    process = subprocess.Popen(argv, cwd=shell.folder, env=shell.env, stderr=theirs, stdin=theirs)
    os.close(theirs)
    said = ""
    deadline = time.monotonic() + PATIENCE
    while not (found := LINK.search(said)) and time.monotonic() < deadline:
        said += os.read(ours, 4096).decode(errors="replace")
    try:
        assert found is not None, said
        assert sign_in(found[0]) == 200
    finally:
        process.terminate()
        process.wait(PATIENCE)
        os.close(ours)
