"""`sidecar doctor`: find out what is wrong with an installation."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from sidecar.admin.api_types.config import ProcessStatus
from sidecar.cli.client import ProcessError, find_process
from sidecar.cli.options import config_option, json_option, note, state_option
from sidecar.doctor import examine
from sidecar.doctor.bundle import SecretMasks, write_bundle
from sidecar.doctor.results import CheckResult, Level, look_at


@click.command("doctor")
@click.option("--call", is_flag=True, help="Also ask each provider for its models, with its "
              "credential.")  # fmt: skip
@click.option("--bundle", type=click.Path(path_type=Path), metavar="FILE",
              help="Write a support file without secrets (tar.gz).")  # fmt: skip
@click.option("--strict", is_flag=True, help="Let warnings count as failures.")
@json_option
@config_option
@state_option
def doctor_command(
    call: bool, bundle: Path | None, strict: bool, as_json: bool, config: Path, state: Path
) -> None:
    """Check the installation, and print a repair for each fault.

    Looks at the file, permissions, ports, file watching, credentials, the way to each provider,
    what points agents elsewhere, proxies, the clock and known weaknesses of installed packages.
    It connects to each provider, but sends a credential only with --call.

    \b
    Examples:
      sidecar doctor
      sidecar doctor --call --bundle support.tar.gz

    Exit status: 0 nothing failed; 1 a check failed, or with --strict warned.
    """
    problem, status = None, None
    try:
        live = find_process(state)
        status = None if live is None else live.get("/api/status", ProcessStatus)
    except ProcessError as error:
        problem = CheckResult("process", Level.FAIL, str(error), "stop it, and start it again")
    at = look_at(config, state, os.environ, status)
    masks = SecretMasks(at)
    found = asyncio.run(examine(at, call=call))
    findings = [masks.finding(each) for each in (*((problem,) if problem else ()), *found)]
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(findings), indent=2))
    else:
        _show(findings)
    if bundle is not None:
        write_bundle(bundle, at, findings, masks)
        note(f"{bundle} is written, without secrets; look at it before you send it")
    bad = {Level.FAIL, Level.WARN} if strict else {Level.FAIL}
    raise SystemExit(int(any(each.level in bad for each in findings)))


def _show(findings: Sequence[CheckResult]) -> None:
    for each in findings:
        click.echo(f"{each.level.value}  {each.check}: {each.what}")
        if each.repair:
            click.echo(f"      repair: {each.repair}")
    counts = Counter(each.level for each in findings)
    note(", ".join(f"{counts[level]} {level.value}" for level in Level))
