"""`sidecar check`, `sidecar schema` and `sidecar edit`."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import click
from msgspec import Struct

from sidecar.admin.api_types.config import ProcessStatus, ReloadReport
from sidecar.cli.apply import confirm, note_difference
from sidecar.cli.client import ProcessError, find_process
from sidecar.cli.options import (
    REFUSED,
    OpenedConfig,
    config_option,
    fail,
    need_file,
    note,
    open_config,
    registry_for,
    state_option,
    vault_for,
)
from sidecar.cli.schema_file import schema_line, write_schema
from sidecar.config.ca_files import unusable_authorities
from sidecar.config.loader import describe
from sidecar.config.loader.json_schema import schema
from sidecar.config.manager import build_snapshot, read_file
from sidecar.config.model import Allowance, Group, Key, Route, Snapshot
from sidecar.config.patterns import Pattern, matches_any
from sidecar.config.status import ConfigStatus, in_force
from sidecar.errors import ConfigError, EditRefused, Problem, SourceLocation
from sidecar.files import OTHERS, content_digest, create_private, replace_file
from sidecar.humanize import plural
from sidecar.pricing import price_list
from sidecar.pricing.prices import Prices


@click.command("check")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--full", is_flag=True, help="Print the file with every default written out.")
@click.option("--strict", is_flag=True, help="Let warnings count as errors.")
@config_option
@state_option
def check_command(file: Path | None, full: bool, strict: bool, config: Path, state: Path) -> None:
    """Check a configuration, and print each problem with its place.

    Prints the state of the process that serves it, too.

    \b
    Examples:
      sidecar check
      sidecar check new.yaml --strict
      sidecar check --full

    Exit status: 0 valid; 2 invalid, or with --strict when there are warnings.
    """
    path = config if file is None else file
    need_file(path)
    process = _process(path, state)
    try:
        opened = open_config(path)
    except SystemExit:
        _note_status(process, b"")
        raise
    unusable = unusable_authorities(opened.snapshot)
    warnings = warnings_of(opened, process)
    for line in (*map(str, unusable), *warnings):
        note(line)
    if file is None and path.stat().st_mode & OTHERS:
        note(f"{path}: other users can read or change it; repair it with: chmod 600 '{path}'")
    if full:
        click.echo(describe(opened.snapshot), nl=False)
    if unusable or (strict and warnings):
        raise SystemExit(REFUSED)
    snapshot = opened.snapshot
    note(
        f"{path}: good; {plural(len(snapshot.keys), 'key')}, "
        f"{plural(len(snapshot.groups), 'group')}, {plural(len(snapshot.providers), 'provider')}"
    )
    _note_status(process, opened.text)


class _Process(Struct, frozen=True):
    """State of the running process.

    `status` is None when it serves another file, or none runs. `credentials`: by reference, why the
    process cannot use it ("" when it can); only references that mean the same in the checked file.
    """

    status: ProcessStatus | None = None
    credentials: Mapping[str, str] = {}


def warnings_of(opened: OpenedConfig, process: _Process) -> list[str]:
    """Return the warnings: what is valid and probably not meant."""
    warnings = [str(warning) for warning in opened.snapshot.warnings]
    plugins = [f"{opened.path}: warning: plugin {told}" for told in opened.registry.problems]
    unpriced = [str(problem) for problem in unpriced_models(opened.snapshot)]
    return warnings + plugins + _unavailable(opened.snapshot, process) + unpriced


def _note_status(process: _Process, text: bytes) -> None:
    """Note whether a process that serves this file uses this text (b"" for a wrong one), or which
    one.

    Nothing when none serves it.
    """
    status = process.status
    if status is None:
        return
    config = status.config
    if config.error:
        stays = tuple(config.stays)
        note(in_force(ConfigStatus(config.digest, config.accepted_at, stays=stays)))
    elif config.digest == content_digest(text):
        note(f"process {status.pid} serves it")


def _process(path: Path, state: Path) -> _Process:
    """Ask the process with this state, after it has reloaded the file that it serves."""
    try:
        live = find_process(state)
        if live is None:
            return _Process()
        status = live.get("/api/status", ProcessStatus)
        is_same = Path(status.config.file).resolve() == path.resolve()
        if is_same:
            live.post(ReloadReport, "api", "reload")
            status = live.get("/api/status", ProcessStatus)
    except ProcessError as error:
        note(str(error))
        return _Process()
    held = [item for each in status.providers for item in each.credentials.items()]
    # A relative path means another file there.
    credentials = {ref: why for ref, why in held if is_same or not ref.startswith("file:")}
    return _Process(status if is_same else None, credentials)


def _unavailable(snapshot: Snapshot, process: _Process) -> list[str]:
    """Return a warning for each provider without a credential.

    What the running process holds takes precedence over this shell's environment.
    """
    vault = vault_for(snapshot)
    found = []
    for provider in snapshot.providers.values():
        names = [ref.name for ref in provider.credentials]
        own = [vault.why_unusable(provider, ref) for ref in provider.credentials]
        why_not = [process.credentials.get(name, why) for name, why in zip(names, own, strict=True)]
        if why_not and all(why_not):
            where = " in the running process" if set(names) <= process.credentials.keys() else ""
            what = f"provider {provider.name} is unavailable{where}: {'; '.join(why_not)}"
            found.append(f"{provider.place}: warning: {what}")
    return found


@click.command("schema")
@click.option("--write", is_flag=True, help="Write it to the state directory, and print the line "
              "that lets your editor find it.")  # fmt: skip
@config_option
@state_option
def schema_command(write: bool, config: Path, state: Path) -> None:
    """Print the JSON Schema of the configuration, for editors. It includes the vendors and fields
    of the plugins that your file names.

    \b
    Examples (a file that `sidecar init` wrote has the line already):
      sidecar schema
      sidecar schema --write
    """
    registry = registry_for(config, read_file(config) if config.exists() else b"")
    if write:
        click.echo(schema_line(write_schema(state, registry)))
        note(f"put this line first into {config}")
    else:
        click.echo(json.dumps(schema(registry), indent=2))


@click.command("edit")
@config_option
@state_option
def edit_command(config: Path, state: Path) -> None:
    """Open the configuration in your editor ($VISUAL, then $EDITOR).

    You edit a copy. It is checked and the effective difference is shown. A valid copy replaces the
    file; an invalid one can be edited again.

    \b
    Example:
      EDITOR="code --wait" sidecar edit

    Exit status: 0 done or nothing changed; 1 written but not taken over; 2 refused, the file is
    unchanged.
    """
    need_file(config)
    before = read_file(config)
    with _copy_of(config, before) as copy:
        after, snapshot = _edited(config, copy, before)
        _show_difference(config, before, snapshot)
        replace_file(config, before, after)
    confirm(config, after, state)


@contextmanager
def _copy_of(config: Path, text: bytes) -> Iterator[Path]:
    """Make a private copy beside the file.

    It is kept only when it did not replace the file: it is invalid, or the file changed meanwhile.
    It then has the only version of the user's edit.
    """
    copy = config.with_name(f".{config.name}.edit-{os.getpid()}{config.suffix}")
    create_private(copy, text)
    try:
        yield copy
    except EditRefused as error:
        fail(f"{error}; your edit is in {copy}")
    except BaseException:
        copy.unlink(missing_ok=True)
        raise
    copy.unlink(missing_ok=True)


def _edited(config: Path, copy: Path, before: bytes) -> tuple[bytes, Snapshot]:
    """Return the edited text once it is valid. Raises `EditRefused` when the user stops before."""
    while True:
        try:
            click.edit(filename=str(copy))
        except click.ClickException as error:
            fail(f"{error.message}; nothing was changed; $VISUAL or $EDITOR names another editor")
        after = read_file(copy)
        if after == before:
            note("nothing was changed")
            raise SystemExit(0)
        try:
            return after, build_snapshot(after, config, registry_for(config, after))
        except ConfigError as error:
            note(str(error))
        if not sys.stdin.isatty() or not click.confirm("edit it again?", default=True, err=True):
            raise EditRefused("nothing was changed")


def _show_difference(config: Path, before: bytes, after: Snapshot) -> None:
    try:
        old = build_snapshot(before, config, registry_for(config, before))
    except ConfigError:
        note("the file was invalid before; it is valid now")
        return
    note_difference(old, after)


_FIX = "write priced_as: on the route, or a price under prices:"


class NamedModel(NamedTuple):
    """A model in the file: the name that clients ask for, and the name that the provider gets.

    `asked` is None for a name that is not written; `place` is where the file has it.
    """

    asked: str | None
    served: str
    place: SourceLocation


def unpriced_models(snapshot: Snapshot) -> list[Problem]:
    """Return a warning for each model in the file without a price under a budget, and for each
    `priced_as` without a price."""
    prices = Prices(price_list.load(), time.time)
    prices.reconcile(snapshot)
    owners: list[Group | Key] = [*snapshot.groups.values(), *snapshot.keys.values()]
    found = [problem for owner in owners for problem in _of(owner, snapshot, prices)]
    first = {problem.what: problem for problem in reversed(found)}
    return [problem for problem in found if first[problem.what] is problem]


def _of(owner: Group | Key, snapshot: Snapshot, prices: Prices) -> Iterator[Problem]:
    scopes = [snapshot.allowance, owner.allowance]
    if isinstance(owner, Key):
        scopes.append(owner.group.allowance)
    for route in owner.routes:
        if route.enabled:
            yield from _of_route(owner, route, [*scopes, route.provider.allowance], prices)


def _of_route(
    owner: Group | Key, route: Route, scopes: list[Allowance], prices: Prices
) -> Iterator[Problem]:
    provider, price_name = route.provider, route.price_name
    if price_name is not None:
        if prices.price_source(provider, None, None, price_name) is None:
            what = f'no price is known for "{price_name}" at provider {provider.name}, as which '
            what += "its calls are priced"
            place = route.place if route.priced_as else provider.place
            yield Problem(place, what, "write one under prices:", warning=True)
        return
    if not any(scope.budgets for scope in scopes):
        return
    for model in _named(owner, route):
        if prices.price_source(provider, model.asked, model.served) is None:
            what = f'no price is known for "{model.served}" at provider {provider.name}, so its '
            what += "calls spend no budget, and a spent budget refuses them"
            yield Problem(model.place, what, _FIX, warning=True)


def _named(owner: Group | Key, route: Route) -> Iterator[NamedModel]:
    """Yield the models that a route names literally and that its owner may use."""
    narrowed = owner.models if isinstance(owner, Key) else None
    for pattern in route.models or ():
        if _is_literal(pattern) and matches_any(narrowed, pattern.text):
            yield NamedModel(pattern.text, _served(route, pattern.text), route.place)
    for pattern in narrowed or ():
        if _is_literal(pattern) and matches_any(route.models, pattern.text):
            yield NamedModel(pattern.text, _served(route, pattern.text), owner.place)
    for pattern, served in route.rename.names if route.rename is not None else ():
        if not _is_literal(pattern) and "*" not in served:
            yield NamedModel(None, served, route.place)


def _served(route: Route, asked: str) -> str:
    return asked if route.rename is None else route.rename.served(asked)


def _is_literal(pattern: Pattern) -> bool:
    return "*" not in pattern.text and "?" not in pattern.text
