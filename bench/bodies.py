"""Requests as coding agents send them: tools, a long conversation full of code, many headers.

No two sizes share a text, and the model stands first in one kind of body and last in the other,
as clients differ in that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

_CODE = '''def total(rows: list[dict[str, int]]) -> int:
    """Add up \\"amount\\" – skipping what is no number."""
    return sum(row["amount"] for row in rows if isinstance(row.get("amount"), int))\n'''
_HEADERS = """\
Host: 127.0.0.1
Accept: application/json
Accept-Encoding: gzip, deflate
Connection: keep-alive
Content-Type: application/json
User-Agent: OpenAI/Python 3.54.0
X-Stainless-Lang: python
X-Stainless-Package-Version: 3.54.0
X-Stainless-OS: Linux
X-Stainless-Arch: x64
X-Stainless-Runtime: CPython
X-Stainless-Runtime-Version: 3.11.7
X-Stainless-Async: false
x-stainless-retry-count: 0
x-stainless-read-timeout: 600
""".replace("\n", "\r\n")
_KEY_HEADERS = {
    "openai": "Authorization: Bearer ",
    "anthropic": "anthropic-version: 2023-06-01\r\nx-api-key: ",
    "gemini": "x-goog-api-key: ",
}


def message(
    key: str,
    size: int,
    query: str,
    *,
    streaming: bool,
    model_first: bool,
    dialect: str = "openai",
    headers: str = "",
    asks_usage: bool = True,
) -> bytes:
    """One HTTP request with a body of about `size` bytes; `query` tells the vendor what to do. A
    stream in OpenAI's dialect asks for its usage, unless not `asks_usage`."""
    if dialect == "openai":
        path = "/v1/chat/completions"
        body = agent_body(
            size, streaming=streaming, model_first=model_first, user=query, asks_usage=asks_usage
        )
    else:
        path, body = _other_dialect(dialect, size, streaming=streaming)
    asked = "&".join(filter(None, ("alt=sse" if "stream" in path else "", query)))
    head = (
        f"POST {path}{'?' if asked else ''}{asked} HTTP/1.1\r\n{_HEADERS}{headers}"
        f"{_KEY_HEADERS[dialect]}{key}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _other_dialect(dialect: str, size: int, *, streaming: bool) -> tuple[str, bytes]:
    """Return the path and the body of a request that is one long message."""

    def body(text: str) -> bytes:
        if dialect == "gemini":
            return _compact({"contents": [{"role": "user", "parts": [{"text": text}]}]})
        said = [{"role": "user", "content": text}]
        return _compact(
            {"model": "claude-sonnet-5", "max_tokens": 4096, "stream": streaming, "messages": said}
        )

    kind = "streamGenerateContent" if streaming else "generateContent"
    path = f"/v1beta/models/gemini-3-pro:{kind}" if dialect == "gemini" else "/v1/messages"
    return path, body("Go on. " + "x" * (size - len(body("Go on. "))))


def agent_body(
    size: int, *, streaming: bool, model_first: bool, user: str = "", asks_usage: bool = True
) -> bytes:
    options: dict[str, object] = {"temperature": 0.2, "stream": streaming}
    if user:
        options["user"] = user
    if streaming and asks_usage:
        options["stream_options"] = {"include_usage": True}
    model: dict[str, object] = {"model": "gpt-5-mini"}
    long = size > 4096
    before = {**model, **options} if model_first else {}
    after = {} if model_first else {**options, **model}
    rest = {"tools": [_tool(n) for n in range(12)]} if long else {}
    last = {"role": "user", "content": "Go on."}
    messages: list[object] = []
    filled = len(_compact({**before, **rest, "messages": [last], **after}))
    for turn in _turns():
        filled += len(_compact(turn)) + 1
        if filled > size:
            filled -= len(_compact(turn)) + 1
            break
        messages.append(turn)
    last["content"] += " " * (size - filled)
    return _compact({**before, **rest, "messages": [*messages, last], **after})


def _turns() -> Iterator[dict[str, object]]:
    yield {"role": "system", "content": "You are a careful engineer. Answer briefly. " * 6}
    yield {"role": "user", "content": "Why does the total differ? " * 4}
    number = 0
    while True:
        number += 1
        asked = {"name": "read_file", "arguments": f'{{"path":"src/part{number}/totals.py"}}'}
        call = {"id": f"call_{number}", "type": "function", "function": asked}
        yield {"role": "assistant", "content": None, "tool_calls": [call]}
        yield {"role": "tool", "tool_call_id": f"call_{number}", "content": _CODE * 8}


def _tool(number: int) -> dict[str, object]:
    properties = {
        name: {"type": "string", "description": f"The {name} to use; relative to the project."}
        for name in ("path", "pattern", "replacement")
    }
    schema = {"type": "object", "properties": properties, "required": ["path"]}
    function = {"name": f"tool_{number}", "description": "Works on a file.", "parameters": schema}
    return {"type": "function", "function": function}


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
