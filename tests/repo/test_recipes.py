"""The recipes are exact: `sidecar check` accepts each, and a call goes where the page says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
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
    for part in PAGE.split("\n## ")[1:]
}
BLOCKS = [
    pytest.param(text, id=f"{title}, {number}")
    for title, texts in RECIPES.items()
    for number, text in enumerate(texts)
]
MESSAGES, COMPLETIONS = "/v1/messages", "/v1/chat/completions"


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


@pytest.mark.parametrize(
    ("recipe", "key", "path", "asked", "second"),
    [
        ("Claude Code on OpenRouter", "claude", MESSAGES, "claude-sonnet-4-5",
         "anthropic/claude-sonnet-4.5"),
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
    vendor.play(limited, answer(json.dumps(MESSAGE if path == MESSAGES else CHAT).encode()))
    text = served_here(RECIPES[recipe][0], vendor.url)
    names = tuple(yaml.safe_load(text)["keys"])
    body = json.dumps({"model": asked, "messages": [], "max_tokens": 9}).encode()
    async with sidecar(tmp_path, text, names) as proxy:
        assert (await proxy.ask(path, body, key=key)).status == 200
    assert [each.json()["model"] for each in vendor.requests][1:] == [second]


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)[^)]*\)", PAGE))))
def test_every_link_of_the_recipes_leads_somewhere(link: str) -> None:
    assert (ROOT / "docs" / link).exists()
