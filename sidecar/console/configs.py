"""The file as the console shows it: its text, its problems at their lines, its older versions."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from sidecar.console.changing import on_disk
from sidecar.console.diffs import diff
from sidecar.console.parts import Asked, Declined, Parts
from sidecar.loading import masked
from sidecar.reload import digest_of
from sidecar.standing import Reload
from sidecar.versions import Version

_PLACE = re.compile(r":(\d+):(\d+): (.*)", re.DOTALL)


async def config(parts: Parts, _: Asked) -> dict[str, Any]:
    """The file of now, whether it is in force, and how it came to be so."""
    standing = parts.configuration.standing
    text = on_disk(parts)
    versions = await asyncio.to_thread(parts.configuration.versions.listed)
    return {
        "file": str(parts.configuration.file.absolute()),
        "digest": digest_of(text),
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


async def version(parts: Parts, asked: Asked) -> dict[str, Any]:
    """An older version, and how it differs from the file of now."""
    wanted = asked.query.get("number", "")
    number = int(wanted) if wanted.isdecimal() else 0
    text = await asyncio.to_thread(parts.configuration.versions.text, number)
    if text is None:
        raise Declined(404, "not_found", "that version is not kept any more")
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


def _look(one: Reload) -> dict[str, Any]:
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
