"""`sidecar credential …`: store a provider's credential outside the file, and test it."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import click
import msgspec

from sidecar.admin.api_types.entities import ProbeResult
from sidecar.api_keys import looks_like_key
from sidecar.cli import SuggestingGroup
from sidecar.cli.apply import confirm, edited, open_to_change, show_done, write
from sidecar.cli.client import find_process
from sidecar.cli.entities.edits import base_of_edit, changed
from sidecar.cli.entities.providers import provider_argument, the_provider
from sidecar.cli.options import (
    OpenedConfig,
    config_option,
    fail,
    json_option,
    note,
    open_config,
    state_option,
    vault_for,
)
from sidecar.config.credentials import MAX_SECRET_BYTES
from sidecar.config.model import CredentialRef, Provider, SecretSource
from sidecar.config.schema.credential_refs import reference
from sidecar.config.schema.parsers import InvalidValue
from sidecar.errors import SourceLocation
from sidecar.files import write_private
from sidecar.http.client import open_upstream
from sidecar.humanize import plural
from sidecar.routing.model_list import ModelList

_STORES = {SecretSource.KEYRING, SecretSource.FILE}
TEST_TIMEOUT_SECONDS = 30.0
"""Seconds for the process' answer to a test: longer than its own request takes."""


@click.group("credential", cls=SuggestingGroup)
def credential_command() -> None:
    """Store a provider's credential, and test it.

    It is kept in the keyring or in a private file.
    """


@credential_command.command("set")
@provider_argument
@click.option("--in", "place", metavar="keyring:SERVICE/USER|file:PATH",
              help="Where to store it  [default: the place that the provider names, else the "
              "keyring if there is one, else a file beside the configuration]")  # fmt: skip
@json_option
@config_option
@state_option
def set_credential(name: str, place: str | None, as_json: bool, config: Path, state: Path) -> None:
    """Store a provider's credential, and let the provider use it.

    The credential is read from a hidden prompt, or from standard input where that is no terminal;
    never from the command's words. It goes to the keyring or into a file that only you can read;
    the configuration gets the reference to it.

    \b
    Examples:
      sidecar credential set openai
      pass show anthropic | sidecar credential set anthropic --in file:~/.secrets/anthropic

    Exit status: 0 done; 1 stored but not taken over; 2 refused, nothing was changed.
    """
    opened = open_config(config)
    if name not in opened.registry.vendors:
        the_provider(opened.snapshot, name)
    provider = opened.snapshot.providers.get(name)
    ref = _place(opened, name, provider, place)
    secret = _read_secret(name)
    opened = open_to_change(config, state)
    fields: dict[str, object] = {"credential": ref.name}
    new = opened.text
    if provider is None or ref.name not in {each.name for each in provider.credentials}:
        base = base_of_edit(opened, state)
        new = edited(lambda: changed(base, ("providers", name), fields, None))
    _store(ref, secret)
    write(opened, new)
    confirm(config, new, state)
    told = f'the credential of provider "{name}" is in {ref.name}; try it: '
    told += f"sidecar credential test {name}"
    show_done(told, {"provider": name, "credential": ref.name}, as_json=as_json)


def _place(
    opened: OpenedConfig, name: str, provider: Provider | None, place: str | None
) -> CredentialRef:
    """Return the reference under which to store a provider's credential."""
    at = SourceLocation(str(opened.path), 0, 0)
    if place is not None:
        try:
            ref = reference(place, at)
        except InvalidValue as error:
            fail(f"--in: {error}")
        if ref.source not in _STORES:
            fail("--in is a place that can be written: keyring:SERVICE/USER or file:PATH")
        return ref
    present = [] if provider is None else provider.credentials
    stored = [each for each in present if each.source in _STORES]
    if len(present) > 1:
        fail(f'provider "{name}" has several credentials; name the place of one with --in')
    if stored:
        return stored[0]
    keyring = _keyring()
    return reference(f"file:{name}.credential" if keyring is None else f"keyring:sidecar/{name}",
                     at)  # fmt: skip


def _read_secret(name: str) -> str:
    """Return the credential that was typed or piped, or stop with status 2."""
    if sys.stdin.isatty():
        text = click.prompt(f"the credential of {name} (not shown)", hide_input=True, err=True)
    else:
        text = sys.stdin.read(MAX_SECRET_BYTES + 1)
    text = text.strip()
    if not text:
        fail("no credential was given; nothing was changed")
    if len(text) > MAX_SECRET_BYTES or not text.isascii() or not text.isprintable():
        fail("this cannot be a credential: it must fit on one line; nothing was changed")
    if looks_like_key(text):
        fail("this is a local key of Sidecar, not a vendor's credential; nothing was changed")
    return text


def _keyring() -> Any | None:
    """Return the keyring library when it has a store that works here."""
    try:
        import keyring
        from keyring.backends import fail as absent
    except ImportError:
        return None
    return None if isinstance(keyring.get_keyring(), absent.Keyring) else keyring


def _store(ref: CredentialRef, secret: str) -> None:
    """Write the credential to its place, or stop with status 2."""
    if ref.source is SecretSource.FILE:
        path = Path(ref.argument).expanduser()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, f"{secret}\n".encode())
        return
    keyring = _keyring()
    if keyring is None:
        fail("no keyring can be used here (pip install 'sidecar-llm[keyring]', and a desktop's "
             "store); take a file instead: --in file:PATH")  # fmt: skip
    service, _, user = ref.argument.rpartition("/")
    try:
        keyring.set_password(service or "sidecar", user, secret)
    except Exception as error:  # noqa: BLE001 - backends raise what they like
        fail(f"the keyring refused: {type(error).__name__}; take a file instead: --in file:PATH")


@credential_command.command("test")
@provider_argument
@json_option
@config_option
@state_option
def test_credential(name: str, as_json: bool, config: Path, state: Path) -> None:
    """Test a provider and its credential with a request for its models, which vendors do not bill.

    The running process makes the request; without one, this command does, with the credentials of
    this shell. Of several credentials, it is the first that can be used.

    \b
    Example:
      sidecar credential test openai

    Exit status: 0 it works; 1 it does not; 2 there is no such provider.
    """
    live = find_process(state)
    if live is not None:
        query = {"name": name}
        found = live.post(ProbeResult, "api", "probe", timeout=TEST_TIMEOUT_SECONDS, **query)
    else:
        note("no process runs: this command makes the request")
        opened = open_config(config)
        found = asyncio.run(_probe(opened, the_provider(opened.snapshot, name)))
    if as_json:
        click.echo(json.dumps({"provider": name, **msgspec.to_builtins(found)}))
    elif not found.why_not:
        click.echo(f"{name}: it works, {plural(found.models, 'model')}, {found.ms} ms")
    else:
        click.echo(f"{name}: {found.why_not}")
    raise SystemExit(1 if found.why_not else 0)


async def _probe(opened: OpenedConfig, provider: Provider) -> ProbeResult:
    """Ask a provider for its models from this process."""
    vendor = provider.vendor
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(open_upstream())
        local = {}
        if vendor.local_server is not None:
            local[vendor.name] = await stack.enter_async_context(vendor.local_server.start())
        vault = vault_for(opened.snapshot)
        models = ModelList(upstream, vault, opened.registry.dialects, local, time.monotonic)
        found = await models.probe(provider)
    return ProbeResult(
        status=found.status, ms=round(found.seconds * 1000), models=found.models,
        why_not=found.why_not,
    )  # fmt: skip
