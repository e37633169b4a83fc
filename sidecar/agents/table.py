"""The table of agents and SDKs. `env`, `run`, `setup` and the console all read it.

As observed with real clients in November 2026.
"""

from __future__ import annotations

import json
from typing import Any

from sidecar.agents.agent import Agent, Login
from sidecar.agents.files import AgentFile, Format

KEY_VARIABLE = "SIDECAR_KEY"
URL_VARIABLE = "SIDECAR_URL"

_OPENAI = {"OPENAI_BASE_URL": "{base}/v1", "OPENAI_API_KEY": "{key}"}
_ANTHROPIC = {"ANTHROPIC_BASE_URL": "{base}", "ANTHROPIC_API_KEY": "{key}"}
_GOOGLE = {"GOOGLE_GEMINI_BASE_URL": "{base}", "GEMINI_API_KEY": "{key}"}
_GOOGLE_SDK = {**_GOOGLE, "GOOGLE_API_KEY": "{key}"}  # which its SDK prefers
_GROQ = {"GROQ_BASE_URL": "{base}", "GROQ_API_KEY": "{key}"}
_AIDER = {"OPENAI_API_BASE": "{base}/v1", "OPENAI_API_KEY": "{key}", **_ANTHROPIC}
_KEY = {KEY_VARIABLE: "{key}"}
_CODEX_PROVIDER = (
    '{name="sidecar", base_url="{base}/v1", env_key="SIDECAR_KEY", wire_api="responses"}'
)
_CODEX_LOGIN = (
    '{name="sidecar", base_url="{base}/v1", requires_openai_auth=true, wire_api="responses", '
    'env_http_headers={"x-sidecar-key"="SIDECAR_KEY"}}'
)
_GEMINI_LOGIN: dict[str, Any] = {"security": {"auth": {"selectedType": "gemini-api-key"}}}
_EVERY_SDK = {
    **_KEY, URL_VARIABLE: "{base}", **_OPENAI, "OPENAI_API_BASE": "{base}/v1", **_ANTHROPIC,
    **_GOOGLE_SDK, "GEMINI_API_BASE": "{base}/v1beta", **_GROQ,
    "GROQ_API_BASE": "{base}/openai/v1", "MISTRAL_API_KEY": "{key}",
    "MISTRAL_API_BASE": "{base}/v1", "OPENAI_AGENTS_DISABLE_TRACING": "1",
}  # fmt: skip
"""The variables of every SDK; those that end in `_API_BASE` are LiteLLM's and LlamaIndex's."""


def _opencode(key: str) -> dict[str, Any]:
    paths = {"anthropic": "{base}/v1", "google": "{base}/v1beta", "openai": "{base}/v1"}
    return {
        "provider": {
            name: {"options": {"baseURL": address, "apiKey": key}}
            for name, address in paths.items()
        }
    }


_CLINE = {
    "version": 1,
    "lastUsedProvider": "openai-compatible",
    "providers": {"openai-compatible": {
        "settings": {
            "provider": "openai-compatible", "apiKey": "{key}", "baseUrl": "{base}/v1",
        },
        # without a time the entry is ignored
        "updatedAt": "2026-01-01T00:00:00.000Z", "tokenSource": "manual",
    }},
}  # fmt: skip
GENERIC = Agent(
    name="a command",
    dialect="",
    environment=_EVERY_SDK,
    model_environment={"OPENAI_MODEL": "{model}", "ANTHROPIC_MODEL": "{model}"},
)
"""What a command gets that the table does not have: the variables of every SDK."""

_PROGRAMS = (
    Agent(
        name="claude-code", dialect="anthropic", program="claude",
        environment={
            "ANTHROPIC_BASE_URL": "{base}", "ANTHROPIC_AUTH_TOKEN": "{key}",
            "ENABLE_TOOL_SEARCH": "true",
        },
        model_environment={
            # Claude Code asks for its small model under a name of its own, beside the chosen one.
            "ANTHROPIC_MODEL": "{model}", "ANTHROPIC_DEFAULT_HAIKU_MODEL": "{model}",
        },
        login=Login(
            environment={
                "ANTHROPIC_BASE_URL": "{base}", "ANTHROPIC_CUSTOM_HEADERS": "x-sidecar-key: {key}",
                "ENABLE_TOOL_SEARCH": "true",
            },
            kept=("CLAUDE_CODE_OAUTH_TOKEN",),
            removed=("ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY"),
        ),
        own=(AgentFile(
            ".claude/settings.json", Format.JSON, directory="CLAUDE_CONFIG_DIR",
            content={
                "env": {
                    "ANTHROPIC_BASE_URL": "{base}", "ANTHROPIC_AUTH_TOKEN": "{key}",
                    "ENABLE_TOOL_SEARCH": "true",
                },
                "statusLine": {"type": "command", "command": "sidecar statusline"},
            },
            only_missing=("statusLine",),
        ),),
        notes=(
            "if every route of the key ends at Anthropic itself, for the 1M context:",
            "  _CLAUDE_CODE_ASSUME_FIRST_PARTY_BASE_URL=1",
        ),
        switched_off=(
            "the search of MCP tools, which ENABLE_TOOL_SEARCH=true (set here) brings back",
            "the 1M context; _CLAUDE_CODE_ASSUME_FIRST_PARTY_BASE_URL=1 brings it back, where "
            "every route of the key ends at Anthropic itself",
        ),
    ),
    Agent(
        name="codex", dialect="openai", program="codex",
        environment=_KEY,
        flags=("-c", "model_provider=sidecar", "-c", f"model_providers.sidecar={_CODEX_PROVIDER}"),
        login=Login(
            environment=_KEY,
            flags=("-c", "model_provider=sidecar", "-c", f"model_providers.sidecar={_CODEX_LOGIN}"),
        ),
        model_flags=("-c", "model={model}"),
        own=(AgentFile(
            ".codex/config.toml", Format.TOML, directory="CODEX_HOME", uses_env=True,
            content={
                "model_provider": "sidecar",
                "model_providers.sidecar": {
                    "name": "sidecar", "base_url": "{base}/v1", "env_key": KEY_VARIABLE,
                    "wire_api": "responses",
                },
            },
        ),),
        notes=(
            "Codex ignores OPENAI_BASE_URL, and what is appended to ~/.codex/config.toml may fall",
            "into the table before it; what its command line says comes first",
        ),
        switched_off=("the websocket of Codex's own provider; it uses streams over HTTP instead",),
    ),
    Agent(
        name="gemini-cli", dialect="gemini", program="gemini",
        environment=_GOOGLE,
        model_environment={"GEMINI_MODEL": "{model}"},
        # its file of the system counts only where root owns it and every folder above
        extra=AgentFile(
            ".gemini/settings.json", Format.JSON, variable="GEMINI_CLI_HOME", links=True,
            beside="~/.gemini/settings.json", content=_GEMINI_LOGIN,
        ),
        own=(
            AgentFile(".gemini/settings.json", Format.JSON, content=_GEMINI_LOGIN),
            AgentFile(".gemini/.env", Format.ENV, content=_GOOGLE),
        ),
        notes=(
            "in ~/.gemini/settings.json:",
            '  "security": {"auth": {"selectedType": "gemini-api-key"}}',
            "without a terminal: gemini --skip-trust -p …",
        ),
        switched_off=("the login with Google, and what comes with it",),
    ),
    Agent(
        name="opencode", dialect="openai", program="opencode",
        environment={
            **_KEY, "OPENCODE_CONFIG_CONTENT": json.dumps(_opencode("{env:SIDECAR_KEY}")),
        },
        model_flags=("--model", "{model}"),
        own=(AgentFile(
            ".config/opencode/opencode.json", Format.JSON,
            # opencode itself writes a missing $schema into the file, which would prevent an undo
            content={
                "$schema": "https://opencode.ai/config.json", **_opencode("{env:SIDECAR_KEY}")
            },
            directory="XDG_CONFIG_HOME", uses_env=True, only_missing=("$schema",),
        ),),
    ),
    Agent(
        name="qwen-code", dialect="openai", program="qwen",
        environment=_OPENAI,
        model_environment={"OPENAI_MODEL": "{model}"},
        flags=("--auth-type", "openai"),
        own=(
            AgentFile(".qwen/settings.json", Format.JSON,
                      content={"security": {"auth": {"selectedType": "openai"}}}),
            AgentFile(".qwen/.env", Format.ENV, content=_OPENAI),
        ),
        notes=("and OPENAI_MODEL=MODEL",),
    ),
    Agent(
        name="cline", dialect="openai", program="cline",
        # else it leaves a process behind, which keeps the address and the key of this run
        environment={**_KEY, "CLINE_SESSION_BACKEND_MODE": "local"},
        flags=("-P", "openai-compatible"),
        model_flags=("-m", "{model}"),
        needs_model=True,
        extra=AgentFile(
            "providers.json", Format.JSON, variable="CLINE_PROVIDER_SETTINGS_PATH",
            beside="~/.cline/data/settings/providers.json", content=_CLINE,
        ),
        own=(AgentFile(
            ".cline/data/settings/providers.json", Format.JSON, directory="CLINE_DIR",
            content=_CLINE, rewritten=("modes", "model", "updatedAt"),
        ),),
        notes=(
            "no variable has its address, {base}/v1; run it with: sidecar run --model MODEL cline",
            "or write the address into its file with: sidecar setup cline",
        ),
        to_set="CLINE_SESSION_BACKEND_MODE=local; a process of Cline keeps the key without it",
    ),
    Agent(
        name="continue", dialect="openai", program="cn",
        environment=_KEY,
        needs_model=True,
        extra=AgentFile(
            "config.yaml", Format.YAML, flag="--config", beside="~/.continue/config.yaml",
            content={
                "name": "Sidecar", "version": "1.0.0", "schema": "v1",
                "models": [{
                    "name": "{model} by Sidecar", "provider": "openai", "model": "{model}",
                    "apiBase": "{base}/v1", "apiKey": "${{ secrets.SIDECAR_KEY }}",
                }],
            },
        ),
        notes=(
            "in ~/.continue/config.yaml, for the model:",
            "  provider: openai",
            "  apiBase: {base}/v1",
            "  apiKey: ${{ secrets.SIDECAR_KEY }}",
            "its editors read that from ~/.continue/.env: SIDECAR_KEY=…",
        ),
    ),
    Agent(
        name="aider", dialect="openai", program="aider",
        environment=_AIDER,
        model_flags=("--model", "openai/{model}"),
        own=(AgentFile(".aider.conf.yml", Format.SETTINGS, content={
            "openai-api-base": "{base}/v1", "openai-api-key": "{key}",
        }),),
        notes=("then: aider --model openai/MODEL",),
    ),
    Agent(
        name="goose", dialect="openai", program="goose",
        environment={
            "GOOSE_PROVIDER": "openai", "OPENAI_HOST": "{base}", "OPENAI_API_KEY": "{key}",
            "OPENAI_BASE_PATH": "v1/chat/completions",
        },
        model_environment={"GOOSE_MODEL": "{model}"},
        own=(AgentFile(
            ".config/goose/config.yaml", Format.SETTINGS, directory="XDG_CONFIG_HOME",
            content={
                "GOOSE_PROVIDER": "openai", "OPENAI_HOST": "{base}",
                "OPENAI_BASE_PATH": "v1/chat/completions",
            },
            uses_env=True,
        ),),
        notes=("and GOOSE_MODEL=MODEL",),
    ),
    Agent(
        name="crush", dialect="openai", program="crush",
        environment={
            "OPENAI_API_ENDPOINT": "{base}/v1", "OPENAI_API_KEY": "{key}",
            "ANTHROPIC_API_ENDPOINT": "{base}", "ANTHROPIC_API_KEY": "{key}",
            "GEMINI_API_ENDPOINT": "{base}", "GEMINI_API_KEY": "{key}",
        },
        own=(AgentFile(
            ".config/crush/crush.json", Format.JSON, directory="XDG_CONFIG_HOME", uses_env=True,
            content={"providers": {
                "openai": {"base_url": "{base}/v1", "api_key": "$SIDECAR_KEY"},
                "anthropic": {"base_url": "{base}", "api_key": "$SIDECAR_KEY"},
            }},
        ),),
    ),
    Agent(
        name="copilot-cli", dialect="openai", program="copilot", aliases=("github-copilot",),
        environment={
            "COPILOT_PROVIDER_BASE_URL": "{base}/v1", "COPILOT_PROVIDER_TYPE": "openai",
            "COPILOT_PROVIDER_API_KEY": "{key}",
        },
        model_environment={"COPILOT_MODEL": "{model}"},
        needs_model=True,
        notes=("and COPILOT_MODEL=MODEL",),
        switched_off=("the models of GitHub Copilot itself",),
    ),
)  # fmt: skip

_SDKS = (
    Agent(name="openai", dialect="openai", environment=_OPENAI),
    Agent(name="anthropic", dialect="anthropic", environment=_ANTHROPIC),
    Agent(name="google-genai", dialect="gemini", environment=_GOOGLE_SDK),
    Agent(
        name="openai-agents", dialect="openai",
        environment={**_OPENAI, "OPENAI_AGENTS_DISABLE_TRACING": "1"},
        notes=("its tracing goes to OpenAI, with this key, past every base URL; it is off here",),
    ),
    Agent(name="groq", dialect="openai", environment=_GROQ),
    Agent(
        name="mistral", dialect="openai",
        environment={**_KEY, URL_VARIABLE: "{base}", "MISTRAL_API_KEY": "{key}"},
        notes=('in Python: Mistral(server_url=os.environ["SIDECAR_URL"]), as no variable has it',),
    ),
    Agent(name="litellm", dialect="openai", environment=_EVERY_SDK),
    Agent(name="langchain", dialect="openai", environment=_EVERY_SDK),
    Agent(name="pydantic-ai", dialect="openai", environment=_EVERY_SDK),
    Agent(name="llamaindex", dialect="openai", environment=_EVERY_SDK),
    Agent(name="llm", dialect="openai", environment=_OPENAI),
    Agent(
        name="vercel-ai", dialect="openai", environment=_KEY,
        notes=(
            'in JavaScript: createOpenAI({baseURL: "{base}/v1", apiKey: process.env.SIDECAR_KEY}),',
            'createAnthropic with "{base}/v1", createGoogleGenerativeAI with "{base}/v1beta"',
        ),
    ),
)  # fmt: skip
AGENTS = {agent.name: agent for agent in (*_SDKS[:3], *_PROGRAMS, *_SDKS[3:])}

FOREIGN_VARIABLES = frozenset({
    "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "ANTHROPIC_BEDROCK_BASE_URL",
    "ANTHROPIC_CUSTOM_HEADERS", "ANTHROPIC_VERTEX_BASE_URL", "AWS_BEARER_TOKEN_BEDROCK",
    "AZURE_OPENAI_ENDPOINT", "CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_FOUNDRY", "CLAUDE_CODE_USE_VERTEX", "CODEX_API_KEY",
    "COPILOT_PROVIDER_BEARER_TOKEN", "GOOGLE_API_KEY", "GOOGLE_GENAI_USE_GCA",
    "GOOGLE_GENAI_USE_VERTEXAI", "OPENAI_API_BASE", "OPENAI_BASE_URL", "OPENAI_ORG_ID",
    "OPENAI_ORGANIZATION", "OPENAI_PROJECT_ID",
})  # fmt: skip
"""Variables that would give an agent another login or another address than Sidecar's; the
credentials of vendors are removed besides."""


def agent_for(word: str) -> Agent | None:
    """Return the agent of this name, alias or program; None for an unknown command."""
    return next((a for a in _PROGRAMS if word in (a.name, a.program, *a.aliases)), None)
