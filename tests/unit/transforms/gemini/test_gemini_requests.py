"""Golden requests from and to Gemini, as agents send them and as providers take them."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from sidecar_transforms.translation import (
    Loss,
    TranslationError,
    estimate_tokens,
    lost_between,
    translate_request,
)

Shape = dict[str, Any]
ASK: Shape = {"role": "user", "parts": [{"text": "?"}]}
MESSAGES: list[Shape] = [{"role": "user", "content": "?"}]
PNG = base64.b64encode(b"\x89PNG").decode()
SIGNATURE = "c2lnbmF0dXJl"


def sent(
    source: str, target: str, body: Shape, *, model: str = "gemini-3-flash"
) -> tuple[Shape, tuple[str, ...]]:
    found = translate_request(
        source, target, json.dumps(body).encode(), model=model, streaming=True, query="alt=sse"
    )
    return json.loads(found.body), found.notes


def to_gemini(body: Shape, *, model: str = "gemini-3-flash") -> Shape:
    return sent("anthropic", "gemini", {"max_tokens": 9, "messages": MESSAGES} | body, model=model)[
        0
    ]


def from_gemini(body: Shape, target: str = "anthropic", model: str = "claude-opus-5-5") -> Shape:
    return sent("gemini", target, {"contents": [ASK]} | body, model=model)[0]


@pytest.mark.parametrize(
    ("streaming", "path"),
    [
        (True, "/v1beta/models/gemini-3-flash:streamGenerateContent?alt=sse"),
        (False, "/v1beta/models/gemini-3-flash:generateContent"),
    ],
)
def test_path_has_the_model_and_the_method(*, streaming: bool, path: str) -> None:
    body = {"max_tokens": 9, "messages": MESSAGES, "stream": streaming}
    for model in ("gemini-3-flash", "models/gemini-3-flash"):
        found = translate_request("anthropic", "gemini", json.dumps(body).encode(), model=model)
        assert (found.path, found.context.streaming) == (path, streaming)


def test_request_of_claude_code_has_geminis_shape() -> None:
    found = to_gemini({
        "max_tokens": 128_000,
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2"},
            {"type": "text", "text": "You are an agent.", "cache_control": {"type": "ephemeral"}},
        ],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Read a."}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "", "signature":
                    f"sidecar|gemini|gemini-3-flash|{SIGNATURE}"},
                {"type": "tool_use", "id": "t1", "name": "read", "input": {"path": "a"}},
                {"type": "tool_use", "id": "t2", "name": "read", "input": {"path": "b"}}]},
            {"role": "user", "content": [
                {"type": "text", "text": "Go on."},
                {"type": "tool_result", "tool_use_id": "t1", "content": "A"},
                {"type": "tool_result", "tool_use_id": "t2", "content": "none", "is_error": True}]},
        ],
        "tools": [{"name": "read", "description": "Read.", "input_schema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
            "properties": {"path": {"type": "string", "minLength": 1}, "pattern": {"const": "x"}},
            "required": ["path"], "additionalProperties": False}}],
        "thinking": {"type": "enabled", "budget_tokens": 31_999},
    })  # fmt: skip
    assert found == {
        "systemInstruction": {"parts": [{"text": "You are an agent."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "Read a."}]},
            {"role": "model", "parts": [
                {"functionCall": {"id": "t1", "name": "read", "args": {"path": "a"}},
                 "thoughtSignature": SIGNATURE},
                {"functionCall": {"id": "t2", "name": "read", "args": {"path": "b"}}}]},
            {"role": "user", "parts": [
                {"functionResponse": {"id": "t1", "name": "read", "response": {"output": "A"}}},
                {"functionResponse": {"id": "t2", "name": "read", "response": {"error": "none"}}},
                {"text": "Go on."}]},
        ],
        "tools": [{"functionDeclarations": [
            {"name": "read", "description": "Read.", "parametersJsonSchema": {
                "type": "object",
                "properties": {"path": {"type": "string"}, "pattern": {"enum": ["x"]}},
                "required": ["path"], "additionalProperties": False}}]}],
        "generationConfig": {
            "maxOutputTokens": 65_536,
            "thinkingConfig": {"includeThoughts": True, "thinkingLevel": "HIGH"}},
    }  # fmt: skip


def test_request_of_gemini_cli_has_anthropics_shape() -> None:
    found = from_gemini({
        "systemInstruction": {"role": "user", "parts": [{"text": "You are an agent."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "Read a."}, {"text": "And b."}]},
            {"role": "model", "parts": [
                {"text": "Read"}, {"text": "ing."},
                {"functionCall": {"name": "read", "args": {"path": "a"}}},
                {"functionCall": {"name": "read", "args": {"path": "b"}}}]},
            {"role": "user", "parts": [
                {"functionResponse": {"name": "read", "response": {"output": "A"}}},
                {"functionResponse": {"name": "read", "response": {"error": "none"}}}]},
        ],
        "tools": [{"functionDeclarations": [
            {"name": "read", "description": "Read.", "parameters": {
                "type": "OBJECT", "required": ["path"], "propertyOrdering": ["path"],
                "properties": {"path": {"type": "STRING", "nullable": True},
                               "lines": {"type": "ARRAY", "items": {"type": "INTEGER"},
                                         "minItems": "1"}}}}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
        "generationConfig": {"temperature": 0, "maxOutputTokens": 100, "stopSequences": ["END"]},
    })  # fmt: skip
    assert found == {
        "model": "claude-opus-5-5", "max_tokens": 100, "stream": True, "temperature": 0,
        "stop_sequences": ["END"],
        "system": [{"type": "text", "text": "You are an agent."}],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "Read a."}, {"type": "text", "text": "And b."}]},
            {"role": "assistant", "content": [
                {"type": "text", "text": "Reading."},
                {"type": "tool_use", "id": "gemini_0", "name": "read", "input": {"path": "a"}},
                {"type": "tool_use", "id": "gemini_1", "name": "read", "input": {"path": "b"}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "gemini_0",
                 "content": [{"type": "text", "text": "A"}]},
                {"type": "tool_result", "tool_use_id": "gemini_1", "is_error": True,
                 "content": [{"type": "text", "text": "none"}]}]},
        ],
        "tools": [{"name": "read", "description": "Read.", "input_schema": {
            "type": "object", "required": ["path"],
            "properties": {"path": {"type": ["string", "null"]},
                           "lines": {"type": "array", "items": {"type": "integer"},
                                     "minItems": 1}}}}],
    }  # fmt: skip


def test_names_in_snake_case_are_read() -> None:
    found = from_gemini({
        "system_instruction": {"parts": [{"text": "Be short."}]},
        "contents": [{"role": "user", "parts": [
            {"inline_data": {"mime_type": "image/png", "data": PNG}}]}],
        "tools": [{"function_declarations": [
            {"name": "f", "parameters_json_schema": {"type": "object", "properties": {
                "snake_name": {"type": "string"}}}}]}],
        "tool_config": {"function_calling_config": {
            "mode": "ANY", "allowed_function_names": ["f"]}},
        "generation_config": {"max_output_tokens": 7, "top_k": 3.0},
    })  # fmt: skip
    assert found["system"] == [{"type": "text", "text": "Be short."}]
    assert found["messages"][0]["content"][0]["source"]["media_type"] == "image/png"
    assert list(found["tools"][0]["input_schema"]["properties"]) == ["snake_name"]
    assert found["tool_choice"] == {"type": "tool", "name": "f"}
    assert (found["max_tokens"], found["top_k"]) == (7, 3)


def test_results_without_ids_go_to_the_calls_of_their_names() -> None:
    calls = [{"functionCall": {"name": name, "args": {}}} for name in ("a", "b", "a")]
    results = [
        {"functionResponse": {"name": name, "response": {"result": text}}}
        for name, text in (("b", "1"), ("a", "2"), ("a", "3"))
    ]
    contents = [
        ASK, {"role": "model", "parts": calls[:2]}, {"role": "model", "parts": calls[2:]},
        {"role": "user", "parts": results},
    ]  # fmt: skip
    found = from_gemini({"contents": contents}, "openai_chat", "gpt-6")["messages"]
    assert [each["id"] for each in found[1]["tool_calls"]] == ["gemini_0", "gemini_1", "gemini_2"]
    assert [(each["tool_call_id"], each["content"]) for each in found[2:]] == [
        ("gemini_1", "1"), ("gemini_0", "2"), ("gemini_2", "3"),
    ]  # fmt: skip


def test_earlier_calls_keep_their_generated_ids_in_a_later_request() -> None:
    rounds = [
        content
        for n in range(3)
        for content in (
            {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"n": n}}}]},
            {"role": "user", "parts": [
                {"functionResponse": {"name": "f", "response": {"output": str(n)}}}]},
        )
    ]  # fmt: skip
    short = from_gemini({"contents": [ASK, *rounds[:4]]})["messages"]
    long = from_gemini({"contents": [ASK, *rounds]})["messages"]
    assert long[: len(short)] == short


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "any"}, {"mode": "ANY"}),
        ({"type": "none"}, {"mode": "NONE"}),
        ({"type": "tool", "name": "f"}, {"mode": "ANY", "allowedFunctionNames": ["f"]}),
    ],
)
def test_tool_choice_has_geminis_mode(choice: Shape, expected: Shape) -> None:
    tool = {"name": "f", "input_schema": {"type": "object"}}
    found = to_gemini({"tools": [tool], "tool_choice": choice})
    assert found["tools"] == [{"functionDeclarations": [{"name": "f"}]}]
    assert found["toolConfig"] == {"functionCallingConfig": expected}


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_allowed_tools_come_back_from_gemini(mode: str) -> None:
    names = ["f", "g"]
    functions = [{"type": "function", "function": {"name": name}} for name in (*names, "h")]
    allowed = {"mode": mode, "tools": functions[:2]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    body = {"messages": MESSAGES, "tools": functions, "tool_choice": choice}
    there, _ = sent("openai_chat", "gemini", body)
    assert there["toolConfig"]["functionCallingConfig"]["allowedFunctionNames"] == names
    assert from_gemini(there, "openai_chat", "gpt-6")["tool_choice"] == choice


def test_tool_names_that_the_provider_rejects_are_replaced_everywhere() -> None:
    contents = [
        ASK, {"role": "model", "parts": [{"functionCall": {"name": "mcp.fs:read", "args": {}}}]},
        {"role": "user", "parts": [
            {"functionResponse": {"name": "mcp.fs:read", "response": {"output": "A"}}}]},
    ]  # fmt: skip
    tools = [{"functionDeclarations": [{"name": "mcp.fs:read"}]}]
    found = from_gemini({"contents": contents, "tools": tools})
    (tool,) = found["tools"]
    assert tool["name"].startswith("mcp_fs_read_")
    assert found["messages"][1]["content"][0]["name"] == tool["name"]
    digit = {"name": "3d", "input_schema": {"type": "object"}}
    declared = to_gemini({"tools": [digit]})["tools"][0]["functionDeclarations"]
    assert declared[0]["name"].startswith("_3d_")


@pytest.mark.parametrize(
    ("model", "request_", "config", "notes"),
    [
        ("gemini-3-flash", {"reasoning_effort": "minimal"},
         {"includeThoughts": True, "thinkingLevel": "MINIMAL"}, ()),
        ("gemini-3-pro", {"reasoning_effort": "medium"},
         {"includeThoughts": True, "thinkingLevel": "HIGH"}, ("effort",)),
        ("gemini-3.1-pro", {"reasoning_effort": "medium"},
         {"includeThoughts": True, "thinkingLevel": "MEDIUM"}, ()),
        ("gemini-3-pro", {"reasoning_effort": "none"}, {"thinkingLevel": "LOW"}, ("thinking_off",)),
        ("gemini-3-flash", {"reasoning_effort": "max"},
         {"includeThoughts": True, "thinkingLevel": "HIGH"}, ("effort",)),
        ("gemini-2.5-flash", {"reasoning_effort": "none"}, {"thinkingBudget": 0}, ()),
        ("gemini-2.5-pro", {"reasoning_effort": "none"}, {"thinkingBudget": 128},
         ("thinking_off",)),
        ("gemini-2.5-flash", {"reasoning_effort": "high"},
         {"includeThoughts": True, "thinkingBudget": 24_576}, ()),
        ("gemini-2.0-flash", {"reasoning_effort": "high"}, None, ("effort",)),
        ("gemini-3-flash", {}, None, ()),
    ],
)  # fmt: skip
def test_effort_is_the_level_or_the_budget_of_the_model(
    model: str, request_: Shape, config: Shape | None, notes: tuple[str, ...]
) -> None:
    found, lost = sent("openai_chat", "gemini", {"messages": MESSAGES} | request_, model=model)
    assert found.get("generationConfig", {}).get("thinkingConfig") == config
    assert lost == notes


@pytest.mark.parametrize(
    ("thinking", "expected"),
    [
        ({"thinkingLevel": "LOW", "includeThoughts": True}, ({"type": "adaptive"}, "low")),
        ({"thinkingBudget": -1}, ({"type": "adaptive"}, None)),
        ({"includeThoughts": True}, ({"type": "adaptive"}, None)),
        ({"thinkingBudget": 0}, ({"type": "disabled"}, None)),
    ],
)
def test_thinking_config_becomes_anthropics(thinking: Shape, expected: tuple[Any, Any]) -> None:
    found = from_gemini({"generationConfig": {"thinkingConfig": thinking}})
    assert (found["thinking"], found.get("output_config", {}).get("effort")) == expected


def test_schema_of_an_answer_goes_both_ways() -> None:
    openapi = {"type": "OBJECT", "properties": {"a": {"type": "STRING", "enum": ["x"]}}}
    config = {"responseMimeType": "application/json", "responseSchema": openapi}
    schema = {
        "type": "object", "properties": {"a": {"type": "string", "enum": ["x"]}},
        "additionalProperties": False,
    }  # fmt: skip
    found = from_gemini({"generationConfig": config})
    assert found["output_config"]["format"] == {"type": "json_schema", "schema": schema}
    back = to_gemini({"output_config": found["output_config"]})
    assert back["generationConfig"]["responseJsonSchema"] == schema
    assert back["generationConfig"]["responseMimeType"] == "application/json"


def test_call_that_another_model_made_has_the_word_that_skips_the_check() -> None:
    call = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
    messages = [
        *MESSAGES,
        {"role": "assistant", "content": [call, {**call, "id": "t2"}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": each} for each in ("t1", "t2")]},
    ]  # fmt: skip
    first, second = to_gemini({"messages": messages})["contents"][1]["parts"]
    assert first["thoughtSignature"] == "skip_thought_signature_validator"
    assert "thoughtSignature" not in second
    old = to_gemini({"messages": messages}, model="gemini-2.5-flash")["contents"][1]["parts"]
    assert all("thoughtSignature" not in part for part in old)


@pytest.mark.parametrize("model", ["gemini-3-flash", "gemini-2.5-flash"])
def test_image_in_a_result_stands_in_it_or_after_it(model: str) -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    messages = [
        *MESSAGES,
        {"role": "assistant",
         "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}}]},
        {"role": "user",
         "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [image]}]},
    ]  # fmt: skip
    body = {"max_tokens": 9, "messages": messages}
    found, notes = sent("anthropic", "gemini", body, model=model)
    result, *after = found["contents"][2]["parts"]
    inline = {"inlineData": {"mimeType": "image/png", "data": PNG}}
    if model == "gemini-3-flash":
        assert (result["functionResponse"]["parts"], after, notes) == ([inline], [], ())
        back = from_gemini(found)["messages"][2]["content"][0]["content"]
        assert [each for each in back if each["type"] == "image"] == [image]
    else:
        assert (after[1], notes) == (inline, ("tool_media",))


def test_media_by_url_and_texts_as_files_are_read() -> None:
    text = base64.urlsafe_b64encode("é?>".encode()).decode().rstrip("=")
    parts = [
        {"fileData": {"fileUri": "https://x/a.png", "mimeType": "image/png"}},
        {"fileData": {"fileUri": "https://x/a.pdf", "mimeType": "application/pdf"}},
        {"inlineData": {"mimeType": "text/plain", "data": text}},
    ]
    found = from_gemini({"contents": [{"role": "user", "parts": parts}]})["messages"][0]["content"]
    assert [each["type"] for each in found] == ["image", "document", "text"]
    assert found[2]["text"] == "é?>"
    back = to_gemini({"messages": [{"role": "user", "content": found[:1]}]})
    assert back["contents"][0]["parts"] == parts[:1]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"tools": [{"googleSearch": {}}]}, "googleSearch.*Google's own search"),
        ({"tools": [{"google_search": {}}]}, "googleSearch"),
        ({"tools": [{"codeExecution": {}}]}, "codeExecution.*run at Google"),
        ({"tools": [{"urlContext": {}}]}, "urlContext"),
        ({"cachedContent": "cachedContents/a"}, "kept at Google"),
        ({"generationConfig": {"candidateCount": 2}}, "several answers"),
        ({"generationConfig": {"responseModalities": ["AUDIO"]}}, "responseModalities"),
        ({"generationConfig": {"responseMimeType": "text/x.enum"}}, "text/x.enum"),
        ({"contents": [{"role": "user", "parts": [{"inlineData": {"mimeType": "audio/wav"}}]}]},
         "audio/wav"),
        ({"contents": [{"role": "user", "parts": [{"fileData": {
            "fileUri": "https://generativelanguage.googleapis.com/v1beta/files/a"}}]}]},
         "uploaded file"),
        ({"contents": [ASK, {"role": "model", "parts": [{"executableCode": {"code": "1"}}]}]},
         "executableCode"),
        ({"contents": [{"role": "system", "parts": []}]}, "unknown role"),
        ({"contents": [{"role": "user", "parts": [{"functionResponse": {"name": "f"}}]}]},
         "follows no call"),
    ],
)  # fmt: skip
def test_request_that_only_gemini_has_is_refused_by_name(change: Shape, named: str) -> None:
    with pytest.raises(TranslationError, match=named):
        from_gemini(change)


TOOL = {"name": "f", "input_schema": {"type": "object"}}
CALL = {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]}
FUNCTION = {"type": "function", "function": {"name": "f"}}
BROKEN = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{bro"}}
LOSSES: list[tuple[str, str, Shape, Loss]] = [
    ("gemini", "anthropic", {"safetySettings": [{"category": "X"}]}, Loss.SAFETY),
    ("gemini", "anthropic", {"labels": {"a": "b"}}, Loss.FIELDS),
    ("gemini", "anthropic", {"generationConfig": {"maxOutputTokens": 9, "seed": 1}}, Loss.SEED),
    ("gemini", "anthropic", {"generationConfig": {}}, Loss.MAX_OUTPUT),
    ("gemini", "anthropic", {"generationConfig": {
        "maxOutputTokens": 9, "mediaResolution": "MEDIA_RESOLUTION_LOW"}}, Loss.IMAGE_DETAIL),
    ("gemini", "anthropic", {"generationConfig": {
        "maxOutputTokens": 9, "responseMimeType": "application/json"}}, Loss.JSON_OBJECT),
    ("gemini", "anthropic", {"tools": [{"functionDeclarations": [
        {"name": "f", "response": {"type": "OBJECT"}}]}]}, Loss.TOOL_HINTS),
    ("gemini", "anthropic", {"contents": [ASK, {"role": "model", "parts": [
        {"text": "hm", "thought": True}, {"text": "a"}]}, ASK]}, Loss.THINKING),
    ("gemini", "openai_chat", {"contents": [ASK, {"role": "model", "parts": [
        {"text": "a"}]}]}, Loss.PREFILL),
    ("anthropic", "gemini", {"max_tokens": 100_000}, Loss.MAX_OUTPUT),
    ("anthropic", "gemini", {"stop_sequences": list("abcdef")}, Loss.STOP_SEQUENCES),
    ("anthropic", "gemini", {"cache_control": {"type": "ephemeral"}}, Loss.CACHE_MARKS),
    ("anthropic", "gemini", {"metadata": {"user_id": "u"}}, Loss.USER),
    ("anthropic", "gemini", {"tools": [TOOL], "tool_choice": {
        "type": "auto", "disable_parallel_tool_use": True}}, Loss.PARALLEL),
    ("anthropic", "gemini", {"tools": [{**TOOL, "strict": True}]}, Loss.STRICT),
    ("anthropic", "gemini", {"tools": [{"name": "f", "input_schema": {
        "type": "object", "properties": {"a": {"type": "string", "pattern": "^a"}}}}]},
     Loss.SCHEMA),
    ("anthropic", "gemini", {"messages": [*MESSAGES, {"role": "system", "content": "now"}]},
     Loss.SYSTEM_ORDER),
    ("anthropic", "gemini", {"messages": [*MESSAGES, {"role": "assistant", "content": "It is"}]},
     Loss.PREFILL),
    ("anthropic", "gemini", {"thinking": {"type": "disabled"}}, Loss.THINKING_OFF),
    ("openai_chat", "gemini", {"prompt_cache_key": "k"}, Loss.CACHE_KEY),
    ("openai_chat", "gemini", {"messages": [
        *MESSAGES, {"role": "assistant", "tool_calls": [BROKEN]}, *MESSAGES]}, Loss.ARGUMENTS),
    ("openai_chat", "gemini", {"messages": [
        *MESSAGES, {"role": "assistant", "content": "a", "reasoning_content": "h"}, *MESSAGES]},
     Loss.THINKING),
    ("openai_chat", "gemini", {"tools": [FUNCTION], "parallel_tool_calls": False}, Loss.PARALLEL),
]  # fmt: skip


@pytest.mark.parametrize(("source", "target", "change", "loss"), LOSSES)
def test_loss_is_noted(source: str, target: str, change: Shape, loss: Loss) -> None:
    body: Shape = {"max_tokens": 9, "messages": MESSAGES}
    if source == "gemini":
        body = {"contents": [ASK], "generationConfig": {"maxOutputTokens": 9}}
    model = {"gemini": "gemini-3-flash", "anthropic": "claude-opus-5-5"}.get(target, "gpt-6")
    assert sent(source, target, body | change, model=model)[1] == (loss.value,)
    assert loss in lost_between(source, target)


@pytest.mark.parametrize("wrapped", [False, True])
def test_tokens_are_counted_in_geminis_shape(*, wrapped: bool) -> None:
    body: Shape = {"contents": [{"role": "user", "parts": [{"text": "a" * 350}]}]}
    if wrapped:
        body = {"generateContentRequest": {"model": "models/m", **body}}
    assert json.loads(estimate_tokens("gemini", json.dumps(body).encode())) == {"totalTokens": 101}


def test_thousands_of_calls_in_one_turn_get_their_results_in_bounded_time() -> None:
    calls = [{"functionCall": {"name": f"f{n % 7}", "args": {}}} for n in range(20_000)]
    results = [
        {"functionResponse": {"name": each["functionCall"]["name"], "response": {"output": str(n)}}}
        for n, each in reversed(list(enumerate(calls)))
    ]
    contents = [{"role": "model", "parts": calls}, {"role": "user", "parts": results}]
    found = from_gemini({"contents": contents})["messages"]
    assert {each["id"] for each in found[-2]["content"]} == {
        each["tool_use_id"] for each in found[-1]["content"]
    }
