"""`sidecar plugins`: what is loaded, from where, what it provides, and whether it is valid."""

from __future__ import annotations

from pathlib import Path

import click

from sidecar.cli.options import REFUSED, config_option, fail, registry_for
from sidecar.config.manager import read_file
from sidecar.plugin_api.manager import Registry
from sidecar.plugin_api.vendor import Vendor


@click.command("plugins")
@click.argument("name", required=False, metavar="[NAME|check]")
@config_option
def plugins_command(name: str | None, config: Path) -> None:
    """List vendors and transforms, show one, or check plugins.

    A check shows whether every plugin keeps its contract.

    \b
    Examples:
      sidecar plugins
      sidecar plugins azure
      sidecar plugins redact
      sidecar plugins check

    Exit status: 0; 2 when a plugin could not be loaded or breaks the contract.
    """
    registry = registry_for(config, read_file(config) if config.exists() else b"")
    if name == "check":
        _check(registry)
    elif name is not None:
        _describe(registry, name)
    else:
        _list(registry)


def _list(registry: Registry) -> None:
    from sidecar.cli.render.tables import print_table

    print_table(
        ("vendor", "speaks", "also serves", "credential", "from"),
        [
            (
                vendor.name, ", ".join(vendor.dialects),
                ", ".join(vendor.serves) or "-", vendor.credential or "-",
                registry.sources[vendor.name].partition(": ")[0],  # the rest: `plugins NAME`
            )
            for vendor in registry.vendors.values()
        ],
    )  # fmt: skip
    click.echo()
    print_table(
        ("transform", "what it does", "options", "from"),
        [
            (
                transform.name, transform.title, ", ".join(transform.options) or "-",
                registry.transform_sources[transform.name].partition(": ")[0],
            )
            for transform in registry.transforms.values()
        ],
    )  # fmt: skip
    _fail_on(registry.problems)


def _describe(registry: Registry, name: str) -> None:
    vendor, transform = registry.vendors.get(name), registry.transforms.get(name)
    if vendor is None and transform is None:
        names = ", ".join((*registry.vendors, *registry.transforms))
        fail(f'there is no vendor or transform "{name}"; there is: {names}')
    for line in [] if vendor is None else _lines(vendor, registry.sources[name]):
        click.echo(line)
    if transform is not None:
        click.echo(f"{name}: {transform.title}, from {registry.transform_sources[name]}")
        for option, text in transform.options.items():
            click.echo(f"  option {option} (a list): {text}")


def _lines(vendor: Vendor, source: str) -> list[str]:
    variables = " or ".join(each for each in (vendor.credential, *vendor.other_credentials) if each)
    lines = [
        f"{vendor.name}: {vendor.title}, from {source}",
        f"  base_url    {vendor.base_url or 'must be given in the file'}",
        f"  credential  {variables or 'none needed'}",
        f"  serves groups of {', '.join((vendor.name, *vendor.serves))}",
    ]
    for dialect, serving in vendor.dialects.items():
        endpoints = "all" if serving.endpoints is None else ", ".join(sorted(serving.endpoints))
        lines.append(f"  speaks {dialect}: {endpoints}")
    for field in vendor.fields:
        kind = " | ".join(field.type) if isinstance(field.type, tuple) else field.type.__name__
        default = "required" if field.required else f"default {field.default}"
        lines.append(f"  field {field.name} ({kind}, {default}): {field.help}")
    return lines


def _check(registry: Registry) -> None:
    from sidecar.testing import problems

    _fail_on(problems(registry))
    kinds = {
        "vendors": registry.vendors,
        "dialects": registry.dialects,
        "transforms": registry.transforms,
    }
    counts = [f"{len(found)} {kind}" for kind, found in kinds.items()]
    click.echo(f"{', '.join(counts)}: all good")


def _fail_on(found: list[str] | tuple[str, ...]) -> None:
    for problem in found:
        click.echo(problem, err=True)
    if found:
        raise SystemExit(REFUSED)
