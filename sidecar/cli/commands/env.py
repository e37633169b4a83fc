"""`sidecar env` and `sidecar completion`: lines for a shell."""

from __future__ import annotations

from pathlib import Path

import click

from sidecar.admin.agent_setup import AGENTS, PROXY_NOTE, agent_lines, key_variable
from sidecar.cli.client import base_of
from sidecar.cli.options import config_option, open_config, state_option


@click.command("env")
@click.argument("agent", type=click.Choice(sorted(AGENTS)), metavar="AGENT|SDK")
@click.option("--key-env", default="SIDECAR_KEY", show_default=True, metavar="NAME",
              help="The variable that holds the local key.")  # fmt: skip
@config_option
@state_option
def env_command(agent: str, key_env: str, config: Path, state: Path) -> None:
    """Print the lines that point an agent or an SDK at Sidecar.

    The key itself is not printed: the lines read it from an environment variable, and stop with an
    error when it is not set.

    \b
    Agents: aider, claude-code, cline, codex, continue, gemini-cli, opencode, qwen-code
    SDKs:   anthropic, google-genai, groq, langchain, litellm, llamaindex, llm, mistral, openai,
            openai-agents, pydantic-ai, vercel-ai

    \b
    Examples:
      export SIDECAR_KEY=sk-sidecar-…
      eval "$(sidecar env claude-code)"
      eval "$(sidecar env codex)"
    """
    base = base_of(open_config(config).snapshot if config.exists() else None, state)
    click.echo(agent_lines(AGENTS[agent], base, key_variable(key_env)))
    click.echo(PROXY_NOTE)


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
