"""The vendors' SDKs loop over translated routes: five rounds, parallel calls, images, thinking."""

from __future__ import annotations

from pathlib import Path

import pytest
from loop_agents import AGENTS, IMAGE, MODELS, MOST, ROUNDS, sent_to, signature
from running_sidecar import sidecar
from scripted_vendor import ScriptedVendor, stream

YAML = """
providers:
  oa: {{plugin: openai, base_url: "{url}/v1", credential: env:UPSTREAM_KEY}}
  an: {{plugin: anthropic, base_url: "{url}", credential: env:UPSTREAM_KEY}}
  ge: {{plugin: gemini, base_url: "{url}", credential: env:UPSTREAM_KEY}}
groups:
  Group: {{vendor: {vendor}, routes: [{route}]}}
keys:
  agent: {{group: Group, max_wait: 0s, hash: "{{agent}}"}}
"""
VENDORS = {"messages": "anthropic", "chat": "openai", "responses": "openai", "generate": "gemini"}
ROUTES = {
    "messages": "an: {as: claude-opus-5-5, transforms: {translate: {api: messages}}}",
    "chat": "oa: {as: gpt-5, transforms: {translate: {api: chat}}}",
    "responses": "oa: {as: gpt-5, transforms: {translate: {api: responses}}}",
    "generate": "ge: {as: gemini-3-pro, transforms: {translate: {api: generate}}}",
}
PATHS = {
    "messages": "/v1/messages",
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "generate": "/v1beta/models/gemini-3-pro:streamGenerateContent?alt=sse",
}
PAIRS = [(client, provider) for client in VENDORS for provider in ROUTES if client != provider]


@pytest.mark.parametrize(("client", "provider"), PAIRS)
async def test_agent_completes_five_rounds_of_parallel_calls(
    tmp_path: Path, vendor: ScriptedVendor, client: str, provider: str
) -> None:
    rounds = [MODELS[provider](number) for number in range(MOST)]
    vendor.play(
        *(stream(*(each[at : at + 60] for at in range(0, len(each), 60))) for each in rounds)
    )
    yaml = YAML.format(url=vendor.url, vendor=VENDORS[client], route=ROUTES[provider])
    async with sidecar(tmp_path, yaml, ("agent",)) as proxy:
        texts = await AGENTS[client](proxy, "agent")
        assert texts == [*(f"Round {number}." for number in range(ROUNDS)), "Done."]
        await proxy.record(MOST)
        assert {each.usage_state.value for each in proxy.records} == {"reported"}
        assert {each.usage.output_tokens for each in proxy.records if each.usage} == {340}
    assert [each.path for each in vendor.requests] == [PATHS[provider]] * MOST
    sent = sent_to(provider, vendor.last.json())
    assert sent.calls == list(range(2 * ROUNDS))
    assert [f"result {n}" in text for n, text in enumerate(sent.results)] == [True] * 2 * ROUNDS
    assert [IMAGE in image for image in sent.images] == [True]
    if provider != "chat":  # it shows thinking without a signature
        assert sent.signatures == [signature(number) for number in range(ROUNDS)]
