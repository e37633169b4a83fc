"""Preview an edit of the file, or make it: checked, written atomically, and confirmed in force.

An edit is refused, never merged, when the file is not the one that the caller has seen. The error
then lists what changed meanwhile, so that the user can decide to repeat the edit.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from msgspec import structs

from sidecar.admin.api_types.config import EditPreview, EditProblem, EditResult
from sidecar.admin.config_file import diff, problem_at_its_line
from sidecar.admin.context import AdminContext, ApiError, ApiRequest, on_disk
from sidecar.admin.edit_fields import EditBase, EditedText
from sidecar.admin.edits import AnyEdit, Restore
from sidecar.admin.introspect.dry_run import HypotheticalCall
from sidecar.admin.introspect.explain import explain
from sidecar.config.history import Version
from sidecar.config.loader import difference
from sidecar.config.lookup import find_key
from sidecar.config.manager import build_snapshot
from sidecar.config.model import Snapshot
from sidecar.config.patterns import matches_any
from sidecar.config.yaml.nodes import compose_once, gc_paused
from sidecar.errors import ConfigError, EditRefused, Problem
from sidecar.files import content_digest, replace_file

log = logging.getLogger("sidecar.admin.console")

MAX_MATCHES = 200
"""Models that are listed for a route."""


class RouteQuestion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call of this key for this model, to be routed as after the edit."""

    key: str
    model: str


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a request to change the file; a `preview` changes nothing."""

    edit: AnyEdit
    preview: bool = False
    question: RouteQuestion | None = None


async def change(context: AdminContext, asked: ApiRequest) -> EditPreview | EditResult:
    """Preview an edit, or make it."""
    order = read_order(asked.body)
    if order.preview:
        base = await _base(context, order.edit, asked.seen)
        return await _previewed(context, order, base)
    async with context.editing:
        base = await _base(context, order.edit, asked.seen)
        return await _made(context, order.edit, base)


def read_order(body: bytes) -> Order:
    """Decode the body. Raises `ApiError` (400)."""
    try:
        return msgspec.json.decode(body, type=Order)
    except msgspec.MsgspecError as error:
        raise ApiError(400, "bad_request", f"this is no edit: {error}") from None


async def _base(context: AdminContext, edit: AnyEdit, seen: str | None) -> EditBase:
    """Return the file as it is now, if it is the one that the caller has seen."""
    if seen is None:
        raise ApiError(428, "if_match_missing", "say which file you have seen: If-Match: DIGEST")
    configuration = context.services.configuration
    text = on_disk(context)
    if content_digest(text) != configuration.status.digest:
        await configuration.reload()
        text = on_disk(context)
    found, standing = content_digest(text), configuration.status
    if found != standing.digest and not isinstance(edit, Restore):
        raise ApiError(
            409,
            "file_refused",
            "the file has mistakes and is not in force; correct it, or restore an older version",
            problems=[problem_at_its_line(each) for each in standing.problems],
        )
    if found != seen:
        raise ApiError(
            412,
            "file_changed",
            "the file was changed meanwhile; nothing was written",
            digest=found,
            changed=await asyncio.to_thread(_changes_since, context, seen),
        )
    now = datetime.fromtimestamp(context.services.wall(), UTC)
    return EditBase(text, context.snapshot, now, configuration.versions)


def _changes_since(context: AdminContext, seen: str) -> list[str] | None:
    """Return what changed since a version of the file; None when that is unknown."""
    text = context.services.configuration.versions.with_digest(seen)
    if text is None:
        return None
    try:
        old = build_snapshot(text, context.services.configuration.file, context.services.registry)
    except ConfigError:
        return None
    return difference(old, context.snapshot) or ["no effective change: comments or order"]


async def _previewed(context: AdminContext, order: Order, base: EditBase) -> EditPreview:
    made, loaded = await asyncio.to_thread(_tried, context, order.edit, base)
    preview = EditPreview(
        digest=content_digest(base.text), diff=await asyncio.to_thread(diff, base.text, made.text)
    )
    if isinstance(loaded, ConfigError):
        return structs.replace(preview, problems=problems_of(loaded.problems))
    preview = structs.replace(
        preview, difference=await asyncio.to_thread(difference, base.snapshot, loaded)
    )
    if order.question is None:
        return preview
    # Routes only: the limits' counts belong to the file in force.
    call = HypotheticalCall(find_key(loaded, order.question.key), order.question.model)
    return structs.replace(
        preview,
        question=explain(call, context.services.registry.dialects, context.services.vault.usable),
        matches=_matches(context, loaded, order.question.key),
    )


async def _made(context: AdminContext, edit: AnyEdit, base: EditBase) -> EditResult:
    made, loaded = await asyncio.to_thread(_tried, context, edit, base)
    if isinstance(loaded, ConfigError):
        raise ApiError(
            422,
            "refused",
            "the file would not be valid with this; nothing was written",
            problems=problems_of(loaded.problems),
        )
    configuration = context.services.configuration
    before = configuration.versions.listed()
    if made.text != base.text:
        log.info("console: %s %s", edit.__struct_config__.tag, edit.name)
        try:
            await asyncio.to_thread(replace_file, configuration.file, base.text, made.text)
        except EditRefused as error:
            raise ApiError(409, "not_written", str(error)) from None
    reloaded = await configuration.reload(made.text, loaded)
    if configuration.status.digest != loaded.digest:
        raise ApiError(
            409,
            "not_in_force",
            "the file is written, but it was changed again before it came into force",
            problems=[problem_at_its_line(each) for each in reloaded.problems],
        )
    # From the history, because the file's watcher may have reloaded it first.
    changed = configuration.history[-1].difference if made.text != base.text else ()
    return EditResult(
        digest=configuration.status.digest,
        difference=list(changed),
        secret=made.secret,
        undo=_version_to_undo(base, made, before),
    )


def _version_to_undo(base: EditBase, made: EditedText, before: Sequence[Version]) -> int | None:
    """Return the number of the version that undoes an edit; None when there is none."""
    digest = content_digest(base.text)
    if made.text == base.text or made.secret is not None:
        return None  # undoing would make the secret that was shown worthless
    return next((each.number for each in before if each.digest == digest), None)


@gc_paused()
@compose_once()
def _tried(
    context: AdminContext, edit: AnyEdit, base: EditBase
) -> tuple[EditedText, Snapshot | ConfigError]:
    """Return the edited text, and the snapshot that it gives, or why it is invalid."""
    try:
        made = edit.apply(base)
    except EditRefused as error:
        raise ApiError(422, "refused", str(error)) from None
    try:
        return made, build_snapshot(
            made.text, context.services.configuration.file, context.services.registry
        )
    except ConfigError as error:
        return made, error


def _matches(context: AdminContext, snapshot: Snapshot, name: str) -> list[list[str]]:
    """Return the models that each route of a key matches, in the order of its list."""
    key = snapshot.keys[name]
    found = []
    for route in key.routes:
        literal = [p.text for p in (*(route.models or ()), *(key.models or ())) if p.literal]
        names = dict.fromkeys((*literal, *context.services.model_list.known(route.provider)))
        fitting = [
            each
            for each in names
            if matches_any(key.models, each) and matches_any(route.models, each)
        ]
        found.append(fitting[:MAX_MATCHES])
    return found


def problems_of(problems: Sequence[Problem]) -> list[EditProblem]:
    """Return each problem with its place."""
    return [
        EditProblem(
            line=each.place.line,
            column=each.place.column,
            what=each.what,
            next=each.next,
            text=str(each),
        )
        for each in problems
    ]
