"""The configuration file for the console: its text, problems, versions and diffs."""

from __future__ import annotations

import asyncio
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Any, NamedTuple

from sidecar.admin.context import ApiError, ApiRequest, Parts, on_disk
from sidecar.config.history import Version
from sidecar.config.status import ReloadEvent
from sidecar.config.yaml.redact import masked
from sidecar.files import content_digest

AROUND = 2
"""Unchanged lines that are shown around a change."""


class Span(NamedTuple):
    """Lines `i` to `i_end` of the old text, in whose place are `j` to `j_end` of the new one."""

    i: int
    i_end: int
    j: int
    j_end: int


class _Run(NamedTuple):
    """Lines that are the same in both texts and stand in the same order: the last, and the rest."""

    i: int
    j: int
    before: _Run | None


def diff(old: bytes, new: bytes) -> list[dict[str, Any]]:
    """The lines that differ, with a few around them: `mark` is " ", "-", "+" or "@" where lines
    are left out; `line` is the number in the new text, or in the old one for "-"."""
    before, after = _lines(old), _lines(new)
    rows: list[dict[str, Any]] = []
    at = 0  # how much of the new text is shown or left out by now
    for span in _changes(before, after):
        if rows and span.j - at > 2 * AROUND:
            rows += _rows(" ", after, at, at + AROUND)
            rows.append({"mark": "@", "line": 0, "text": ""})
            at = span.j - AROUND
        rows += _rows(" ", after, at if rows else max(0, span.j - AROUND), span.j)
        rows += _rows("-", before, span.i, span.i_end)
        rows += _rows("+", after, span.j, span.j_end)
        at = span.j_end
    return rows + (_rows(" ", after, at, min(at + AROUND, len(after))) if rows else [])


def _rows(mark: str, lines: list[str], start: int, end: int) -> list[dict[str, Any]]:
    return [{"mark": mark, "line": n + 1, "text": masked(lines[n])} for n in range(start, end)]


def _lines(text: bytes) -> list[str]:
    return text.decode("utf-8", "replace").split("\n")


def _changes(before: list[str], after: list[str]) -> Iterator[Span]:
    """What differs, in order. Only what lies between two anchors is compared line by line, which
    takes the square of its length."""
    i = j = 0
    for i_end, j_end in [*_anchors(before, after), (len(before), len(after))]:
        old, new = before[i:i_end], after[j:j_end]
        if old != new:
            for tag, a, a_end, b, b_end in SequenceMatcher(None, old, new).get_opcodes():
                if tag != "equal":
                    yield Span(i + a, i + a_end, j + b, j + b_end)
        i, j = i_end + 1, j_end + 1


def _anchors(before: list[str], after: list[str]) -> list[tuple[int, int]]:
    """Where the lines are that stand once in either text: the most of them that keep their order
    (the longest rising run, as in sorting by patience)."""
    there = _once(after)
    ends: list[int] = []  # for each length, the least place in which a run can end
    last: list[_Run] = []  # that run
    for line, i in _once(before).items():
        if line in there:
            j = there[line]
            length = bisect_left(ends, j)
            longer = _Run(i, j, last[length - 1] if length else None)
            ends[length : length + 1], last[length : length + 1] = [j], [longer]
    found = []
    run = last[-1] if last else None
    while run is not None:
        found.append((run.i, run.j))
        run = run.before
    return found[::-1]


def _once(lines: list[str]) -> dict[str, int]:
    counts = Counter(lines)
    return {line: number for number, line in enumerate(lines) if counts[line] == 1}


_PLACE = re.compile(r":(\d+):(\d+): (.*)", re.DOTALL)


async def config(parts: Parts, _: ApiRequest) -> dict[str, Any]:
    """The file of now, whether it is in force, and how it came to be so."""
    standing = parts.configuration.status
    text = on_disk(parts)
    versions = await asyncio.to_thread(parts.configuration.versions.listed)
    return {
        "file": str(parts.configuration.file.absolute()),
        "digest": content_digest(text),
        "in_force": standing.digest,
        "text": masked(text.decode("utf-8", "replace")),
        "accepted_at": standing.accepted_at,
        "refused_at": standing.refused_at,
        "problems": [_at_its_line(each) for each in standing.problems],
        "warnings": [_at_its_line(str(each)) for each in parts.snapshot.warnings],
        "stays": list(standing.stays),
        "history": [_look(each) for each in reversed(parts.configuration.history)],
        "versions": [_version(each) for each in versions],
    }


async def version(parts: Parts, asked: ApiRequest) -> dict[str, Any]:
    """An older version, and how it differs from the file of now."""
    wanted = asked.query.get("number", "")
    number = int(wanted) if wanted.isdecimal() else 0
    text = await asyncio.to_thread(parts.configuration.versions.text, number)
    if text is None:
        raise ApiError(404, "not_found", "that version is not kept any more")
    return {"number": number, "text": masked(text.decode("utf-8", "replace")),
            "diff": await asyncio.to_thread(diff, text, on_disk(parts))}  # fmt: skip


def _at_its_line(problem: str) -> dict[str, Any]:
    """A problem's text, taken apart into its place and its words."""
    match = _PLACE.search(problem)
    if match is None:
        return {"line": 0, "column": 0, "text": problem}
    return {"line": int(match[1]), "column": int(match[2]), "text": match[3]}


def _in_short(problem: str) -> str:
    found = _at_its_line(problem)
    return f"line {found['line']}: {found['text']}" if found["line"] else problem


def _look(one: ReloadEvent) -> dict[str, Any]:
    return {
        "at": one.at,
        "accepted": one.accepted,
        "lines": list(one.difference) if one.accepted else list(map(_in_short, one.problems)),
    }


def _version(one: Version) -> dict[str, Any]:
    return {
        "number": one.number,
        "at": one.at,
        "digest": one.digest,
        "difference": list(one.difference),
    }
