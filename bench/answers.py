"""What the vendor of the benchmarks answers in each dialect: 1 KiB of JSON, and events."""

from __future__ import annotations

import json
from typing import NamedTuple

TEXT = "x" * 560
STAMP = b"@" + b"0" * 16
"""Stands in a piece of text where the vendor writes the time."""
LAST_CHUNK = b"0\r\n\r\n"


class Answers(NamedTuple):
    """A dialect's answers. Events stand here as chunks of HTTP, in the order of a stream; `used`
    are those that tell the usage, and `usage` is what an answer that tells it holds. `own_events`
    is how many events a stream has beside its pieces of text. `path` is what the paths of the
    dialect hold; a path that holds none of these is OpenAI's."""

    path: bytes
    body: bytes
    start: bytes
    piece: bytes
    stop: bytes
    used: bytes
    done: bytes
    usage: bytes
    own_events: int


def event(value: object, name: str = "", end: bytes = b"\n\n") -> bytes:
    """Return an event as a chunk of HTTP."""
    line = f"event: {name}\n".encode() if name else b""
    text = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
    framed = line + b"data: " + text + end
    return b"%x\r\n%s\r\n" % (len(framed), framed)


def _openai() -> Answers:
    usage = {
        "prompt_tokens": 2006, "completion_tokens": 300, "total_tokens": 2306,
        "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 128, "audio_tokens": 0},
    }  # fmt: skip

    def chunk(delta: dict[str, str], finish: str | None, used: object) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return event({
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m-2026",
            "service_tier": "default", "system_fingerprint": "fp_0123456789",
            "choices": [] if used else [choice], "usage": used,
        })  # fmt: skip

    message: dict[str, object] = {
        "role": "assistant",
        "content": TEXT,
        "refusal": None,
        "annotations": [],
    }
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    value = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m-2026"}
    return Answers(
        path=b"/chat/",
        body=json.dumps({**value, "choices": [choice], "usage": usage}).encode(),
        start=b"",
        piece=chunk({"content": f" word{STAMP.decode()}"}, None, None),
        stop=chunk({}, "stop", None),
        used=chunk({}, None, usage),
        done=event(b"[DONE]") + LAST_CHUNK,
        usage=b'"total_tokens":',
        own_events=3,
    )


def _anthropic() -> Answers:
    def typed(kind: str, **fields: object) -> bytes:
        return event({"type": kind, **fields}, kind)

    asked = {
        "input_tokens": 86, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 1920,
        "service_tier": "standard",
    }  # fmt: skip
    usage = {**asked, "output_tokens": 300}
    value = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m-2026"}
    ended = {"stop_reason": "end_turn", "stop_sequence": None}
    begun: dict[str, object] = {
        **value, "content": [], "stop_reason": None, "stop_sequence": None,
        "usage": {**asked, "output_tokens": 1},
    }  # fmt: skip
    delta = {"type": "text_delta", "text": f" word{STAMP.decode()}"}
    content = [{"type": "text", "text": TEXT}]
    return Answers(
        path=b"/messages",
        body=json.dumps(
            {**value, "content": content, **ended, "usage": usage}, separators=(",", ":")
        ).encode(),
        start=typed("message_start", message=begun)
        + typed("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        piece=typed("content_block_delta", index=0, delta=delta),
        stop=typed("content_block_stop", index=0),
        used=typed("message_delta", delta=ended, usage=usage),
        done=typed("message_stop") + LAST_CHUNK,
        usage=b'"output_tokens":300',
        own_events=5,
    )


def _gemini() -> Answers:
    usage = {
        "promptTokenCount": 2006, "candidatesTokenCount": 172, "totalTokenCount": 2306,
        "cachedContentTokenCount": 1920, "thoughtsTokenCount": 128,
    }  # fmt: skip

    def part(text: str, **more: object) -> dict[str, object]:
        content = {"parts": [{"text": text}], "role": "model"}
        return {
            "candidates": [{"content": content, "index": 0, **more}], "modelVersion": "m-2026",
            "responseId": "r-0123456789",
        }  # fmt: skip

    used = {**part("", finishReason="STOP"), "usageMetadata": usage}
    return Answers(
        path=b"/models/",
        body=json.dumps({**part(TEXT, finishReason="STOP"), "usageMetadata": usage}).encode(),
        start=b"",
        piece=event(part(f" word{STAMP.decode()}"), end=b"\r\n\r\n"),
        stop=b"",
        used=event(used, end=b"\r\n\r\n"),
        done=LAST_CHUNK,
        usage=b'"usageMetadata":',
        own_events=1,
    )


DIALECTS = {"openai": _openai(), "anthropic": _anthropic(), "gemini": _gemini()}


def answers_to(path: bytes) -> Answers:
    """Return the answers of the dialect whose path this is."""
    found = (answers for answers in DIALECTS.values() if answers.path in path)
    return next(found, DIALECTS["openai"])
