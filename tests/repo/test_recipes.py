"""The recipes are exact: `sidecar check` accepts each, and a call goes where the page says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from answering_vendor import AnsweringVendor, Turn
from cli_runner import Cli
from project_paths import ROOT
from running_sidecar import sidecar
from sample_answers import CHAT, MESSAGE
from scripted_vendor import ScriptedVendor, answer

from sidecar.config.loader import load
from sidecar.plugin_api.manager import discover

PAGE = (ROOT / "docs/recipes.md").read_text()
RECIPES = {
    part.partition("\n")[0]: re.findall(r"^```yaml\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)
    for part in re.split(r"\n###? ", PAGE)[1:]
}
BLOCKS = [
    pytest.param(text, id=f"{title}, {number}")
    for title, texts in RECIPES.items()
    for number, text in enumerate(texts)
]
MESSAGES, COMPLETIONS, RESPONSES = "/v1/messages", "/v1/chat/completions", "/v1/responses"


@pytest.mark.parametrize("text", BLOCKS)
def test_recipe_is_accepted_by_check(tmp_path: Path, text: str) -> None:
    done = Cli(tmp_path, text=text).run("check")
    assert done.status == 0, done.err
    assert "good; " in done.err


def test_example_file_of_make_run_is_accepted_by_check(tmp_path: Path) -> None:
    done = Cli(tmp_path, text=(ROOT / "config/routes.example.yaml").read_text()).run("check")
    assert done.status == 0, done.err


def served_here(text: str, vendor: str) -> str:
    """Return a recipe whose providers are all at `vendor`, under the paths of their own APIs."""
    snapshot = load(text.encode(), file="recipes.md", registry=discover())
    written = yaml.safe_load(text)
    providers = written.setdefault("providers", {})
    for provider in snapshot.providers.values():
        own = providers.setdefault(provider.name, {})
        own["base_url"] = vendor + urlsplit(provider.base_url).path
        own["credential"] = "env:UPSTREAM_KEY"
    for name, key in written["keys"].items():
        key["hash"] = "{" + name + "}"
    return json.dumps(written)


@pytest.mark.parametrize(
    ("recipe", "key", "path", "asked", "served"),
    [
        ("Claude Code on Ollama", "claude", MESSAGES, "claude-sonnet-4-5", "qwen3-coder"),
        ("Claude Code on Ollama", "claude", MESSAGES, "claude-haiku-4-5", "qwen3:4b"),
        ("Claude Code on DeepSeek", "claude", MESSAGES, "claude-haiku-4-5", "deepseek-chat"),
        ("Claude Code on DeepSeek", "claude", MESSAGES, "claude-opus-4-5", "deepseek-reasoner"),
        ("Claude Code on OpenRouter", "claude", MESSAGES, "claude-opus-4-5", "claude-opus-4-5"),
        ("OpenAI with Azure as the fallback", "codex", COMPLETIONS, "gpt-5-mini", "gpt-5-mini"),
        ("Three agents on one account", "reviewer", MESSAGES, "claude-x", "claude-x"),
        ("Budgets and allowed models", "nightly", COMPLETIONS, "gpt-5-mini", "gpt-5-mini"),
        ("One name for several models", "old-script", COMPLETIONS, "gpt-4o-mini", "gpt-5-nano"),
        ("One name for several models", "old-script", COMPLETIONS, "gpt-4.1", "gpt-5-mini"),
        ("Any OpenAI-compatible server", "script", COMPLETIONS, "any", "any"),
        ("The local model first, the paid one for the rest", "notes", COMPLETIONS, "gpt-5-mini",
         "qwen3:30b"),
    ],
)  # fmt: skip
async def test_call_of_a_recipe_reaches_the_model_that_the_page_names(
    tmp_path: Path,
    vendor: ScriptedVendor,
    recipe: str,
    key: str,
    path: str,
    asked: str,
    served: str,
) -> None:
    vendor.play(answer(json.dumps(MESSAGE if path == MESSAGES else CHAT).encode()))
    text = served_here(RECIPES[recipe][0], vendor.url)
    names = tuple(yaml.safe_load(text)["keys"])
    body = json.dumps({"model": asked, "messages": [], "max_tokens": 9}).encode()
    async with sidecar(tmp_path, text, names) as proxy:
        assert (await proxy.ask(path, body, key=key)).status == 200
    assert vendor.requests[-1].json()["model"] == served


CLAUDE_ON_GPT = "Claude Code on an OpenAI model"
CLAUDE_ON_CHAT = "Claude Code on a local server of OpenAI's API"
ASK = [{"role": "user", "content": "?"}]
GENERATE = "/v1beta/models/{}:generateContent"


@pytest.mark.parametrize(
    ("recipe", "key", "path", "asked", "upstream", "served"),
    [
        (CLAUDE_ON_GPT, "claude", MESSAGES, "claude-opus-5", "/v1/responses", "gpt-5"),
        (CLAUDE_ON_GPT, "claude", MESSAGES, "claude-haiku-4-5", "/v1/responses", "gpt-5-mini"),
        (CLAUDE_ON_CHAT, "claude", MESSAGES, "claude-opus-5", COMPLETIONS, "qwen3-coder"),
        ("Codex on Claude", "codex", RESPONSES, "gpt-5-codex", MESSAGES, "claude-sonnet-4-5"),
        ("Codex on Claude", "codex", RESPONSES, "gpt-5-mini", MESSAGES, "claude-haiku-4-5"),
        ("Gemini CLI on Claude", "gemini", GENERATE, "gemini-3-pro", MESSAGES, "claude-sonnet-4-5"),
        ("Gemini CLI on Claude", "gemini", GENERATE, "gemini-3.5-flash-lite", MESSAGES,
         "claude-haiku-4-5"),
    ],
)  # fmt: skip
async def test_call_of_a_translated_recipe_is_answered_by_the_model_that_the_page_names(
    tmp_path: Path,
    vendor: ScriptedVendor,
    recipe: str,
    key: str,
    path: str,
    asked: str,
    upstream: str,
    served: str,
) -> None:
    vendor.play(AnsweringVendor([Turn("It is done.")], lambda _: True).script)
    text = served_here(RECIPES[recipe][0], vendor.url)
    bodies = {
        MESSAGES: {"model": asked, "messages": ASK, "max_tokens": 9},
        RESPONSES: {"model": asked, "input": ASK},
        GENERATE: {"contents": [{"role": "user", "parts": [{"text": "?"}]}]},
    }
    async with sidecar(tmp_path, text, (key,)) as proxy:
        found = await proxy.ask(path.format(asked), json.dumps(bodies[path]).encode(), key=key)
    assert found.status == 200
    assert b"It is done." in found.body
    assert found.headers["x-sidecar-transform"] == "translate"
    assert (vendor.last.path, vendor.last.json()["model"]) == (upstream, served)


@pytest.mark.parametrize(
    ("recipe", "key", "path", "asked", "second"),
    [
        ("Claude Code on OpenRouter", "claude", MESSAGES, "claude-sonnet-4-5",
         "anthropic/claude-sonnet-4.5"),
        ("The own vendor first, another model when it is limited", "claude", MESSAGES,
         "claude-haiku-4-5", "gpt-5-mini"),
        ("OpenAI with Azure as the fallback", "codex", COMPLETIONS, "gpt-5-mini", "my-deployment"),
        ("The local model first, the paid one for the rest", "notes", COMPLETIONS, "gpt-5-mini",
         "gpt-5-mini"),
    ],
)  # fmt: skip
async def test_recipe_with_a_fallback_uses_it_when_the_first_declines(
    tmp_path: Path,
    vendor: ScriptedVendor,
    recipe: str,
    key: str,
    path: str,
    asked: str,
    second: str,
) -> None:
    limited = answer(b'{"error":{"message":"slow down"}}', status="429 Too Many", retry_after="60")
    vendor.play(limited, AnsweringVendor([Turn("Hi")], lambda _: True).script)
    text = served_here(RECIPES[recipe][0], vendor.url)
    names = tuple(yaml.safe_load(text)["keys"])
    body = json.dumps({"model": asked, "messages": ASK, "max_tokens": 9}).encode()
    async with sidecar(tmp_path, text, names) as proxy:
        assert (await proxy.ask(path, body, key=key)).status == 200
    assert [each.json()["model"] for each in vendor.requests][1:] == [second]


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)[^)]*\)", PAGE))))
def test_every_link_of_the_recipes_leads_somewhere(link: str) -> None:
    assert (ROOT / "docs" / link).exists()
