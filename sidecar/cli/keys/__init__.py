"""`sidecar keys …`: change local keys in the file, and confirm it with the running process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from sidecar.admin import edit_fields
from sidecar.admin.edit_fields import EditedFields
from sidecar.api_keys import mint
from sidecar.cli import SuggestingGroup
from sidecar.cli.apply import (
    confirm,
    edited,
    note_difference,
    open_to_change,
    put_in_place,
    show_done,
    show_new,
    write,
)
from sidecar.cli.entities.edits import (
    MODELS,
    URGENCIES,
    base_of_edit,
    changed,
    limit_options,
    new_entry,
    route_option,
    typed_fields,
)
from sidecar.cli.key_fields import row, times_of
from sidecar.cli.keys.access import delete, disable, enable, revoke, rotate
from sidecar.cli.keys.list import list_keys, paused_field, pauses_of, pauses_on, stale
from sidecar.cli.keys.scan import scan
from sidecar.cli.options import (
    F,
    OpenedConfig,
    config_option,
    fail,
    json_option,
    open_config,
    state_option,
    the_group,
    the_key,
)
from sidecar.cli.params import GROUP, KEY, FieldText, name_argument, until
from sidecar.config.editor import operations, written
from sidecar.config.yaml.nodes import compose_once, gc_paused
from sidecar.records import NEVER_USED, utc_text
from sidecar.scheduling.pauses import describe_target


@click.group("keys", cls=SuggestingGroup)
@click.pass_context
def keys_command(context: click.Context) -> None:
    """Create, list, change and delete local keys.

    Each change edits the configuration in place, keeps all other bytes, and returns once the
    running process serves it. A key's secret is printed once, on standard output.

    Exit status: 0 done; 1 written but not taken over; 2 refused, nothing was changed.
    """
    for each in (gc_paused(), compose_once()):  # for the whole command: it reads a file or two
        context.with_resource(each)


def key_options(function: F) -> F:
    """Add the fields of a key that `create` and `edit` set."""
    for option in (
        click.option("--max-wait", type=FieldText("duration"), metavar="2m",
                     help="The longest time that its calls wait for room."),
        click.option("--share", type=FieldText("share"), metavar="N",
                     help="Its part among waiting keys of equal urgency; 1 if it has none."),
        route_option,
        limit_options,
        click.option("--urgency", type=URGENCIES, help="Which calls go first when calls must "
                     "wait."),
        click.option("--expires", metavar="2h|DATE", help="Expiry time."),
        click.option("--models", type=MODELS, metavar="PATTERN,…",
                     help="Models that it is narrowed to, separated by commas."),
        click.option("--description", help="What it is for."),
    ):  # fmt: skip
        function = option(function)
    return function


@keys_command.command("create")
@name_argument
@click.option(
    "--group", type=GROUP, required=True, help="The group whose vendor, routes and limits it gets."
)
@key_options
@json_option
@config_option
@state_option
def create(name: str, as_json: bool, config: Path, state: Path, **typed: Any) -> None:
    """Create a key and print its secret, once; the file stores only a hash.

    \b
    Examples:
      sidecar keys create codex --group GPT --urgency interactive --budget 5/day
      sidecar keys create nightly --group GPT --models gpt-5-mini --expires 30d --json
    """
    opened = open_to_change(config, state)
    if (present := opened.snapshot.keys.get(name)) is not None:
        state_of_it = "exists already" if present.hashes else "is in the file, without a secret"
        fail(f'key "{name}" {state_of_it}; give it a new secret with: sidecar keys rotate "{name}"')
    routes = typed.pop("routes")
    fields = _fields(opened, name, typed)
    key, base = mint(), base_of_edit(opened, state)
    of_group = written(opened.text, ("groups", str(fields["group"]), "routes"))
    new = edited(
        lambda: operations.create_key(
            opened.text, name, key, base.now,
            new_entry(base, fields, edit_fields.KEY, routes, of_group),
        )
    )  # fmt: skip
    snapshot = write(opened, new)
    show_new(snapshot.keys[name], snapshot, key, state, as_json=as_json)
    confirm(config, new, state)


def _fields(opened: OpenedConfig, name: str, typed: dict[str, Any]) -> EditedFields:
    """Return the typed fields of the key `name`."""
    fields = typed_fields(opened, ("keys", name), typed)
    if "group" in fields:
        fields["group"] = the_group(opened.snapshot, str(fields["group"])).name
    if expires := fields.get("expires"):
        zone = opened.snapshot.timezone
        fields["expires"] = utc_text(until("--expires", str(expires), zone))
    return fields


@keys_command.command("show")
@name_argument
@json_option
@config_option
@state_option
def show(name: str, as_json: bool, config: Path, state: Path) -> None:
    """Show one key: what it may use, and when it was last used.

    \b
    Example:
      sidecar keys show codex
    """
    key = the_key(open_config(config).snapshot, name)
    times, pauses = times_of(state).get(name, NEVER_USED), pauses_of(state)
    fields = row(key, times) | paused_field(key, pauses)
    if as_json:
        click.echo(json.dumps(fields))
        return
    from sidecar.admin.introspect.explain import limits_of
    from sidecar.routing.allowed_models import offered_models

    older = [utc_text(each.until) for each in key.hashes if each.until]
    limits = limits_of(key.allowance) + limits_of(key.group.allowance)
    fields |= {
        "enabled": "yes" if key.enabled else "no",
        "paused": ", ".join(describe_target(each) for each in pauses_on(key, pauses)) or "no",
        "old secret ends": older[0] if older else None,
        "description": key.description or None,
        "urgency": key.urgency.name.lower(),
        "may use": ", ".join(offered_models(key)) or "nothing",
        "providers": ", ".join(route.provider.name for route in key.routes if route.enabled),
        "limits": ", ".join(limits) or "none",
        "last program": times.program or None,
        "written at": str(key.place),
    }
    width = max(map(len, fields))
    for field, value in fields.items():
        click.echo(f"{field.replace('_', ' '):{width}}  {'-' if value is None else value}")


@keys_command.command("edit")
@name_argument
@click.option("--group", type=GROUP, help="Move it to another group.")
@key_options
@json_option
@config_option
@state_option
def edit(name: str, as_json: bool, config: Path, state: Path, **typed: Any) -> None:
    """Change fields of a key in the file, and nothing else in it. "" removes a field.

    \b
    Examples:
      sidecar keys edit nightly --models 'gpt-5-mini,gpt-5-nano' --urgency background
      sidecar keys edit nightly --budget 5/day,100/month --rpm 60 --max-wait 10m
      sidecar keys edit nightly --route openrouter --route openai
      sidecar keys edit nightly --expires ''
    """
    opened = open_to_change(config, state)
    key = the_key(opened.snapshot, name)
    routes = typed.pop("routes")
    fields = _fields(opened, name, typed)
    if not fields and not routes:
        fail("nothing to change was given; see: sidecar keys edit --help")
    of_group = written(opened.text, ("groups", str(fields.get("group", key.group.name)), "routes"))
    base = base_of_edit(opened, state)
    path = ("keys", name)
    new = edited(lambda: changed(base, path, fields, edit_fields.KEY, routes, of_group))
    snapshot = put_in_place(opened, new, state)
    note_difference(opened.snapshot, snapshot)
    now = row(snapshot.keys[name], times_of(state).get(name, NEVER_USED))
    show_done(f'key "{name}": changed', now, as_json=as_json)


@keys_command.command("rename")
@name_argument
@click.argument("new_name", type=KEY)
@json_option
@config_option
@state_option
def rename(name: str, new_name: str, as_json: bool, config: Path, state: Path) -> None:
    """Rename a key; its counts and last use follow it.

    \b
    Example:
      sidecar keys rename codex codex-laptop
    """
    opened = open_to_change(config, state)
    the_key(opened.snapshot, name)
    new = edited(lambda: operations.rename_key(opened.text, name, new_name))
    key = put_in_place(opened, new, state).keys[new_name]
    now = row(key, times_of(state).get(new_name, NEVER_USED))
    show_done(f'key "{name}" is now "{new_name}"', now, as_json=as_json)


for _command in (list_keys, stale, enable, disable, rotate, revoke, delete, scan):
    keys_command.add_command(_command)
