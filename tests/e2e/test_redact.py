"""A route or key with `redact` sends placeholders for secrets, and returns the secrets in text."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from recorded_answers import MESSAGE_DELTA, MESSAGE_START, MESSAGE_STOP, chunk, delta, sse
from running_sidecar import Sidecar
from running_sidecar import sidecar as start_sidecar
from scripted_vendor import ScriptedVendor, Wire, answer, stream
from vendor_sdks import both_sdks

YAML = """
providers:
  oa: {{plugin: openai, base_url: "{url}/v1", credential: env:UPSTREAM_KEY}}
  an: {{plugin: anthropic, base_url: "{url}", credential: env:UPSTREAM_KEY}}
groups:
  GPT: {{vendor: openai, routes: [oa]}}
  Claude: {{vendor: anthropic, routes: [an: {{redact: [email, keys, "/PROJ-[0-9]{{1,9}}/"]}}]}}
keys:
  gpt: {{group: GPT, hash: "{{gpt}}", redact: [email, cards]}}
  claude: {{group: Claude, hash: "{{claude}}"}}
  plain: {{group: GPT, hash: "{{plain}}"}}
"""
EMAIL = "ada@example.com"
PLACEHOLDER = re.compile(r"\[[A-Z]+-[A-Z2-7]{12}\]")
Clients = tuple[openai.AsyncOpenAI, anthropic.AsyncAnthropic]


@pytest.fixture
async def redacting(tmp_path: Path, vendor: ScriptedVendor) -> AsyncIterator[Sidecar]:
    keys = ("gpt", "claude", "plain")
    async with start_sidecar(tmp_path, YAML.format(url=vendor.url), keys) as started:
        yield started


@pytest.fixture
async def clients(redacting: Sidecar) -> AsyncIterator[Clients]:
    async with both_sdks(redacting, "gpt", "claude") as both:
        yield both


def placeholder_in(vendor: ScriptedVendor) -> str:
    found = PLACEHOLDER.search(vendor.last.body.decode())
    assert found, vendor.last.body
    return found[0]


def echoing(*, pieces: int = 0) -> Any:
    """An answer of chat that repeats the last placeholder of the request, in so many pieces."""

    async def script(wire: Wire) -> None:
        found = PLACEHOLDER.findall(wire.request.body.decode())[-1]
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": found}}
        if not pieces:
            message = {"role": "assistant", "content": f"to {found}.", "tool_calls": [call]}
            body = {
                "id": "x", "object": "chat.completion", "created": 1, "model": "gpt-5",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
            }  # fmt: skip
            await answer(json.dumps(body).encode())(wire)
            return
        text = f"to {found} or [EMAIL-"
        size = max(1, len(text) // pieces)
        parts = [text[at : at + size] for at in range(0, len(text), size)]
        events = [chunk(choices=[delta(part)]) for part in parts]
        events.append(
            chunk(choices=[{**delta("", "stop"), "delta": {"tool_calls": [{"index": 0, **call}]}}])
        )
        data = sse(*events) + b"data: [DONE]\n\n"
        step = max(1, len(data) // (2 * pieces))
        await stream(*(data[at : at + step] for at in range(0, len(data), step)))(wire)

    return script


async def test_redact_of_a_key_sends_placeholders_and_returns_the_text(
    clients: Clients, redacting: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(echoing())
    messages = [{"role": "user", "content": f"write to {EMAIL}, card 4111 1111 1111 1111"}]
    got = await clients[0].chat.completions.with_raw_response.create(
        model="gpt-5",
        messages=messages,  # type: ignore[arg-type]
    )
    found = got.parse().choices[0].message
    assert found.content == "to 4111 1111 1111 1111."
    sent = vendor.last.body.decode()
    assert EMAIL not in sent
    assert "4111" not in sent
    assert found.tool_calls is not None
    arguments = found.tool_calls[0].function.arguments  # type: ignore[union-attr]
    assert PLACEHOLDER.fullmatch(arguments), "an injected prompt must not carry a secret out"
    assert got.headers["x-sidecar-transform"] == "redact"
    record = await redacting.record()
    assert record.transform == "redact"
    assert record.usage is not None
    assert record.usage.input_tokens == 9


async def test_redact_of_a_large_body_sends_placeholders(
    redacting: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(echoing())
    content = f"{'a line of a file ' * 30_000}{EMAIL}"
    body = {"model": "gpt-5", "messages": [{"role": "user", "content": content}]}
    got = await redacting.ask("/v1/chat/completions", json.dumps(body).encode())
    assert got.json()["choices"][0]["message"]["content"] == f"to {EMAIL}."
    assert vendor.last.json()["messages"][0]["content"] == content.replace(  # type: ignore[index]
        EMAIL, placeholder_in(vendor)
    )


async def test_redact_without_a_secret_forwards_every_byte(
    redacting: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b'{"model":"gpt-5" }'))
    body = b'{"model" : "gpt-5", "messages": [{"content":"caf\\u00e9 [EMAIL-"}] , "x": 1.0E+2}'
    got = await redacting.ask("/v1/chat/completions", body)
    assert vendor.last.body == body
    assert got.body == b'{"model":"gpt-5" }'
    assert "x-sidecar-transform" not in got.headers


async def test_key_without_redact_sends_the_secret(
    redacting: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b"{}"))
    body = json.dumps({"model": "gpt-5", "messages": [{"role": "user", "content": EMAIL}]}).encode()
    await redacting.ask("/v1/chat/completions", body, key="plain")
    assert vendor.last.body == body


@pytest.mark.parametrize("pieces", [1, 2, 5, 60])
async def test_redact_restores_a_placeholder_that_is_cut_over_events(
    clients: Clients, redacting: Sidecar, vendor: ScriptedVendor, pieces: int
) -> None:
    vendor.play(echoing(pieces=pieces))
    text, arguments = "", ""
    async for event in await clients[0].chat.completions.create(
        model="gpt-5", messages=[{"role": "user", "content": EMAIL}], stream=True
    ):
        for choice in event.choices:
            text += choice.delta.content or ""
            for call in choice.delta.tool_calls or ():
                arguments += (call.function and call.function.arguments) or ""
    assert text == f"to {EMAIL} or [EMAIL-"
    assert arguments == placeholder_in(vendor)
    assert (await redacting.record()).outcome.value == "ok"


async def test_redact_leaves_thinking_and_tool_arguments_of_an_anthropic_stream(
    clients: Clients, vendor: ScriptedVendor
) -> None:
    async def script(wire: Wire) -> None:
        found = PLACEHOLDER.search(wire.request.body.decode())
        assert found
        name = found[0]
        deltas = [
            (0, "thinking", {"type": "thinking", "thinking": "", "signature": ""},
             [{"type": "thinking_delta", "thinking": name}]),
            (1, "text", {"type": "text", "text": ""},
             [{"type": "text_delta", "text": t} for t in (name[:3], name[3:9], name[9:], "[")]),
            (2, "tool_use", {"type": "tool_use", "id": "t", "name": "f", "input": {}},
             [{"type": "input_json_delta", "partial_json": json.dumps({"to": name})}]),
        ]  # fmt: skip
        events = [MESSAGE_START]
        for index, _, block, pieces in deltas:
            events.append({"type": "content_block_start", "index": index, "content_block": block})
            events += [{"type": "content_block_delta", "index": index, "delta": p} for p in pieces]
            events.append({"type": "content_block_stop", "index": index})
        events += [MESSAGE_DELTA, MESSAGE_STOP]
        data = b"".join(
            b"event: %s\ndata: %s\n\n" % (str(e["type"]).encode(), json.dumps(e).encode())
            for e in events
        )
        await stream(data[:900], data[900:])(wire)

    vendor.play(script)
    signed = {"type": "thinking", "thinking": f"about {EMAIL}", "signature": "s"}
    async with clients[1].messages.stream(
        model="claude-5", max_tokens=99, system=f"You are {EMAIL}; see PROJ-77.",
        messages=[
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": [signed]},  # type: ignore[list-item]
            {"role": "user", "content": "again"},
        ],
    ) as got:  # fmt: skip
        message = await got.get_final_message()
    sent = vendor.last.json()
    assert EMAIL not in json.dumps(sent["system"])
    assert "PROJ-77" not in json.dumps(sent["system"])
    assert sent["messages"][1]["content"] == [signed]  # type: ignore[index]
    name = placeholder_in(vendor)
    thinking, text, tool = message.content
    assert thinking.thinking == name  # type: ignore[union-attr]
    assert text.text == f"{EMAIL}["  # type: ignore[union-attr]
    assert tool.input == {"to": name}  # type: ignore[union-attr]


async def test_redact_refuses_a_body_that_it_cannot_read(
    redacting: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b"{}"))
    body = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--b--\r\n'
    form = [("Content-Type", "multipart/form-data; boundary=b")]
    got = await redacting.ask("/v1/audio/transcriptions", body, headers=form)
    assert got.status == 400
    assert "redact refuses the call: the body is not JSON" in got.message
    assert not vendor.requests
