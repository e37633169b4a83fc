"""Answers as vendors send them, with the usage that a person reads out of each."""

from __future__ import annotations

import json
from dataclasses import dataclass

from sidecar import Usage

SSE = "text/event-stream; charset=utf-8"
JSON = "application/json"


@dataclass(frozen=True)
class Recorded:
    name: str
    dialect: str
    endpoint: str
    content_type: str
    body: bytes
    usage: Usage | None
    model: str | None = None
    finished: bool = True
    created: tuple[str, ...] = ()
    error: str | None = None


def sse(*events: object, names: bool = False, end: str = "\n\n") -> bytes:
    lines = []
    for event in events:
        name = (
            f"event: {event['type']}{end[: len(end) // 2]}"
            if names and isinstance(event, dict)
            else ""
        )
        data = (
            event
            if isinstance(event, str)
            else json.dumps(event, ensure_ascii=False, separators=(",", ":"))
        )
        lines.append(f"{name}data: {data}{end}")
    return "".join(lines).encode()


def chunk(**more: object) -> dict[str, object]:
    return {"id": "c1", "object": "chat.completion.chunk", "model": "gpt-5-mini-2026", **more}


def delta(text: str, finish: str | None = None) -> dict[str, object]:
    return {"index": 0, "delta": {"content": text}, "finish_reason": finish}


CHAT_USAGE = {
    "prompt_tokens": 1200, "completion_tokens": 340, "total_tokens": 1540,
    "prompt_tokens_details": {"cached_tokens": 1024, "cache_write_tokens": 64, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 200, "audio_tokens": 0},
}  # fmt: skip
CHAT = Usage(1200, 340, 1024, 64, None, 200)
MESSAGE_START = {
    "type": "message_start",
    "message": {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-opus-5-5", "content": [],
        "usage": {
            "input_tokens": 12, "cache_creation_input_tokens": 300, "cache_read_input_tokens": 5000,
            "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200},
            "output_tokens": 1, "service_tier": "standard",
        },
    },
}  # fmt: skip
MESSAGE_TEXT = {
    "type": "content_block_delta", "index": 0,
    "delta": {"type": "text_delta", "text": "数 é 🦊 message_delta"},
}  # fmt: skip
MESSAGE_DELTA = {
    "type": "message_delta", "delta": {"stop_reason": "end_turn"},
    "usage": {"output_tokens": 89, "output_tokens_details": {"thinking_tokens": 40},
              "server_tool_use": {"web_search_requests": 2}},
}  # fmt: skip
MESSAGE_STOP = {"type": "message_stop"}
MESSAGES = Usage(5312, 89, 5000, 300, 200, 40, (("web_searches", 2),), "standard")
RESPONSE = {
    "id": "resp_1", "object": "response", "model": "gpt-5.5", "service_tier": "default",
    "usage": {
        "input_tokens": 75, "input_tokens_details": {"cached_tokens": 64}, "output_tokens": 1186,
        "output_tokens_details": {"reasoning_tokens": 1024}, "total_tokens": 1261,
    },
}  # fmt: skip
RESPONSES = Usage(75, 1186, 64, None, None, 1024, (), "default")


def generated(
    prompt: int, answer: int | None, thoughts: int | None, finish: str | None = None
) -> dict[str, object]:
    usage = {"promptTokenCount": prompt, "cachedContentTokenCount": 20}
    usage |= {} if answer is None else {"candidatesTokenCount": answer}
    usage |= {} if thoughts is None else {"thoughtsTokenCount": thoughts}
    usage["totalTokenCount"] = prompt + (answer or 0) + (thoughts or 0)
    candidate: dict[str, object] = {"content": {"parts": [{"text": "é"}]}}
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-3.5-pro"}


RECORDED = [
    Recorded("chat", "openai", "chat", JSON,
             json.dumps({"id": "c1", "model": "gpt-5-mini-2026", "usage": CHAT_USAGE}).encode(),
             CHAT, "gpt-5-mini-2026", created=("c1",)),
    Recorded("chat stream with usage", "openai", "chat", SSE,
             sse(chunk(choices=[delta("Hi")], usage=None), chunk(choices=[delta("", "stop")], usage=None),
                 chunk(choices=[], usage=CHAT_USAGE), "[DONE]"),
             CHAT, "gpt-5-mini-2026"),
    Recorded("chat stream without usage", "openai", "chat", SSE,
             sse(chunk(choices=[delta('"usage":')]), chunk(choices=[delta("", "stop")]), "[DONE]"),
             None, "gpt-5-mini-2026"),
    Recorded("chat stream cut", "openai", "chat", SSE, sse(chunk(choices=[delta("Hi")])), None, None,
             finished=False),
    Recorded("chat stream with CRLF and comments", "openai", "chat", SSE,
             b": keep-alive\r\n\r\n" + sse(chunk(choices=[], usage=CHAT_USAGE), "[DONE]", end="\r\n\r\n"),
             CHAT, "gpt-5-mini-2026"),
    Recorded("chat stream with CR alone", "openai", "chat", SSE,
             sse(chunk(choices=[], usage=CHAT_USAGE), "[DONE]", end="\r\r"), CHAT, "gpt-5-mini-2026"),
    Recorded("chat stream whose last event lacks its blank line", "openai", "chat", SSE,
             sse(chunk(choices=[delta("", "stop")]), chunk(choices=[], usage=CHAT_USAGE)).rstrip(b"\n"),
             CHAT, "gpt-5-mini-2026"),
    Recorded("chat stream that fails", "openai", "chat", SSE,
             sse(chunk(choices=[delta("Hi")]), {"error": {"message": "no", "code": "server_error"}}),
             None, None, error="server_error"),
    Recorded("absurd figures", "openai", "chat", JSON,
             b'{"usage":{"prompt_tokens":-5,"completion_tokens":1e300,"prompt_tokens_details":[]}}',
             Usage(0, 1_000_000_000)),
    Recorded("usage of a wrong type", "openai", "chat", JSON, b'{"usage":"many","model":7}', None),
    Recorded("embeddings", "openai", "embeddings", JSON,
             b'{"model":"e","usage":{"prompt_tokens":8,"total_tokens":8}}', Usage(8, None), "e"),
    Recorded("transcription by duration", "openai", "transcriptions", JSON,
             b'{"text":"hi","usage":{"type":"duration","seconds":31}}',
             Usage(units=(("audio_seconds", 31),))),
    Recorded("response", "openai", "responses", JSON, json.dumps(RESPONSE).encode(), RESPONSES, "gpt-5.5",
             created=("resp_1",)),
    Recorded("responses stream", "openai", "responses", SSE,
             sse({"type": "response.created", "response": {**RESPONSE, "usage": None}},
                 {"type": "response.output_text.delta", "delta": '"response.completed"'},
                 {"type": "response.completed", "response": RESPONSE}, names=True),
             RESPONSES, "gpt-5.5", created=("resp_1",)),
    Recorded("responses stream cut", "openai", "responses", SSE,
             sse({"type": "response.created", "response": {"id": "resp_1", "model": "gpt-5.5"}}, names=True),
             None, "gpt-5.5", finished=False, created=("resp_1",)),
    Recorded("message", "anthropic", "messages", JSON,
             json.dumps({"id": "msg_1", "model": "claude-opus-5-5",
                         "usage": {**MESSAGE_START["message"]["usage"], **MESSAGE_DELTA["usage"]}}).encode(),  # type: ignore[index,dict-item]
             MESSAGES, "claude-opus-5-5", created=("msg_1",)),
    Recorded("messages stream", "anthropic", "messages", SSE,
             sse(MESSAGE_START, {"type": "ping"}, MESSAGE_TEXT, MESSAGE_DELTA, MESSAGE_STOP, names=True),
             MESSAGES, "claude-opus-5-5"),
    Recorded("messages stream with two deltas is not added up", "anthropic", "messages", SSE,
             sse(MESSAGE_START, {**MESSAGE_DELTA, "usage": {"output_tokens": 50}}, MESSAGE_DELTA,
                 MESSAGE_STOP, names=True), MESSAGES, "claude-opus-5-5"),
    Recorded("messages stream cut after its start", "anthropic", "messages", SSE,
             sse(MESSAGE_START, MESSAGE_TEXT, names=True),
             Usage(5312, 1, 5000, 300, 200, None, (), "standard"), "claude-opus-5-5", finished=False),
    Recorded("messages stream that fails", "anthropic", "messages", SSE,
             sse(MESSAGE_START, {"type": "error", "error": {"type": "overloaded_error", "message": "x"}},
                 names=True), Usage(5312, 1, 5000, 300, 200, None, (), "standard"), "claude-opus-5-5",
             error="overloaded_error"),
    Recorded("generateContent", "gemini", "generate", JSON,
             json.dumps(generated(100, 30, 12, "STOP")).encode(), Usage(100, 42, 20, None, None, 12),
             "gemini-3.5-pro"),
    Recorded("generateContent whose visible count holds the thoughts", "gemini", "generate", JSON,
             b'{"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":42,"thoughtsTokenCount":12,'
             b'"totalTokenCount":52}}', Usage(10, 42, None, None, None, 12)),
    Recorded("streamGenerateContent", "gemini", "stream", SSE,
             sse(generated(100, 1, None), generated(100, 2, 12), generated(100, 30, 12, "STOP"), end="\r\n\r\n"),
             Usage(100, 42, 20, None, None, 12), "gemini-3.5-pro"),
    Recorded("streamGenerateContent as one array", "gemini", "stream", JSON,
             json.dumps([generated(100, 1, None), generated(100, 30, 12, "STOP")]).encode(),
             Usage(100, 42, 20, None, None, 12), "gemini-3.5-pro"),
    Recorded("streamGenerateContent cut", "gemini", "stream", SSE, sse(generated(100, 1, None)),
             Usage(100, 1, 20), "gemini-3.5-pro", finished=False),
]  # fmt: skip
