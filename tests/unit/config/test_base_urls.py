"""Base URLs that do not look like their vendor's: a warning, and a hint at a 404."""

from __future__ import annotations

from pathlib import Path

import pytest
from running_sidecar import sidecar as start_sidecar
from scripted_vendor import ScriptedVendor, answer
from vendor_apis import CHAT

from sidecar.config.loader import load
from sidecar.plugin_api.manager import discover

SLIPS = {
    "ollama": [("http://gpu.lan:11434", "write /v1 at"),
               ("http://127.0.0.1:11434/", "write /v1 at"),
               ("http://127.0.0.1:11434/api", "let its path be /v1"),
               ("http://127.0.0.1:11434/v1/chat/completions", "remove /chat/completions from")],
    "openai": [("https://api.openai.com", "write /v1 at"),
               ("https://api.openai.com/v1/responses", "remove /responses from")],
    "lmstudio": [("http://127.0.0.1:1234", "write /v1 at")],
    "vllm": [("http://127.0.0.1:8000", "write /v1 at")],
    "llamacpp": [("http://127.0.0.1:8080", "write /v1 at")],
    "openrouter": [("https://openrouter.ai", "write /api/v1 at"),
                   ("https://openrouter.ai/api", "write /v1 at")],
    "groq": [("https://api.groq.com/openai", "write /v1 at")],
    "fireworks": [("https://api.fireworks.ai", "write /inference/v1 at")],
    "zai": [("https://api.z.ai/api/anthropic", "let its path be /api/paas/v4")],
    "deepseek": [("https://api.deepseek.com/anthropic", "let its path be /v1")],
    "anthropic": [("https://api.anthropic.com/v1", "remove /v1 from"),
                  ("https://api.anthropic.com/v1/messages", "remove /v1/messages from")],
    "gemini": [("https://generativelanguage.googleapis.com/v1beta", "remove /v1beta from"),
               ("https://generativelanguage.googleapis.com/v1beta/openai", "remove /v1beta/")],
}  # fmt: skip
GOOD = {
    "ollama": ["http://gpu.lan:11434/v1", "http://gpu.lan/ollama/v1/"],
    "openai": ["https://eu.api.openai.com/v1", "https://open.example/api/paas/v4",
               "https://gateway.example/openai"],
    "deepseek": ["https://api.deepseek.com", "https://api.deepseek.com/v1"],
    "anthropic": ["https://api.anthropic.com/", "https://gateway.example/v1/account/anthropic"],
    "gemini": ["https://generativelanguage.googleapis.com"],
    "azure": ["https://x.openai.azure.com", "https://x.openai.azure.com/openai/v1"],
}  # fmt: skip
EACH_SLIP = [(vendor, url, fix) for vendor, slips in SLIPS.items() for url, fix in slips]
EACH_GOOD = [(vendor, url) for vendor, urls in GOOD.items() for url in urls]


def warnings(vendor: str, url: str) -> list[str]:
    text = f'providers:\n  p: {{plugin: {vendor}, base_url: "{url}"}}\n'
    found = load(text.encode(), file="routes.yaml", registry=discover()).warnings
    return list(map(str, found))


@pytest.mark.parametrize(("vendor", "url", "fix"), EACH_SLIP)
def test_base_url_with_a_usual_slip_is_a_warning_with_the_repair(
    vendor: str, url: str, fix: str
) -> None:
    (warning,) = warnings(vendor, url)
    assert warning.startswith("routes.yaml:2:")
    assert "warning: this base_url does not look like one of" in warning
    assert f"; {fix}" in warning


@pytest.mark.parametrize(("vendor", "url"), EACH_GOOD)
def test_base_url_as_its_sdk_takes_it_has_no_warning(vendor: str, url: str) -> None:
    assert warnings(vendor, url) == []


@pytest.mark.parametrize("vendor", sorted(discover().vendors))
def test_usual_base_url_of_every_vendor_has_no_warning(vendor: str) -> None:
    found = discover().vendors[vendor].base_url
    assert found is None or warnings(vendor, found) == []


YAML = """
providers: {{p: {{plugin: {plugin}, base_url: "{url}", credential: none}}}}
groups: {{GPT: {{vendor: openai, routes: [p]}}}}
keys: {{gpt: {{group: GPT, hash: "{{gpt}}"}}}}
"""
BARE = answer(b"404 page not found", "404 Not Found", "text/plain")
NO_MODEL = answer(b'{"error":{"code":"model_not_found","message":"no"}}', "404 Not Found")


@pytest.mark.parametrize(
    ("path", "plugin", "no", "told"),
    [
        ("", "ollama", BARE, True), ("", "openai", BARE, True), ("/v1", "ollama", BARE, False),
        ("", "openai", NO_MODEL, False),
    ],
)  # fmt: skip
async def test_404_of_a_provider_with_a_wrong_base_url_says_so_in_log_and_trail(
    tmp_path: Path, vendor: ScriptedVendor, path: str, plugin: str, no: object, told: bool
) -> None:
    vendor.play(no)  # type: ignore[arg-type]
    text = YAML.format(url=vendor.url + path, plugin=plugin)
    async with start_sidecar(tmp_path, text, ("gpt",)) as proxy:
        assert (await CHAT.call(proxy)).status == 404
        record = await proxy.record()
    hint = "the provider's base_url looks wrong: write /v1 at its end"
    assert (hint in record.reason, hint in record.attempts[0].reason) == (told, told)
