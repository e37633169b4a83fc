"""`sidecar setup`: an agent's own configuration, pointed at Sidecar and back."""

from __future__ import annotations

import difflib
import os
import sys
from pathlib import Path

import click

from sidecar.agents.agent import Agent
from sidecar.agents.launch import AgentTarget
from sidecar.agents.setup import SetupChange, backups, plan, undo, write
from sidecar.agents.table import AGENTS, KEY_VARIABLE
from sidecar.cli.agents.env import AgentName
from sidecar.cli.client import base_of
from sidecar.cli.options import REFUSED, config_option, fail, note, open_config, state_option
from sidecar.config.yaml.secret_forms import masked, masked_runs
from sidecar.humanize import printable


@click.command("setup")
@click.argument("agent", type=AgentName(), metavar="AGENT")
@click.option("--undo", "takes_out", is_flag=True, help="Restore the files as they were before.")
@click.option("--key-env", default=KEY_VARIABLE, show_default=True, metavar="NAME",
              help="The variable that holds the local key.")  # fmt: skip
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_option
@state_option
def setup_command(
    agent: str, takes_out: bool, key_env: str, yes: bool, config: Path, state: Path
) -> None:
    """Write Sidecar's address into an agent's own configuration.

    Shows the difference first and, on a terminal, asks. What the files were before is kept;
    --undo restores it byte for byte. A second setup changes nothing, or only what is new.

    \b
    Agents: aider, claude-code, cline, codex, crush, gemini-cli, goose, opencode, qwen-code

    \b
    Examples:
      SIDECAR_KEY=sk-sidecar-… sidecar setup claude-code
      sidecar setup claude-code --undo

    Exit status: 0 done, or nothing to do; 2 when a file cannot be changed safely.
    """
    chosen = AGENTS[agent]
    if takes_out:
        _undo(chosen, state)
        return
    if not chosen.own:
        fail(f"{agent} has no file that can be set up; see: sidecar env {agent}")
    key = os.environ.get(key_env, "")
    if not key and any(not each.uses_env for each in chosen.own):
        fail(f"set {key_env} to a local key, from: sidecar keys create NAME --group GROUP")
    target = AgentTarget(base_of(open_config(config).snapshot, state), key)
    changes = plan(chosen, target, os.environ, state)
    needed = [each for each in changes if each.is_needed]
    if not needed:
        note(f"{agent} is set up already; nothing was changed")
        return
    for each in needed:
        click.echo(_difference(each, key), nl=False)
    if sys.stdin.isatty() and not yes and not click.confirm("Write this?", err=True):
        note("nothing was changed")
        raise SystemExit(REFUSED)
    write(changes, chosen, state)
    _show_done(chosen)


def _undo(agent: Agent, state: Path) -> None:
    if not backups(agent, state):
        note(f"{agent.name} is not set up; nothing was changed")
        return
    for path in undo(agent, state):
        note(f"{path} is as it was before")


def _difference(change: SetupChange, secret: str) -> str:
    """Return the change as a unified difference, without any credential: the file may hold those of
    vendors."""
    before, after = (
        (each or b"").decode("utf-8", "replace") for each in (change.now, change.after)
    )
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), str(change.path),
        str(change.path),
    )  # fmt: skip
    return "".join(f"{_shown(line.rstrip(), secret)}\n" for line in lines)


def _shown(line: str, secret: str) -> str:
    """Return a line of an agent's file for the terminal, which must not act on it."""
    if secret:
        line = line.replace(secret, "••••")
    return "\t".join(map(printable, masked_runs(masked(line)).split("\t")))


def _show_done(agent: Agent) -> None:
    note(f"{agent.name} is set up; undo it with: sidecar setup {agent.name} --undo")
    if any(each.uses_env for each in agent.own):
        note(f'it takes the key from the environment: eval "$(sidecar env {agent.name})"')
    if agent.to_set:
        note(f"set in your shell as well: {agent.to_set}")
    for each in agent.switched_off:
        note(f"another address than the vendor's switches off {each}")
