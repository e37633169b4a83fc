"""`sidecar top`, as a person sees it: on a terminal of any size, and in a pipe."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cli_runner import PATIENCE, SIDECAR, Cli
from hypothesis import example, given, settings
from hypothesis import strategies as st
from project_paths import ROOT
from rich.console import Console

from sidecar import humanize
from sidecar.admin.api_types.live import LiveState
from sidecar.cli.render.top import BAR_CHARS, ScreenSize, bar, frame, shared_out

FILE = """\
groups: {demo: {vendor: echo, limits: {rpm: 60, concurrency: 5}}}
keys: {first: {group: demo}}
"""


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path, text=FILE)


class Terminal:
    """A command on a terminal of its own, and what it wrote there."""

    def __init__(self, cli: Cli, *typed: str, columns: int = 80, rows: int = 24) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.before = termios.tcgetattr(theirs)
        env = {**cli.env, "TERM": "xterm-256color", "COLUMNS": "", "LINES": ""}
        self.process = subprocess.Popen(
            [*SIDECAR, *typed], cwd=cli.folder, env=env, stdin=theirs, stdout=theirs,
            stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self._theirs = theirs
        self.written = b""

    def until(self, text: str) -> str:
        """Wait until something was written; all that came since the last time."""
        deadline = time.monotonic() + PATIENCE
        while text.encode() not in self.written:
            assert time.monotonic() < deadline, self.written.decode(errors="replace")
            self.written += self._read()
        found, self.written = self.written.decode(), b""
        return found

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def ends(self) -> int:
        """How it ended; `written` has the rest."""
        status = self.process.wait(PATIENCE)
        os.set_blocking(self._ours, False)
        try:
            while piece := self._read():
                self.written += piece
        except BlockingIOError:
            pass
        assert self.process.stderr is not None
        assert self.process.stderr.read() == b""
        return status

    def settings(self) -> list[Any]:
        return termios.tcgetattr(self._theirs)

    def _read(self) -> bytes:
        try:
            return os.read(self._ours, 1 << 16)
        except OSError as error:
            if error.errno == errno.EIO:
                return b""
            raise

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()
        os.close(self._ours)
        os.close(self._theirs)


@contextmanager
def terminal(cli: Cli, *typed: str, **size: int) -> Iterator[Terminal]:
    found = Terminal(cli, *typed, **size)
    try:
        yield found
    finally:
        found.close()


SHOWN, GIVEN_BACK = "\x1b[?1049h", "\x1b[?1049l"
"""The other screen, and the one from before."""


def test_top_redraws_until_q_is_pressed(cli: Cli) -> None:
    key = cli.create("k")
    with cli.serving() as served, terminal(cli, "top") as screen:
        assert SHOWN in screen.until("0 running, 0 waiting, 0 admitted")
        assert served.call(key) == 200
        screen.until("1 admitted")
        assert "░░░" in screen.until("group demo")
        screen.type("xyz")
        screen.until("network up")
        assert screen.process.poll() is None
        screen.type("q")
        assert screen.ends() == 0
        assert GIVEN_BACK in screen.written.decode()
        assert screen.settings() == screen.before


@contextmanager
def interrupts_ignored() -> Iterator[None]:
    """As in the background of a script, whose commands inherit it."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_top_restores_the_screen_on_a_signal(cli: Cli, how: signal.Signals) -> None:
    with cli.serving(), interrupts_ignored(), terminal(cli, "top") as screen:
        screen.until("0 running")
        screen.process.send_signal(how)
        assert screen.ends() == 0
        assert GIVEN_BACK in screen.written.decode()
        assert screen.settings() == screen.before


def test_top_reports_a_stopped_process_and_continues_with_the_next(cli: Cli) -> None:
    with cli.serving() as served:
        screen = Terminal(cli, "top")
        screen.until(f"process {served.process.pid}")
    try:
        screen.until("the process stopped or hangs; this is the last frame")
        with cli.serving() as next_one:
            screen.until(f"process {next_one.process.pid}")
            screen.type("q")
            assert screen.ends() == 0
    finally:
        screen.close()


def test_top_shows_a_pause(cli: Cli) -> None:
    with cli.serving(), terminal(cli, "top") as screen:
        screen.until("0 running")
        cli.run("pause", "first")
        screen.until(
            'paused: key "first", just now by the command line (sidecar resume --key first)'
        )
        cli.run("pause", "all")
        screen.until("paused: everything, just now by the command line (sidecar resume all)")


def test_top_prints_one_frame_to_a_pipe(cli: Cli) -> None:
    key = cli.create("k")
    with cli.serving() as served:
        served.call(key)
        for words_ in (("top",), ("top", "--once")):
            done = cli.spawn(*words_)
            assert done.status == 0
            assert "0 running, 0 waiting, 1 admitted" in done.out
            assert re.search(r"group demo +rpm +░{12} +1 of 60 +\d+ s +routes.yaml:1", done.out)
            assert "\x1b" not in done.out


def test_top_without_a_process_exits_3(cli: Cli) -> None:
    for words_ in (("top",), ("top", "--once"), ("top", "--json")):
        done = cli.run(*words_)
        assert (done.status, done.out) == (3, "")
        assert "no process runs" in done.err


def test_top_json_has_the_documented_fields(cli: Cli) -> None:
    page = (ROOT / "docs/cli.md").read_text()
    section = page.partition("## `sidecar top`")[2].partition("\n## ")[0]
    promised = set(re.findall(r"`(\w+)`", section))
    key = cli.create("k")
    with cli.serving() as served:
        served.call(key)
        cli.run("pause", "first")
        found = cli.run("top", "--json").json
    assert set(found) <= promised
    for name in ("limits", "holds"):
        assert set(found[name][0]) - {"what"} <= promised, name
    assert set(found["network"]) - {"what"} <= promised


def call(number: int, state: str = "answering") -> dict[str, Any]:
    return {
        "call": f"call_{number:015x}", "state": state, "key": f"key {number}", "group": "demo",
        "urgency": "interactive", "program": None, "caller": None, "endpoint": "chat",
        "model": "gpt-5-mini",
        "streaming": True, "provider": "a provider", "credential": None, "model_served": None,
        "attempts": 1, "age": 12.5, "waited": 0.0, "first_byte": 0.25, "bytes": 4096,
        "input_tokens": 1200, "output_tokens": None,
    }  # fmt: skip


def line(number: int) -> dict[str, Any]:
    stand = {
        "gate": "group demo is at its limit of 60 rpm (routes.yaml:7)", "scope": "group demo",
        "kind": "rpm", "provider": "main", "before": number, "waiting": 99, "opens": 31.5,
    }  # fmt: skip
    return {
        "call": f"call_{number:015x}", "key": "nightly", "group": "demo", "urgency": "background",
        "model": "gpt-5-mini", "waited": 31.0, "remaining_wait": 89.0, "behind": [stand],
    }  # fmt: skip


def gate(number: int, what: str) -> dict[str, Any]:
    return {
        "what": what, "scope": f"group {number}", "kind": "rpm", "models": None, "unit": "calls",
        "limit": 60, "used": number % 90, "left": 60 - number % 90, "kept": 0, "reset": 12.0,
        "line": "routes.yaml:7", "waiting": 0, "provider": "main", "credential": "env:A_LONG_NAME",
        "family": "gpt-5-mini", "seconds": 3.0, "reason": "429 rate_limit_exceeded",
        "verdict": "rate_limited", "until": 1_764_000_003.0, "reserved": 0,
    }  # fmt: skip


def view_of(counts: list[int], *, up: bool = True) -> dict[str, Any]:
    calls, lines, limits, quotas, cooldowns = counts
    return {
        "at": 1_764_000_000.0, "pid": 4711, "started": 1_763_990_000.0, "in_flight": calls + lines,
        "waiting": {"interactive": 0, "normal": 0, "background": lines}, "granted": 12345,
        "calls": [call(n) for n in range(calls)], "lines": [line(n) for n in range(lines)],
        "limits": [gate(n, "limit") for n in range(1, limits + 1)],
        "quotas": [gate(n, "quota") for n in range(quotas)],
        "cooldowns": [gate(n, "cooldown") for n in range(cooldowns)],
        "subscriptions": [],
        "holds": [], "network": {"what": "network", "up": up, "seconds": 2.0, "waiting": 0},
        "retries": {"left": 3, "most": 30}, "unpriced": [],
    }  # fmt: skip


def drawn(view: dict[str, Any], size: ScreenSize) -> list[str]:
    console = Console(width=size.width, color_system=None, force_terminal=True)
    with console.capture() as capture:
        console.print(frame(msgspec.convert(view, LiveState), size))
    return capture.get().rstrip("\n").split("\n")


@settings(deadline=None, max_examples=40)
@example(counts=[6, 0, 0, 0, 4], up=False, width=40, height=14)
@given(
    st.lists(st.integers(0, 25), min_size=5, max_size=5),
    st.booleans(),
    st.integers(40, 200),
    st.one_of(st.none(), st.integers(14, 80)),
)
def test_frame_fits_its_screen_and_counts_hidden_rows(
    counts: list[int], up: bool, width: int, height: int | None
) -> None:
    view = view_of(counts, up=up)
    rows = drawn(view, ScreenSize(width, height))
    assert max(map(len, rows)) <= width
    if height is not None:
        assert len(rows) <= height
    text = "\n".join(rows)
    for name, title, mark in (
        ("calls", "running", "●"), ("lines", "waiting", "·"),
    ):  # fmt: skip
        count = len(view[name])
        shown = sum(1 for row in rows if row.startswith(mark))
        if height is None:
            assert shown == count
        elif shown < count and shown:
            assert "more" in text
        assert not count or any(row.startswith(title) for row in rows)


@pytest.mark.parametrize("width", [40, 59, 60])
def test_frame_on_the_narrowest_screen_keeps_row_names(width: int) -> None:
    text = "\n".join(drawn(view_of([3, 0, 5, 5, 5]), ScreenSize(width)))
    assert all(f"● 00000{n}" in text for n in range(3))
    assert all(f"group {n}" in text for n in range(1, 6))
    assert text.count("main gpt") == 10


def test_frame_escapes_control_characters_of_clients() -> None:
    """A model's name may hold what would clear the screen, or type for its user."""
    evil = "gpt\x1b[2J\x9b5m\x07\r\n\u202e"
    view = view_of([0] * 5) | {
        "calls": [call(0) | {"model": evil, "provider": evil}],
        "lines": [line(0) | {"model": evil}],
        "cooldowns": [gate(0, "cooldown") | {"family": evil}],
        "subscriptions": [
            {"provider": evil, "key": evil, "window": evil, "used": 0.5, "reset": 60.0}
        ],
        "holds": [],
    }
    text = "\n".join(drawn(view, ScreenSize(120)))
    assert "gpt" in text
    assert not set(evil) - set("gpt[2J5m") & set(text.replace("\n", ""))


def test_frame_uses_plain_characters_without_block_characters(cli: Cli) -> None:
    key = cli.create("k")
    with cli.serving() as served:
        served.call(key)
        done = cli.spawn_cold("top", "--once", PYTHONIOENCODING="ascii")
        assert done.status == 0
        assert "------------  1 of 60" in done.out


@given(st.lists(st.integers(0, 50), max_size=6), st.integers(-5, 100))
def test_screen_rows_are_shared_between_sections(wants: list[int], room: int) -> None:
    got = shared_out(wants, room)
    assert all(0 <= have <= want for have, want in zip(got, wants, strict=True))
    assert sum(got) == min(sum(wants), max(room, 0))
    hungry = [have for have, want in zip(got, wants, strict=True) if have < want]
    assert not hungry or max(got) - min(hungry) <= 1


@pytest.mark.parametrize(
    ("part", "full"), [(0, 0), (0.5, 6), (1, BAR_CHARS), (1.7, BAR_CHARS), (-0.5, 0), (0.04, 0)]
)
def test_bar_is_as_long_as_its_part(part: float, full: int) -> None:
    assert bar(part).plain == "█" * full + "░" * (BAR_CHARS - full)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "?"), (0, "0 ms"), (0.08, "80 ms"), (2.44, "2.4 s"), (9.96, "10 s"), (31.2, "32 s"),
     (119.5, "120 s"), (121, "3 min"), (7199, "120 min"), (7201, "3 h"), (200_000, "3 d")],
)  # fmt: skip
def test_span_is_rounded_for_people(seconds: float | None, text: str) -> None:
    assert humanize.span(seconds) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(None, "calls", "?"), (0, "calls", "0"), (999, "tokens", "999"), (1204, "tokens", "1.2k"),
     (104_000, "tokens", "104k"), (2_000_000, "tokens", "2M"), (0.25, "usd", "$0.25")],
)  # fmt: skip
def test_short_number_has_few_characters(value: float | None, unit: str, text: str) -> None:
    assert humanize.short(value, unit) == text
