"""Requests and answers in the protocols of the translation, as vendors and agents send them."""

from __future__ import annotations

import json
from typing import Any

Shape = dict[str, Any]
SSE = "text/event-stream; charset=utf-8"
JSON = "application/json"


def chat_stream(*deltas: Shape, finish: str = "stop", usage: Shape | None = None) -> bytes:
    """Return the chunks of a completion as OpenAI sends them with `include_usage`."""
    base = {"id": "chatcmpl-9", "object": "chat.completion.chunk", "created": 1, "model": "gpt-x"}
    rows: list[Shape] = [{"role": "assistant", "content": "", "refusal": None}, *deltas]
    chunks = [
        {**base, "choices": [{"index": 0, "delta": row, "finish_reason": None}], "usage": None}
        for row in rows
    ]
    ended = [{"index": 0, "delta": {}, "finish_reason": finish}]
    chunks.append({**base, "choices": ended, "usage": None})
    if usage is not None:
        chunks.append({**base, "choices": [], "usage": usage})
    lines = [b"data: " + json.dumps(each).encode() + b"\n\n" for each in chunks]
    return b"".join(lines) + b"data: [DONE]\n\n"


def call_deltas(index: int, ident: str, name: str, *pieces: str) -> list[Shape]:
    """Return the deltas of one tool call."""
    function = {"name": name, "arguments": ""}
    first = {"index": index, "id": ident, "type": "function", "function": function}
    rows = [first, *({"index": index, "function": {"arguments": each}} for each in pieces)]
    return [{"tool_calls": [row]} for row in rows]


CHAT_USAGE = {
    "prompt_tokens": 1200, "completion_tokens": 340, "total_tokens": 1540,
    "prompt_tokens_details": {"cached_tokens": 1024, "cache_write_tokens": 64},
    "completion_tokens_details": {"reasoning_tokens": 200},
}  # fmt: skip
ANTHROPIC_USAGE = {
    "input_tokens": 112, "cache_creation_input_tokens": 64, "cache_read_input_tokens": 1024,
    "output_tokens": 340, "output_tokens_details": {"thinking_tokens": 200},
}  # fmt: skip
"""The same figures."""


def message_stream(*blocks: Shape, stop: str = "end_turn", usage: Shape | None = None) -> bytes:
    """Return the events of a message as Anthropic sends them; each text in two deltas."""
    start = {**(usage or ANTHROPIC_USAGE), "output_tokens": 1}
    message = {
        "id": "msg_9", "type": "message", "role": "assistant", "model": "claude-x", "content": [],
        "stop_reason": None, "stop_sequence": None, "usage": start,
    }  # fmt: skip
    events: list[Shape] = [{"type": "message_start", "message": message}]
    for index, block in enumerate(blocks):
        empty, deltas = _pieces(block)
        events.append({"type": "content_block_start", "index": index, "content_block": empty})
        if index == 0:
            events.append({"type": "ping"})
        events += [{"type": "content_block_delta", "index": index, "delta": d} for d in deltas]
        events.append({"type": "content_block_stop", "index": index})
    delta = {"stop_reason": stop, "stop_sequence": None}
    events.append({"type": "message_delta", "delta": delta, "usage": usage or ANTHROPIC_USAGE})
    events.append({"type": "message_stop"})
    lines = [f"event: {each['type']}\ndata: {json.dumps(each)}\n\n" for each in events]
    return "".join(lines).encode()


GEMINI_USAGE = {
    "promptTokenCount": 1200, "cachedContentTokenCount": 1024, "candidatesTokenCount": 140,
    "thoughtsTokenCount": 200, "totalTokenCount": 1540,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 1200}],
}  # fmt: skip
"""The same figures; Google's have none of writes to the cache."""


def generated(*parts: Shape, finish: str = "STOP", usage: Shape | None = None) -> Shape:
    """Return a whole response as Google sends it."""
    content = {"parts": list(parts), "role": "model"}
    return {
        "candidates": [{"content": content, "finishReason": finish, "index": 0}],
        "usageMetadata": usage or GEMINI_USAGE,
        "modelVersion": "gemini-x", "responseId": "r9",
    }  # fmt: skip


def generate_stream(
    *chunks: list[Shape], finish: str = "STOP", usage: Shape | None = None
) -> bytes:
    """Return the responses of a stream, one for each list of parts, as Google sends them."""
    rows = [generated(*parts, finish=finish, usage=usage) for parts in chunks]
    for row in rows[:-1]:
        del row["candidates"][0]["finishReason"]
        row["usageMetadata"] = {"promptTokenCount": 1200, "totalTokenCount": 1200}
    return b"".join(b"data: " + json.dumps(row).encode() + b"\r\n\r\n" for row in rows)


def _pieces(block: Shape) -> tuple[Shape, list[Shape]]:
    match block["type"]:
        case "text":
            texts = halves(block["text"])
            return {"type": "text", "text": ""}, [
                {"type": "text_delta", "text": text} for text in texts
            ]
        case "tool_use":
            texts = ["", *halves(json.dumps(block["input"]))]
            return {**block, "input": {}}, [
                {"type": "input_json_delta", "partial_json": text} for text in texts
            ]
        case "thinking":
            deltas = [{"type": "thinking_delta", "thinking": t} for t in halves(block["thinking"])]
            signature = {"type": "signature_delta", "signature": block["signature"]}
            return {"type": "thinking", "thinking": "", "signature": ""}, [*deltas, signature]
        case _:
            return block, []


def halves(text: str) -> list[str]:
    """Return a text in two pieces, or in one if it is that short."""
    middle = len(text) // 2
    return [text[:middle], text[middle:]] if middle else [text]


def events(stream: bytes) -> list[Shape]:
    """Return the JSON of each event of a stream, with its name under `event`."""
    found = []
    for block in stream.decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
        data = lines.get("data", "")
        if data and data != "[DONE]":
            found.append(
                {**json.loads(data), **({"event": lines["event"]} if "event" in lines else {})}
            )
    return found
