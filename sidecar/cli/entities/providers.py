"""`sidecar providers …`: list, add, edit and remove providers in the file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

import click

from sidecar.admin.api_types.config import ProcessStatus
from sidecar.cli import SuggestingGroup
from sidecar.cli.apply import edited, note_difference, open_to_change, put_in_place, show_done
from sidecar.cli.client import ProcessError, find_process
from sidecar.cli.entities.edits import (
    base_of_edit,
    changed,
    limit_options,
    limit_texts,
    new_entry,
    typed_fields,
)
from sidecar.cli.options import (
    F,
    config_option,
    fail,
    json_option,
    note,
    open_config,
    state_option,
    vault_for,
)
from sidecar.cli.params import PROVIDER
from sidecar.config.editor import operations, written
from sidecar.config.model import Provider, Snapshot
from sidecar.humanize import suggestion

provider_argument = click.argument("name", type=PROVIDER)


@click.group("providers", cls=SuggestingGroup)
def providers_command() -> None:
    """List, add, edit and remove providers.

    A provider is a place that serves a vendor's API.
    A provider with a vendor's own name needs no entry in the file; an entry changes its address,
    its credential or its limits.

    Exit status: 0 done; 1 written but not taken over; 2 refused, nothing was changed.
    """


def provider_options(function: F) -> F:
    """Add the fields of a provider that `add` and `edit` set."""
    for option in (
        limit_options,
        click.option("--credential", multiple=True, metavar="REFERENCE",
                     help="Where its credential is, such as env:NAME or file:PATH; repeat it for "
                     "several. Never the credential itself: sidecar credential set"),
        click.option("--base-url", metavar="URL", help="Its address; the vendor's, if it has "
                     "none."),
        click.option("--plugin", help="The vendor plugin; the provider's own name, if it has "
                     "none."),
    ):  # fmt: skip
        function = option(function)
    return function


@providers_command.command("list")
@json_option
@config_option
@state_option
def list_providers(as_json: bool, config: Path, state: Path) -> None:
    """List the providers that are used, and whether each can be used now.

    \b
    Example:
      sidecar providers list --json
    """
    snapshot = open_config(config).snapshot
    reasons = _reasons(snapshot, state)
    rows = [
        _row(each) | {"unavailable": reasons.get(each.name) or None}
        for each in snapshot.providers.values()
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    from sidecar.cli.render.tables import print_table

    print_table(
        ("name", "vendor", "base url", "credentials", "limits", "status"),
        [
            [row["name"], row["vendor"], row["base_url"], ", ".join(row["credentials"]) or "none",
             ", ".join(row["limits"]), row["unavailable"] or "available"]
            for row in rows
        ],
    )  # fmt: skip


def _reasons(snapshot: Snapshot, state: Path) -> Mapping[str, str]:
    """Return why each provider is unavailable, by the process if one runs, else by this shell."""
    try:
        live = find_process(state)
        if live is not None:
            found = live.get("/api/status", ProcessStatus).providers
            return {each.name: each.reason for each in found}
    except ProcessError as error:
        note(str(error))
    vault = vault_for(snapshot)
    return {name: vault.unavailable(each) for name, each in snapshot.providers.items()}


def _row(provider: Provider) -> dict[str, Any]:
    return {
        "name": provider.name,
        "vendor": provider.vendor.name,
        "base_url": provider.base_url,
        "credentials": [ref.name for ref in provider.credentials],
        "limits": limit_texts(provider.allowance),
    }


def _typed(typed: dict[str, Any]) -> dict[str, Any]:
    """Return the options with one reference as a text and several as a list; () is left out."""
    refs = [ref for ref in typed["credential"] if ref]
    given = refs[0] if len(refs) == 1 else refs
    return typed | {"credential": given if typed["credential"] else None}


@providers_command.command("add")
@provider_argument
@provider_options
@json_option
@config_option
@state_option
def add(name: str, as_json: bool, config: Path, state: Path, **typed: Any) -> None:
    """Add a provider, at the end of the providers.

    \b
    Examples:
      sidecar providers add office --plugin vllm --base-url http://127.0.0.1:8000/v1
      sidecar providers add openai --credential env:WORK_OPENAI_KEY --rpm 500
    """
    opened = open_to_change(config, state)
    fields = typed_fields(opened, ("providers", name), _typed(typed))
    base = base_of_edit(opened, state)
    new = edited(
        lambda: operations.add(opened.text, ("providers", name), new_entry(base, fields, None))
    )
    snapshot = put_in_place(opened, new, state)
    told = f'provider "{name}": added'
    routes = (route for group in snapshot.groups.values() for route in group.routes)
    if all(route.provider.name != name for route in routes):
        told += f"; let a group use it: sidecar groups edit GROUP --route {quote(name)}"
    show_done(told, _row(snapshot.providers[name]), as_json=as_json)


@providers_command.command("edit")
@provider_argument
@provider_options
@json_option
@config_option
@state_option
def edit(name: str, as_json: bool, config: Path, state: Path, **typed: Any) -> None:
    """Change fields of a provider in the file, and nothing else in it. "" removes a field.

    \b
    Examples:
      sidecar providers edit openai --budget 30/day --tpm 2M
      sidecar providers edit openai --credential keyring:sidecar/openai
    """
    opened = open_to_change(config, state)
    if name not in opened.snapshot.providers and name in opened.registry.vendors:
        fail(f'provider "{name}" has no entry yet; add one with: sidecar providers add {name}')
    the_provider(opened.snapshot, name)
    fields = typed_fields(opened, ("providers", name), _typed(typed))
    if not fields:
        fail("nothing to change was given; see: sidecar providers edit --help")
    base = base_of_edit(opened, state)
    new = edited(lambda: changed(base, ("providers", name), fields, None))
    snapshot = put_in_place(opened, new, state)
    note_difference(opened.snapshot, snapshot)
    show_done(f'provider "{name}": changed', _row(snapshot.providers[name]), as_json=as_json)


@providers_command.command("remove")
@provider_argument
@json_option
@config_option
@state_option
def remove(name: str, as_json: bool, config: Path, state: Path) -> None:
    """Remove a provider's entry; refused while a route needs it.

    A vendor's own provider is then used as it is without an entry.

    \b
    Example:
      sidecar providers remove office
    """
    opened = open_to_change(config, state)
    provider = the_provider(opened.snapshot, name)
    if written(opened.text, ("providers", name)) is None:
        fail(f'provider "{name}" has no entry to remove; it is its vendor\'s own')
    new = edited(lambda: operations.delete(opened.text, ("providers", name)))
    snapshot = put_in_place(opened, new, state)
    note_difference(opened.snapshot, snapshot)
    show_done(f'provider "{name}": removed', _row(provider), as_json=as_json)


def the_provider(snapshot: Snapshot, name: str) -> Provider:
    """Return the provider of that name, or stop with status 2."""
    if name not in snapshot.providers:
        hint = suggestion(name, snapshot.providers, otherwise="there is none yet")
        fail(f'there is no provider "{name}"; {hint}')
    return snapshot.providers[name]
