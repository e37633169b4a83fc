"""`sidecar import`: a configuration made from that of another gateway."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click

from sidecar.cli.options import REFUSED, default_config, fail, note
from sidecar.config.manager import read_file
from sidecar.errors import ConfigError
from sidecar.files import create_private, write_private
from sidecar.humanize import plural
from sidecar.importing.convert import Imported, convert
from sidecar.plugin_api.manager import discover


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), help="Write this file instead of "
              "standard output.")  # fmt: skip
@click.option("--force", is_flag=True, help="Let --output replace a file that exists.")
def import_command(file: Path, output: Path | None, force: bool) -> None:
    """Make a configuration from that of another gateway.

    Reads the configuration of a LiteLLM proxy or of claude-code-router, and channels of one-api or
    new-api as JSON. What has no counterpart is listed with its line. A credential in the file is
    not copied: the result names an environment variable, and a note has the line of its value.

    \b
    Examples:
      sidecar import litellm.yaml
      sidecar import ~/.claude-code-router/config.json --output routes.yaml

    Exit status: 0 done, also with parts that have no counterpart; 2 the file cannot be read, or
    the output exists.
    """
    if output is not None and output.exists() and not force:
        fail(f"{output} exists already and is not changed; replace it with: --force")
    try:
        found = convert(read_file(file), str(file), discover(), os.environ)
    except ConfigError as error:
        note(str(error))
        raise SystemExit(REFUSED) from None
    if output is None:
        click.echo(found.text, nl=False)
    else:
        output.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        (write_private if force else create_private)(output, found.text.encode())
    _report(file, output, found)


def _report(file: Path, output: Path | None, found: Imported) -> None:
    for problem in found.problems:
        note(str(problem))
    for variable, line in found.exports.items():
        note(f"{file}:{line}: a credential stands here; export it: {variable}=…")
    count = plural(len(found.problems), "part")
    note(f"{count} without a counterpart" if found.problems else "everything has a counterpart")
    if output is not None:
        note(f"{output} is written; look at it with: sidecar check '{output}'")
    elif found.groups:
        usual = Path(os.environ.get("SIDECAR_CONFIG") or default_config())
        place = Path("imported.yaml") if usual.exists() else usual
        words = shlex.join(["sidecar", "import", str(file), "--output", str(place)])
        note(f"write it to a file with: {words}")
    for group in found.groups:
        note(f"make a key: sidecar keys create NAME --group '{group}'")
