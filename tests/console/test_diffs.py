"""The lines that the console shows of an edit: right for any two texts, and quick for long ones."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from sidecar.admin.config_file import CONTEXT_LINES, diff

LINES = st.lists(st.sampled_from(["", "a", "b", "  c: 1", "d", "e", "f"]), max_size=20)
LONG = "".join(
    f"  key-{n}:\n    group: G\n    hash: sha256:{n:064x}\n    limits: {{rpm: 60}}\n"
    for n in range(10_000)
)


def told(old: str, new: str) -> list[str]:
    return [f"{row.mark}{row.text}" for row in diff(old.encode(), new.encode())]


@given(LINES, LINES)
def test_diff_shows_exactly_the_changed_lines(old: list[str], new: list[str]) -> None:
    rows = diff("\n".join(old).encode(), "\n".join(new).encode())
    old, new = "\n".join(old).split("\n"), "\n".join(new).split("\n")
    for row in rows:
        if row.mark != "@":
            assert row.text == (old if row.mark == "-" else new)[row.line - 1]
    shown = [row.line for row in rows if row.mark in " +"]
    assert shown == sorted(set(shown))
    gone = {row.line - 1 for row in rows if row.mark == "-"}
    came = {row.line - 1 for row in rows if row.mark == "+"}
    kept = [line for number, line in enumerate(old) if number not in gone]
    assert kept == [line for number, line in enumerate(new) if number not in came]


def test_a_change_is_shown_among_its_neighbours() -> None:
    old = "\n".join("abcdefghijklmnop")
    assert told(old, old.replace("c", "C").replace("n", "N")) == [
        " a", " b", "-c", "+C", " d", " e", "@", " l", " m", "-n", "+N", " o", " p",
    ]  # fmt: skip
    assert told(old, old.replace("c", "C").replace("h", "H")).count("@") == 0
    assert len(told(old, old.replace("h", "H"))) == 2 + 2 * CONTEXT_LINES
    assert told(old, old) == []


def test_two_changes_in_a_long_file_are_found_at_once() -> None:
    new = LONG.replace("group: G\n", "group: H\n", 1).replace("  key-9999:", "  renamed:")
    began = time.process_time()
    rows = told(LONG, new)
    assert time.process_time() - began < 5  # line by line it would be minutes
    assert [row for row in rows if row[0] in "-+"] == [
        "-    group: G", "+    group: H", "-  key-9999:", "+  renamed:",
    ]  # fmt: skip
