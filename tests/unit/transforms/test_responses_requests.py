"""Requests of the Responses API, and its custom tools, which other protocols lack."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from property_tests import examples
from responses_samples import (
    CODEX,
    GRAMMAR,
    sent,
    translated,
    uses,
)
from translation_samples import (
    call_deltas,
    chat_stream,
    events,
    message_stream,
)

from sidecar_transforms.translation import (
    Loss,
    TranslationError,
    estimate_tokens,
    lost_between,
    translate_request,
)

Shape = dict[str, Any]


def test_request_of_codex_has_functions_at_another_provider() -> None:
    made = translate_request(
        "openai_responses", "anthropic", json.dumps(CODEX).encode(), model="claude-opus-5-5"
    )
    assert made.notes == ("grammar", "server_tools", "max_output", "cache_key")
    body = json.loads(made.body)
    assert [block["text"] for block in body["system"]] == ["You are a coding agent.", "Ask first."]
    tools = {tool["name"]: tool for tool in body["tools"]}
    assert list(tools) == ["apply_patch", "exec", "mcp__notes__find", "local_shell"]
    assert GRAMMAR["definition"] in tools["apply_patch"]["description"]
    assert tools["apply_patch"]["input_schema"]["required"] == ["input"]
    assert (body["thinking"], body["output_config"]) == (
        {"type": "adaptive", "display": "summarized"}, {"effort": "medium"},
    )  # fmt: skip


def test_tools_declared_in_an_item_of_the_input_translate_as_those_of_the_field() -> None:
    item = {"type": "additional_tools", "role": "developer", "tools": CODEX["tools"]}
    moved = {**CODEX, "tools": [], "input": [item, *CODEX["input"]]}
    made, usual = (
        translate_request("openai_responses", "anthropic", json.dumps(each).encode(), model="m")
        for each in (moved, CODEX)
    )
    assert (json.loads(made.body), made.notes) == (json.loads(usual.body), usual.notes)
    provider = message_stream(*uses(), stop="tool_use")
    kinds = [
        [item["type"] for item in events(b"".join(answer))[-1]["response"]["output"]]
        for each in (moved, CODEX)
        if (answer := translated("openai_responses", "anthropic", each, provider))
    ]
    assert kinds[0] == kinds[1]


def test_calls_of_every_shape_come_back_as_the_model_wrote_them() -> None:
    provider = message_stream(
        {"type": "thinking", "thinking": "", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "ZGF0YQ"}, *uses(), stop="tool_use",
    )  # fmt: skip
    last = events(b"".join(translated("openai_responses", "anthropic", CODEX, provider)))[-1]
    output = [{k: v for k, v in item.items() if k != "id"} for item in last["response"]["output"]]
    results = [
        {"type": item["type"] + "_output", "call_id": item["call_id"], "output": "ok"}
        for item in output if "call_id" in item
    ]  # fmt: skip
    request = {**CODEX, "input": [*CODEX["input"], *output, *results]}
    _, answer, answered = sent("openai_responses", "anthropic", request)["messages"]
    assert answer["content"] == [
        {"type": "thinking", "thinking": "", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "ZGF0YQ"}, *uses(),
    ]  # fmt: skip
    assert [block["tool_use_id"] for block in answered["content"]] == [u["id"] for u in uses()]


@given(st.text(st.characters(codec="utf-8"), max_size=60), st.lists(st.integers(1, 9)), st.data())
@examples(80)
def test_text_of_a_custom_tool_arrives_however_its_json_is_cut(
    text: str, sizes: list[int], data: st.DataObject
) -> None:
    raw = json.dumps({"input": text}, ensure_ascii=data.draw(st.booleans()))
    pieces, at = [], 0
    for size in sizes:
        pieces.append(raw[at : at + size])
        at += size
    provider = chat_stream(
        *call_deltas(0, "call_a", "apply_patch", *filter(None, pieces), raw[at:] or " "),
        finish="tool_calls",
    )
    found = events(b"".join(translated("openai_responses", "openai_chat", CODEX, provider)))
    deltas = [each["delta"] for each in found if each["type"].endswith("input.delta")]
    assert "".join(deltas) == text
    assert found[-1]["response"]["output"][0]["input"] == text


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("*** Begin Patch\n", "*** Begin Patch\n"),
        ('{"input": "cut off', "cut off"),
        ('{"input": "a\nb"}', "a\nb"),
        ('{"input": "a\\d"}', "a\\d"),
        ('{"patch": "x"}', '{"patch": "x"}'),
        ('{"input": "\\ud83d"}', "?"),
        ("", ""),
    ],
)
def test_custom_tool_takes_what_a_model_meant(written: str, meant: str) -> None:
    deltas = call_deltas(0, "call_a", "apply_patch", *filter(None, [written]))
    provider = chat_stream(*deltas, finish="tool_calls")
    found = events(b"".join(translated("openai_responses", "openai_chat", CODEX, provider)))
    assert found[-1]["response"]["output"][0]["input"] == meant


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"previous_response_id": "resp_1"}, "send the whole conversation"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"background": True}, "background"),
        ({"tools": [{"type": "mcp", "server_label": "s"}]}, "mcp"),
        ({"tools": [{"type": "computer_use_preview"}]}, "computer"),
        ({"tools": [{"type": "file_search"}]}, "file_search"),
        ({"tool_choice": {"type": "web_search"}}, "web_search"),
        ({"input": [{"type": "compaction", "encrypted_content": "x"}]}, "compaction"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "item_reference"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
            "uploaded file",
        ),
    ],
)
def test_request_that_only_openai_has_is_refused_by_name(change: Shape, named: str) -> None:
    body = json.dumps(CODEX | change).encode()
    with pytest.raises(TranslationError, match=named):
        translate_request("openai_responses", "anthropic", body, model="claude-opus-5-5")


def test_request_for_a_responses_provider_keeps_no_state_there() -> None:
    request = {
        "system": "Short.", "max_tokens": 4, "thinking": {"type": "adaptive"},
        "output_config": {"effort": "high"}, "tools": [{"name": "f", "input_schema": {}}],
        "messages": [{"role": "user", "content": "?"}], "metadata": {"user_id": "u"},
    }  # fmt: skip
    assert sent("anthropic", "openai_responses", request, "gpt-6") == {
        "model": "gpt-6", "store": False, "instructions": "Short.",
        "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "?"}]}
        ],
        "tools": [{"type": "function", "name": "f", "strict": False,
                   "parameters": {"type": "object", "properties": {}}}],
        "max_output_tokens": 16, "include": ["reasoning.encrypted_content"],
        "reasoning": {"effort": "high", "summary": "auto"}, "prompt_cache_key": "u",
    }  # fmt: skip


ASK: Shape = {"role": "user", "content": "?"}
READ: Shape = {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{bro"}
LOST: list[tuple[Shape, Loss]] = [
    ({"temperature": 1.5}, Loss.TEMPERATURE),
    ({"temperature": 1, "top_p": 0.5}, Loss.TOP_P),
    ({"prompt_cache_key": "k"}, Loss.CACHE_KEY),
    (
        {"input": [ASK, {"type": "reasoning", "id": "rs_1", "encrypted_content": "g",
                         "summary": []}, ASK]},
        Loss.THINKING,
    ),
    ({"input": [ASK, {"role": "developer", "content": "now"}]}, Loss.SYSTEM_ORDER),
    ({"text": {"format": {"type": "json_object"}}}, Loss.JSON_OBJECT),
    ({"max_output_tokens": None}, Loss.MAX_OUTPUT),
    ({"input": [ASK, READ]}, Loss.ARGUMENTS),
    ({"text": {"verbosity": "low"}}, Loss.VERBOSITY),
    ({"tools": [{"type": "web_search"}]}, Loss.SERVER_TOOLS),
    ({"input": [ASK, {"type": "web_search_call", "id": "ws_1"}]}, Loss.SERVER_TOOLS),
    (
        {"tools": [{"type": "custom", "name": "p", "format": GRAMMAR}]},
        Loss.GRAMMAR,
    ),
    (
        {"input": [{"role": "user", "content": [
            {"type": "input_image", "image_url": "https://x/a.png", "detail": "low"}]}]},
        Loss.IMAGE_DETAIL,
    ),
    ({"service_tier": "flex"}, Loss.FIELDS),
    ({"store": True}, Loss.FIELDS),
    ({"truncation": "auto"}, Loss.FIELDS),
    ({"metadata": {"a": "b"}}, Loss.FIELDS),
    ({"include": ["message.output_text.logprobs"]}, Loss.FIELDS),
]  # fmt: skip


@pytest.mark.parametrize(("change", "loss"), LOST, ids=map(str, range(len(LOST))))
def test_loss_from_responses_to_anthropic_is_noted(change: Shape, loss: Loss) -> None:
    request = {"input": [ASK], "max_output_tokens": 99} | change
    found = translate_request(
        "openai_responses", "anthropic", json.dumps(request).encode(), model="claude-opus-5-5"
    )
    assert found.notes == (loss.value,)
    assert loss in lost_between("openai_responses", "anthropic")


@pytest.mark.parametrize(
    ("change", "loss"),
    [
        ({"seed": 4}, Loss.SEED),
        ({"top_k": 4}, Loss.TOP_K),
        ({"presence_penalty": 1}, Loss.PENALTIES),
        ({"stop": ["x"]}, Loss.STOP_SEQUENCES),
        ({"temperature": 0.5}, Loss.TEMPERATURE),
        ({"max_tokens": 1}, Loss.MAX_OUTPUT),
        ({"messages": [ASK, {"role": "assistant", "content": "So"}]}, Loss.PREFILL),
    ],
)
def test_loss_from_chat_to_responses_is_noted(change: Shape, loss: Loss) -> None:
    body = json.dumps({"messages": [ASK]} | change).encode()
    found = translate_request("openai_chat", "openai_responses", body, model="gpt-6")
    assert found.notes == (loss.value,)
    assert loss in lost_between("openai_chat", "openai_responses")


def test_media_reaches_responses_and_comes_back() -> None:
    content = [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aQ=="}},
        {"type": "image", "source": {"type": "url", "url": "https://x/a.png"}},
        {"type": "document", "title": "a.pdf", "source": {
            "type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}},
        {"type": "document", "source": {"type": "url", "url": "https://x/a.pdf"}},
    ]  # fmt: skip
    call = {"type": "tool_use", "id": "t1", "name": "see", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": content}
    messages = [
        {"role": "user", "content": content},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result]},
    ]
    request = {"max_tokens": 99, "messages": messages}
    there = sent("anthropic", "openai_responses", request)
    assert sent("openai_responses", "anthropic", there)["messages"] == messages


def test_tokens_of_a_request_are_estimated() -> None:
    found = json.loads(estimate_tokens("openai_responses", json.dumps(CODEX).encode()))
    assert found["object"] == "response.input_tokens"
    assert found["input_tokens"] > 100
