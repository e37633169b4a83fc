"""A route with `translate: true` serves the vendors' SDKs from a provider of another API."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import anthropic
import pytest
from admin_client import explained
from recorded_answers import CHAT_USAGE, chunk, delta, sse
from running_sidecar import CANARY, Sidecar
from running_sidecar import sidecar as start_sidecar
from sample_answers import CHAT, HELLO, MESSAGE, body
from scripted_vendor import Script, ScriptedVendor, answer, stream

from sidecar.config.loader import load
from sidecar.errors import ConfigError
from sidecar.plugin_api.manager import discover

YAML = """
providers:
  oa: {{plugin: openai, base_url: "{url}/v1", credential: env:UPSTREAM_KEY}}
  an: {{plugin: anthropic, base_url: "{url}/native", credential: env:UPSTREAM_KEY}}
groups:
  Claude: {{vendor: anthropic, routes: [oa: {{as: gpt-5, translate: true, redact: email}}]}}
  GPT: {{vendor: openai, routes: [an: {{as: claude-5, translate: true}}]}}
keys:
  claude: {{group: Claude, hash: "{{claude}}"}}
  both: {{group: Claude, hash: "{{both}}", routes: [an, oa]}}
  gpt: {{group: GPT, hash: "{{gpt}}"}}
"""
EMAIL = "ada@example.com"


@pytest.fixture
async def translating(tmp_path: Path, vendor: ScriptedVendor) -> AsyncIterator[Sidecar]:
    yaml = YAML.format(url=vendor.url)
    async with start_sidecar(tmp_path, yaml, ("claude", "both", "gpt")) as started:
        yield started


def client_of(proxy: Sidecar, key: str = "claude") -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=proxy.url, api_key=proxy.keys[key], max_retries=0)


async def test_anthropic_sdk_gets_an_answer_of_an_openai_provider(
    translating: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(body(CHAT)))
    async with client_of(translating) as claude:
        raw = await claude.messages.with_raw_response.create(
            model="claude-5", max_tokens=99, messages=HELLO
        )
    message = await raw.parse()
    assert message.content[0].text == "Hi"  # type: ignore[union-attr]
    assert raw.headers["x-sidecar-transform"] == "translate"
    assert vendor.last.path == "/v1/chat/completions"
    assert vendor.last.get("authorization") == [f"Bearer {CANARY}"]
    assert not [name for name, _ in vendor.last.headers if name.lower().startswith("anthropic")]
    assert vendor.last.json()["model"] == "gpt-5"
    record = await translating.record()
    assert (record.dialect, record.endpoint, record.transform) == (
        "anthropic", "messages", "translate",
    )  # fmt: skip
    assert record.usage is not None
    assert record.usage.input_tokens == 1200


async def test_anthropic_sdk_reads_a_translated_stream_with_redacted_text(
    translating: Sidecar, vendor: ScriptedVendor
) -> None:
    events = sse(
        chunk(choices=[delta("H")]), chunk(choices=[delta("i")]),
        chunk(choices=[delta("", "stop")]), chunk(choices=[], usage=CHAT_USAGE),
    ) + b"data: [DONE]\n\n"  # fmt: skip
    vendor.play(stream(*(events[at : at + 50] for at in range(0, len(events), 50))))
    async with (
        client_of(translating) as claude,
        claude.messages.stream(
            model="claude-5", max_tokens=99, messages=[{"role": "user", "content": EMAIL}]
        ) as got,
    ):
        message = await got.get_final_message()
    assert message.content[0].text == "Hi"  # type: ignore[union-attr]
    assert message.stop_reason == "end_turn"
    assert EMAIL.encode() not in vendor.last.body
    record = await translating.record()
    assert record.transform == "redact, translate"
    assert record.usage_state.value == "reported"


@pytest.mark.parametrize(
    ("status", "error", "wanted"),
    [
        ("429 Too Many Requests", "rate_limit_exceeded", anthropic.RateLimitError),
        ("400 Bad Request", "invalid_request_error", anthropic.BadRequestError),
    ],
)
async def test_error_of_the_provider_has_the_clients_shape(
    translating: Sidecar, vendor: ScriptedVendor, status: str, error: str, wanted: type[Exception]
) -> None:
    failure = {"error": {"message": "told so", "type": error, "code": error, "param": None}}
    await translating.rewrite(
        lambda text: text.replace("group: Claude,", "group: Claude, max_wait: 0s,")
    )
    vendor.play(answer(json.dumps(failure).encode(), status))
    async with client_of(translating) as claude:
        with pytest.raises(wanted) as caught:
            await claude.messages.create(model="claude-5", max_tokens=99, messages=HELLO)
    found = caught.value.body  # type: ignore[attr-defined]
    assert found["type"] == "error"
    assert "told so" in found["error"]["message"]


PAGE = answer(b"<html>Sign in</html>", content_type="text/html")
FOREIGN = sse({"type": "message_start", "message": {"id": "msg_1"}}, {"type": "message_stop"})


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    "script", [PAGE, answer(body(MESSAGE)), answer(b'{"ok": true}'), stream(FOREIGN)],
    ids=["page", "other JSON", "no answer", "other stream"],
)  # fmt: skip
async def test_answer_of_another_api_is_a_502_of_the_client(
    translating: Sidecar, vendor: ScriptedVendor, script: Script, *, streaming: bool
) -> None:
    vendor.play(script)
    asked = {"model": "claude-5", "max_tokens": 9, "messages": HELLO, "stream": streaming}
    got = await translating.ask("/v1/messages", body(asked), key="claude")
    assert (got.status, got.json()["type"]) == (502, "error")
    assert ": oa: its answer is a web page" in got.message or (
        got.message.startswith("oa: translate cannot read its answer as one of openai_chat: ")
        and got.message.endswith("; check the base_url of this provider, and which API it serves")
    )


async def test_stream_for_a_client_that_asked_for_none_is_one_answer(
    translating: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(stream(sse(chunk(choices=[delta("H")])), sse(chunk(choices=[delta("i", "stop")]))))
    async with client_of(translating) as claude:
        message = await claude.messages.create(model="claude-5", max_tokens=9, messages=HELLO)
    assert message.content[0].text == "Hi"  # type: ignore[union-attr]


async def test_compacting_on_a_translated_route_is_refused_with_a_way_out(
    translating: Sidecar, vendor: ScriptedVendor
) -> None:
    asked = body({"model": "gpt-5", "input": "Hello"})
    got = await translating.ask("/v1/responses/compact", asked, key="gpt")
    assert (got.status, got.json()["error"]["type"]) == (400, "invalid_request_error")
    assert "have the client summarise it with a request to /responses" in got.message
    counted = await translating.ask("/v1/responses/input_tokens", asked, key="gpt")
    assert counted.json() == {"object": "response.input_tokens", "input_tokens": 2}
    assert not vendor.requests


async def test_truncated_stream_ends_with_an_error_event_of_the_client(
    translating: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(stream(sse(chunk(choices=[delta("H")])), end=b""))
    async with client_of(translating) as claude:
        with pytest.raises(anthropic.APIStatusError):
            async with claude.messages.stream(
                model="claude-5", max_tokens=99, messages=HELLO
            ) as got:
                await got.get_final_message()
    assert (await translating.record()).outcome.value == "cut"


async def test_native_candidate_fails_over_to_a_translated_one(
    translating: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.by_path["/native/v1/messages"] = answer(b'{"error":{}}', "500 Internal Server Error")
    vendor.play(answer(body(CHAT)))
    async with client_of(translating, "both") as claude:
        message = await claude.messages.create(model="claude-5", max_tokens=99, messages=HELLO)
        assert message.content[0].text == "Hi"  # type: ignore[union-attr]
        assert [each.path for each in vendor.requests[-2:]] == [
            "/native/v1/messages", "/v1/chat/completions",
        ]  # fmt: skip


async def test_native_candidate_stays_byte_exact_beside_a_translated_one(
    translating: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(body(MESSAGE)))
    sent = b'{"model" : "claude-5", "max_tokens":9,"messages":[ ] }'
    got = await translating.ask("/v1/messages", sent, key="both")
    assert (vendor.last.path, vendor.last.body) == ("/native/v1/messages", sent)
    assert got.body == body(MESSAGE)
    assert "x-sidecar-transform" not in got.headers


async def test_model_list_and_forecast_show_what_translation_reaches(
    translating: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b'{"object":"list","data":[{"id":"gpt-5","object":"model"}]}'))
    found = (await translating.ask("/v1/models", method="GET", key="claude")).json()
    assert [each["id"] for each in found["data"]] == ["gpt-5"]
    forecast = await explained(translating, "claude", "claude-5")
    shown = forecast["candidates"][0]["transforms"][-1]
    assert (shown["name"], shown["to"]) == ("translate", "openai chat")
    assert shown["losses"]


def test_provider_of_another_api_is_refused_and_the_switch_is_named() -> None:
    text = b"groups: {Claude: {vendor: anthropic, routes: [groq]}}"
    with pytest.raises(ConfigError, match="write translate: true at this route"):
        load(text, file="routes.yaml", registry=discover())


def test_api_that_translate_does_not_have_is_an_error_that_names_the_others() -> None:
    route = b"openai: {transforms: {translate: {api: soap}}}"
    text = b"groups: {Claude: {vendor: anthropic, routes: [%s]}}" % route
    with pytest.raises(ConfigError, match="api of translate is one of: messages, chat, responses"):
        load(text, file="routes.yaml", registry=discover())
