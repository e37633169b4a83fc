"""A vendor of four APIs that answers in turns: what an agent asks in its main calls is answered
with the next turn, and what it asks beside them, such as for a title, with a word."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from recorded_answers import sse
from scripted_vendor import Received, Script, Wire, answer, chunk

Object = dict[str, Any]
ASIDE = "word"


@dataclass(frozen=True)
class Turn:
    """One answer: a text, and calls of tools as (name, arguments); Responses has tools that take a
    text, too.

    `status` other than 200 makes it an error. `holds` leaves a stream open after its first event,
    until the client is gone; `cuts` resets it there.
    """

    text: str = ""
    tools: tuple[tuple[str, Object | str], ...] = ()
    status: int = 200
    retry_after: str = ""
    holds: bool = False
    cuts: bool = False


def is_agents_main_call(request: Received) -> bool:
    """Return whether an agent asks this for its user: it offers tools then."""
    body: Object = request.json()
    first = body.get("input", [{}])[:1]
    return bool(body.get("tools")) or '"additional_tools"' in json.dumps(first)


@dataclass
class AnsweringVendor:
    """The script of a `ScriptedVendor`: `vendor.play(answering.script)`.

    Attributes:
        turns: What is left to answer; the last stays.
        is_main: Which requests the turns are for.
        main: The bodies of the main calls so far.
        held: Set when a stream is held.
    """

    turns: list[Turn] = field(default_factory=list)
    is_main: Callable[[Received], bool] = is_agents_main_call
    main: list[Object] = field(default_factory=list)
    held: asyncio.Event = field(default_factory=asyncio.Event)

    def play(self, *turns: Turn) -> None:
        """Answer the next main calls with these turns."""
        self.turns[:] = turns
        self.main.clear()
        self.held.clear()

    @property
    def script(self) -> Script:
        """Return the script to play."""
        return self._answer

    async def _answer(self, wire: Wire) -> None:
        request = wire.request
        path = request.path.partition("?")[0]
        if not request.line.startswith("POST"):
            await answer(b'{"object": "list", "data": []}')(wire)
            return
        if path.endswith(("/count_tokens", ":countTokens")):
            await answer(b'{"input_tokens": 10, "totalTokens": 10}')(wire)
            return
        turn = _aside(request.json())
        if self.is_main(request):
            self.main.append(request.json())
            turn = self.turns.pop(0) if len(self.turns) > 1 else self.turns[0]
        if turn.status != 200:
            await _refusal(turn)(wire)
            return
        render = next(each for end, each in _APIS.items() if end in path)
        await self._send(wire, render, turn, "stream" in path or request.json().get("stream"))

    async def _send(self, wire: Wire, render: Render, turn: Turn, streams: object) -> None:
        events, whole = render(turn, len(self.main))
        if not streams:
            await answer(json.dumps(whole).encode())(wire)
            return
        names = render in (_messages, _responses)
        pieces = [sse(each, names=names, end="\r\n\r\n") for each in events]
        await wire.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        begun = len(pieces) // 2 if turn.holds or turn.cuts else len(pieces)
        for piece in pieces[:begun]:
            await wire.send(chunk(piece))
            await asyncio.sleep(0)
        if turn.holds:
            self.held.set()
            await wire.until_gone()
        elif turn.cuts:
            await asyncio.sleep(0.05)  # a reset throws away what is not read yet
            wire.reset()
        else:
            await wire.send(chunk(b""))


def _aside(asked: Object) -> Turn:
    """Return a word, or an object of words and numbers where Gemini's schema demands one."""
    schema = asked.get("generationConfig", {}).get("responseJsonSchema")
    if schema is None:
        return Turn(ASIDE)
    fields = schema["properties"].items()
    return Turn(json.dumps({n: 1 if f["type"] == "INTEGER" else ASIDE for n, f in fields}))


Render = Callable[[Turn, int], tuple[list[object], Object]]


def _refusal(turn: Turn) -> Script:
    message = f"the vendor answers {turn.status}"
    kinds = {429: "rate_limit_error", 529: "overloaded_error", 401: "authentication_error"}
    error = {"type": kinds.get(turn.status, "api_error"), "message": message,
             "code": turn.status, "status": "RESOURCE_EXHAUSTED"}  # fmt: skip
    body = json.dumps({"type": "error", "error": error}).encode()
    more = {"retry_after": turn.retry_after} if turn.retry_after else {}
    return answer(body, f"{turn.status} Refused", **more)


def _chat(turn: Turn, number: int) -> tuple[list[object], Object]:
    base = {"id": f"chatcmpl-{number}", "created": 1, "model": "gpt-5"}
    calls: list[Object] = [
        {"id": f"call_{number}_{at}", "type": "function",
         "function": {"name": name, "arguments": json.dumps(values)}}
        for at, (name, values) in enumerate(turn.tools)
    ]  # fmt: skip
    finish = "tool_calls" if calls else "stop"
    usage = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}

    def piece(delta: Object, finish: str | None = None) -> Object:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return {**base, "object": "chat.completion.chunk", "choices": [choice]}

    events: list[object] = [piece({"role": "assistant", "content": ""})]
    events += [piece({"content": part}) for part in _parts(turn.text)]
    events += [piece({"tool_calls": [{"index": at, **call}]}) for at, call in enumerate(calls)]
    last = {**base, "object": "chat.completion.chunk", "choices": [], "usage": usage}
    message = {"role": "assistant", "content": turn.text or None}
    if calls:
        message["tool_calls"] = calls  # type: ignore[assignment]
    choice = {"index": 0, "message": message, "finish_reason": finish}
    whole = {**base, "object": "chat.completion", "choices": [choice], "usage": usage}
    return [*events, piece({}, finish), last, "[DONE]"], whole


def _messages(turn: Turn, number: int) -> tuple[list[object], Object]:
    blocks: list[Object] = [{"type": "text", "text": turn.text}] if turn.text else []
    blocks += [
        {"type": "tool_use", "id": f"toolu_{number}_{at}", "name": name, "input": values}
        for at, (name, values) in enumerate(turn.tools)
    ]
    usage = {"input_tokens": 20, "output_tokens": 5}
    reason = "tool_use" if turn.tools else "end_turn"
    base = {"id": f"msg_{number}", "type": "message", "role": "assistant", "model": "claude-x",
            "stop_sequence": None}  # fmt: skip
    head = {**base, "content": [], "stop_reason": None, "usage": usage}
    events: list[object] = [{"type": "message_start", "message": head}]
    for at, block in enumerate(blocks):
        if block["type"] == "text":
            empty: Object = {"type": "text", "text": ""}
            deltas = [{"type": "text_delta", "text": part} for part in _parts(block["text"])]
        else:
            empty = {**block, "input": {}}
            text = json.dumps(block["input"])
            deltas = [{"type": "input_json_delta", "partial_json": part} for part in _parts(text)]
        events.append({"type": "content_block_start", "index": at, "content_block": empty})
        events += [{"type": "content_block_delta", "index": at, "delta": each} for each in deltas]
        events.append({"type": "content_block_stop", "index": at})
    end = {"stop_reason": reason, "stop_sequence": None}
    events.append({"type": "message_delta", "delta": end, "usage": {"output_tokens": 5}})
    events.append({"type": "message_stop"})
    return events, {**base, "content": blocks, "stop_reason": reason, "usage": usage}


def _responses(turn: Turn, number: int) -> tuple[list[object], Object]:
    items: list[Object] = []
    if turn.text:
        content = [{"type": "output_text", "text": turn.text, "annotations": []}]
        items.append({"type": "message", "id": f"msg_{number}", "role": "assistant",
                      "status": "completed", "content": content})  # fmt: skip
    for at, (name, values) in enumerate(turn.tools):
        call = {"call_id": f"call_{number}_{at}", "name": name, "status": "completed"}
        if isinstance(values, str):
            kind = {"type": "custom_tool_call", "id": f"ctc_{number}_{at}", "input": values}
        else:
            text = json.dumps(values)
            kind = {"type": "function_call", "id": f"fc_{number}_{at}", "arguments": text}
        items.append(kind | call)
    usage = {"input_tokens": 20, "output_tokens": 5, "total_tokens": 25,
             "input_tokens_details": {"cached_tokens": 0},
             "output_tokens_details": {"reasoning_tokens": 0}}  # fmt: skip
    base = {"id": f"resp_{number}", "object": "response", "created_at": 1, "model": "gpt-5",
            "parallel_tool_calls": True, "tool_choice": "auto", "tools": []}  # fmt: skip
    whole = {**base, "status": "completed", "output": items, "usage": usage}
    begun = {**base, "status": "in_progress", "output": []}
    events: list[Object] = [{"type": "response.created", "response": begun}]
    for at, item in enumerate(items):
        events += _responses_item(at, item)
    events.append({"type": "response.completed", "response": whole})
    return [{**each, "sequence_number": at} for at, each in enumerate(events)], whole


def _responses_item(at: int, item: Object) -> Iterator[Object]:
    place = {"output_index": at, "item_id": item["id"]}
    if item["type"] == "message":
        part, text = item["content"][0], item["content"][0]["text"]
        place["content_index"] = 0
        empty = {**item, "content": [], "status": "in_progress"}
        yield {"type": "response.output_item.added", "output_index": at, "item": empty}
        yield {"type": "response.content_part.added", **place, "part": {**part, "text": ""}}
        for each in _parts(text):
            yield {"type": "response.output_text.delta", **place, "delta": each, "logprobs": []}
        yield {"type": "response.output_text.done", **place, "text": text, "logprobs": []}
        yield {"type": "response.content_part.done", **place, "part": part}
    else:
        name, events = _CALLS[item["type"]]
        empty = {**item, name: "", "status": "in_progress"}
        yield {"type": "response.output_item.added", "output_index": at, "item": empty}
        yield {"type": f"{events}.delta", **place, "delta": item[name]}
        yield {"type": f"{events}.done", **place, name: item[name]}
    yield {"type": "response.output_item.done", "output_index": at, "item": item}


_CALLS = {
    "function_call": ("arguments", "response.function_call_arguments"),
    "custom_tool_call": ("input", "response.custom_tool_call_input"),
}


def _gemini(turn: Turn, number: int) -> tuple[list[object], Object]:
    usage = {"promptTokenCount": 20, "candidatesTokenCount": 5, "totalTokenCount": 25}
    base = {"responseId": f"r{number}", "modelVersion": "gemini-3", "usageMetadata": usage}
    parts: list[Object] = [{"text": part} for part in _parts(turn.text)]
    parts += [{"functionCall": {"name": name, "args": values}} for name, values in turn.tools]

    def piece(parts: list[Object], finish: str | None) -> Object:
        candidate: Object = {"index": 0, "content": {"role": "model", "parts": parts}}
        return {**base, "candidates": [candidate | ({"finishReason": finish} if finish else {})]}

    last = piece([{"text": ""}], "STOP")
    return [*(piece([each], None) for each in parts), last], piece(parts, "STOP")


_APIS: dict[str, Render] = {
    "/chat/completions": _chat,
    "/responses": _responses,
    "/messages": _messages,
    ":generateContent": _gemini,
    ":streamGenerateContent": _gemini,
}


def _parts(text: str) -> list[str]:
    """Return a text in two parts."""
    half = (len(text) + 1) // 2
    return [part for part in (text[:half], text[half:]) if part]
