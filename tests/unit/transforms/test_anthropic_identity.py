"""Anthropic's protocol through the neutral form and back."""

from __future__ import annotations

import json

import pytest

from sidecar_transforms.translation import (
    ResponseTranslator,
    TranslationError,
    estimate_tokens,
    translate_error,
    translate_request,
)

REQUEST = {
    "model": "claude-opus-5-5",
    "max_tokens": 100,
    "stream": True,
    "system": [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1"},
        {"type": "text", "text": "Be short.", "cache_control": {"type": "ephemeral"}},
    ],
    "messages": [
        {"role": "user", "content": "Read both files."},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "two calls", "signature": "c2ln"},
                {"type": "text", "text": "Reading."},
                {"type": "tool_use", "id": "toolu_1", "name": "read", "input": {"path": "a"}},
                {"type": "tool_use", "id": "toolu_2", "name": "read", "input": {"path": "b"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "A"},
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_2",
                    "content": "no such file",
                    "is_error": True,
                },
            ],
        },
    ],
    "tools": [{"name": "read", "description": "Read.", "input_schema": {"type": "object"}}],
}


def test_request_through_the_neutral_form_keeps_its_content() -> None:
    body = json.dumps(REQUEST).encode()
    translated = translate_request("anthropic", "anthropic", body, model="claude-opus-5-5")
    assert (translated.path, translated.context.streaming, translated.notes) == (
        "/v1/messages",
        True,
        (),
    )
    sent = json.loads(translated.body)
    assert sent["messages"][1] == REQUEST["messages"][1]
    assert sent["tools"] == REQUEST["tools"]
    assert sent["system"] == REQUEST["system"][1:]
    results = sent["messages"][2]["content"]
    assert [each["tool_use_id"] for each in results] == ["toolu_1", "toolu_2"]
    assert [each.get("is_error") for each in results] == [None, True]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "web_search_20250305"),
        ({"mcp_servers": [{"url": "https://example.com"}]}, "mcp_servers"),
        ({"messages": [{"role": "user", "content": [{"type": "container_upload"}]}]}, "container"),
    ],
)
def test_request_with_a_server_tool_is_refused_by_name(
    change: dict[str, object], named: str
) -> None:
    with pytest.raises(TranslationError, match=named):
        translate_request(
            "anthropic", "anthropic", json.dumps(REQUEST | change).encode(), model="claude-opus-5-5"
        )


def test_estimate_of_a_request_has_the_shape_of_count_tokens() -> None:
    found = json.loads(estimate_tokens("anthropic", json.dumps(REQUEST).encode()))
    assert 10 < found["input_tokens"] < 200


def test_cut_stream_ends_with_an_error_event() -> None:
    translated = translate_request(
        "anthropic", "anthropic", json.dumps(REQUEST).encode(), model="claude-opus-5-5"
    )
    answer = ResponseTranslator(
        translated.context, status=200, content_type="text/event-stream; charset=utf-8"
    )
    start = {"type": "message_start", "message": {"id": "msg_1", "usage": {"input_tokens": 9}}}
    out = answer.feed(b"event: message_start\ndata: " + json.dumps(start).encode() + b"\n\n")
    assert b'"input_tokens":9' in out
    assert b"event: error\n" in answer.end(complete=False)
    assert answer.failed


def test_overloaded_error_keeps_its_status_and_type() -> None:
    translated = translate_request(
        "anthropic", "anthropic", json.dumps(REQUEST).encode(), model="claude-opus-5-5"
    )
    body = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
    assert translate_error(translated.context, 529, body) == (529, body)
