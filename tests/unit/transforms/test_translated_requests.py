"""Each feature of a request in the other protocol, and what comes back to its own model."""

from __future__ import annotations

import json
from typing import Any

import pytest
from translation_samples import SSE, chat_stream, message_stream

from sidecar_transforms.translation import ResponseTranslator, translate_request

Shape = dict[str, Any]
ASK: list[Shape] = [{"role": "user", "content": "?"}]
SCHEMA = {
    "type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"],
    "additionalProperties": False,
}  # fmt: skip


def to_chat(change: Shape, model: str = "gpt-6") -> Shape:
    body = json.dumps({"max_tokens": 9, "messages": ASK} | change).encode()
    found: Shape = json.loads(translate_request("anthropic", "openai_chat", body, model=model).body)
    return found


def to_anthropic(change: Shape, model: str = "claude-opus-5-5") -> Shape:
    body = json.dumps({"max_tokens": 9, "messages": ASK} | change).encode()
    found: Shape = json.loads(translate_request("openai_chat", "anthropic", body, model=model).body)
    return found


def test_images_and_documents_are_kept_in_both_directions() -> None:
    png = {"type": "base64", "media_type": "image/png", "data": "iVBORw=="}
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}
    content = [
        {"type": "text", "text": "Compare."},
        {"type": "image", "source": png},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"type": "document", "source": pdf, "title": "a.pdf"},
    ]
    chat = to_chat({"messages": [{"role": "user", "content": content}]})
    assert chat["messages"][0]["content"] == [
        {"type": "text", "text": "Compare."},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "file",
         "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERg=="}},
    ]  # fmt: skip
    assert to_anthropic(chat)["messages"][0]["content"] == content


def test_text_document_becomes_text_with_its_title() -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "line"}
    block = {"type": "document", "source": source, "title": "notes", "context": "Old."}
    chat = to_chat({"messages": [{"role": "user", "content": [block]}]})
    texts = [part["text"] for part in chat["messages"][0]["content"]]
    assert texts == ["Old.", "notes\n\nline"]


def test_results_of_tools_precede_what_else_the_user_sends() -> None:
    calls = [{"type": "tool_use", "id": n, "name": "f", "input": {}} for n in ("t1", "t2")]
    image = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    results = [
        {"type": "tool_result", "tool_use_id": "t1", "content": [image]},
        {"type": "tool_result", "tool_use_id": "t2", "content": "gone", "is_error": True},
        {"type": "text", "text": "Go on."},
    ]
    chat = to_chat({"messages": [
        *ASK, {"role": "assistant", "content": calls}, {"role": "user", "content": results},
    ]})  # fmt: skip
    first, second, user = chat["messages"][2:]
    assert (first["tool_call_id"], second["tool_call_id"]) == ("t1", "t2")
    assert second["content"] == "Error: gone"
    assert [part["type"] for part in user["content"]] == ["text", "image_url", "text"]


@pytest.mark.parametrize(
    ("anthropic", "chat"),
    [
        ({"type": "any"}, {"tool_choice": "required"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        ({"type": "tool", "name": "f"},
         {"tool_choice": {"type": "function", "function": {"name": "f"}}}),
        ({"type": "auto", "disable_parallel_tool_use": True}, {"parallel_tool_calls": False}),
    ],
)  # fmt: skip
def test_tool_choice_is_kept_in_both_directions(anthropic: Shape, chat: Shape) -> None:
    tool = {"name": "f", "input_schema": SCHEMA, "strict": True}
    found = to_chat({"tools": [tool], "tool_choice": anthropic})
    assert {name: found[name] for name in chat} == chat
    back = to_anthropic(found)
    assert back["tool_choice"] == anthropic
    assert back["tools"] == [tool]


def test_allowed_tools_are_the_only_ones_sent_to_anthropic() -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in "abc"]
    allowed = {"mode": "required", "tools": [tools[1]]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    found = to_anthropic({"tools": tools, "tool_choice": choice})
    assert [tool["name"] for tool in found["tools"]] == ["b"]
    assert found["tool_choice"] == {"type": "any"}


@pytest.mark.parametrize(
    ("thinking", "model", "effort"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, "gpt-6", "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 8192}}, "gpt-6", "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 31999}}, "gpt-6", "high"),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, "gpt-6", "max"),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, "qwen3", "high"),
        ({"thinking": {"type": "adaptive"}}, "gpt-6", None),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}, "gpt-4.1", None),
    ],
)
def test_thinking_of_anthropic_becomes_an_effort(
    thinking: Shape, model: str, effort: str | None
) -> None:
    assert to_chat(thinking, model).get("reasoning_effort") == effort


@pytest.mark.parametrize(
    ("effort", "model", "expected"),
    [
        ("none", "claude-opus-5-5", {"thinking": {"type": "disabled"}}),
        ("minimal", "claude-opus-5-5",
         {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}),
        ("high", "claude-sonnet-4-6",
         {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}),
        ("medium", "claude-haiku-4-5-20251001",
         {"thinking": {"type": "enabled", "budget_tokens": 8192}}),
        ("medium", "anthropic/claude-sonnet-4.5",
         {"thinking": {"type": "enabled", "budget_tokens": 8192}}),
        ("high", "claude-3-haiku-20240307", {}),
        ("low", "glm-5", {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
    ],
)  # fmt: skip
def test_effort_becomes_the_thinking_that_the_claude_model_has(
    effort: str, model: str, expected: Shape
) -> None:
    found = to_anthropic({"reasoning_effort": effort, "max_tokens": 20_000}, model)
    names = ("thinking", "output_config")
    assert {name: found[name] for name in names if name in found} == expected


def test_budget_is_left_out_in_a_tool_loop_without_thinking() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        *ASK, {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "x"},
    ]  # fmt: skip
    change = {"messages": messages, "reasoning_effort": "low", "max_tokens": 20_000}
    assert "thinking" not in to_anthropic(change, "claude-sonnet-4-5")
    assert to_anthropic(change)["thinking"] == {"type": "adaptive"}


def test_structured_output_is_kept_in_both_directions() -> None:
    config = {"format": {"type": "json_schema", "schema": SCHEMA}}
    chat = to_chat({"output_config": config})
    form = {"name": "answer", "schema": SCHEMA, "strict": True}
    assert chat["response_format"] == {"type": "json_schema", "json_schema": form}
    assert to_anthropic(chat)["output_config"] == config
    loose = {**SCHEMA, "required": []}
    config = {"format": {"type": "json_schema", "schema": loose}}
    assert not to_chat({"output_config": config})["response_format"]["json_schema"]["strict"]


def test_long_name_of_a_tool_is_shortened_and_comes_back() -> None:
    name = "mcp__" + "very_long_server_name_" * 4 + "read"
    tool = {"name": name, "input_schema": SCHEMA}
    call = {"type": "tool_use", "id": "t", "name": name, "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": "x"}
    request = {
        "max_tokens": 9, "stream": True, "tools": [tool],
        "messages": [
            *ASK, {"role": "assistant", "content": [call]}, {"role": "user", "content": [result]},
        ],
    }  # fmt: skip
    translated = translate_request(
        "anthropic", "openai_chat", json.dumps(request).encode(), model="gpt-6"
    )
    sent = json.loads(translated.body)
    short = sent["tools"][0]["function"]["name"]
    assert len(short) == 64
    assert sent["messages"][1]["tool_calls"][0]["function"]["name"] == short
    function = {"name": short, "arguments": "{}"}
    provider = chat_stream(
        {"tool_calls": [{"index": 0, "id": "t2", "type": "function", "function": function}]},
        finish="tool_calls",
    )
    answer = ResponseTranslator(translated.context, status=200, content_type=SSE)
    assert f'"name":"{name}"'.encode() in answer.feed(provider)


def test_thinking_without_signature_goes_back_to_its_own_model_only() -> None:
    request = json.dumps({"max_tokens": 9, "messages": ASK}).encode()
    context = translate_request("anthropic", "openai_chat", request, model="deepseek-r2").context
    answer = ResponseTranslator(context, status=200, content_type=SSE)
    answer.feed(chat_stream({"reasoning_content": "hm"}, {"content": "Hi."}))
    message = json.loads(answer.end(complete=True))
    messages = [*ASK, {"role": "assistant", "content": message["content"]}, *ASK]
    again = to_chat({"messages": messages}, "deepseek-r2")
    assert again["messages"][1] == {
        "role": "assistant", "content": "Hi.", "reasoning_content": "hm",
    }  # fmt: skip
    other = to_chat({"messages": messages}, "qwen3")
    assert other["messages"][1] == {"role": "assistant", "content": "Hi."}
    claude = {"model": "c", "max_tokens": 9, "messages": messages}
    found = translate_request(
        "anthropic", "anthropic", json.dumps(claude).encode(), model="claude-opus-5-5"
    )
    assert [b["type"] for b in json.loads(found.body)["messages"][1]["content"]] == ["text"]


def test_signature_comes_back_from_a_client_that_returns_the_details() -> None:
    request = json.dumps({"messages": ASK}).encode()
    context = translate_request(
        "openai_chat", "anthropic", request, model="claude-opus-5-5"
    ).context
    answer = ResponseTranslator(context, status=200, content_type=SSE)
    thinking = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    hidden = {"type": "redacted_thinking", "data": "ZW5j"}
    answer.feed(message_stream(thinking, hidden, {"type": "text", "text": "Hi."}))
    message = json.loads(answer.end(complete=True))["choices"][0]["message"]
    assert message["reasoning_content"] == "hm"
    messages = [*ASK, message, *ASK]
    content = to_anthropic({"messages": messages})["messages"][1]["content"]
    assert content == [thinking, hidden, {"type": "text", "text": "Hi."}]
    other = to_anthropic({"messages": messages}, "claude-haiku-5")["messages"][1]["content"]
    assert other == [{"type": "text", "text": "Hi."}]


def test_tools_of_earlier_calls_are_declared_where_none_is_sent() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        *ASK, {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "x"},
    ]  # fmt: skip
    found = to_anthropic({"messages": messages})
    assert found["tools"] == [{"name": "f", "input_schema": {"type": "object"}}]
    assert found["tool_choice"] == {"type": "none"}


@pytest.mark.parametrize(
    ("target", "path", "headers"),
    [
        ("openai_chat", "/chat/completions", ()),
        ("anthropic", "/v1/messages", ((b"anthropic-version", b"2023-06-01"),)),
    ],
)
def test_request_has_the_path_and_the_headers_of_its_target(
    target: str, path: str, headers: tuple[tuple[bytes, bytes], ...]
) -> None:
    body = json.dumps({"max_tokens": 9, "messages": ASK}).encode()
    found = translate_request("anthropic", target, body, model="m")
    assert (found.path, found.headers) == (path, headers)


def test_ids_of_calls_that_anthropic_rejects_are_changed_alike() -> None:
    call = {"id": "functions.f:0", "type": "function", "function": {"name": "f", "arguments": ""}}
    messages = [
        *ASK, {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "functions.f:0", "content": "x"},
    ]  # fmt: skip
    _, calls, results = to_anthropic({"messages": messages})["messages"]
    assert calls["content"][0]["id"] == results["content"][0]["tool_use_id"] == "functions_f_0"


@pytest.mark.parametrize(
    ("model", "bound"),
    [
        ("claude-opus-5-5", 32000),
        ("claude-3-5-haiku-latest", 8192),
        ("claude-3-haiku-1", 4096),
        ("glm-5", 8192),
    ],
)
def test_bound_that_anthropic_requires_is_added_for_the_model(model: str, bound: int) -> None:
    assert to_anthropic({"max_tokens": None}, model)["max_tokens"] == bound


@pytest.mark.parametrize(
    ("model", "name"), [("gpt-6", "max_completion_tokens"), ("gpt-oss-120b", "max_tokens")]
)
def test_bound_has_the_name_that_the_server_accepts(model: str, name: str) -> None:
    assert to_chat({}, model)[name] == 9
