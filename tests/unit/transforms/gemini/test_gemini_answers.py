"""Answers of Gemini with its peculiarities for other clients, and answers for Google's clients."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from property_tests import examples
from translation_samples import (
    CHAT_USAGE,
    JSON,
    SSE,
    call_deltas,
    chat_stream,
    events,
    generate_stream,
    generated,
    message_stream,
)

from sidecar_transforms.translation import (
    ResponseTranslator,
    TranslationError,
    translate_error,
    translate_request,
)

Shape = dict[str, Any]


def play(
    source: str, target: str, provider: bytes, *, query: str = "alt=sse", complete: bool = True,
    streaming: bool = True, content_type: str = SSE,
) -> tuple[bytes, ResponseTranslator]:  # fmt: skip
    body: Shape = {"contents": [{"role": "user", "parts": [{"text": "?"}]}]}
    if source != "gemini":
        body = {"max_tokens": 9, "messages": [{"role": "user", "content": "?"}]}
    found = translate_request(
        source, target, json.dumps(body).encode(), model="m", streaming=streaming, query=query
    )
    answer = ResponseTranslator(found.context, status=200, content_type=content_type)
    return answer.feed(provider) + answer.end(complete), answer


def data(*rows: Shape) -> bytes:
    return b"".join(b"data: " + json.dumps(row).encode() + b"\r\n\r\n" for row in rows)


def rows_of(stream: bytes) -> list[Shape]:
    assert stream.endswith(b"\r\n\r\n")
    lines = stream.decode().split("\r\n\r\n")[:-1]
    assert all(line.startswith("data: ") for line in lines)  # Google's SDK rejects anything else
    return [json.loads(line[6:]) for line in lines]


def test_stream_for_googles_clients_has_whole_calls_and_one_end() -> None:
    provider = chat_stream(
        {"content": "Rea"}, {"content": "ding."},
        *call_deltas(0, "call_a", "read", '{"pa', 'th":"a"}'), *call_deltas(1, "call_b", "list"),
        finish="tool_calls", usage=CHAT_USAGE,
    )  # fmt: skip
    found = rows_of(play("gemini", "openai_chat", b": wait\n\n" + provider)[0])
    parts = [row["candidates"][0]["content"]["parts"] for row in found]
    assert parts == [
        [{"text": "Rea"}], [{"text": "ding."}],
        [{"functionCall": {"id": "call_a", "name": "read", "args": {"path": "a"}}}],
        [{"functionCall": {"id": "call_b", "name": "list", "args": {}}}],
        [{"text": ""}],
    ]  # fmt: skip
    assert {(row["responseId"], row["modelVersion"]) for row in found} == {("chatcmpl-9", "gpt-x")}
    assert [row["candidates"][0].get("finishReason") for row in found] == [None] * 4 + ["STOP"]
    assert found[-1]["usageMetadata"] == {
        "promptTokenCount": 1200, "candidatesTokenCount": 140, "totalTokenCount": 1540,
        "cachedContentTokenCount": 1024, "thoughtsTokenCount": 200,
    }  # fmt: skip


def test_stream_without_alt_sse_is_one_json_array() -> None:
    provider = message_stream({"type": "text", "text": "Hello."})
    sse, _ = play("gemini", "anthropic", provider)
    array, answer = play("gemini", "anthropic", provider, query="key=k")
    assert answer.content_type == "application/json"
    assert json.loads(array) == rows_of(sse)
    cut, answer = play("gemini", "anthropic", provider[:300], query="", complete=False)
    assert json.loads(cut)[-1]["error"]["status"] == "INTERNAL"
    assert answer.failed


def test_thinking_of_claude_comes_back_from_a_client_that_drops_thoughts() -> None:
    block = {"type": "thinking", "thinking": "hm é", "signature": "c2ln"}
    hidden = {"type": "redacted_thinking", "data": "c2VjcmV0"}
    call = {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}
    provider = message_stream(block, hidden, call, stop="tool_use")
    for streaming in (True, False):
        out, _ = play("gemini", "anthropic", provider, streaming=streaming)
        answers = rows_of(out) if streaming else [json.loads(out)]
        parts = [part for row in answers for part in row["candidates"][0]["content"]["parts"]]
        for kept in (parts, [part for part in parts if not part.get("thought")]):
            contents = [
                {"role": "user", "parts": [{"text": "?"}]},
                {"role": "model", "parts": kept},
                {"role": "user", "parts": [{"functionResponse": {"name": "f"}}]},
            ]
            body = json.dumps(
                {"contents": contents, "generationConfig": {"maxOutputTokens": 9}}
            ).encode()
            back = translate_request("gemini", "anthropic", body, model="m")
            assert json.loads(back.body)["messages"][1]["content"] == [block, hidden, call]
            assert back.notes == ()
            other = translate_request("gemini", "anthropic", body, model="other")
            assert json.loads(other.body)["messages"][1]["content"] == [call]
            assert other.notes == ("thinking",)


def test_thinking_without_an_answer_is_carried_by_an_empty_text() -> None:
    block = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    found = rows_of(play("gemini", "anthropic", message_stream(block))[0])
    (last,) = found[-1]["candidates"][0]["content"]["parts"]
    assert last["text"] == ""
    assert last["thoughtSignature"]


@pytest.mark.parametrize("wrapped", ["c2ln", "sidecar|gemini|other|c2ln"])
def test_foreign_signature_never_reaches_gemini(wrapped: str) -> None:
    block = {"type": "thinking", "thinking": "hm", "signature": wrapped}
    messages = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": [block, {"type": "text", "text": "a"}]},
        {"role": "user", "content": "?"},
    ]
    body = json.dumps({"max_tokens": 9, "messages": messages}).encode()
    found = translate_request("anthropic", "gemini", body, model="gemini-3-flash")
    assert json.loads(found.body)["contents"][1]["parts"] == [{"text": "a"}]
    assert found.notes == ("thinking",)


def test_calls_without_ids_get_different_ids_that_stay_the_same() -> None:
    call = {"functionCall": {"name": "f", "args": {"a": 1}}}
    provider = generate_stream([call], [call, call])
    found = events(play("anthropic", "gemini", provider)[0])
    blocks = [row["content_block"] for row in found if row["type"] == "content_block_start"]
    idents = [block["id"] for block in blocks]
    assert len(set(idents)) == 3
    whole = json.dumps(generated(call, call, call)).encode()
    out, _ = play("anthropic", "gemini", whole, streaming=False, content_type=JSON)
    assert [block["id"] for block in json.loads(out)["content"]] == idents


def test_stream_of_gemini_for_claude_code_has_anthropics_events() -> None:
    call = {"functionCall": {"id": "c", "name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"}
    found = events(play("anthropic", "gemini", generate_stream([{"text": "a"}], [call]))[0])
    assert [(row["type"], row.get("index")) for row in found] == [
        ("message_start", None),
        ("content_block_start", 0), ("ping", None), ("content_block_delta", 0),
        ("content_block_stop", 0),
        ("content_block_start", 1), ("content_block_delta", 1), ("content_block_stop", 1),
        ("content_block_start", 2), ("content_block_delta", 2), ("content_block_stop", 2),
        ("message_delta", None), ("message_stop", None),
    ]  # fmt: skip
    assert found[0]["message"]["usage"]["input_tokens"] == 1200
    assert found[9]["delta"] == {"type": "input_json_delta", "partial_json": '{"a":1}'}
    assert found[-2]["delta"]["stop_reason"] == "tool_use"


def test_signature_in_an_empty_last_part_is_kept() -> None:
    provider = generate_stream([{"text": "a"}], [{"text": "", "thoughtSignature": "c2ln"}])
    out, _ = play("anthropic", "gemini", provider, streaming=False)
    content = json.loads(out)["content"]
    assert content[1]["signature"] == "sidecar|gemini|m|c2ln"
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": content}]
    messages.append(messages[0])
    body = json.dumps({"max_tokens": 9, "messages": messages}).encode()
    back = json.loads(translate_request("anthropic", "gemini", body, model="m").body)
    assert back["contents"][1]["parts"] == [{"text": "a"}, {"text": "", "thoughtSignature": "c2ln"}]


def test_signature_of_a_call_comes_back_from_chat_to_the_call() -> None:
    call = {"functionCall": {"id": "c", "name": "f", "args": {}}, "thoughtSignature": "c2ln"}
    body = json.dumps(generated({"text": "a"}, call)).encode()
    out, _ = play("openai_chat", "gemini", body, streaming=False, content_type=JSON)
    message = json.loads(out)["choices"][0]["message"]
    tool = {"role": "tool", "tool_call_id": "c", "content": "b"}
    request = json.dumps({"messages": [{"role": "user", "content": "?"}, message, tool]}).encode()
    back = json.loads(translate_request("openai_chat", "gemini", request, model="m").body)
    assert back["contents"][1]["parts"] == [{"text": "a"}, call]


@pytest.mark.parametrize(
    ("finish", "stop"),
    [("STOP", "end_turn"), ("MAX_TOKENS", "max_tokens"), ("SAFETY", "refusal"),
     ("RECITATION", "refusal"), ("PROHIBITED_CONTENT", "refusal")],
)  # fmt: skip
def test_finish_reason_is_anthropics(finish: str, stop: str) -> None:
    found = events(play("anthropic", "gemini", generate_stream([{"text": "a"}], finish=finish))[0])
    assert found[-2]["delta"]["stop_reason"] == stop


@pytest.mark.parametrize(
    ("stop", "finish"),
    [("end_turn", "STOP"), ("max_tokens", "MAX_TOKENS"), ("stop_sequence", "STOP"),
     ("tool_use", "STOP"), ("refusal", "SAFETY"), ("model_context_window_exceeded", "MAX_TOKENS")],
)  # fmt: skip
def test_stop_reason_is_googles(stop: str, finish: str) -> None:
    found = rows_of(play("gemini", "anthropic", message_stream(stop=stop))[0])
    assert found[-1]["candidates"][0]["finishReason"] == finish


@pytest.mark.parametrize("streaming", [True, False])
def test_malformed_call_is_an_error_that_clients_retry(*, streaming: bool) -> None:
    row = generated(finish="MALFORMED_FUNCTION_CALL")
    row["candidates"][0]["finishMessage"] = "Malformed function call: f("
    provider = data(row) if streaming else json.dumps(row).encode()
    content_type = SSE if streaming else JSON
    out, answer = play(
        "anthropic", "gemini", provider, streaming=streaming, content_type=content_type
    )
    error = events(out)[-1] if streaming else json.loads(out)
    assert error["error"]["type"] == "api_error"
    assert "MALFORMED_FUNCTION_CALL" in error["error"]["message"]
    assert answer.failed


@pytest.mark.parametrize("source", ["anthropic", "openai_chat"])
def test_blocked_prompt_is_a_refusal(source: str) -> None:
    row = {
        "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
        "usageMetadata": {"promptTokenCount": 7, "totalTokenCount": 7}, "responseId": "r9",
    }  # fmt: skip
    whole = json.loads(
        play(source, "gemini", json.dumps(row).encode(), streaming=False, content_type=JSON)[0]
    )
    found = events(play(source, "gemini", data(row))[0])
    if source == "anthropic":
        assert (whole["stop_reason"], whole["content"]) == ("refusal", [])
        assert found[-2]["delta"]["stop_reason"] == "refusal"
    else:
        assert whole["choices"][0]["finish_reason"] == "content_filter"
        assert found[-1]["choices"][0]["finish_reason"] == "content_filter"


@pytest.mark.parametrize("bare", [True, False])
def test_error_in_the_middle_of_a_stream_ends_the_answer(*, bare: bool) -> None:
    begun = generate_stream([{"text": "a"}], [{"text": "b"}]).partition(b"\r\n\r\n")[0]
    error = {"error": {"code": 503, "message": "Busy.", "status": "UNAVAILABLE"}}
    late = json.dumps(error, indent=1).encode() if bare else data(error)
    out, answer = play("anthropic", "gemini", begun + b"\r\n\r\n" + late)
    assert events(out)[-1]["error"] == {"type": "overloaded_error", "message": "Busy."}
    assert answer.failed


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"promptTokenCount": 10, "toolUsePromptTokenCount": 2, "candidatesTokenCount": 3,
          "thoughtsTokenCount": 4, "totalTokenCount": 19}, (12, 7)),
        # Some models count the thoughts among the candidates.
        ({"promptTokenCount": 10, "candidatesTokenCount": 7, "thoughtsTokenCount": 4,
          "totalTokenCount": 17}, (10, 7)),
        ({"promptTokenCount": 10, "candidatesTokenCount": 3, "thoughtsTokenCount": 4}, (10, 7)),
    ],
)  # fmt: skip
def test_output_includes_the_thoughts_once(usage: Shape, expected: tuple[int, int]) -> None:
    out, _ = play("anthropic", "gemini", generate_stream([{"text": "a"}], usage=usage))
    found = events(out)[-2]["usage"]
    assert (found["input_tokens"], found["output_tokens"]) == expected


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (400, {"code": 400, "status": "INVALID_ARGUMENT",
               "details": [{"reason": "API_KEY_INVALID"}]}, (401, "authentication_error")),
        (402, {"code": 402, "status": "RESOURCE_EXHAUSTED"}, (402, "billing_error")),
        (429, {"code": 429, "status": "RESOURCE_EXHAUSTED"}, (429, "rate_limit_error")),
        (503, {"code": 503, "status": "UNAVAILABLE"}, (529, "overloaded_error")),
        (504, {"code": 504, "status": "DEADLINE_EXCEEDED"}, (504, "timeout_error")),
        (500, {}, (500, "api_error")),
    ],
)  # fmt: skip
def test_error_of_gemini_is_anthropics(
    status: int, error: Shape, expected: tuple[int, str]
) -> None:
    body = json.dumps({"max_tokens": 9, "messages": []}).encode()
    context = translate_request("anthropic", "gemini", body, model="m").context
    found, out = translate_error(context, status, json.dumps({"error": error}).encode())
    assert (found, json.loads(out)["error"]["type"]) == expected


NAMES = [
    "candidates", "content", "parts", "text", "thought", "thoughtSignature", "functionCall",
    "name", "args", "id", "finishReason", "STOP", "usageMetadata", "promptTokenCount", "error",
    "promptFeedback", "blockReason", "responseId", "code", "status",
]  # fmt: skip
junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(NAMES),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)
    ),
    max_leaves=8,
)
parts = st.lists(st.dictionaries(st.sampled_from(NAMES), junk, max_size=3), max_size=3)
candidates = st.lists(
    st.fixed_dictionaries({"content": st.fixed_dictionaries({"parts": parts})}), max_size=2
)


@given(
    st.lists(
        st.dictionaries(st.sampled_from(NAMES), junk, max_size=4)
        | st.fixed_dictionaries({"candidates": candidates}),
        max_size=6,
    ),
    st.sampled_from(["anthropic", "openai_chat", "openai_responses", "gemini"]),
    st.booleans(),
)
@examples(150)
def test_stream_of_any_json_becomes_bytes_and_an_end(
    rows: list[Shape],
    source: str,
    complete: bool,
) -> None:
    begun = {"candidates": [{"content": {"parts": [{"text": "a"}]}}]}
    out, _ = play(source, "gemini", data(begun, *rows), complete=complete)
    assert out.endswith((b"\n\n", b"\r\n\r\n"))


@given(junk, junk)
@examples(150)
def test_request_of_any_json_is_translated_or_refused(contents: object, config: object) -> None:
    body = {"contents": contents, "generationConfig": config, "tools": contents}
    with contextlib.suppress(TranslationError):
        translate_request("gemini", "anthropic", json.dumps(body).encode(), model="m")
