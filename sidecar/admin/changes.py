"""Shows what an edit would do, or makes it: checked, written whole, and confirmed in force.

An edit is refused, never merged, when the file is not the one that the caller has seen; the answer
then says what changed meanwhile, so that a person can decide to make it again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from sidecar.admin.config_file import diff
from sidecar.admin.context import ApiError, ApiRequest, Parts, find_key, on_disk
from sidecar.admin.edit_fields import Base, Made
from sidecar.admin.edits import AnyEdit, Restore
from sidecar.admin.introspect.dry_run import HypotheticalCall
from sidecar.admin.introspect.explain import explain
from sidecar.config.loader import difference
from sidecar.config.manager import build_snapshot
from sidecar.config.model import Snapshot
from sidecar.config.patterns import matches_any
from sidecar.config.yaml.nodes import compose_once, gc_paused
from sidecar.errors import ConfigError, EditRefused, Problem
from sidecar.files import content_digest, replace_file

log = logging.getLogger("sidecar.admin.console")

MAX_MATCHES = 200


class RouteQuestion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where would a call of this key for this model go, after the edit?"""

    key: str
    model: str


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a request to change the file; a `preview` changes nothing."""

    edit: AnyEdit
    preview: bool = False
    question: RouteQuestion | None = None


async def change(parts: Parts, asked: ApiRequest) -> dict[str, Any]:
    """Show an edit, or make it."""
    order = read_order(asked.body)
    if order.preview:
        base = await _base(parts, order.edit, asked.seen)
        return await _shown(parts, order, base)
    async with parts.editing:
        base = await _base(parts, order.edit, asked.seen)
        return await _made(parts, order.edit, base)


def read_order(body: bytes) -> Order:
    """The body as an order. Raises `ApiError` (400)."""
    try:
        return msgspec.json.decode(body, type=Order)
    except msgspec.MsgspecError as error:
        raise ApiError(400, "bad_request", f"this is no edit: {error}") from None


async def _base(parts: Parts, edit: AnyEdit, seen: str | None) -> Base:
    """The file as it is now, if it is the one that the caller has seen."""
    if seen is None:
        raise ApiError(428, "if_match_missing", "say which file you have seen: If-Match: DIGEST")
    configuration = parts.configuration
    text = on_disk(parts)
    if content_digest(text) != configuration.status.digest:
        await configuration.reload()
        text = on_disk(parts)
    found, standing = content_digest(text), configuration.status
    if found != standing.digest and not isinstance(edit, Restore):
        raise ApiError(
            409,
            "file_refused",
            "the file has mistakes and is not in force; mend it, or go back to an older version",
            problems=list(standing.problems),
        )
    if found != seen:
        raise ApiError(
            412,
            "file_changed",
            "the file was changed meanwhile; nothing was written",
            digest=found,
            changed=await asyncio.to_thread(_since, parts, seen),
        )
    return Base(text, parts.snapshot, datetime.fromtimestamp(parts.wall(), UTC),
                configuration.versions)  # fmt: skip


def _since(parts: Parts, seen: str) -> list[str] | None:
    """What changed since a version of the file; None when that is not known any more."""
    text = parts.configuration.versions.with_digest(seen)
    if text is None:
        return None
    try:
        old = build_snapshot(text, parts.configuration.file, parts.registry)
    except ConfigError:
        return None
    return difference(old, parts.snapshot) or ["no effective change: comments or order"]


async def _shown(parts: Parts, order: Order, base: Base) -> dict[str, Any]:
    made, meant = await asyncio.to_thread(_tried, parts, order.edit, base)
    shown: dict[str, Any] = {
        "digest": content_digest(base.text),
        "diff": await asyncio.to_thread(diff, base.text, made.text),
        "problems": [],
        "difference": [],
        "question": None,
        "matches": [],
    }
    if isinstance(meant, ConfigError):
        return shown | {"problems": problems_of(meant.problems)}
    shown["difference"] = await asyncio.to_thread(difference, base.snapshot, meant)
    if order.question is not None:
        # By the routes alone: what is used now was used under the file of now.
        call = HypotheticalCall(find_key(meant, order.question.key), order.question.model)
        shown["question"] = explain(call, parts.registry.dialects, parts.usable)
        shown["matches"] = _matches(parts, meant, order.question.key)
    return shown


async def _made(parts: Parts, edit: AnyEdit, base: Base) -> dict[str, Any]:
    made, meant = await asyncio.to_thread(_tried, parts, edit, base)
    if isinstance(meant, ConfigError):
        raise ApiError(
            422,
            "refused",
            "the file would not be right with this; nothing was written",
            problems=problems_of(meant.problems),
        )
    before = parts.configuration.versions.listed()
    if made.text != base.text:
        log.info("console: %s %s", edit.__struct_config__.tag, edit.name)
        try:
            file = parts.configuration.file
            await asyncio.to_thread(replace_file, file, base.text, made.text)
        except EditRefused as error:
            raise ApiError(409, "not_written", str(error)) from None
    loaded = await parts.configuration.reload(made.text, meant)
    standing = parts.configuration.status
    if standing.digest != meant.digest:
        raise ApiError(
            409,
            "not_in_force",
            "the file is written, but it was changed again before it came into force",
            problems=list(loaded.problems),
        )
    # What the reload found, whether it was ours or one that noticed the file first.
    changed = parts.configuration.history[-1].difference if made.text != base.text else ()
    return {
        "digest": standing.digest,
        "difference": list(changed),
        "secret": made.secret,
        "undo": _way_back(base, made, before),
    }


def _way_back(base: Base, made: Made, before: Sequence[Any]) -> int | None:
    """The number of the version that undoes an edit; None when there is none."""
    digest = content_digest(base.text)
    if made.text == base.text or made.secret is not None:
        return None  # a key's text that was shown would be worth nothing
    return next((each.number for each in before if each.digest == digest), None)


@gc_paused()
@compose_once()
def _tried(parts: Parts, edit: AnyEdit, base: Base) -> tuple[Made, Snapshot | ConfigError]:
    """The edit made, and what the file means then, or why it would not be right."""
    try:
        made = edit.made(base)
    except EditRefused as error:
        raise ApiError(422, "refused", str(error)) from None
    try:
        return made, build_snapshot(made.text, parts.configuration.file, parts.registry)
    except ConfigError as error:
        return made, error


def _matches(parts: Parts, snapshot: Snapshot, name: str) -> list[list[str]]:
    """For each route of a key, in the order of its list: the models that it now matches."""
    key = snapshot.keys[name]
    found = []
    for route in key.routes:
        spelt = [p.text for p in (*(route.models or ()), *(key.models or ())) if p.literal]
        names = dict.fromkeys((*spelt, *parts.catalog.known(route.provider)))
        fitting = [
            each
            for each in names
            if matches_any(key.models, each) and matches_any(route.models, each)
        ]
        found.append(fitting[:MAX_MATCHES])
    return found


def problems_of(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    """Each problem with its place, for showing it there."""
    return [
        {
            "line": each.place.line,
            "column": each.place.column,
            "what": each.what,
            "next": each.next,
            "text": str(each),
        }
        for each in problems
    ]
