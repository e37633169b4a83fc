"""The command line: parse options, ask the running process, print.

A command's module is imported when the command runs, so that `sidecar --help` is quick.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
from importlib import import_module
from typing import IO

import click

from sidecar.errors import SidecarError

SECTIONS = {
    "Start and stop": {
        "run": ("agents.run", "Run an agent through Sidecar, with a key that ends with it."),
        "init": ("commands.init", "Write a first configuration, for the vendors found here."),
        "import": ("support.imports", "Make a configuration from that of another gateway."),
        "serve": ("commands.serve", "Serve the configuration in the foreground."),
        "stop": ("agents.service", "Stop the service, after its running calls."),
    },
    "Connect agents": {
        "env": ("agents.env", "Print the lines that point an agent or an SDK at Sidecar."),
        "setup": ("agents.setup", "Write Sidecar's address into an agent's own configuration."),
        "models": ("commands.status", "List the models that keys may use, and which keys."),
    },
    "Keys, groups and providers": {
        "keys": ("keys", "Create, list, change and delete local keys."),
        "groups": ("entities.groups", "List, add, edit and remove groups."),
        "providers": ("entities.providers", "List, add, edit and remove providers."),
        "credential": ("entities.credential", "Store a provider's credential, and test it."),
    },
    "See what happens": {
        "status": ("commands.status", "Show what the running process serves."),
        "top": ("commands.top", "Watch calls, limits, vendors' quotas and cooldowns."),
        "open": ("commands.open", "Open the console of the running process in your browser."),
        "usage": ("commands.usage", "Show usage and cost by key, model, day, session and so on."),
        "why": ("commands.calls", "Show what is recorded about a call."),
        "explain": ("commands.calls", "Show where a call would go, without making it."),
        "statusline": ("commands.statusline", "Print one line for a status bar."),
    },
    "Hold calls back": {
        "pause": ("commands.pause", "Pause a key, a group, a provider, or everything."),
        "resume": ("commands.pause", "Resume what was paused; its waiting calls continue."),
    },
    "The configuration, and repairs": {
        "check": (
            "commands.config",
            "Check a configuration, and print each problem with its place.",
        ),
        "edit": (
            "commands.config",
            "Open the configuration in your editor ($VISUAL, then $EDITOR).",
        ),
        "doctor": ("support.doctor", "Check the installation, and print a repair for each fault."),
        "schema": ("commands.config", "Print the JSON Schema of the configuration, for editors."),
        "plugins": ("commands.plugins", "List vendors and transforms, show one, or check plugins."),
        "completion": (
            "agents.env",
            "Print the lines that complete commands and options in a shell.",
        ),
    },
}
"""The headings of the help, and under each its commands: the module, which defines the command as
`NAME_command`, and what the help says of it, so that the help need not import all of them."""
COMMANDS = {
    **{name: module for commands in SECTIONS.values() for name, (module, _) in commands.items()},
    "demo": "commands.init",  # for `make run` alone: the help does not list it
}

OBJECTS_BEFORE_COLLECTION = 50_000
"""New objects before the first search for garbage: imports make as many, and all of them stay."""


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
        return [name for commands in SECTIONS.values() for name in commands]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands under their headings, with one column for all names."""
        widest = max(map(len, self.list_commands(ctx)))
        limit = formatter.width - 6 - widest
        for heading, commands in SECTIONS.items():
            rows = [
                (f"{name:{widest}}", click.Command(name, help=text).get_short_help_str(limit))
                for name, (_, text) in commands.items()
            ]
            with formatter.section(heading):
                formatter.write_dl(rows)

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
    """A gateway on your machine between your agents and the models: local keys, limits, budgets.

    \b
    Start here:
      sidecar run claude           an agent, with all that it needs
    or step by step:
      sidecar init                 write a first configuration
      sidecar serve                serve it
      sidecar keys create codex --group GPT
    """


def main() -> None:
    """Run the command that was typed."""
    gc.set_threshold(OBJECTS_BEFORE_COLLECTION)
    if sys.platform == "win32":
        raise SystemExit("sidecar: this system is not supported; run Sidecar in WSL 2")
    cli()
