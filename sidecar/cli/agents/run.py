"""`sidecar run`: an agent, with a key of its own, through Sidecar."""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

import click
from msgspec import Struct, structs

from sidecar.admin.api_types.config import ProcessStatus
from sidecar.admin.api_types.entities import ChildKeyInfo
from sidecar.agents.agent import Agent
from sidecar.agents.launch import AgentTarget, keep_new_files, launch
from sidecar.agents.table import GENERIC, agent_for
from sidecar.api_keys import digest, mint
from sidecar.child_keys import ChildOrder, ChildTotals
from sidecar.cli.agents.process import Heartbeat, run_agent
from sidecar.cli.agents.service import note_unseen_variables, running_or_started
from sidecar.cli.client import ProcessError, find_process
from sidecar.cli.options import (
    OpenedConfig,
    config_option,
    fail,
    note,
    open_config,
    state_option,
)
from sidecar.cli.params import GROUP, KEY
from sidecar.config.model import Group, SecretSource, Urgency
from sidecar.config.schema.addresses import local_url
from sidecar.humanize import count, money, plural, printable, share, span


class Wanted(Struct, frozen=True):
    """The order of a user: the agent, its words, and the key that it gets."""

    agent: Agent
    words: tuple[str, ...]
    order: ChildOrder
    secret: str
    model: str | None


@click.command("run", context_settings={"allow_interspersed_args": False})
@click.option("--key", type=KEY, help="The parent of the agent's key.")
@click.option("--group", type=GROUP, help="The group that the agent's key belongs to.")
@click.option("--model", metavar="NAME", help="The model that the agent asks for.")
@click.option("--models", multiple=True, metavar="PATTERN", help="The models that it may use.")
@click.option("--budget", multiple=True, metavar="$5/day", help="A budget of its own.")
@click.option("--urgency", type=click.Choice([each.name.lower() for each in Urgency]),
              help="Which waiting calls go first; by default as the parent's.")  # fmt: skip
@config_option
@state_option
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED,
                metavar="AGENT|COMMAND [ARGS]…")  # fmt: skip
@click.pass_context
def run_command(
    ctx: click.Context, words: tuple[str, ...], key: str | None, group: str | None,
    model: str | None, models: tuple[str, ...], budget: tuple[str, ...], urgency: str | None,
    config: Path, state: Path,
) -> None:  # fmt: skip
    """Run an agent through Sidecar, with a key that ends with it.

    Starts the service if none runs. The agent gets a key of its own, its address and what else it
    needs; vendors' credentials are taken from its environment. Its own configuration, login and
    history stay. At the end one line has its calls, tokens and cost.

    The key has the routes, limits and budget of its parent: --key, else --group, else the only
    group that fits the agent. A command that is no agent gets the variables of every SDK.

    \b
    Agents: aider, claude-code, cline, codex, continue, copilot-cli, crush, gemini-cli, goose,
            opencode, qwen-code, by these names or by those of their programs

    \b
    Examples:
      sidecar run claude
      sidecar run --budget '$5/day' --urgency background codex exec "fix the tests"
      sidecar run --group GPT -- python my_agent.py

    Exit status: that of the agent; 2 when it was not started, 127 when it is not installed.
    """
    if not config.exists():
        _write_first_file(ctx, config)
    agent = agent_for(words[0]) or GENERIC
    if agent.needs_model and model is None:
        fail(f"{agent.name} needs a model: sidecar run --model NAME {words[0]}")
    if model is not None and not agent.takes_model:
        fail(f"{agent.name} takes its model from its own configuration; leave --model out")
    if words[0] in (agent.name, *agent.aliases):
        words = (agent.program, *words[1:])
    secret = mint()
    label = agent.name if agent is not GENERIC else printable(Path(words[0]).name)[:40]
    order = ChildOrder(
        name=f"{label}-{secrets.token_hex(4)}", digest=digest(secret).hex(), agent=label, key=key,
        group=group, vendor=agent.dialect or None, dialect=agent.dialect or None,
        models=list(models), budgets=list(budget), urgency=urgency,
    )  # fmt: skip
    raise SystemExit(_run(Wanted(agent, words, order, secret, model), config, state))


def _write_first_file(ctx: click.Context, config: Path) -> None:
    """Run `sidecar init`; standard output is the agent's alone."""
    from sidecar.cli.commands.init import init_command

    note(f"there is no configuration at {config}; a first one is written")
    with redirect_stdout(sys.stderr):
        ctx.invoke(init_command, yes=False, config=config)


def _run(wanted: Wanted, config: Path, state: Path) -> int:
    opened = open_config(config)
    credentials = _credential_variables(opened)
    live = running_or_started(config, state)
    status = live.get("/api/status", ProcessStatus)
    base = local_url(status.listen[0])
    child = live.send("/api/child-keys", wanted.order, ChildKeyInfo)
    parent = opened.snapshot.groups.get(child.group)
    if parent is not None:
        _note_other_models(wanted, parent)
        note_unseen_variables(status, {each.provider.name for each in parent.routes}, state)
    # A group that is added later must leave the choice of the parent as it is.
    group = child.group if wanted.order.key is None else None
    heartbeat = Heartbeat(state, structs.replace(wanted.order, group=group))
    try:
        with tempfile.TemporaryDirectory(prefix="sidecar-run-") as folder:
            target = AgentTarget(base, wanted.secret, wanted.model, child.takes_login)
            prepared = launch(
                wanted.agent, wanted.words, target, os.environ, credentials, Path(folder)
            )
            ended = run_agent(prepared, heartbeat)
            keep_new_files(wanted.agent, os.environ, Path(folder))
            return ended
    finally:
        heartbeat.stop()
        _end(state, wanted.order.name)


def _note_other_models(wanted: Wanted, group: Group) -> None:
    """Note what answers in place of a vendor. Name `--model` where a group with the agent's API has
    neither its own vendor nor a rename."""
    agent = wanted.agent
    if all(route.provider.vendor.local_server is not None for route in group.routes):
        note(
            f'group "{group.name}" answers offline with an echo; for a vendor, set its variable, '
            "such as ANTHROPIC_API_KEY, and run: sidecar init"
        )
    elif (
        wanted.model is None
        and agent.takes_model
        and agent.dialect in group.vendor.dialects
        and all(
            route.rename is None and route.provider.vendor.name != agent.dialect
            for route in group.routes
        )
    ):
        note(
            f"{agent.name} asks for models by its own names, and no route of group "
            f'"{group.name}" renames them; choose one of `sidecar models` with: --model NAME'
        )


def _credential_variables(opened: OpenedConfig) -> set[str]:
    """Return the variables that hold credentials, by the plugins and by the file."""
    vendors = opened.registry.vendors.values()
    found = {name for each in vendors for name in (each.credential, *each.other_credentials)}
    providers = opened.snapshot.providers.values()
    references = (reference for each in providers for reference in each.credentials)
    found |= {each.argument for each in references if each.source is SecretSource.ENV}
    return {name for name in found if name}


def _end(state: Path, name: str) -> None:
    """End the child key, and print what its calls took."""
    try:
        live = find_process(state)
        if live is None:
            note("the service has ended; its calls are in: sidecar usage")
            return
        note(
            f"sidecar: {summary(live.post(ChildKeyInfo, 'api', 'child-keys', name, 'end').totals)}"
        )
    except ProcessError as error:
        note(f"what the run took is not known: {error}")


def summary(totals: ChildTotals) -> str:
    """Return calls, failures, tokens, cached share, cost and waits in one line."""
    if not totals.calls:
        return "no call was made"
    whole = not totals.unknown
    tokens = totals.input_tokens + totals.output_tokens
    cached = share(totals.cache_read_tokens / totals.input_tokens) if totals.input_tokens else ""
    parts: Sequence[str] = (
        plural(totals.calls, "call"),
        f"{totals.failed} failed (see: sidecar why)" if totals.failed else "",
        f"{count(tokens, whole=whole)} tokens",
        f"{cached} of the input cached" if cached else "",
        money(totals.charged, whole=whole),
        f"waited {span(totals.waited)}" if totals.waited >= 1 else "no waiting",
    )
    return " · ".join(part for part in parts if part)
