"""`sidecar groups …`: list, add, edit and remove groups in the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from sidecar.admin import edit_fields
from sidecar.admin.edits import DeleteGroup
from sidecar.cli import SuggestingGroup
from sidecar.cli.apply import edited, note_difference, open_to_change, put_in_place, show_done
from sidecar.cli.entities.edits import (
    MODELS,
    URGENCIES,
    base_of_edit,
    changed,
    limit_options,
    limit_texts,
    new_entry,
    route_option,
    typed_fields,
)
from sidecar.cli.options import (
    F,
    config_option,
    fail,
    json_option,
    open_config,
    state_option,
    the_group,
)
from sidecar.cli.params import GROUP, FieldText
from sidecar.config.editor import operations
from sidecar.config.model import Snapshot

group_argument = click.argument("name", type=GROUP)


@click.group("groups", cls=SuggestingGroup)
def groups_command() -> None:
    """List, add, edit and remove groups.

    A group is a rate tier of a vendor, which keys share.

    Exit status: 0 done; 1 written but not taken over; 2 refused, nothing was changed.
    """


def group_options(function: F) -> F:
    """Add the fields of a group that `add` and `edit` set."""
    for option in (
        route_option,
        limit_options,
        click.option("--urgency", type=URGENCIES, help="For its keys without one."),
        click.option("--models", type=MODELS, metavar="PATTERN,…",
                     help="Models that its keys may use, separated by commas."),
        click.option("--multiplier", type=FieldText("number"), metavar="N",
                     help="Its rate, multiplied with the list price."),
        click.option("--description", help="A note for people."),
    ):  # fmt: skip
        function = option(function)
    return function


@groups_command.command("list")
@json_option
@config_option
def list_groups(as_json: bool, config: Path) -> None:
    """List the groups with their vendor, limits and routes.

    \b
    Example:
      sidecar groups list --json
    """
    snapshot = open_config(config).snapshot
    rows = [_row(snapshot, name) for name in snapshot.groups]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    from sidecar.cli.render.tables import print_table

    print_table(
        ("name", "vendor", "multiplier", "keys", "limits", "routes", "description"),
        [
            [row["name"], row["vendor"], row["multiplier"], str(row["keys"]),
             ", ".join(row["limits"]), ", ".join(row["routes"]), row["description"]]
            for row in rows
        ],
        right={2, 3},
    )  # fmt: skip


def _row(snapshot: Snapshot, name: str) -> dict[str, Any]:
    group = snapshot.groups[name]
    return {
        "name": name,
        "vendor": group.vendor.name,
        "multiplier": str(group.multiplier),
        "keys": sum(key.group.name == name for key in snapshot.keys.values()),
        "limits": limit_texts(group.allowance),
        "routes": [route.provider.name for route in group.routes if route.enabled],
        "description": group.description,
    }


@groups_command.command("add")
@group_argument
@click.option("--vendor", required=True, help="The vendor whose API its agents speak.")
@group_options
@json_option
@config_option
@state_option
def add(name: str, as_json: bool, config: Path, state: Path, **typed: Any) -> None:
    """Add a group, at the end of the groups.

    \b
    Examples:
      sidecar groups add GPT --vendor openai --budget 20/day
      sidecar groups add Claude --vendor anthropic --route anthropic --route openrouter
      sidecar groups add "Claude on GPT" --vendor anthropic --route openai:translate
    """
    opened = open_to_change(config, state)
    routes = typed.pop("routes")
    fields = typed_fields(opened, ("groups", name), typed)
    base = base_of_edit(opened, state)
    new = edited(
        lambda: operations.add(
            opened.text, ("groups", name), new_entry(base, fields, edit_fields.GROUP, routes)
        )
    )
    snapshot = put_in_place(opened, new, state)
    told = f'group "{name}": added; give a key with: sidecar keys create NAME --group "{name}"'
    show_done(told, _row(snapshot, name), as_json=as_json)


@groups_command.command("edit")
@group_argument
@click.option("--vendor", help="The vendor whose API its agents speak.")
@group_options
@json_option
@config_option
@state_option
def edit(name: str, as_json: bool, config: Path, state: Path, **typed: Any) -> None:
    """Change fields of a group in the file, and nothing else in it. "" removes a field.

    \b
    Examples:
      sidecar groups edit GPT --budget 20/day,300/month --concurrency 8
      sidecar groups edit GPT --tpm '' --models 'gpt-5*'
    """
    opened = open_to_change(config, state)
    the_group(opened.snapshot, name)
    routes = typed.pop("routes")
    fields = typed_fields(opened, ("groups", name), typed)
    if not fields and not routes:
        fail("nothing to change was given; see: sidecar groups edit --help")
    base = base_of_edit(opened, state)
    new = edited(lambda: changed(base, ("groups", name), fields, edit_fields.GROUP, routes))
    snapshot = put_in_place(opened, new, state)
    note_difference(opened.snapshot, snapshot)
    show_done(f'group "{name}": changed', _row(snapshot, name), as_json=as_json)


@groups_command.command("remove")
@group_argument
@json_option
@config_option
@state_option
def remove(name: str, as_json: bool, config: Path, state: Path) -> None:
    """Remove a group; refused while keys belong to it.

    \b
    Example:
      sidecar groups remove GPT
    """
    opened = open_to_change(config, state)
    the_group(opened.snapshot, name)
    before = _row(opened.snapshot, name)
    new = edited(lambda: DeleteGroup(name).apply(base_of_edit(opened, state)).text)
    put_in_place(opened, new, state)
    show_done(f'group "{name}": removed', before, as_json=as_json)
