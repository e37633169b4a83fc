"""The configuration file for the console: its text, problems, versions and diffs."""

from __future__ import annotations

import asyncio
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from msgspec import structs

from sidecar.admin.api_types.config import (
    DiffLine,
    FileEvent,
    FilePage,
    FileProblem,
    VersionPage,
)
from sidecar.admin.context import AdminContext, ApiError, ApiRequest, on_disk
from sidecar.config.status import ReloadEvent
from sidecar.config.yaml.secret_forms import masked
from sidecar.files import content_digest

CONTEXT_LINES = 2
"""Unchanged lines around a change."""


class Span(NamedTuple):
    """Lines `i` to `i_end` of the old text, replaced by `j` to `j_end` of the new one."""

    i: int
    i_end: int
    j: int
    j_end: int


class _Run(NamedTuple):
    """Lines that are equal in both texts and in the same order: the last one, and those before."""

    i: int
    j: int
    before: _Run | None


def diff(old: bytes, new: bytes) -> list[DiffLine]:
    """Return the lines that differ, with a few unchanged ones around them."""
    before, after = _lines(old), _lines(new)
    rows: list[DiffLine] = []
    at = 0  # lines of the new text that are shown or left out so far
    for span in _changes(before, after):
        if rows and span.j - at > 2 * CONTEXT_LINES:
            rows += _rows(" ", after, at, at + CONTEXT_LINES)
            rows.append(DiffLine(mark="@", line=0, text=""))
            at = span.j - CONTEXT_LINES
        rows += _rows(" ", after, at if rows else max(0, span.j - CONTEXT_LINES), span.j)
        rows += _rows("-", before, span.i, span.i_end)
        rows += _rows("+", after, span.j, span.j_end)
        at = span.j_end
    return rows + (_rows(" ", after, at, min(at + CONTEXT_LINES, len(after))) if rows else [])


def _rows(mark: str, lines: list[str], start: int, end: int) -> list[DiffLine]:
    return [DiffLine(mark=mark, line=n + 1, text=masked(lines[n])) for n in range(start, end)]


def _lines(text: bytes) -> list[str]:
    return text.decode("utf-8", "replace").split("\n")


def _changes(before: list[str], after: list[str]) -> Iterator[Span]:
    """Yield what differs, in order. Only lines between two anchors are compared one by one, because
    that takes quadratic time."""
    from difflib import SequenceMatcher  # slow to import

    i = j = 0
    for i_end, j_end in [*_anchors(before, after), (len(before), len(after))]:
        old, new = before[i:i_end], after[j:j_end]
        if old != new:
            for tag, a, a_end, b, b_end in SequenceMatcher(None, old, new).get_opcodes():
                if tag != "equal":
                    yield Span(i + a, i + a_end, j + b, j + b_end)
        i, j = i_end + 1, j_end + 1


def _anchors(before: list[str], after: list[str]) -> list[tuple[int, int]]:
    """Return the places of lines that occur once in each text: the largest set that keeps its order
    (the longest increasing subsequence)."""
    there = _once(after)
    ends: list[int] = []  # for each length, the lowest place at which a run can end
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


async def config(context: AdminContext, _: ApiRequest) -> FilePage:
    """Return the file as it is now, whether it is in force, and its history."""
    configuration = context.services.configuration
    standing, text = configuration.status, on_disk(context)
    versions = await asyncio.to_thread(configuration.versions.listed)
    return FilePage(
        file=str(configuration.file.absolute()),
        digest=content_digest(text),
        in_force=standing.digest,
        text=masked(text.decode("utf-8", "replace")),
        accepted_at=standing.accepted_at,
        refused_at=standing.refused_at,
        problems=[_without_path(each) for each in standing.problems],
        warnings=[_without_path(str(each)) for each in context.snapshot.warnings],
        stays=list(standing.stays),
        history=[_file_event(each) for each in reversed(configuration.history)],
        versions=versions,
    )


async def version(context: AdminContext, asked: ApiRequest) -> VersionPage:
    """Return an older version, and how it differs from the file of now."""
    wanted = asked.query.get("number", "")
    number = int(wanted) if wanted.isdecimal() else 0
    text = await asyncio.to_thread(context.services.configuration.versions.text, number)
    if text is None:
        raise ApiError(404, "not_found", "that version is not kept any more")
    return VersionPage(
        number=number,
        text=masked(text.decode("utf-8", "replace")),
        diff=await asyncio.to_thread(diff, text, on_disk(context)),
    )


def problem_at_its_line(problem: str) -> FileProblem:
    """Return a problem, whose text names the file and the place, with its place."""
    match = _PLACE.search(problem)
    line, column = (0, 0) if match is None else (int(match[1]), int(match[2]))
    return FileProblem(line=line, column=column, text=problem)


def _without_path(problem: str) -> FileProblem:
    match = _PLACE.search(problem)
    found = problem_at_its_line(problem)
    return found if match is None else structs.replace(found, text=match[3])


def _in_short(problem: str) -> str:
    found = _without_path(problem)
    return f"line {found.line}: {found.text}" if found.line else problem


def _file_event(event: ReloadEvent) -> FileEvent:
    lines = list(event.difference) if event.accepted else list(map(_in_short, event.problems))
    return FileEvent(at=event.at, accepted=event.accepted, lines=lines)
