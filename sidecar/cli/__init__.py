"""The command line: parse options, ask the running process, print.

A command's module is imported when the command runs, so that `sidecar --help` is quick.
"""

from __future__ import annotations

import errno
import os
import sys
from importlib import import_module
from typing import IO

import click

from sidecar.errors import SidecarError

COMMANDS = {
    "run": "agents.run",
    "serve": "commands.serve",
    "stop": "agents.service",
    "open": "commands.open",
    "init": "commands.init",
    "check": "commands.config",
    "edit": "commands.config",
    "status": "commands.status",
    "doctor": "support.doctor",
    "keys": "keys",
    "groups": "entities.groups",
    "providers": "entities.providers",
    "credential": "entities.credential",
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
    "import": "support.imports",
    "env": "agents.env",
    "setup": "agents.setup",
    "completion": "agents.env",
    "demo": "commands.init",
}
"""Each command and the module that defines it as `NAME_command`, in the order of the help."""
HIDDEN = frozenset({"demo"})


class SuggestingGroup(click.Group):
    """A group that suggests the command that was probably meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that was typed. Raises `UsageError` with a suggestion."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from sidecar.humanize import nearest  # slow to import, and commands can do without

            near = nearest(args[0], self.list_commands(ctx))
            if not near:
                raise
            raise click.UsageError(f"{error.message} Did you mean '{near}'?", ctx) from None


class LazyCommands(SuggestingGroup):
    """The commands, each imported when it is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names that the help shows."""
        return [name for name in COMMANDS if name not in HIDDEN]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return the command of that name."""
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = getattr(
            import_module(f"sidecar.cli.{module}"), f"{cmd_name}_command"
        )
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; print a failure as one line, without a traceback."""
        try:
            return super().invoke(ctx)
        except SidecarError as error:
            raise CommandFailed(str(error)) from None
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader of our output has left; click handles it
                raise
            where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
            raise CommandFailed(f"{where}{error.strerror or error}") from None


class CommandFailed(click.ClickException):
    """Ends a command with one line on stderr and status 2."""

    exit_code = 2

    def show(self, file: IO[str] | None = None) -> None:  # noqa: ARG002 - click's signature
        """Print the line."""
        click.echo(f"sidecar: {self.message}", err=True)


@click.command(cls=LazyCommands, context_settings={"help_option_names": ["-h", "--help"]})
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
    if sys.platform == "win32":
        raise SystemExit("sidecar: this system is not supported; run Sidecar in WSL 2")
    cli()
