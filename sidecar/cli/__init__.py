"""The command line: what a person types. Parses, asks and prints; decides nothing by itself.

Modules of the commands are imported when they are used, so that `sidecar --help` is quick.
"""

from __future__ import annotations

import errno
import os
from importlib import import_module
from typing import IO

import click

from sidecar.errors import SidecarError

COMMANDS = {
    "serve": "commands.serve",
    "open": "commands.open",
    "init": "commands.init",
    "check": "commands.config",
    "edit": "commands.config",
    "status": "commands.status",
    "keys": "keys",
    "usage": "commands.usage",
    "why": "commands.calls",
    "statusline": "commands.statusline",
    "explain": "commands.calls",
    "top": "commands.top",
    "pause": "commands.pause",
    "resume": "commands.pause",
    "models": "commands.status",
    "plugins": "commands.plugins",
    "schema": "commands.config",
    "env": "commands.env",
    "completion": "commands.env",
    "demo": "commands.init",
}
"""Each command and the module that holds it, in the order of the help."""
HIDDEN = frozenset({"demo"})


class Suggesting(click.Group):
    """A group that names the command which was probably meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that was typed."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from sidecar.humanize import nearest  # slow to import, and commands can do without

            near = nearest(args[0], self.list_commands(ctx))
            if not near:
                raise
            raise click.UsageError(f"{error.message} Did you mean '{near}'?", ctx) from None


class Commands(Suggesting):
    """The commands, loaded when they are named."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The names that help shows."""
        return [name for name in COMMANDS if name not in HIDDEN]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of that name."""
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = getattr(
            import_module(f"sidecar.cli.{module}"), f"{cmd_name}_command"
        )
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Run it; a failure that it did not tell itself is one line, never a traceback."""
        try:
            return super().invoke(ctx)
        except SidecarError as error:
            raise Failed(str(error)) from None
        except OSError as error:
            if error.errno == errno.EPIPE:  # whoever reads our output has left: click's business
                raise
            where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
            raise Failed(f"{where}{error.strerror or error}") from None


class Failed(click.ClickException):
    """Ends a command with one line on stderr and status 2."""

    exit_code = 2

    def show(self, file: IO[str] | None = None) -> None:  # noqa: ARG002 - click's signature
        """Print the line."""
        click.echo(f"sidecar: {self.message}", err=True)


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sidecar-llm", prog_name="sidecar")
def cli() -> None:
    """A small proxy beside your agents: local keys, one YAML file, every byte untouched.

    \b
    Start here:
      sidecar init                 write a first configuration
      sidecar serve                serve it
      sidecar keys create codex --group GPT
    """


def main() -> None:
    """Run the command that was typed."""
    cli()
