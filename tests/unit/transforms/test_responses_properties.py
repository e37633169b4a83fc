"""A conversation of the Responses API comes back whole from every other protocol."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from property_tests import examples
from responses_samples import RESPONSE_USAGE, message_item, response_stream
from translation_samples import SSE, events

from sidecar_transforms.translation import ResponseTranslator, translate_request
from sidecar_transforms.translation.formats import FORMATS

Shape = dict[str, Any]
OTHERS = sorted(set(FORMATS) - {"openai_responses"})
texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(str.strip)
names = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_-]{0,60}", fullmatch=True)
idents = st.from_regex(r"[a-zA-Z0-9_-]{1,30}", fullmatch=True)
arguments = st.dictionaries(texts, st.none() | st.booleans() | st.integers(-9, 9) | texts)
cuts = st.lists(st.integers(0, 1 << 16), max_size=30)


def said(role: str, text: str) -> Shape:
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


@st.composite
def calls(draw: st.DrawFn) -> list[Shape]:
    found = draw(
        st.lists(st.tuples(idents, names, arguments), max_size=3, unique_by=lambda each: each[0])
    )
    return [
        {"type": "function_call", "call_id": ident, "name": name,
         "arguments": json.dumps(given, separators=(",", ":"), ensure_ascii=False)}
        for ident, name, given in found
    ]  # fmt: skip


@st.composite
def conversations(draw: st.DrawFn) -> list[Shape]:
    """Rounds of a tool loop: text, parallel calls, and a result for each."""
    items = [said("user", draw(texts))]
    for _ in range(draw(st.integers(0, 4))):
        called = draw(calls())
        if draw(st.booleans()) or not called:
            items.append(said("assistant", draw(texts)))
        items += called
        items += [
            {"type": "function_call_output", "call_id": call["call_id"], "output": draw(texts)}
            for call in called
        ]
        if not called:
            items.append(said("user", draw(texts)))
    return items


@pytest.mark.parametrize("other", OTHERS)
@given(conversations())
@examples(40)
def test_items_there_and_back_keep_texts_calls_ids_and_order(
    other: str, items: list[Shape]
) -> None:
    request = {"instructions": "Be short.", "input": items, "max_output_tokens": 99}
    there = translate_request(
        "openai_responses", other, json.dumps(request).encode(), model="other"
    )
    assert there.notes == ()
    back = translate_request(other, "openai_responses", there.body, model="gpt-x")
    found = json.loads(back.body)
    assert found["input"] == items
    assert (found["instructions"], found["max_output_tokens"]) == ("Be short.", 99)


def play(source: str, target: str, provider: bytes, places: list[int]) -> bytes:
    """Return the client's answer for the provider's, cut at these places."""
    body = {
        "max_tokens": 9, "messages": [{"role": "user", "content": "?"}], "input": "?",
        "contents": [{"parts": [{"text": "?"}]}], "stream": True,
        "stream_options": {"include_usage": True},
    }  # fmt: skip
    sent = translate_request(
        source, target, json.dumps(body).encode(), model="gpt-x", streaming=True, query="alt=sse"
    )
    answer = ResponseTranslator(sent.context, status=200, content_type=SSE)
    ends = sorted({cut % (len(provider) + 1) for cut in places} | {len(provider)})
    found, begun = b"", 0
    for end in ends:
        found += answer.feed(provider[begun:end])
        begun = end
    found += answer.end(complete=True)
    assert not answer.failed
    return found


@pytest.mark.parametrize("other", OTHERS)
@given(texts, calls(), texts, cuts)
@examples(40)
def test_stream_there_and_back_keeps_its_items_however_it_is_cut(
    other: str, text: str, called: list[Shape], thought: str, places: list[int]
) -> None:
    reasoning = {
        "type": "reasoning", "encrypted_content": "gAAAA",
        "summary": [{"type": "summary_text", "text": thought}],
    }  # fmt: skip
    provider = response_stream(reasoning, message_item(text), *called)
    whole = play(other, "openai_responses", provider, [])
    assert play(other, "openai_responses", provider, places) == whole
    back = play("openai_responses", other, whole, [])
    assert play("openai_responses", other, whole, places) == back
    response = events(back)[-1]["response"]
    usage = {**RESPONSE_USAGE, "input_tokens_details": response["usage"]["input_tokens_details"]}
    assert response["usage"] == usage
    thinking = [item for item in response["output"] if item["type"] == "reasoning"]
    assert "".join(each["text"] for item in thinking for each in item["summary"]) == thought
    output = [
        {k: v for k, v in item.items() if k not in {"id", "status"}}
        for item in response["output"] if item["type"] != "reasoning"
    ]  # fmt: skip
    assert output == [message_item(text), *called]
