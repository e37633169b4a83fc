"""Answers and requests that many tests use, one for each dialect."""

from __future__ import annotations

import json

from recorded_answers import (
    CHAT_USAGE,
)

HELLO = [{"role": "user", "content": "Hello"}]


CHAT = {
    "id": "c1", "object": "chat.completion", "created": 1, "model": "gpt-5-mini",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hi"}}],
    "usage": CHAT_USAGE,
}  # fmt: skip


MESSAGE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "stop_reason": "end_turn",
    "stop_sequence": None, "content": [{"type": "text", "text": "Hi"}],
    "usage": {"input_tokens": 3, "output_tokens": 2},
}  # fmt: skip


def body(value: object) -> bytes:
    return json.dumps(value).encode()
