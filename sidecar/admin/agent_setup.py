"""The lines that point an agent or an SDK at Sidecar.

As observed with real clients in November 2026; further settings are comments in the lines.
"""

from __future__ import annotations

from dataclasses import dataclass

PROXY_NOTE = "# behind a corporate proxy also: export NO_PROXY=127.0.0.1,localhost"


@dataclass(frozen=True, slots=True)
class Agent:
    """`lines` hold `{base}` (http://host:port) and `{key}` (how the key is written)."""

    name: str
    dialect: str
    lines: str


_BASE_URL = (
    "export SIDECAR_KEY={key}\n"
    '# in Python: base_url="{base}/v1" for OpenAI, "{base}" for Anthropic and Google'
)
_AGENTS = (
    Agent("openai", "openai", "export OPENAI_BASE_URL={base}/v1 OPENAI_API_KEY={key}"),
    Agent("anthropic", "anthropic", "export ANTHROPIC_BASE_URL={base} ANTHROPIC_API_KEY={key}"),
    Agent("google-genai", "gemini", "export GOOGLE_GEMINI_BASE_URL={base} GEMINI_API_KEY={key}"),
    Agent(
        "claude-code",
        "anthropic",
        "export ANTHROPIC_BASE_URL={base} ANTHROPIC_AUTH_TOKEN={key}\n"
        "# a foreign address turns this off; it works through Sidecar:\n"
        "export ENABLE_TOOL_SEARCH=true\n"
        "# and if every route of the key ends at Anthropic itself, for the 1M context:\n"
        "# export _CLAUDE_CODE_ASSUME_FIRST_PARTY_BASE_URL=1",
    ),
    Agent(
        "codex",
        "openai",
        "export SIDECAR_KEY={key}\n"
        "# Codex ignores OPENAI_BASE_URL, and what is appended to ~/.codex/config.toml may fall\n"
        "# into the table before it; what its command line says comes first:\n"
        "codex() {{ command codex -c model_provider=sidecar -c 'model_providers.sidecar={{"
        'name="sidecar", base_url="{base}/v1", env_key="SIDECAR_KEY", wire_api="responses"}}\' '
        '"$@"; }}',
    ),
    Agent(
        "gemini-cli",
        "gemini",
        "export GOOGLE_GEMINI_BASE_URL={base} GEMINI_API_KEY={key}\n"
        "# in ~/.gemini/settings.json:\n"
        '#   "security": {{"auth": {{"selectedType": "gemini-api-key"}}}}\n'
        "# without a terminal: gemini --skip-trust -p …",
    ),
    Agent(
        "opencode",
        "openai",
        "export SIDECAR_KEY={key}\n"
        "# in opencode.json:\n"
        '#   "provider": {{"openai": {{"options": '
        '{{"baseURL": "{base}/v1", "apiKey": "{{env:SIDECAR_KEY}}"}}}}}}\n'
        '# likewise "anthropic" with "{base}/v1" and "google" with "{base}/v1beta"',
    ),
    Agent(
        "qwen-code",
        "openai",
        "export OPENAI_BASE_URL={base}/v1 OPENAI_API_KEY={key} OPENAI_MODEL=MODEL\n"
        "# then: qwen --auth-type openai",
    ),
    Agent(
        "cline",
        "openai",
        "export SIDECAR_KEY={key}\n"
        '# cline auth -p openai-compatible -k "$SIDECAR_KEY" -m MODEL -b {base}/v1',
    ),
    Agent(
        "continue",
        "openai",
        "export SIDECAR_KEY={key}\n"
        "# in ~/.continue/config.yaml, for the model:\n"
        "#   provider: openai\n"
        "#   apiBase: {base}/v1\n"
        "#   apiKey: ${{{{ secrets.SIDECAR_KEY }}}}\n"
        "# its editors read that from ~/.continue/.env: SIDECAR_KEY=…",
    ),
    Agent(
        "aider",
        "openai",
        "export OPENAI_API_BASE={base}/v1 OPENAI_API_KEY={key}\n# then: aider --model openai/MODEL",
    ),
    Agent(
        "openai-agents",
        "openai",
        "export OPENAI_BASE_URL={base}/v1 OPENAI_API_KEY={key}\n"
        "# its tracing goes to OpenAI, with this key, past every base URL:\n"
        "export OPENAI_AGENTS_DISABLE_TRACING=1",
    ),
    Agent("groq", "openai", "export GROQ_BASE_URL={base} GROQ_API_KEY={key}"),
    Agent(
        "mistral",
        "openai",
        "export SIDECAR_KEY={key}\n"
        '# in Python: Mistral(api_key=os.environ["SIDECAR_KEY"], server_url="{base}")',
    ),
    Agent(
        "litellm",
        "openai",
        "export SIDECAR_KEY={key}\n"
        '# in Python: completion("openai/MODEL", api_base="{base}/v1", '
        'api_key=os.environ["SIDECAR_KEY"])\n'
        '# anthropic/MODEL takes api_base="{base}", gemini/MODEL "{base}/v1beta"',
    ),
    Agent("langchain", "openai", _BASE_URL),
    Agent("pydantic-ai", "openai", _BASE_URL),
    Agent("llamaindex", "openai", _BASE_URL.replace("base_url", "api_base")),
    Agent("llm", "openai", "export OPENAI_BASE_URL={base}/v1 OPENAI_API_KEY={key}"),
    Agent(
        "vercel-ai",
        "openai",
        "export SIDECAR_KEY={key}\n"
        '# in JavaScript: createOpenAI({{baseURL: "{base}/v1", apiKey: process.env.SIDECAR_KEY}}), '
        'createAnthropic with "{base}/v1", createGoogleGenerativeAI with "{base}/v1beta"',
    ),
)
AGENTS = {agent.name: agent for agent in _AGENTS}


def key_variable(name: str) -> str:
    """Return a shell expression for the key in a variable. An unset variable stops the shell,
    because with half of the lines an agent would bypass Sidecar or have no key."""
    return f'"${{{name}:?set it to a local key, from: sidecar keys create NAME --group GROUP}}"'


def agent_lines(agent: Agent, base: str, key: str) -> str:
    """Return the lines for a shell."""
    return agent.lines.format(base=base, key=key)


def line_for(dialect: str, base: str, key: str) -> str:
    """Return the line for the SDKs of a dialect."""
    agent = next((each for each in _AGENTS if each.dialect == dialect), _AGENTS[0])
    return agent_lines(agent, base, key)
