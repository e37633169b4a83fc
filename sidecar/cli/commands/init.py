"""`sidecar init` and `sidecar demo`: write a first configuration."""

from __future__ import annotations

import http.client
import itertools
import os
import sys
from collections.abc import Container, Mapping
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click
from click.core import ParameterSource
from msgspec import Struct

from sidecar.admin.api_types.config import ProcessStatus
from sidecar.agents.shells import line_for
from sidecar.api_keys import digest, looks_like_key, mint
from sidecar.cli.agents.service import note_unseen_variables
from sidecar.cli.apply import confirm, note_difference, open_to_change, write
from sidecar.cli.client import base_of, find_process
from sidecar.cli.commands.serve import catch_signals, run
from sidecar.cli.options import OpenedConfig, config_option, fail, note, open_config, state_option
from sidecar.cli.schema_file import schema_line, write_schema
from sidecar.config.editor import operations
from sidecar.config.editor.operations import hash_of
from sidecar.config.loader import load
from sidecar.config.schema.addresses import is_loopback, one_address
from sidecar.config.schema.parsers import InvalidValue
from sidecar.config.yaml.writer import Value, flow, scalar
from sidecar.files import create_private, write_private
from sidecar.plugin_api.manager import Registry, discover
from sidecar.plugin_api.vendor import Vendor
from sidecar.records import utc_text

if TYPE_CHECKING:
    from sidecar.app import Running


AGENTS = {"anthropic": "Claude Code", "openai": "Codex", "gemini": "Gemini CLI"}
"""A known agent of each vendor whose API many agents speak."""
PROBE_TIMEOUT_SECONDS = 0.3
"""Seconds that a local server has to answer."""


class FoundVendor(Struct, frozen=True):
    """A vendor that could be used, and where it was found. `by` is the vendor that serves its API
    in its place."""

    vendor: Vendor
    where: str
    by: Vendor | None = None

    @property
    def group(self) -> str:
        """The name of its first group."""
        name = "demo" if self.vendor.local_server is not None else self.vendor.title
        return name if self.by is None else f"{name} on {self.by.title}"

    @property
    def fields(self) -> dict[str, Value]:
        """The fields of its group."""
        if self.by is None:
            return {"vendor": self.vendor.name}
        is_native = self.vendor.name in self.by.serves
        route: Value = self.by.name if is_native else {self.by.name: {"translate": True}}
        return {"vendor": self.vendor.name, "routes": [route]}


@click.command("init")
@click.option("--yes", is_flag=True, help="Accept everything that is found; ask nothing.")
@click.option("--listen", metavar="HOST:PORT", help="Where a new file lets agents connect; other "
              "machines may reach it if it is no loopback address.")  # fmt: skip
@config_option
@state_option
@click.pass_context
def init_command(
    context: click.Context, yes: bool, listen: str | None, config: Path, state: Path
) -> None:
    """Write a first configuration, for the vendors found here.

    Each vendor gets a group and a key.
    Looks for vendors' credentials in the environment and for local model servers, and asks about
    each on a terminal, and whether agents of other APIs use them, too, by translation. Prints each
    key once, with the line for its agent. With a file it adds the vendors that have no group yet,
    and changes nothing else.

    \b
    Examples:
      sidecar init
      sidecar init --yes --config ./routes.yaml

    Exit status: 0 written, or nothing to add; 1 added but not taken over; 2 refused.
    """
    yes = yes or not sys.stdin.isatty()
    server = None if listen is None else _server(listen)
    if config.exists():
        _add_vendors(config, state, yes=yes)
        return
    registry = discover()
    found = [each for each in findings(registry, os.environ) if yes or _wanted(each)]
    if not yes:
        found += [each for each in served_by(found, registry, set()) if _wanted(each)]
    if not found:
        note("no vendor was found or accepted; the group `demo` answers offline with an echo")
        note("for a vendor, set its variable, such as OPENAI_API_KEY, and run: sidecar init")
        found = [FoundVendor(registry.vendors["echo"], "")]
    keys = {each.vendor.name: mint() for each in found}
    text = compose(found, keys, datetime.now(UTC), server)
    snapshot = load(text.encode(), file=str(config), registry=registry)
    config.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = f"{schema_line(write_schema(state, registry))}\n{text}"
    create_private(config, text.encode())
    typed = context.get_parameter_source("config") is ParameterSource.COMMANDLINE
    serve = f"sidecar serve --config {quote(str(config))}" if typed else "sidecar serve"
    note(f"{config} is written; serve it with: {serve}")
    _show_keys(found, keys, base_of(snapshot))


def _server(listen: str) -> dict[str, Value]:
    """Return the fields of `server` for this address, or stop with status 2."""
    try:
        host = one_address(listen).host
    except InvalidValue as error:
        fail(f"--listen: {error}")
    return {"listen": listen} if is_loopback(host) else {"listen": listen, "allow_remote": True}


def _add_vendors(config: Path, state: Path, *, yes: bool) -> None:
    """Add a group and a key for each vendor that is found and has no group yet."""
    opened = open_config(config)
    present = {group.vendor.name for group in opened.snapshot.groups.values()}
    found = [
        each
        for each in findings(opened.registry, os.environ)
        if each.vendor.name not in present and (yes or _wanted(each))
    ]
    if not yes:
        found += [each for each in served_by(found, opened.registry, present) if _wanted(each)]
    if not found:
        note(f"{config} exists already, and there is no vendor to add; edit it with: sidecar edit")
        return
    opened = open_to_change(config, state)
    keys = {each.vendor.name: mint() for each in found}
    text, now = opened.text, datetime.now(UTC)
    for each in found:
        group = _unused(each.group, opened.snapshot.groups)
        name = _unused(each.vendor.name, opened.snapshot.keys)
        text = operations.add(text, ("groups", group), each.fields)
        text = operations.create_key(text, name, keys[each.vendor.name], now, {"group": group})
    snapshot = write(opened, text)
    note_difference(opened.snapshot, snapshot)
    _show_keys(found, keys, base_of(snapshot, state))
    confirm(config, text, state)
    live = find_process(state)
    if live is not None:
        names = {each.vendor.name if each.by is None else each.by.name for each in found}
        note_unseen_variables(live.get("/api/status", ProcessStatus), names, state)


def _unused(name: str, present: Container[str]) -> str:
    """Return the name, with a number where it is taken."""
    numbered = (f"{name} {number}" for number in itertools.count(2))
    return next(each for each in itertools.chain([name], numbered) if each not in present)


def _show_keys(found: list[FoundVendor], keys: Mapping[str, str], base: str) -> None:
    note("each key is shown only now, in the line that points an agent at it:")
    for each in found:
        note(f"{each.vendor.title}, found at {each.where}:" if each.where else "Echo, built in:")
        if each.by is not None:
            note(f"ask for models of {each.by.title} by name, or write as: MODEL at its route")
        dialect = next(iter(each.vendor.dialects))
        click.echo(line_for(dialect, base, keys[each.vendor.name]))
    note("what other agents need: sidecar env --help")


def findings(registry: Registry, environ: Mapping[str, str]) -> list[FoundVendor]:
    """Return every vendor whose credential is in the environment or whose server answers here."""
    found = []
    for vendor in registry.vendors.values():
        variables = [name for name in (vendor.credential, *vendor.other_credentials) if name]
        present = next((name for name in variables if _is_credential(environ.get(name))), None)
        if present is not None and vendor.base_url is not None:
            found.append(FoundVendor(vendor, f"${present}"))
        elif not variables and vendor.base_url is not None and answers(vendor.base_url):
            found.append(FoundVendor(vendor, vendor.base_url))
    return found


def served_by(
    found: list[FoundVendor], registry: Registry, present: Container[str]
) -> list[FoundVendor]:
    """Return the vendors that are not found, and whose agents could use one that is."""
    translate = registry.transforms.get("translate")
    names = {each.vendor.name for each in found}
    wanted = [name for name in AGENTS if name not in names and name not in present]
    served = []
    for vendor in (registry.vendors[name] for name in wanted):
        by = [each.vendor for each in found if vendor.name in each.vendor.serves]
        if translate is not None:
            by += [each.vendor for each in found if translate.connects(vendor, each.vendor)]
        if by:
            served.append(FoundVendor(vendor, f"{by[0].title}, which serves its API", by[0]))
    return served


def _is_credential(value: str | None) -> bool:
    """Return whether a variable holds a vendor's credential; a local key of Sidecar is none."""
    return bool(value) and not looks_like_key(value or "")


def answers(base_url: str) -> bool:
    """Return whether a model server, and no other server, listens there on this machine."""
    address = urlsplit(base_url)
    if not address.hostname or not is_loopback(address.hostname):
        return False
    connection = http.client.HTTPConnection(
        address.hostname, address.port or 80, timeout=PROBE_TIMEOUT_SECONDS
    )
    try:
        connection.request("GET", f"{address.path}/models")
        answer = connection.getresponse()
        return answer.status == http.HTTPStatus.OK and b'"data"' in answer.read(1 << 20)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _wanted(found: FoundVendor) -> bool:
    question = f"{found.vendor.title} ({found.where}): make a group and a key for it?"
    if found.by is not None:
        how = "" if found.vendor.name in found.by.serves else " by translation"
        agent = AGENTS[found.vendor.name]
        question = f"Make a key for agents such as {agent} on {found.by.title}{how}, too?"
    return click.confirm(question, default=found.by is None, err=True)


def compose(
    found: list[FoundVendor], keys: Mapping[str, str], now: datetime,
    server: Mapping[str, Value] | None = None,
) -> str:  # fmt: skip
    """Return the text of the file."""
    lines = ["# Keys, groups and what they may use. A valid save takes effect at once.", ""]
    if server is not None:
        lines += [f"server: {flow(server)}", ""]
    lines.append("groups:")
    lines += [f"  {scalar(each.group)}: {flow(each.fields)}" for each in found]
    lines += ["", "keys:"]
    for each in found:
        entry: dict[str, Value] = {
            "group": each.group,
            "hash": hash_of(keys[each.vendor.name]),
            "created": utc_text(now),
        }
        lines.append(f"  {each.vendor.name}: {flow(entry)}")
    return "\n".join(lines) + "\n"


DEMO = "demo"


@click.command("demo", hidden=True)
@click.option("--directory", type=click.Path(path_type=Path), default=Path(".sidecar"),
              show_default=True, help="Directory of the copy, the keys and the state.")  # fmt: skip
@click.option("--example", type=click.Path(path_type=Path, exists=True),
              default=Path("config/routes.example.yaml"), show_default=True,
              help="The configuration to copy, when there is none yet.")  # fmt: skip
@click.option("--listen", metavar="HOST:PORT", help="Where agents connect.")
@click.option("--admin", metavar="HOST:PORT", help="Metrics and health.")
def demo_command(directory: Path, example: Path, listen: str | None, admin: str | None) -> None:
    """Serve a copy of the example configuration, with a key that works offline."""
    catch_signals()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    config = directory / "routes.yaml"
    if not config.exists():
        create_private(config, example.read_bytes())
    registry = open_config(config).registry
    keys = {DEMO: _key(config, directory, DEMO, registry.vendors["echo"])}
    for found in findings(registry, os.environ):
        name = f"{DEMO} {found.vendor.name}"
        keys[name] = _key(config, directory, name, found.vendor)
    state = directory / "state"
    raise SystemExit(
        run(config, state, listen, admin, greet=lambda live: _greet(live, keys, state))
    )


def _key(config: Path, directory: Path, name: str, vendor: Vendor) -> str:
    """Return the secret of a key of that vendor: that of an earlier run, or a new one."""
    opened = open_config(config)
    place = directory / f"{name.replace(' ', '-')}-key"
    known = place.read_text().strip() if place.exists() else ""
    if known and digest(known) in opened.snapshot.by_digest:
        return known
    key = mint()
    if name in opened.snapshot.keys:
        new = operations.rotate_key(opened.text, opened.snapshot, name, key, None)
    else:
        text, group = _with_group(opened, vendor)
        new = operations.create_key(text, name, key, datetime.now(UTC), {"group": group})
    write(opened, new)
    write_private(place, f"{key}\n".encode())
    return key


def _with_group(opened: OpenedConfig, vendor: Vendor) -> tuple[bytes, str]:
    """Return the file's text with a group of that vendor, and the group's name."""
    for group in opened.snapshot.groups.values():
        if group.vendor.name == vendor.name:
            return opened.text, group.name
    name = f"{DEMO} {vendor.name}"
    return operations.add(opened.text, ("groups", name), {"vendor": vendor.name}), name


def _greet(running: Running, keys: dict[str, str], state: Path) -> None:
    base, demo = running.url, keys[DEMO]
    click.echo(f"\nSidecar serves agents on {base}; metrics on {running.admin_url}/metrics")
    click.echo(f"the demo key: {demo}\n\npaste any of these into another terminal:\n")
    for line in curl_lines(base, demo):
        click.echo(line + "\n")
    for name, key in keys.items():
        if name != DEMO:
            vendor = running.snapshot.keys[name].group.vendor
            dialect = next(iter(vendor.dialects))
            click.echo(f"{vendor.title}: {line_for(dialect, base, key)}\n")
    places = {
        "PATH": f"{quote(str(Path(sys.executable).parent))}:$PATH",
        "SIDECAR_CONFIG": quote(str(running.services.configuration.file.absolute())),
        "SIDECAR_STATE": quote(str(state.absolute())),
    }
    click.echo("and this, for sidecar open, top, usage and all other commands there:\n")
    click.echo(f"export {' '.join(f'{name}={place}' for name, place in places.items())}\n")
    note(f"edit {running.services.configuration.file} and watch this log; Ctrl-C ends it")


def curl_lines(base: str, key: str) -> list[str]:
    """Return three calls, one for each dialect, ready to paste."""
    hello = '"messages":[{"role":"user","content":"Hello, Sidecar!"}]'
    return [
        f"curl -s {base}/v1/chat/completions -H 'Authorization: Bearer {key}' "
        f"-H 'Content-Type: application/json' -d '{{\"model\":\"echo\",{hello}}}'",
        f"curl -sN {base}/v1/messages -H 'x-api-key: {key}' -H 'anthropic-version: 2023-06-01' "
        f"-H 'Content-Type: application/json' "
        f'-d \'{{"model":"echo","max_tokens":64,"stream":true,{hello}}}\'',
        f"curl -s {base}/v1beta/models/echo:generateContent -H 'x-goog-api-key: {key}' "
        f"-H 'Content-Type: application/json' "
        f'-d \'{{"contents":[{{"parts":[{{"text":"Hello, Sidecar!"}}]}}]}}\'',
    ]
