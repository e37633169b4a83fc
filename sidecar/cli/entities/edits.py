"""Options that keys, groups and providers share, and the edit of an entry that they describe.

The console makes the same edits with the same functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from sidecar.admin.edit_fields import EditBase, EditedFields, edited, whole
from sidecar.admin.edits import RouteEdit, as_written
from sidecar.cli.options import F, OpenedConfig
from sidecar.cli.params import FieldText
from sidecar.config.editor import FieldPath, operations, written
from sidecar.config.history import Versions
from sidecar.config.model import Allowance
from sidecar.config.yaml.writer import Value

URGENCIES = click.Choice(["interactive", "normal", "background"])
MODELS = FieldText("pattern", many=True)
_BUDGETS = FieldText("budget", many=True)
_COUNT = FieldText("count")
_LIMITS = ("rpm", "tpm", "concurrency")


def limit_options(function: F) -> F:
    """Add `--budget`, `--rpm`, `--tpm` and `--concurrency`."""
    for option in (
        click.option("--concurrency", type=_COUNT, metavar="N", help="Concurrent calls."),
        click.option("--tpm", type=_COUNT, metavar="N", help="Tokens per minute."),
        click.option("--rpm", type=_COUNT, metavar="N", help="Requests per minute."),
        click.option("--budget", type=_BUDGETS, metavar="AMOUNT/day",
                     help="US dollars a day, week or month, such as 5/day; several with commas."),
    ):  # fmt: skip
        function = option(function)
    return function


TRANSLATED = ":translate"
"""What follows the name of a provider whose route translates; then `=API`, if one is named."""
route_option = click.option(
    "--route", "routes", multiple=True, metavar="PROVIDER",
    help="A provider to try; repeat it for the next one, in order. PROVIDER:translate for one of "
    "another API.",
)  # fmt: skip


def base_of_edit(opened: OpenedConfig, state: Path) -> EditBase:
    """Return the start of an edit of this file."""
    versions = Versions.of(state, opened.path)
    return EditBase(opened.text, opened.snapshot, datetime.now(UTC), versions)


def typed_fields(opened: OpenedConfig, path: FieldPath, typed: Mapping[str, Any]) -> EditedFields:
    """Return the options that were typed as fields of the entry at `path`; "" removes one.

    Limits that were not typed stay.
    """
    fields: EditedFields = {
        name: value for name, value in typed.items() if value is not None and name not in _LIMITS
    }
    limits = {name: typed[name] for name in _LIMITS if typed.get(name) is not None}
    if limits:
        before = written(opened.text, (*path, "limits"))
        both = {**(before if isinstance(before, Mapping) else {}), **limits}
        fields["limits"] = {name: value for name, value in both.items() if value != ""}
    return fields


def changed(
    base: EditBase, path: FieldPath, fields: EditedFields, known: frozenset[str] | None,
    routes: Sequence[str] = (), of_group: Value | None = None,
) -> bytes:  # fmt: skip
    """Return the text with these fields and routes at `path`; `("",)` removes the routes."""
    text = edited(base, path, fields, known)
    if not routes:
        return text
    return operations.set_routes(text, path, _routes(text, path, routes, of_group))


def new_entry(
    base: EditBase, fields: EditedFields, known: frozenset[str] | None,
    routes: Sequence[str] = (), of_group: Value | None = None,
) -> dict[str, Value]:  # fmt: skip
    """Return the fields of a new entry."""
    found = whole(base, fields, known)
    if any(routes):
        found["routes"] = as_written([_edit(name, {}) for name in routes if name], of_group)
    return found


def _routes(
    text: bytes, path: FieldPath, names: Sequence[str], of_group: Value | None
) -> list[Value] | None:
    """Return the routes in the order of `names`; one that is written already keeps its options."""
    if not any(names):
        return None
    present = written(text, (*path, "routes"))
    options: dict[str, Mapping[str, Value]] = {}
    for each in present if isinstance(present, list) else ():
        for name, inner in each.items() if isinstance(each, Mapping) else ():
            options.setdefault(name, inner if isinstance(inner, Mapping) else {})
    edits = [_edit(name, options.get(name.partition(TRANSLATED)[0], {})) for name in names if name]
    return as_written(edits, of_group)


def _edit(name: str, options: Mapping[str, Value]) -> RouteEdit:
    provider, translated, api = name.partition(TRANSLATED)
    fields: dict[str, Any] = {**options, "provider": provider}
    if api.startswith("="):
        fields.pop("translate", None)
        named = {"translate": {"api": api.removeprefix("=")}}
        fields["transforms"] = {**fields.get("transforms", {}), **named}
    elif translated:
        fields["translate"] = True
    fields.pop("priority", None)  # the typed order replaces it
    for listed in ("models", "redact"):
        if isinstance(fields.get(listed), str):
            fields[listed] = [fields[listed]]
    return msgspec.convert(fields, RouteEdit, strict=False)


def limit_texts(allowance: Allowance) -> list[str]:
    """Return the limits and budgets as short texts."""
    limits = [
        f"{limit.kind.value} {limit.amount}"
        + (f" for {limit.models.text}" if limit.models is not None else "")
        for limit in allowance.limits
    ]
    return limits + [f"${budget.amount}/{budget.period.value}" for budget in allowance.budgets]
