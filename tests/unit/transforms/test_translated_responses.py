"""OpenAI's SDK accepts responses that were translated, and its requests reach other models."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import pytest
from responses_samples import (
    CODEX,
    PATCH,
    RESPONSE_USAGE,
    TOOLS,
    message_item,
    response_stream,
    sent,
    translated,
    uses,
)
from scripted_vendor import ScriptedVendor, answer, scripted_vendor, stream
from translation_samples import (
    ANTHROPIC_USAGE,
    CHAT_USAGE,
    call_deltas,
    chat_stream,
    events,
    message_stream,
)

from sidecar_transforms.translation import (
    translate_error,
    translate_request,
)

Shape = dict[str, Any]


@pytest.fixture
async def vendor() -> AsyncIterator[ScriptedVendor]:
    async with scripted_vendor() as found:
        yield found


def client_of(vendor: ScriptedVendor) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=vendor.url, api_key="k", max_retries=0)


async def test_openai_sdk_accepts_a_translated_stream_of_a_message(vendor: ScriptedVendor) -> None:
    provider = message_stream(
        {"type": "thinking", "thinking": "two", "signature": "c2ln"},
        {"type": "text", "text": "Editing."}, *uses(), stop="tool_use",
    )  # fmt: skip
    vendor.play(stream(*translated("openai_responses", "anthropic", CODEX, provider)))
    async with (
        client_of(vendor) as client,
        client.responses.stream(model="m", input="?", tools=TOOLS) as found,
    ):
        seen = [event async for event in found]
        response = await found.get_final_response()
    assert [event.sequence_number for event in seen] == list(range(len(seen)))
    assert [event.type for event in seen][:3] == [
        "response.created", "response.in_progress", "response.output_item.added",
    ]  # fmt: skip
    assert seen[-1].type == "response.completed"
    reasoning, message, patch, run, note, shell = response.output
    assert reasoning.summary[0].text == "two"
    assert reasoning.encrypted_content == "sidecar|anthropic|m|c2ln"
    assert (message.content[0].text, response.output_text) == ("Editing.", "Editing.")
    assert (patch.type, patch.name, patch.call_id, patch.input) == (
        "custom_tool_call", "apply_patch", "toolu_0", PATCH,
    )  # fmt: skip
    assert (run.type, run.name, run.arguments) == ("function_call", "exec", "{}")
    assert (note.namespace, note.name, note.arguments) == ("mcp__notes__", "find", '{"q": "x"}')
    assert (shell.type, shell.action.command, shell.action.timeout_ms) == (
        "local_shell_call", ["ls"], 9,
    )  # fmt: skip
    assert response.usage.to_dict() == RESPONSE_USAGE
    assert (response.status, response.store, response.instructions) == (
        "completed", False, CODEX["instructions"],
    )  # fmt: skip


def test_whole_answer_has_the_items_of_the_stream() -> None:
    content = [
        {"type": "thinking", "thinking": "two", "signature": "c2ln"},
        {"type": "text", "text": "Editing."}, *uses(),
    ]  # fmt: skip
    message = {
        "id": "msg_9", "type": "message", "role": "assistant", "model": "claude-x",
        "content": content, "stop_reason": "tool_use", "usage": ANTHROPIC_USAGE,
    }  # fmt: skip
    provider = message_stream(*content, stop="tool_use")
    streamed = translated("openai_responses", "anthropic", CODEX, provider)
    last = events(b"".join(streamed))[-1]["response"]
    for item in last["output"]:
        if "arguments" in item:
            item["arguments"] = json.dumps(json.loads(item["arguments"]), separators=(",", ":"))
    request = {**CODEX, "stream": False}
    (found,) = translated("openai_responses", "anthropic", request, json.dumps(message).encode())
    assert json.loads(found) == last


async def test_deltas_of_a_translated_stream_add_up_to_its_items(vendor: ScriptedVendor) -> None:
    provider = chat_stream(
        {"reasoning_content": "two "}, {"reasoning_content": "steps"},
        {"content": "Read"}, {"content": "ing."},
        *call_deltas(0, "call_a", "exec", '{"pa', 'th":"a"}'),
        *call_deltas(1, "call_b", "apply_patch", '{"input": "*** ', 'Begin\\n\\ud83d', '\\ude00"}'),
        finish="tool_calls", usage=CHAT_USAGE,
    )  # fmt: skip
    vendor.play(stream(*translated("openai_responses", "openai_chat", CODEX, provider, size=7)))
    whole: dict[tuple[int, str], str] = {}
    done: dict[tuple[int, str], str] = {}
    async with client_of(vendor) as client:
        async for event in await client.responses.create(model="m", input="?", stream=True):
            name = event.type.rpartition(".")[0]
            if event.type.endswith(".delta"):
                key = (event.output_index, name)
                whole[key] = whole.get(key, "") + event.delta
            elif "text" in name or "arguments" in name or "input" in name:
                found = event.to_dict()
                done[event.output_index, name] = str(
                    found.get("text", found.get("arguments", found.get("input")))
                )
    assert whole == done == {
        (0, "response.reasoning_summary_text"): "two steps",
        (1, "response.output_text"): "Reading.",
        (2, "response.function_call_arguments"): '{"path":"a"}',
        (3, "response.custom_tool_call_input"): "*** Begin\n😀",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("stop", "reason"), [("max_tokens", "max_output_tokens"), ("refusal", "content_filter")]
)
async def test_answer_that_stops_early_is_incomplete(
    vendor: ScriptedVendor, stop: str, reason: str
) -> None:
    provider = message_stream({"type": "text", "text": "Half"}, stop=stop)
    vendor.play(stream(*translated("openai_responses", "anthropic", CODEX, provider)))
    async with client_of(vendor) as client:
        found = [e async for e in await client.responses.create(model="m", input="?", stream=True)]
    last = found[-1]
    assert (last.type, last.response.status) == ("response.incomplete", "incomplete")
    assert last.response.incomplete_details.reason == reason
    assert [item.status for item in last.response.output] == ["incomplete"]


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.9])
async def test_openai_sdk_raises_where_a_translated_stream_was_cut(
    vendor: ScriptedVendor, share: float
) -> None:
    provider = message_stream({"type": "text", "text": "Hello."}, *uses())
    cut = provider[: int(len(provider) * share)]
    pieces = translated("openai_responses", "anthropic", CODEX, cut, whole=False)
    last = events(b"".join(pieces))[-1]
    assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
    assert last["response"]["error"]["code"] == "server_error"
    vendor.play(stream(*pieces))
    async with client_of(vendor) as client:
        with pytest.raises(openai.APIError, match="broke off"):
            async with client.responses.stream(model="m", input="?") as found:
                await found.get_final_response()


async def test_anthropic_sdk_accepts_a_translated_stream_of_a_response(
    vendor: ScriptedVendor,
) -> None:
    provider = response_stream(
        {"type": "reasoning", "encrypted_content": "gAAAA", "summary": [
            {"type": "summary_text", "text": "One."}, {"type": "summary_text", "text": "Two."}]},
        message_item("Reading."),
        {"type": "function_call", "call_id": "call_a", "name": "read", "arguments": '{"p":1}'},
        {"type": "function_call", "call_id": "call_b", "name": "read", "arguments": "{}"},
        {"type": "reasoning", "encrypted_content": "gBBBB", "summary": []},
    )  # fmt: skip
    request = {"max_tokens": 99, "messages": [{"role": "user", "content": "?"}], "stream": True}
    vendor.play(stream(*translated("anthropic", "openai_responses", request, provider)))
    async with (
        anthropic.AsyncAnthropic(base_url=vendor.url, api_key="k", max_retries=0) as client,
        client.messages.stream(model="m", max_tokens=9, messages=request["messages"]) as found,
    ):
        message = await found.get_final_message()
    thinking, text, *calls, hidden = message.content
    assert (thinking.thinking, thinking.signature) == (
        "One.\n\nTwo.", "sidecar|openai_responses|m|item_0:gAAAA",
    )  # fmt: skip
    assert text.text == "Reading."
    assert [(c.id, c.name, c.input) for c in calls] == [
        ("call_a", "read", {"p": 1}), ("call_b", "read", {}),
    ]  # fmt: skip
    assert hidden.data == "sidecar|openai_responses|m|item_4:gBBBB"
    assert (message.stop_reason, message.usage.cache_read_input_tokens) == ("tool_use", 1024)
    messages = [
        *request["messages"],
        {"role": "assistant", "content": [block.to_dict() for block in message.content]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": name, "content": "ok"}
            for name in ("call_a", "call_b")]},
    ]  # fmt: skip
    kept = sent("anthropic", "openai_responses", {**request, "messages": messages})["input"]
    assert [item["type"] for item in kept] == [
        "message", "reasoning", "message", "function_call", "function_call", "reasoning",
        "function_call_output", "function_call_output",
    ]  # fmt: skip
    assert kept[1] == {
        "type": "reasoning", "id": "item_0", "encrypted_content": "gAAAA",
        "summary": [{"type": "summary_text", "text": "One.\n\nTwo."}],
    }  # fmt: skip
    other = sent("anthropic", "openai_responses", {**request, "messages": messages}, "gpt-9")
    assert "reasoning" not in [item["type"] for item in other["input"]]


async def test_errors_reach_the_sdk_in_its_shape(vendor: ScriptedVendor) -> None:
    context = translate_request(
        "openai_responses", "anthropic", json.dumps(CODEX).encode(), model="m"
    ).context
    body = {"type": "error", "error": {"type": "overloaded_error", "message": "Not now."}}
    status, out = translate_error(context, 529, json.dumps(body).encode())
    vendor.play(answer(out, f"{status} Error"))
    async with client_of(vendor) as client:
        with pytest.raises(openai.InternalServerError, match="Not now"):
            await client.responses.create(model="m", input="?")
    assert status == 503


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "error", "code": "rate_limit_exceeded", "message": "slow"},
        {"type": "error", "error": {"code": "rate_limit_exceeded", "message": "slow"}},
        {"type": "response.failed", "response": {
            "status": "failed", "error": {"code": "rate_limit_exceeded", "message": "slow"}}},
    ],
)  # fmt: skip
def test_failure_in_a_stream_of_a_response_ends_the_message(frame: Shape) -> None:
    begun = response_stream(message_item("ab")).partition(b"event: response.output_text.done")[0]
    provider = begun + b"event: x\ndata: " + json.dumps(frame).encode() + b"\n\n"
    request = {"max_tokens": 99, "messages": [{"role": "user", "content": "?"}], "stream": True}
    found = events(b"".join(translated("anthropic", "openai_responses", request, provider)))
    assert (found[-1]["event"], found[-1]["error"]) == (
        "error", {"type": "rate_limit_error", "message": "slow"},
    )  # fmt: skip


def test_provider_without_deltas_is_read_from_its_whole_items() -> None:
    whole = response_stream(
        {"type": "reasoning", "encrypted_content": "g", "summary": [
            {"type": "summary_text", "text": "One."}]},
        message_item("Hello."),
        {"type": "function_call", "call_id": "call_a", "name": "f", "arguments": '{"a":1}'},
    )  # fmt: skip
    kept = (b".created", b".completed", b"output_item.done")
    frames = [each + b"\n\n" for each in whole.split(b"\n\n")]
    provider = b"".join(each for each in frames if each.partition(b"\n")[0].endswith(kept))
    request = {"max_tokens": 99, "messages": [{"role": "user", "content": "?"}]}
    with_deltas = translated("anthropic", "openai_responses", request, whole)
    assert translated("anthropic", "openai_responses", request, provider) == with_deltas


def test_answers_of_a_response_are_the_same_as_its_stream() -> None:
    provider = response_stream(message_item("Hello."), reason="max_output_tokens")
    body = json.dumps(events(provider)[-1]["response"]).encode()
    request = {"max_tokens": 99, "messages": [{"role": "user", "content": "?"}]}
    found = translated("anthropic", "openai_responses", request, body)
    assert found == translated("anthropic", "openai_responses", request, provider)
    assert json.loads(found[0])["stop_reason"] == "max_tokens"
