"""`sidecar init`: a first configuration, from what is lying around."""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import click

from sidecar.agents import line_for
from sidecar.changes import hash_of, utc
from sidecar.cli.common import config_option, fail, note
from sidecar.cli.live import base_of
from sidecar.keytext import looks_like_key, mint
from sidecar.loading import load
from sidecar.loopback import is_loopback
from sidecar.plugins import Registry, discover
from sidecar.vendor import Vendor
from sidecar.writing import Value, flow, scalar

PROBE = 0.3
"""Seconds that a local server has to answer."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A vendor that could be used, and why."""

    vendor: Vendor
    where: str


@click.command("init")
@click.option("--yes", is_flag=True, help="Take everything that is found; ask nothing.")
@config_option
def init_command(yes: bool, config: Path) -> None:
    """Write a first configuration: a group and a key for each vendor that is found.

    Looks for vendors' credentials in the environment and for local model servers; on a terminal
    it asks about each. Prints each key once, with the line for its agent. Never overwrites a file.

    \b
    Examples:
      sidecar init
      sidecar init --yes --config ./routes.yaml

    Exit status: 0 written; 2 there is a file already, or it cannot be written.
    """
    if config.exists():
        fail(f"{config} is there already, and stays as it is; change it with: sidecar edit")
    registry = discover()
    yes = yes or not sys.stdin.isatty()
    found = [each for each in findings(registry, os.environ) if yes or _wanted(each)]
    if not found:
        note("nothing was found or taken; the group `demo` answers offline, with your own words")
        found = [Finding(registry.vendors["echo"], "built in")]
    keys = {each.vendor.name: mint() for each in found}
    text = compose(found, keys, datetime.now(UTC))
    snapshot = load(text.encode(), file=str(config), registry=registry)
    _write(config, text)
    note(f"{config} is written; serve it with: sidecar serve")
    note("each key is shown only now, in the line that points an agent at it:")
    for each in found:
        note(f"{each.vendor.title}, found at {each.where}:")
        dialect = next(iter(each.vendor.dialects))
        click.echo(line_for(dialect, base_of(snapshot), keys[each.vendor.name]))
    note("what other agents need: sidecar env --help")


def findings(registry: Registry, environ: Mapping[str, str]) -> list[Finding]:
    """Every vendor whose credential is in the environment or whose server answers here."""
    found = []
    for vendor in registry.vendors.values():
        variables = [name for name in (vendor.credential, *vendor.also) if name]
        present = next((name for name in variables if _is_credential(environ.get(name))), None)
        if present is not None and vendor.base_url is not None:
            found.append(Finding(vendor, f"${present}"))
        elif not variables and vendor.base_url is not None and answers(vendor.base_url):
            found.append(Finding(vendor, vendor.base_url))
    return found


def _is_credential(value: str | None) -> bool:
    """A variable that already points an agent at Sidecar holds one of our own keys."""
    return bool(value) and not looks_like_key(value or "")


def answers(base_url: str) -> bool:
    """Whether a model server listens there, on this machine: not just any server."""
    address = urlsplit(base_url)
    if not address.hostname or not is_loopback(address.hostname):
        return False
    connection = http.client.HTTPConnection(address.hostname, address.port or 80, timeout=PROBE)
    try:
        connection.request("GET", f"{address.path}/models")
        answer = connection.getresponse()
        return answer.status == http.HTTPStatus.OK and b'"data"' in answer.read(1 << 20)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _wanted(found: Finding) -> bool:
    question = f"{found.vendor.title} ({found.where}): make a group and a key for it?"
    return click.confirm(question, default=True, err=True)


def compose(found: list[Finding], keys: Mapping[str, str], now: datetime) -> str:
    """The file's text."""
    lines = ["# Who may use what. A save is in force at once, if it is right.", "", "groups:"]
    lines += [
        f"  {scalar(group_name(each.vendor))}: {{vendor: {each.vendor.name}}}" for each in found
    ]
    lines += ["", "keys:"]
    for each in found:
        entry: dict[str, Value] = {
            "group": group_name(each.vendor),
            "hash": hash_of(keys[each.vendor.name]),
            "created": utc(now),
        }
        lines.append(f"  {each.vendor.name}: {flow(entry)}")
    return "\n".join(lines) + "\n"


def group_name(vendor: Vendor) -> str:
    """What the first group of a vendor is called."""
    return "demo" if vendor.local_server is not None else vendor.title


def _write(config: Path, text: str) -> None:
    config.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(config, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
