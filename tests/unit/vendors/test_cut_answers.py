"""A model cannot write itself into the books, wherever the answer that it writes breaks off."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from property_tests import messages
from recorded_answers import (
    CHAT_USAGE,
    MESSAGE_DELTA,
    MESSAGE_START,
    MESSAGE_STOP,
    RESPONSE,
    chunk,
    generated,
    sse,
)

from sidecar import Endpoint, Meter, Usage
from sidecar.plugin_api.manager import discover

REGISTRY = discover()
SSE, JSON = "text/event-stream", "application/json"
FIGURES = {"prompt_tokens": 5_000_000, "input_tokens": 5_000_000, "promptTokenCount": 5_000_000}
MADE: dict[str, object] = {
    "usage": FIGURES, "usageMetadata": FIGURES, "model": "made", "modelVersion": "made",
    "id": "made", "error": {"code": "made"}, "finish_reason": "stop", "type": "response.completed",
}  # fmt: skip
"""What a model writes: in every dialect, figures that are none."""
WRITTEN = json.dumps(MADE, separators=(",", ":"))
NESTED: dict[str, object] = {"usage": FIGURES, "response": MADE, "message": {"usage": FIGURES}}


@dataclass(frozen=True)
class Answer:
    """Whole, `usages` are the figures that a vendor told in it, in their order."""

    name: str
    dialect: str
    endpoint: str
    content_type: str
    body: bytes
    usages: tuple[Usage, ...] = ()
    models: set[str] = field(default_factory=set)
    created: str = ""

    def meter(self) -> Meter:
        endpoint = Endpoint(self.endpoint, counts=True)
        return REGISTRY.dialects[self.dialect].meter(endpoint, self.content_type)


def plain(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def call(arguments: object) -> dict[str, object]:
    return {"name": "f", "args": arguments}


CHOICE = {"index": 0, "message": {"content": WRITTEN, "tool_calls": [{"args": WRITTEN}]}}
PIECE = {"index": 0, "delta": {"content": WRITTEN, "tool_calls": [{"args": WRITTEN}]}}
OUTPUT = [{"type": "function_call", **call(WRITTEN)}, {"type": "custom", **call(NESTED)}]
BLOCK = {"type": "tool_use", **call(NESTED)}
PARTS = [{"text": WRITTEN}, {"functionCall": call(NESTED)}]
CHAT = Usage(1200, 340, 1024, 64, None, 200)
RESPONDED = Usage(75, 1186, 64, None, None, 1024, (), "default")
BEGUN = Usage(5312, 1, 5000, 300, 200, None, (), "standard")
ENDED = Usage(5312, 89, 5000, 300, 200, 40, (("web_searches", 2),), "standard")
FIRST, LAST = Usage(100, 1, 20), Usage(100, 42, 20, None, None, 12)


def gemini(*figures: int | None, finish: str | None = None) -> dict[str, object]:
    prompt, answer, thoughts = figures
    assert prompt is not None
    told = generated(prompt, answer, thoughts, finish)
    candidate = {"content": {"parts": PARTS}} | ({"finishReason": finish} if finish else {})
    return {**told, "candidates": [candidate]}


MESSAGE: dict[str, object] = {**MESSAGE_START["message"], "content": [BLOCK]}  # type: ignore[dict-item]
TOLD = MESSAGE.pop("usage")
ANSWERS = [
    Answer("chat", "openai", "chat", JSON,
           plain({"id": "c1", "choices": [CHOICE], "model": "m", "usage": CHAT_USAGE, "z": NESTED}),
           (CHAT,), {"m"}, "c1"),
    Answer("chat stream", "openai", "chat", SSE,
           sse(chunk(choices=[PIECE]), chunk(choices=[PIECE], made=NESTED),
               chunk(choices=[], usage=CHAT_USAGE, z=NESTED), "[DONE]"),
           (CHAT,), {"gpt-5-mini-2026"}),
    Answer("response", "openai", "responses", JSON,
           plain({"id": "r1", "output": OUTPUT, **{k: RESPONSE[k] for k in ("usage", "model")},
                  "service_tier": "default", "instructions": WRITTEN, "z": NESTED}),
           (RESPONDED, Usage(75, 1186, 64, None, None, 1024)), {"gpt-5.5"}, "r1"),
    Answer("responses stream", "openai", "responses", SSE,
           sse({"type": "response.created", "response": {"id": "r1", "tools": [NESTED]}},
               {"type": "response.output_item.done", "item": OUTPUT[1]},
               {"type": "response.function_call_arguments.done", "arguments": WRITTEN},
               {"type": "response.completed",
                "response": {**RESPONSE, "id": "r1", "output": OUTPUT}},
               names=True),
           (RESPONDED, Usage(75, 1186, 64, None, None, 1024)), {"gpt-5.5"}, "r1"),
    Answer("message", "anthropic", "messages", JSON,
           plain({**MESSAGE, "usage": TOLD, "z": NESTED}),
           (BEGUN,), {"claude-opus-5-5"}, "msg_1"),
    Answer("messages stream", "anthropic", "messages", SSE,
           sse(MESSAGE_START, {"type": "content_block_start", "content_block": BLOCK},
               {"type": "content_block_delta", "delta": {"partial_json": WRITTEN}},
               {**MESSAGE_DELTA, "z": NESTED}, MESSAGE_STOP, names=True),
           (BEGUN, ENDED), {"claude-opus-5-5"}),
    Answer("generateContent", "gemini", "generate", JSON,
           plain(gemini(100, 30, 12, finish="STOP")), (LAST,), {"gemini-3.5-pro"}),
    Answer("streamGenerateContent", "gemini", "stream", SSE,
           sse(gemini(100, 1, None), gemini(100, 30, 12, finish="STOP"), end="\r\n\r\n"),
           (FIRST, LAST), {"gemini-3.5-pro"}),
    Answer("streamGenerateContent as one array", "gemini", "stream", JSON,
           plain([gemini(100, 1, None), gemini(100, 30, 12, finish="STOP")]),
           (FIRST, LAST), {"gemini-3.5-pro"}),
]  # fmt: skip
EACH = pytest.mark.parametrize("answer", ANSWERS, ids=lambda each: each.name)


def check(answer: Answer, meter: Meter) -> None:
    assert meter.usage() in (None, *answer.usages)
    assert meter.model in {None, *answer.models}
    assert meter.error is None
    assert set(meter.created()) <= {answer.created}


@EACH
def test_meter_of_a_complete_response_ignores_usage_in_its_text(answer: Answer) -> None:
    meter = answer.meter()
    meter.feed(answer.body)
    assert meter.usage() == max(answer.usages, key=lambda each: each.output_tokens or 0)
    check(answer, meter)
    assert not meter.unread
    assert not meter.unfinished


@EACH
@pytest.mark.hypothesis  # every byte in `make explore`, and here the bytes of a part
def test_meter_of_a_response_cut_at_any_byte_ignores_usage_in_its_text(answer: Answer) -> None:
    for at in range(0, len(answer.body), messages(3, 1)):
        meter = answer.meter()
        meter.feed(answer.body[:at])
        check(answer, meter)
        if answer.content_type == JSON and at:
            assert meter.unfinished


@EACH
def test_meter_reports_usage_that_is_complete_before_the_cut(answer: Answer) -> None:
    meter = answer.meter()
    meter.feed(answer.body[:-1])
    assert meter.usage() in answer.usages


@given(st.data())
def test_meter_result_is_the_same_for_two_cuts(data: st.DataObject) -> None:
    answer = data.draw(st.sampled_from(ANSWERS))
    end = data.draw(st.integers(0, len(answer.body)))
    at = data.draw(st.integers(0, end))
    meter, other = answer.meter(), answer.meter()
    meter.feed(answer.body[:end])
    other.feed(answer.body[:at])
    other.usage()
    other.feed(answer.body[at:end])
    assert meter.usage() == other.usage()
    assert (meter.model, meter.created()) == (other.model, other.created())
    assert meter.unfinished == other.unfinished
    check(answer, other)


@given(st.data())
def test_meter_of_a_corrupted_response_ignores_usage_in_its_text(data: st.DataObject) -> None:
    answer = data.draw(st.sampled_from(ANSWERS))
    at = data.draw(st.integers(0, len(answer.body) - 1))
    spoilt = data.draw(st.sampled_from([b"\xff", b"\x01", b"\\ud83d", b"NaN"]))
    if answer.body[at : at + 1] in b'"\\{}[],:\r\n' or answer.body[at - 1 : at] == b"\\":
        return  # a vendor that writes no JSON at all is none
    meter = answer.meter()
    meter.feed(answer.body[:at] + spoilt + answer.body[at + 1 :])
    usage = meter.usage()
    assert usage is None or (usage.input_tokens or 0) < 5_000_000
    assert meter.model != "made"
    assert "made" not in meter.created()
