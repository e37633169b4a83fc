"""Translation to Gemini and back keeps what agents need, and pieces never matter."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from property_tests import examples
from translation_samples import SSE, generate_stream, message_stream

from sidecar_transforms.translation import ResponseTranslator, translate_request

Shape = dict[str, Any]
texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(str.strip)
names = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_-]{0,63}", fullmatch=True)
idents = st.from_regex(r"[a-zA-Z0-9_-]{1,30}", fullmatch=True)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
arguments = st.dictionaries(texts, values, max_size=3)
places = st.lists(st.integers(0, 1 << 16), max_size=30)


@st.composite
def conversations(draw: st.DrawFn) -> list[Shape]:
    """Rounds of a tool loop of Google's client: text, parallel calls, and a result for each."""
    contents: list[Shape] = [{"role": "user", "parts": [{"text": draw(texts)}]}]
    for _ in range(draw(st.integers(0, 5))):
        calls = draw(
            st.lists(st.tuples(idents, names, arguments), max_size=3, unique_by=lambda c: c[0])
        )
        parts = [{"text": draw(texts)}] if draw(st.booleans()) or not calls else []
        parts += [
            {"functionCall": {"id": ident, "name": name, "args": args}}
            for ident, name, args in calls
        ]
        contents.append({"role": "model", "parts": parts})
        results: list[Shape] = [
            {"functionResponse": {
                "id": ident, "name": name, "response": {"output": draw(texts)}}}
            for ident, name, _ in calls
        ]  # fmt: skip
        if draw(st.booleans()) or not calls:
            results.append({"text": draw(texts)})
        contents.append({"role": "user", "parts": results})
    return contents


def rounds(*calls: tuple[str, str]) -> list[Shape]:
    """Return a conversation with a call (id, name) and its result in each round."""
    contents: list[Shape] = [{"role": "user", "parts": [{"text": "Go."}]}]
    for ident, name in calls:
        call = {"id": ident, "name": name, "args": {}}
        result = {"id": ident, "name": name, "response": {"output": "done"}}
        contents.append({"role": "model", "parts": [{"functionCall": call}]})
        contents.append({"role": "user", "parts": [{"functionResponse": result}]})
    return contents


@pytest.mark.parametrize("middle", ["anthropic", "openai_chat", "openai_responses"])
@example(contents=rounds(("0", "read"), ("0", "write")), tools=[])  # an id that comes again
@given(contents=conversations(), tools=st.lists(names, max_size=4, unique=True))
@examples(40)
def test_conversation_there_and_back_keeps_texts_calls_ids_and_order(
    middle: str, contents: list[Shape], tools: list[str]
) -> None:
    request: Shape = {
        "systemInstruction": {"parts": [{"text": "Be short."}]}, "contents": contents,
        "generationConfig": {"maxOutputTokens": 100},
    }  # fmt: skip
    calls = [part["functionCall"]["name"] for each in contents for part in each["parts"]
             if "functionCall" in part]  # fmt: skip
    if declared := list(dict.fromkeys([*tools, *calls])):
        schema = {"type": "object", "properties": {"a": {"type": "string"}}}
        request["tools"] = [
            {"functionDeclarations": [
                {"name": name, "parametersJsonSchema": schema} for name in declared]}
        ]  # fmt: skip
    there = translate_request("gemini", middle, json.dumps(request).encode(), model="other")
    assert there.notes == ()
    back = translate_request(middle, "gemini", there.body, model="gemini-2.5-flash")
    assert back.notes == ()
    assert json.loads(back.body) == request


def play(source: str, target: str, provider: bytes, cuts: list[int]) -> bytes:
    """Return the client's answer for the provider's cut at these places."""
    body: Shape = {
        "max_tokens": 9, "messages": [{"role": "user", "content": "?"}],
        "contents": [{"role": "user", "parts": [{"text": "?"}]}],
        "stream_options": {"include_usage": True},
    }  # fmt: skip
    context = translate_request(
        source, target, json.dumps(body).encode(), model="m", streaming=True, query="alt=sse"
    ).context
    answer = ResponseTranslator(context, status=200, content_type=SSE)
    ends = sorted({cut % (len(provider) + 1) for cut in cuts} | {len(provider)})
    out, begun = b"", 0
    for end in ends:
        out += answer.feed(provider[begun:end])
        begun = end
    out += answer.end(complete=True)
    assert not answer.failed
    return out


@st.composite
def answers(draw: st.DrawFn) -> list[list[Shape]]:
    """The parts of each response: thoughts, texts, signed and parallel calls."""
    found: list[list[Shape]] = []
    if draw(st.booleans()):
        found.append([{"text": draw(texts), "thought": True}])
    found += [[{"text": draw(texts)}] for _ in range(draw(st.integers(0, 2)))]
    calls = draw(st.lists(st.tuples(idents, names, arguments), max_size=3))
    parts: list[Shape] = [
        {"functionCall": {"id": ident, "name": name, "args": args}} for ident, name, args in calls
    ]
    if parts:
        parts[0]["thoughtSignature"] = draw(idents)
        found += [parts] if draw(st.booleans()) else [[part] for part in parts]
    return found or [[{"text": "nothing"}]]


def joined(stream: bytes) -> list[Shape]:
    """Return the parts of a stream without signatures, with neighbouring texts as one."""
    found: list[Shape] = []
    for line in stream.decode().replace("\r\n", "\n").split("\n"):
        if not line.startswith("data: "):
            continue
        for part in json.loads(line[6:])["candidates"][0]["content"]["parts"]:
            part.pop("thoughtSignature", None)
            if found and set(part) == set(found[-1]) and "text" in part:
                found[-1]["text"] += part["text"]
            elif part.get("text") != "":
                found.append(part)
    return found


@pytest.mark.parametrize("middle", ["anthropic", "openai_chat", "openai_responses"])
@given(chunks=answers(), cuts=places)
@examples(40)
def test_stream_there_and_back_keeps_its_parts_however_it_is_cut(
    middle: str, chunks: list[list[Shape]], cuts: list[int]
) -> None:
    provider = generate_stream(*chunks)
    whole = play(middle, "gemini", provider, [])
    assert play(middle, "gemini", provider, cuts) == whole
    assert play(middle, "gemini", provider.replace(b"\r\n", b"\n"), cuts) == whole
    back = play("gemini", middle, whole, [])
    assert play("gemini", middle, whole, cuts) == back
    assert joined(back) == joined(provider)


def test_each_response_is_passed_on_at_once() -> None:
    provider = generate_stream([{"text": "a"}], [{"text": "b"}], [{"text": "c"}])
    body = json.dumps({"max_tokens": 9, "messages": []}).encode()
    context = translate_request("anthropic", "gemini", body, model="m", streaming=True).context
    answer = ResponseTranslator(context, status=200, content_type=SSE)
    rows = [row + b"\r\n\r\n" for row in provider.split(b"\r\n\r\n")[:-1]]
    assert [answer.feed(row).count(b"text_delta") for row in rows] == [1, 1, 1]
    reverse = json.dumps({"contents": []}).encode()
    context = translate_request(
        "gemini", "anthropic", reverse, model="m", streaming=True, query="alt=sse"
    ).context
    answer = ResponseTranslator(context, status=200, content_type=SSE)
    message = message_stream({"type": "text", "text": "ab"}).split(b"\n\n")[:-1]
    shown = [answer.feed(event + b"\n\n") for event in message]
    assert [each for each in shown if each][:2] == [shown[3], shown[4]]
