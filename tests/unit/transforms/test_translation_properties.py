"""Translation there and back keeps what agents need, and pieces never matter."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from property_tests import examples
from translation_samples import CHAT_USAGE, SSE, call_deltas, chat_stream, message_stream

from sidecar_transforms.translation import ResponseTranslator, translate_request

Shape = dict[str, Any]
OTHERS = ["openai_chat", "openai_responses"]
"""Protocols that keep all of a message of Anthropic's."""
texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(str.strip)
names = st.from_regex(r"[a-zA-Z0-9_-]{1,80}", fullmatch=True)
idents = st.from_regex(r"[a-zA-Z0-9_-]{1,30}", fullmatch=True)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
arguments = st.dictionaries(texts, values, max_size=3)


@st.composite
def conversations(draw: st.DrawFn) -> list[Shape]:
    """Rounds of a tool loop: text, parallel calls, and a result for each."""
    messages: list[Shape] = [{"role": "user", "content": [text(draw(texts))]}]
    for _ in range(draw(st.integers(0, 5))):
        calls = draw(
            st.lists(st.tuples(idents, names, arguments), max_size=3, unique_by=lambda c: c[0])
        )
        blocks = [text(draw(texts))] if draw(st.booleans()) or not calls else []
        blocks += [
            {"type": "tool_use", "id": ident, "name": name, "input": given}
            for ident, name, given in calls
        ]
        messages.append({"role": "assistant", "content": blocks})
        results: list[Shape] = [
            {"type": "tool_result", "tool_use_id": ident, "content": [text(draw(texts))]}
            for ident, _, _ in calls
        ]
        if draw(st.booleans()) or not calls:
            results.append(text(draw(texts)))
        messages.append({"role": "user", "content": results})
    return messages


def text(value: str) -> Shape:
    return {"type": "text", "text": value}


@pytest.mark.parametrize("other", OTHERS)
@given(conversations(), st.lists(names, max_size=4, unique=True))
@examples(40)
def test_conversation_there_and_back_keeps_texts_calls_ids_and_order(
    other: str, messages: list[Shape], tools: list[str]
) -> None:
    request = {
        "model": "claude-x", "max_tokens": 100, "system": [text("Be short.")],
        "messages": messages,
        "tools": [{"name": n, "input_schema": {"type": "object"}} for n in tools if len(n) <= 64],
    }  # fmt: skip
    there = translate_request("anthropic", other, json.dumps(request).encode(), model="other")
    assert there.notes == ()
    back = translate_request(other, "anthropic", there.body, model="claude-x")
    found = json.loads(back.body)
    assert found["messages"] == messages
    assert found["system"] == request["system"]
    if request["tools"]:
        assert found["tools"] == request["tools"]
    assert found["max_tokens"] == 100


@st.composite
def blocks(draw: st.DrawFn) -> list[Shape]:
    """The content of an answer: thinking, text and tool calls, as Anthropic orders them."""
    found: list[Shape] = []
    if draw(st.booleans()):
        found.append({"type": "thinking", "thinking": draw(texts), "signature": draw(idents)})
    if draw(st.booleans()):
        found.append(text(draw(texts)))
    calls = draw(st.lists(st.tuples(idents, names, arguments), max_size=3))
    found += [
        {"type": "tool_use", "id": ident, "name": name, "input": given}
        for ident, name, given in calls
    ]
    return found or [text("nothing")]


def play(source: str, target: str, provider: bytes, cuts: list[int]) -> tuple[bytes, list[bytes]]:
    """Return the client's answer, and its pieces, for the provider's cut at these places."""
    body = json.dumps(
        {"max_tokens": 9, "messages": [{"role": "user", "content": "?"}], "stream": True,
         "stream_options": {"include_usage": True}}
    ).encode()  # fmt: skip
    context = translate_request(source, target, body, model="claude-x").context
    answer = ResponseTranslator(context, status=200, content_type=SSE)
    ends = sorted({cut % (len(provider) + 1) for cut in cuts} | {len(provider)})
    pieces, begun = [], 0
    for end in ends:
        pieces.append(answer.feed(provider[begun:end]))
        begun = end
    pieces.append(answer.end(complete=True))
    assert not answer.failed
    return b"".join(pieces), pieces


cuts = st.lists(st.integers(0, 1 << 16), max_size=30)


@pytest.mark.parametrize("other", OTHERS)
@given(blocks(), cuts)
@examples(40)
def test_stream_there_and_back_keeps_its_blocks_however_it_is_cut(
    other: str, content: list[Shape], places: list[int]
) -> None:
    provider = message_stream(*content, stop="end_turn")
    whole, _ = play(other, "anthropic", provider, [])
    assert play(other, "anthropic", provider, places)[0] == whole
    back, _ = play("anthropic", other, whole, [])
    assert play("anthropic", other, whole, places)[0] == back
    assert _blocks(back) == content


def _blocks(stream: bytes) -> list[Shape]:
    """Return the blocks of a message's stream, with its indices checked."""
    found: list[Shape] = []
    for line in stream.decode().split("\n"):
        if not line.startswith("data: "):
            continue
        event = json.loads(line[6:])
        match event["type"]:
            case "content_block_start":
                assert event["index"] == len(found)
                found.append({**event["content_block"], "json": ""})
            case "content_block_delta":
                assert event["index"] == len(found) - 1
                for name, value in event["delta"].items():
                    target = {"partial_json": "json"}.get(name, name)
                    if name != "type":
                        found[-1][target] += value
    for block in found:
        whole = block.pop("json")
        if block["type"] == "tool_use":
            block["input"] = json.loads(whole or "{}")
        block.pop("citations", None)
    return found


@given(cuts)
@examples(40)
def test_pieces_of_chunks_do_not_change_a_message(places: list[int]) -> None:
    provider = chat_stream(
        {"reasoning_content": "thinking é"}, {"content": "Hellö"}, {"content": " world"},
        *call_deltas(0, "call_a", "read", '{"a":', "1}"), *call_deltas(1, "call_b", "read"),
        finish="tool_calls", usage=CHAT_USAGE,
    )  # fmt: skip
    crlf = provider.replace(b"\n", b"\r\n")
    whole, _ = play("anthropic", "openai_chat", provider, [])
    assert play("anthropic", "openai_chat", provider, places)[0] == whole
    assert play("anthropic", "openai_chat", crlf, places)[0] == whole


def test_each_delta_of_a_stream_is_passed_on_at_once() -> None:
    provider = chat_stream({"content": "a"}, {"content": "b"}, {"content": "c"})
    ends = [at + 2 for at in range(len(provider)) if provider[at : at + 2] == b"\n\n"]
    _, pieces = play("anthropic", "openai_chat", provider, ends)
    shown = [piece for piece in pieces if b"text_delta" in piece]
    assert [piece.count(b"text_delta") for piece in shown] == [1, 1, 1]
    assert [b'"a"' in pieces[1], b'"b"' in pieces[2], b'"c"' in pieces[3]] == [True] * 3
