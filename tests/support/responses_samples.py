"""Requests of Codex and answers of OpenAI's Responses API, as they are on the wire."""

from __future__ import annotations

import json
from typing import Any

from translation_samples import JSON, SSE, halves

from sidecar_transforms.translation import ResponseTranslator, translate_request

Shape = dict[str, Any]
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: begin hunk+ end"}
PATCH = '*** Begin Patch\n*** Add File: "é\\n😀"\n+a\tb\n*** End Patch\n'
TOOLS: list[Shape] = [
    {"type": "custom", "name": "apply_patch", "description": "Edit files.", "format": GRAMMAR},
    {"type": "function", "name": "exec", "strict": False, "parameters": {"type": "object"}},
    {"type": "namespace", "name": "mcp__notes__", "description": "Notes.", "tools": [
        {"type": "function", "name": "find", "parameters": {"type": "object"}}]},
    {"type": "local_shell"},
    {"type": "web_search", "external_web_access": False},
]  # fmt: skip
CODEX: Shape = {
    "model": "m", "instructions": "You are a coding agent.", "tools": TOOLS, "tool_choice": "auto",
    "input": [
        {"type": "message", "role": "developer",
         "content": [{"type": "input_text", "text": "Ask first."}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Edit a."}]},
    ],
    "parallel_tool_calls": True, "reasoning": {"effort": "medium", "summary": "auto"},
    "store": False, "stream": True, "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "thread-1", "client_metadata": {"installation": "i"},
}  # fmt: skip
"""A request as Codex sends it."""


RESPONSE_USAGE = {
    "input_tokens": 1200, "input_tokens_details": {"cached_tokens": 1024, "cache_write_tokens": 64},
    "output_tokens": 340, "output_tokens_details": {"reasoning_tokens": 200}, "total_tokens": 1540,
}  # fmt: skip
"""The same figures."""


def response_stream(*items: Shape, reason: str = "", usage: Shape | None = None) -> bytes:
    """Return the events of a response as OpenAI sends them; each text in two deltas.

    Args:
        items: The output; ids are added.
        reason: Why the response is incomplete; "" if it is complete.
        usage: The figures, if they are not the usual ones.
    """
    base: Shape = {
        "id": "resp_9", "object": "response", "created_at": 1, "model": "gpt-x", "error": None,
        "incomplete_details": None, "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
    }  # fmt: skip
    begun = {**base, "status": "in_progress", "output": [], "usage": None}
    events: list[Shape] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
    ]
    output = [{"id": f"item_{at}", "status": "completed", **item} for at, item in enumerate(items)]
    for at, item in enumerate(output):
        empty, inner = _item_events(item, {"item_id": item["id"], "output_index": at})
        events.append({"type": "response.output_item.added", "output_index": at, "item": empty})
        events += [{"type": f"response.{name}", **rest} for name, rest in inner]
        events.append({"type": "response.output_item.done", "output_index": at, "item": item})
    whole = {**base, "status": "completed", "output": output, "usage": usage or RESPONSE_USAGE}
    if reason:
        whole |= {"status": "incomplete", "incomplete_details": {"reason": reason}}
    events.append({"type": f"response.{whole['status']}", "response": whole})
    numbered = ({**each, "sequence_number": at} for at, each in enumerate(events))
    lines = [f"event: {each['type']}\ndata: {json.dumps(each)}\n\n" for each in numbered]
    return "".join(lines).encode()


def message_item(text: str) -> Shape:
    """Return a message of a response's output."""
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "message", "role": "assistant", "content": [part]}


def _item_events(item: Shape, place: Shape) -> tuple[Shape, list[tuple[str, Shape]]]:
    """Return the item as it begins, and the events up to its end."""
    if item["type"] == "message":
        (part,) = item["content"]
        place |= {"content_index": 0}
        deltas = [
            ("output_text.delta", {**place, "delta": half, "logprobs": []})
            for half in halves(part["text"])
        ]
        return {**item, "status": "in_progress", "content": []}, [
            ("content_part.added", {**place, "part": {**part, "text": ""}}), *deltas,
            ("output_text.done", {**place, "text": part["text"], "logprobs": []}),
            ("content_part.done", {**place, "part": part}),
        ]  # fmt: skip
    if item["type"] == "function_call":
        arguments = item["arguments"]
        return {**item, "status": "in_progress", "arguments": ""}, [
            *(("function_call_arguments.delta", {**place, "delta": half})
              for half in halves(arguments)),
            ("function_call_arguments.done", {**place, "arguments": arguments}),
        ]  # fmt: skip
    inner: list[tuple[str, Shape]] = []
    for at, part in enumerate(item["summary"]):
        here, text = {**place, "summary_index": at}, part["text"]
        inner += [
            ("reasoning_summary_part.added", {**here, "part": {**part, "text": ""}}),
            *(("reasoning_summary_text.delta", {**here, "delta": half}) for half in halves(text)),
            ("reasoning_summary_text.done", {**here, "text": text}),
            ("reasoning_summary_part.done", {**here, "part": part}),
        ]
    empty = {name: item[name] for name in ("id", "type")}
    return {**empty, "summary": [], "encrypted_content": "gAAAA-not-whole"}, inner


def uses() -> list[Shape]:
    """Return a call of each of these tools, as Anthropic has it."""
    given: list[tuple[str, Shape]] = [
        ("apply_patch", {"input": PATCH}), ("exec", {}), ("mcp__notes__find", {"q": "x"}),
        ("local_shell", {"command": ["ls"], "timeout_ms": 9}),
    ]  # fmt: skip
    return [
        {"type": "tool_use", "id": f"toolu_{at}", "name": name, "input": found}
        for at, (name, found) in enumerate(given)
    ]


def translated(
    source: str, target: str, request: Shape, provider: bytes, *, size: int = 50, whole: bool = True
) -> list[bytes]:
    """Return the client's answer, as the provider's arrives in pieces of this size."""
    context = translate_request(source, target, json.dumps(request).encode(), model="m").context
    kind = SSE if provider.startswith((b"event:", b"data:")) else JSON
    found = ResponseTranslator(context, status=200, content_type=kind)
    pieces = [found.feed(provider[at : at + size]) for at in range(0, len(provider), size)]
    return [*filter(None, pieces), *filter(None, [found.end(complete=whole)])]


def sent(source: str, target: str, request: Shape, model: str = "m") -> Shape:
    """Return the translated request."""
    body = translate_request(source, target, json.dumps(request).encode(), model=model).body
    return json.loads(body)  # type: ignore[no-any-return]
