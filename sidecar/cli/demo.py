"""`sidecar demo`: everything at once, offline, in a directory of its own.

What `make run` starts: a copy of the example configuration, a key for its `demo` group (and one
for each vendor whose credential is in the environment), and lines to paste that answer at once.
"""

from __future__ import annotations

import os
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from sidecar import changes
from sidecar.agents import line_for
from sidecar.cli.common import Opened, note, open_config
from sidecar.cli.init import findings
from sidecar.cli.writing import write
from sidecar.keytext import digest, mint
from sidecar.signals import catch_signals
from sidecar.vendor import Vendor

if TYPE_CHECKING:
    from sidecar.app import Running

DEMO = "demo"


@click.command("demo", hidden=True)
@click.option("--directory", type=click.Path(path_type=Path), default=Path(".sidecar"),
              show_default=True, help="Where the copy, the keys and the state lie.")  # fmt: skip
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
        shutil.copyfile(example, config)
        config.chmod(0o600)
    registry = open_config(config).registry
    keys = {DEMO: _key(config, directory, DEMO, registry.vendors["echo"])}
    for found in findings(registry, os.environ):
        name = f"{DEMO} {found.vendor.name}"
        keys[name] = _key(config, directory, name, found.vendor)
    from sidecar.process import run

    state = directory / "state"
    raise SystemExit(
        run(config, state, listen, admin, greet=lambda live: _greet(live, keys, state))
    )


def _key(config: Path, directory: Path, name: str, vendor: Vendor) -> str:
    """The text of a key of that vendor: the one of an earlier run, or a new one."""
    opened = open_config(config)
    place = directory / f"{name.replace(' ', '-')}-key"
    known = place.read_text().strip() if place.exists() else ""
    if known and digest(known) in opened.snapshot.by_digest:
        return known
    key = mint()
    if name in opened.snapshot.keys:
        new = changes.rotate_key(opened.text, opened.snapshot, name, key, None)
    else:
        text, group = _with_group(opened, vendor)
        new = changes.create_key(text, name, key, datetime.now(UTC), {"group": group})
    write(opened, new)
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(key + "\n")
    return key


def _with_group(opened: Opened, vendor: Vendor) -> tuple[bytes, str]:
    """The file's first group of that vendor, which is made if there is none."""
    for group in opened.snapshot.groups.values():
        if group.vendor.name == vendor.name:
            return opened.text, group.name
    name = f"{DEMO} {vendor.name}"
    return changes.add(opened.text, ("groups", name), {"vendor": vendor.name}), name


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
        "SIDECAR_CONFIG": quote(str(running.configuration.file.absolute())),
        "SIDECAR_STATE": quote(str(state.absolute())),
    }
    click.echo("and this, for sidecar open, top, usage and all other commands there:\n")
    click.echo(f"export {' '.join(f'{name}={place}' for name, place in places.items())}\n")
    note(f"edit {running.configuration.file} and watch what is said here; Ctrl-C ends it")


def curl_lines(base: str, key: str) -> list[str]:
    """Three calls, one for each dialect, ready to paste."""
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
