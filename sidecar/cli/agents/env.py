"""`sidecar env` and `sidecar completion`: lines for a shell."""

from __future__ import annotations

from pathlib import Path

import click

from sidecar.agents.shells import PROXY_NOTES, Shell, lines_for
from sidecar.agents.table import AGENTS, KEY_VARIABLE, agent_for
from sidecar.cli.client import base_of
from sidecar.cli.options import config_option, fail, open_config, state_option


class AgentName(click.Choice[str]):
    """The name of an agent or SDK; an agent may also be named by its program."""

    name = "agent"

    def __init__(self) -> None:
        super().__init__(sorted(AGENTS))

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name. Fails for an unknown one, with the known ones."""
        agent = None if value in AGENTS else agent_for(value)
        return super().convert(value if agent is None else agent.name, param, ctx)


@click.command("env")
@click.argument("agent", type=AgentName(), metavar="AGENT|SDK")
@click.option(
    "--shell",
    type=click.Choice([each.value for each in Shell]),
    default="bash",
    show_default=True,
    help="The shell that reads the lines; bash is any POSIX shell.",
)
@click.option("--key-env", default=KEY_VARIABLE, show_default=True, metavar="NAME",
              help="The variable that holds the local key.")  # fmt: skip
@click.option("--login", is_flag=True, help="Keep the agent's own login, for providers with "
              "credential: caller; the key goes beside it.")  # fmt: skip
@config_option
@state_option
def env_command(
    agent: str, shell: str, key_env: str, login: bool, config: Path, state: Path
) -> None:
    """Print the lines that point an agent or an SDK at Sidecar.

    The key itself is not printed: the lines read it from an environment variable, and stop with an
    error when it is not set.

    \b
    Agents: aider, claude-code, cline, codex, continue, copilot-cli, crush, gemini-cli, goose,
            opencode, qwen-code
    SDKs:   anthropic, google-genai, groq, langchain, litellm, llamaindex, llm, mistral, openai,
            openai-agents, pydantic-ai, vercel-ai

    \b
    Examples:
      export SIDECAR_KEY=sk-sidecar-…
      eval "$(sidecar env claude-code)"
      eval "$(sidecar env codex)"
      sidecar env codex --shell fish
      eval "$(sidecar env --login claude-code)"

    In fish, pipe the lines to source; in PowerShell, through Out-String to Invoke-Expression.
    """
    base = base_of(open_config(config).snapshot if config.exists() else None, state)
    kind, chosen = Shell(shell), AGENTS[agent]
    if login:
        if chosen.login is None:
            able = ", ".join(each.name for each in AGENTS.values() if each.login is not None)
            fail(f"{agent} cannot send a key beside a login of its own; these can: {able}")
        chosen = chosen.with_login(chosen.login)
    click.echo(lines_for(kind, chosen, base, key_env))
    click.echo(PROXY_NOTES[kind])


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> None:
    """Print the lines that complete commands and options in a shell.

    \b
    Examples:
      eval "$(sidecar completion bash)"          in ~/.bashrc
      sidecar completion fish > ~/.config/fish/completions/sidecar.fish
    """
    from click.shell_completion import get_completion_class

    from sidecar.cli import cli

    complete = get_completion_class(shell)
    if complete is None:
        raise click.ClickException(f"no completion for {shell}")
    click.echo(complete(cli, {}, "sidecar", "_SIDECAR_COMPLETE").source())
