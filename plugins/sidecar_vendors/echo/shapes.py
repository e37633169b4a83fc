"""The JSON of echo's responses in each dialect."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from typing import Any

Shape = dict[str, Any]
SAID = "You said: "


def last_words(messages: object) -> tuple[int, str]:
    """Return the number of words in a conversation, and the answer to its last message."""
    texts = [_text(each.get("content")) for each in _rows(messages)]
    return _count(" ".join(texts)), SAID + (texts[-1] if texts else "nothing")


def last_parts(contents: object) -> tuple[int, str]:
    """Return the same of Gemini's `contents`."""
    if isinstance(contents, str):
        return _count(contents), SAID + contents
    texts = [_text(each.get("parts")) for each in _rows(contents)]
    return _count(" ".join(texts)), SAID + (texts[-1] if texts else "nothing")


def _rows(value: object) -> list[Shape]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    texts = [each.get("text") for each in _rows(content)]
    return " ".join(text for text in texts if isinstance(text, str))


def _count(text: str) -> int:
    return max(1, len(text.split()))


def _pieces(answer: str) -> list[str]:
    words = answer.split(" ")
    return [word if number == 0 else f" {word}" for number, word in enumerate(words)]


def chat(model: str, prompt: int, answer: str) -> Shape:
    """Return a chat completion."""
    return {
        "id": "chatcmpl-echo", "object": "chat.completion", "created": 0, "model": model,
        "choices": [
            {
                "index": 0, "finish_reason": "stop", "logprobs": None,
                "message": {"role": "assistant", "content": answer, "refusal": None},
            }
        ],
        "usage": _chat_usage(prompt, answer),
    }  # fmt: skip


def _chat_usage(prompt: int, answer: str) -> Shape:
    output = _count(answer)
    return {
        "prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }  # fmt: skip


def chat_stream(model: str, prompt: int, answer: str, *, usage: bool) -> Iterator[Shape]:
    """Yield the chunks of a chat completion."""
    base = {"id": "chatcmpl-echo", "object": "chat.completion.chunk", "created": 0, "model": model}
    extra: Shape = {"usage": None} if usage else {}
    deltas: list[Shape] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": piece} for piece in _pieces(answer)]
    for delta in deltas:
        yield {**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}], **extra}
    yield {**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], **extra}
    if usage:
        yield {**base, "choices": [], "usage": _chat_usage(prompt, answer)}


def response(model: str, prompt: int, answer: str) -> Shape:
    """Return a response of the responses API."""
    output = _count(answer)
    return {
        "id": "resp_echo", "object": "response", "created_at": 0, "status": "completed",
        "model": model, "error": None, "incomplete_details": None, "instructions": None,
        "metadata": {}, "parallel_tool_calls": True, "temperature": 1.0, "tool_choice": "auto",
        "tools": [], "top_p": 1.0,
        "output": [_response_item(answer)],
        "usage": {
            "input_tokens": prompt, "output_tokens": output, "total_tokens": prompt + output,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        },
    }  # fmt: skip


def _response_item(answer: str) -> Shape:
    text = {"type": "output_text", "text": answer, "annotations": []}
    return {
        "id": "msg_echo", "type": "message", "role": "assistant", "status": "completed",
        "content": [text],
    }  # fmt: skip


def response_stream(whole: Shape, answer: str) -> Iterator[Shape]:
    """Yield the events of a response."""
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    place = {"item_id": "msg_echo", "output_index": 0, "content_index": 0}
    item = whole["output"][0]
    part = item["content"][0]
    events: list[Shape] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
        *({"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []}
          for piece in _pieces(answer)),
        {"type": "response.output_text.done", **place, "text": answer, "logprobs": []},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": whole},
    ]  # fmt: skip
    for number, event in enumerate(events):
        yield {**event, "sequence_number": number}


def message(model: str, prompt: int, answer: str) -> Shape:
    """Return a message."""
    return {
        "id": "msg_echo", "type": "message", "role": "assistant", "model": model,
        "content": [{"type": "text", "text": answer}],
        "stop_reason": "end_turn", "stop_sequence": None,
        "usage": {
            "input_tokens": prompt, "output_tokens": _count(answer),
            "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
        },
    }  # fmt: skip


def message_stream(whole: Shape, answer: str) -> Iterator[Shape]:
    """Yield the events of a message."""
    usage = whole["usage"]
    begun = {**whole, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    yield {"type": "message_start", "message": begun}
    block = {"type": "text", "text": ""}
    yield {"type": "content_block_start", "index": 0, "content_block": block}
    yield {"type": "ping"}
    for piece in _pieces(answer):
        delta = {"type": "text_delta", "text": piece}
        yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    yield {"type": "message_delta", "delta": stop, "usage": {"output_tokens": _count(answer)}}
    yield {"type": "message_stop"}


def generated(model: str, prompt: int, answer: str, *, last: bool = True) -> Shape:
    """Return a response of generateContent, or one chunk of it."""
    output = _count(answer)
    candidate: Shape = {"index": 0, "content": {"role": "model", "parts": [{"text": answer}]}}
    if last:
        candidate["finishReason"] = "STOP"
    return {
        "candidates": [candidate],
        "usageMetadata": {
            "promptTokenCount": prompt, "candidatesTokenCount": output,
            "totalTokenCount": prompt + output,
        },
        "modelVersion": model, "responseId": "echo",
    }  # fmt: skip


def generated_stream(model: str, prompt: int, answer: str) -> Iterator[Shape]:
    """Yield the chunks of streamGenerateContent, with cumulative figures."""
    pieces = _pieces(answer)
    for number, piece in enumerate(pieces, 1):
        chunk = generated(model, prompt, piece, last=number == len(pieces))
        chunk["usageMetadata"]["candidatesTokenCount"] = number
        chunk["usageMetadata"]["totalTokenCount"] = prompt + number
        yield chunk


def embeddings(model: str, inputs: list[str], *, coded: bool) -> Shape:
    """Return vectors of length one; in base64 if `coded`, the default of the SDK."""
    vector: object = [1.0, 0.0]
    if coded:
        vector = base64.b64encode(struct.pack("<2f", 1.0, 0.0)).decode()
    tokens = sum(map(_count, inputs))
    return {
        "object": "list", "model": model,
        "data": [
            {"object": "embedding", "index": index, "embedding": vector}
            for index in range(len(inputs))
        ],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }  # fmt: skip


def openai_model(name: str) -> Shape:
    """Return a row of OpenAI's models list."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "echo"}


def anthropic_models(name: str) -> Shape:
    """Return Anthropic's models list."""
    row = {
        "type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z",
    }  # fmt: skip
    return {"data": [row], "has_more": False, "first_id": name, "last_id": name}


def gemini_model(name: str) -> Shape:
    """Return a row of Gemini's models list."""
    methods = ["generateContent", "streamGenerateContent", "countTokens"]
    return {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": methods}


def error(status: int, message: str) -> Shape:
    """Return an error that clients of all three dialects can parse."""
    words = {400: ("invalid_request_error", "INVALID_ARGUMENT"), 404: ("not_found", "NOT_FOUND")}
    kind, name = words.get(status, ("api_error", "UNKNOWN"))
    return {
        "type": "error",
        "error": {"type": kind, "code": status, "status": name, "message": message},
    }
