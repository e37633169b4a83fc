"""Read and write whole answers and errors of OpenAI's chat completions."""

from __future__ import annotations

from collections.abc import Mapping

from sidecar_transforms.translation.events import Stopped
from sidecar_transforms.translation.model import (
    JsonObject,
    ModelAnswer,
    Signature,
    StopReason,
    TextPart,
    ThinkingPart,
    TokenCounts,
    ToolCallPart,
    TranslationError,
)
from sidecar_transforms.translation.openai_chat.thinking import read_details, write_detail
from sidecar_transforms.translation.wire_format import as_dict, as_dicts, as_integer, as_text

_STOPS: Mapping[str, StopReason] = {
    "stop": "end", "length": "length", "tool_calls": "tool_calls", "function_call": "tool_calls",
    "content_filter": "refusal", "max_tokens": "length", "error": "end", "eos": "end",
}  # fmt: skip
STOP_NAMES: Mapping[StopReason, str] = {
    "end": "stop", "stop_sequence": "stop", "length": "length", "context_full": "length",
    "tool_calls": "tool_calls", "refusal": "content_filter", "pause": "stop",
}  # fmt: skip


def completion_id(ident: str) -> str:
    """Return an answer's id with the prefix of chat completions."""
    return ident if ident.startswith("chatcmpl-") else f"chatcmpl-{ident.removeprefix('msg_')}"


def read_answer(body: JsonObject, model: str) -> ModelAnswer:
    """Return the first choice."""
    choices = as_dicts(body.get("choices"))
    if not choices:
        raise TranslationError("it has no `choices`")
    made_by = as_text(body.get("model")) or model
    message = as_dict(choices[0].get("message"))
    parts: list[TextPart | ToolCallPart | ThinkingPart] = [*read_details(message, model)]
    thinking = reasoning_text(message)
    if thinking and not parts:
        parts.append(ThinkingPart(thinking, Signature("openai_chat", "", model)))
    refusal = as_text(message.get("refusal"))
    text = as_text(message.get("content")) or refusal
    if text:
        parts.append(TextPart(text))
    for call in as_dicts(message.get("tool_calls")):
        function = as_dict(call.get("function"))
        name, arguments = as_text(function.get("name")), as_text(function.get("arguments"))
        parts.append(ToolCallPart(as_text(call.get("id")), name, arguments))
    called = any(isinstance(part, ToolCallPart) for part in parts)
    stop = read_stop(choices[0], called=called, refused=bool(refusal))
    counts = read_counts(as_dict(body.get("usage")))
    return ModelAnswer(as_text(body.get("id")), made_by, parts, counts, stop.reason, stop.sequence)


def read_stop(choice: JsonObject, *, called: bool, refused: bool) -> Stopped:
    """Return why the model stopped; some servers send "stop" after tool calls."""
    reason = _STOPS.get(as_text(choice.get("finish_reason")), "end")
    if reason != "end":
        return Stopped(reason)
    if called:
        return Stopped("tool_calls")
    if refused:
        return Stopped("refusal")
    sequence = as_text(choice.get("stop_reason"))  # vLLM's name
    return Stopped("stop_sequence", sequence) if sequence else Stopped("end")


def reasoning_text(message: JsonObject) -> str:
    """Return the thinking in a message or a delta, under either of its names."""
    return as_text(message.get("reasoning_content")) or as_text(message.get("reasoning"))


def read_counts(usage: JsonObject) -> TokenCounts | None:
    """Return the figures; None if there are none."""
    if not usage:
        return None
    given, made = (
        as_dict(usage.get(f"{each}_tokens_details")) for each in ("prompt", "completion")
    )
    read = as_integer(given.get("cached_tokens"))
    if read is None:
        read = as_integer(usage.get("prompt_cache_hit_tokens"))  # DeepSeek's name
    prompt = as_integer(usage.get("prompt_tokens")) or 0
    output = as_integer(usage.get("completion_tokens")) or 0
    # xAI's output excludes the reasoning, which only the total shows.
    output = max(output, (as_integer(usage.get("total_tokens")) or 0) - prompt)
    return TokenCounts(
        prompt,
        output,
        read,
        as_integer(given.get("cache_write_tokens")),
        None,
        as_integer(made.get("reasoning_tokens")),
    )


def write_counts(counts: TokenCounts) -> JsonObject:
    """Return `usage`, whose input includes the cache."""
    prompt: JsonObject = {"cached_tokens": counts.cache_read or 0}
    if counts.cache_write:
        prompt["cache_write_tokens"] = counts.cache_write
    return {
        "prompt_tokens": counts.input,
        "completion_tokens": counts.output,
        "total_tokens": counts.input + counts.output,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": {"reasoning_tokens": counts.reasoning or 0},
    }


def write_answer(answer: ModelAnswer) -> JsonObject:
    """Return a completion with one choice."""
    texts: list[str] = []
    thinking: list[str] = []
    calls: list[JsonObject] = []
    details: list[JsonObject] = []
    for part in answer.parts:
        match part:
            case TextPart(text=text):
                texts.append(text)
            case ToolCallPart(id=ident, name=name, arguments=arguments):
                function = {"name": name, "arguments": arguments or "{}"}
                calls.append({"id": ident, "type": "function", "function": function})
            case ThinkingPart(text=text):
                thinking.append(text)
                details.append(write_detail(part, len(details)))
    message: JsonObject = {
        "role": "assistant",
        "content": "".join(texts) if texts else None,
        "refusal": None,
    }
    if calls:
        message["tool_calls"] = calls
    if details:
        message |= {"reasoning_content": "".join(thinking), "reasoning_details": details}
    choice = {
        "index": 0, "message": message, "logprobs": None,
        "finish_reason": STOP_NAMES[answer.stop],
    }  # fmt: skip
    return {
        "id": completion_id(answer.id), "object": "chat.completion", "created": 0,
        "model": answer.model, "choices": [choice],
        "usage": write_counts(answer.counts or TokenCounts()),
    }  # fmt: skip
