"""Answers with the peculiarities of real providers, translated for the other protocol's clients."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from property_tests import examples
from translation_samples import CHAT_USAGE, SSE, chat_stream, events, message_stream

from sidecar_transforms.translation import (
    ResponseTranslator,
    TranslationError,
    translate_error,
    translate_request,
)
from sidecar_transforms.translation.hub import MAX_ANSWER_BYTES

Shape = dict[str, Any]
REQUEST = json.dumps(
    {"max_tokens": 9, "messages": [{"role": "user", "content": "?"}], "stream": True,
     "stream_options": {"include_usage": True}}
).encode()  # fmt: skip


def play(source: str, target: str, provider: bytes, *, complete: bool = True) -> bytes:
    context = translate_request(source, target, REQUEST, model="m").context
    answer = ResponseTranslator(context, status=200, content_type=SSE)
    return answer.feed(provider) + answer.end(complete)


def data(*rows: Shape) -> bytes:
    return b"".join(b"data: " + json.dumps(row).encode() + b"\n\n" for row in rows)


def test_stream_of_a_message_has_the_events_of_anthropic_in_order() -> None:
    found = events(
        play("anthropic", "openai_chat", chat_stream({"content": "a"}, usage=CHAT_USAGE))
    )
    assert [each["event"] for each in found] == [each["type"] for each in found]
    assert [each["type"] for each in found] == [
        "message_start", "content_block_start", "ping", "content_block_delta",
        "content_block_stop", "message_delta", "message_stop",
    ]  # fmt: skip
    assert found[0]["message"]["stop_reason"] is None
    assert found[5]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert found[5]["usage"]["output_tokens_details"] == {"thinking_tokens": 200}


def test_stream_of_chat_has_the_chunks_of_openai_in_order() -> None:
    whole = play("openai_chat", "anthropic", message_stream({"type": "text", "text": "ab"}))
    assert whole.endswith(b"data: [DONE]\n\n")
    found = events(whole)
    role, *deltas, finish, usage = found
    assert role["choices"][0]["delta"]["role"] == "assistant"
    assert [each["choices"][0]["delta"]["content"] for each in deltas] == ["a", "b"]
    assert finish["choices"][0] | {"logprobs": None} == {
        "index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop",
    }  # fmt: skip
    assert (usage["choices"], usage["usage"]) == ([], CHAT_USAGE)
    assert all(each["usage"] is None for each in found[:-1])
    assert len({each["id"] for each in found}) == 1


def test_first_chunk_of_azure_without_choices_is_no_answer_yet() -> None:
    azure = data({"id": "", "model": "", "object": "", "choices": [], "prompt_filter_results": []})
    found = events(play("anthropic", "openai_chat", azure + chat_stream({"content": "a"})))
    assert found[0]["message"]["id"] == "msg_9"


def test_comments_before_the_answer_keep_the_client_waiting() -> None:
    found = play("anthropic", "openai_chat", b": PROCESSING\n\n" + chat_stream({"content": "a"}))
    assert found.startswith(b'event: ping\ndata: {"type":"ping"}\n\nevent: message_start\n')


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        ({"error": {"message": "busy", "code": "server_is_overloaded"}}, "overloaded_error"),
        ({"error": {"message": "slow", "code": 429}, "choices": [{"finish_reason": "error"}]},
         "rate_limit_error"),
        ({"error": {"message": "broken", "type": "server_error"}}, "api_error"),
    ],
)  # fmt: skip
def test_error_in_a_stream_of_chat_ends_the_message_with_an_error(frame: Shape, kind: str) -> None:
    begun = chat_stream({"content": "a"}).partition(b'"finish_reason": "stop"')[0]
    begun = begun[: begun.rindex(b"data: ")]
    last = events(play("anthropic", "openai_chat", begun + data(frame)))[-1]
    assert (last["event"], last["error"]["type"]) == ("error", kind)


def test_error_in_a_stream_of_a_message_ends_the_chunks_with_an_error() -> None:
    begun = message_stream({"type": "text", "text": "ab"}).partition(b"event: message_delta")[0]
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    whole = play("openai_chat", "anthropic", begun + b"event: error\n" + data(error))
    assert events(whole)[-1]["error"]["code"] == "server_is_overloaded"
    assert b"[DONE]" not in whole


def test_calls_with_one_index_and_different_ids_are_two() -> None:
    deltas = [
        {"tool_calls": [{"index": 0, "id": name, "type": "function",
                         "function": {"name": "f", "arguments": "{}"}}]}
        for name in ("a", "b")
    ]  # fmt: skip
    found = events(play("anthropic", "openai_chat", chat_stream(*deltas, finish="stop")))
    starts = [each for each in found if each["type"] == "content_block_start"]
    assert [each["content_block"]["id"] for each in starts] == ["a", "b"]
    assert found[-2]["delta"]["stop_reason"] == "tool_use"


def test_interleaved_calls_are_an_error_and_not_mixed_arguments() -> None:
    function = {"name": "f", "arguments": ""}
    deltas = [{"tool_calls": [{"index": n, "id": f"c{n}", "function": function}]} for n in (0, 1)]
    late = {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}
    found = events(play("anthropic", "openai_chat", chat_stream(*deltas, late)))
    assert "interleaved" in found[-1]["error"]["message"]


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 5, "prompt_cache_hit_tokens": 4},
         {"input_tokens": 6, "cache_read_input_tokens": 4, "output_tokens": 5}),
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 22,
          "completion_tokens_details": {"reasoning_tokens": 7}},
         {"output_tokens": 12, "output_tokens_details": {"thinking_tokens": 7}}),
    ],
    ids=["DeepSeek", "xAI"],
)  # fmt: skip
def test_figures_of_other_providers_are_the_same_in_anthropics_usage(
    usage: Shape, expected: Shape
) -> None:
    found = events(play("anthropic", "openai_chat", chat_stream({"content": "a"}, usage=usage)))
    assert found[-2]["usage"].items() >= expected.items()


@pytest.mark.parametrize(
    ("stop", "finish"),
    [
        ("end_turn", "stop"), ("max_tokens", "length"), ("stop_sequence", "stop"),
        ("tool_use", "tool_calls"), ("refusal", "content_filter"),
        ("model_context_window_exceeded", "length"),
    ],
)  # fmt: skip
def test_reason_of_the_stop_is_the_one_of_chat(stop: str, finish: str) -> None:
    found = events(play("openai_chat", "anthropic", message_stream(stop=stop)))
    assert found[-2]["choices"][0]["finish_reason"] == finish


@pytest.mark.parametrize("code", ["enforced_spend_limit_reached", "contract_spend_limit_reached"])
def test_spend_limit_of_anthropic_is_not_retried_by_clients_of_chat(code: str) -> None:
    context = translate_request("openai_chat", "anthropic", REQUEST, model="m").context
    error = {"type": "rate_limit_error", "message": "Spent.", "details": {"error_code": code}}
    body = json.dumps({"type": "error", "error": error}).encode()
    assert translate_error(context, 429, body)[0] == 402


@pytest.mark.parametrize("body", [b"", b"<html>502</html>", b"[]", b'{"error":"busy"}'])
def test_error_of_any_shape_becomes_one_of_the_client(body: bytes) -> None:
    context = translate_request("anthropic", "openai_chat", REQUEST, model="m").context
    status, found = translate_error(context, 502, body)
    assert (status, json.loads(found)["error"]["type"]) == (500, "api_error")


def test_error_in_a_whole_answer_has_the_status_of_a_failure() -> None:
    request = json.dumps({"max_tokens": 9, "messages": []}).encode()
    context = translate_request("anthropic", "openai_chat", request, model="m").context
    answer = ResponseTranslator(context, status=200, content_type="application/json")
    answer.feed(b'{"error":{"message":"slow","code":429}}')
    assert json.loads(answer.end(complete=True))["error"]["message"] == "slow"
    assert (answer.status, answer.failed) == (429, True)


def test_answer_that_is_too_large_is_rejected_before_it_is_read() -> None:
    context = translate_request("anthropic", "openai_chat", REQUEST, model="m").context
    answer = ResponseTranslator(context, status=200, content_type="application/json")
    with pytest.raises(TranslationError, match="it is larger than 16 MiB"):
        answer.feed(bytes(MAX_ANSWER_BYTES + 1))


def test_malformed_arguments_in_a_whole_answer_are_kept_as_text() -> None:
    request = json.dumps({"max_tokens": 9, "messages": []}).encode()
    context = translate_request("anthropic", "openai_chat", request, model="m").context
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"bro'}}
    choice = {"message": {"tool_calls": [call]}, "finish_reason": "length"}
    answer = ResponseTranslator(context, status=200, content_type="application/json")
    answer.feed(json.dumps({"id": "1", "choices": [choice]}).encode())
    (block,) = json.loads(answer.end(complete=True))["content"]
    assert block["input"] == {"arguments": '{"bro'}


@pytest.mark.parametrize("bad", [b'"text"', b"[" * 9000, b"{"])
def test_text_before_an_unreadable_event_is_kept_however_it_is_cut(bad: bytes) -> None:
    stream = data({"choices": [{"index": 0, "delta": {"content": "kept"}}]})
    stream += b"data: " + bad + b"\n\n"
    context = translate_request("anthropic", "openai_chat", REQUEST, model="m").context
    found = []
    for size in (1, len(stream)):
        answer = ResponseTranslator(context, status=200, content_type=SSE)
        cut = [stream[at : at + size] for at in range(0, len(stream), size)]
        found.append(events(b"".join([*map(answer.feed, cut), answer.end(complete=True)])))
    assert [each["type"] for each in found[0]] == [each["type"] for each in found[1]]
    assert found[1][-1]["type"] == "error"
    assert any(each.get("delta") == {"type": "text_delta", "text": "kept"} for each in found[1])


NAMES = [
    "type", "delta", "text", "content_block", "index", "tool_use", "text_delta", "choices", "id",
    "content_block_start", "content_block_delta", "content_block_stop", "message_start",
    "message", "message_delta", "message_stop", "usage", "tool_calls", "function", "arguments",
    "content", "finish_reason", "stop", "role", "messages", "user", "assistant", "tool", "system",
    "tools", "image_url", "file", "source", "tool_result", "input", "modalities", "n", "url",
    "data:", "thinking", "enabled", "budget_tokens", "max_tokens", "temperature", "base64",
    "error", "signature_delta", "name", "reasoning_details",
]  # fmt: skip
BEGUN: dict[str, Shape] = {
    "openai_chat": {"id": "1", "choices": [{"index": 0, "delta": {"content": "a"}}]},
    "anthropic": {"type": "message_start", "message": {"id": "1"}},
}
"""The first event of a stream. Without it, a stream is no answer."""
junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(NAMES),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.sampled_from(NAMES), junk, max_size=4), max_size=6), st.data())
@examples(150)
def test_stream_of_any_json_becomes_bytes_and_an_end(
    rows: list[Shape], more: st.DataObject
) -> None:
    source, target = more.draw(
        st.sampled_from([("anthropic", "openai_chat"), ("openai_chat", "anthropic")])
    )
    out = play(source, target, data(BEGUN[target], *rows), complete=more.draw(st.booleans()))
    assert out.endswith(b"\n\n")


@given(st.dictionaries(st.sampled_from(NAMES), junk, max_size=6), st.lists(junk, max_size=4))
@examples(200)
def test_request_of_any_json_is_translated_or_refused(body: Shape, content: list[object]) -> None:
    roles = ("user", "assistant", "tool", "system")
    messages = [{"role": roles[n % 4], "content": each} for n, each in enumerate(content)]
    for whole in (body, {**body, "messages": messages}, {**body, "messages": content}):
        for source, target in (("anthropic", "openai_chat"), ("openai_chat", "anthropic")):
            try:
                found = translate_request(source, target, json.dumps(whole).encode(), model="m")
            except TranslationError:
                continue
            assert json.loads(found.body)["model"] == "m"
