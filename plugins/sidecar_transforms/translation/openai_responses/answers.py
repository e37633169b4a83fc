"""Read whole answers of the Responses API, and read and write usage."""

from __future__ import annotations

from collections.abc import Mapping

from sidecar_transforms.translation.model import (
    JsonObject,
    ModelAnswer,
    StopReason,
    TextPart,
    ThinkingPart,
    TokenCounts,
    ToolCallPart,
    TranslationError,
)
from sidecar_transforms.translation.openai_responses.reasoning import read_reasoning
from sidecar_transforms.translation.wire_format import as_dict, as_dicts, as_integer, as_text

_INCOMPLETE: Mapping[str, StopReason] = {"content_filter": "refusal"}


def read_answer(body: JsonObject, model: str) -> ModelAnswer:
    """Return the answer."""
    if not isinstance(body.get("output"), list):
        raise TranslationError("it has no `output`")
    made_by = as_text(body.get("model")) or model
    parts: list[TextPart | ToolCallPart | ThinkingPart] = []
    refused = False
    for item in as_dicts(body["output"]):
        found = read_item(item, model)
        parts += found
        refused = refused or has_refusal(item)
    called = any(isinstance(part, ToolCallPart) for part in parts)
    stop = read_stop(body, called=called, refused=refused)
    counts = read_counts(as_dict(body.get("usage")))
    return ModelAnswer(as_text(body.get("id")), made_by, parts, counts, stop)


def read_item(item: JsonObject, model: str) -> list[TextPart | ToolCallPart | ThinkingPart]:
    """Return the parts of an item of the output.

    Raises:
        TranslationError: It is of a tool that no translated request asks for.
    """
    match item.get("type"):
        case "message":
            return [
                TextPart(as_text(each.get("text")) or as_text(each.get("refusal")))
                for each in as_dicts(item.get("content"))
            ]
        case "function_call":
            name, arguments = as_text(item.get("name")), as_text(item.get("arguments"))
            return [ToolCallPart(call_id(item), name, arguments)]
        case "reasoning":
            part = read_reasoning(item, model)
            return [part] if part.text or part.hidden else []
        case kind:
            raise TranslationError(
                f"it has an item of type `{kind}`, which the request did not ask for"
            )


def call_id(item: JsonObject) -> str:
    """Return the id of a call, which its result names."""
    return as_text(item.get("call_id")) or as_text(item.get("id"))


def has_refusal(item: JsonObject) -> bool:
    """Return whether a message is a refusal."""
    return any(each.get("type") == "refusal" for each in as_dicts(item.get("content")))


def read_stop(response: JsonObject, *, called: bool, refused: bool) -> StopReason:
    """Return the reason of the stop."""
    if response.get("status") == "incomplete":
        reason = as_text(as_dict(response.get("incomplete_details")).get("reason"))
        return _INCOMPLETE.get(reason, "length")
    if called:
        return "tool_calls"
    return "refusal" if refused else "end"


def read_counts(usage: JsonObject) -> TokenCounts | None:
    """Return the figures; None if there are none."""
    if not usage:
        return None
    given, made = (as_dict(usage.get(f"{each}_tokens_details")) for each in ("input", "output"))
    return TokenCounts(
        as_integer(usage.get("input_tokens")) or 0,
        as_integer(usage.get("output_tokens")) or 0,
        as_integer(given.get("cached_tokens")),
        as_integer(given.get("cache_write_tokens")),
        None,
        as_integer(made.get("reasoning_tokens")),
    )


def write_counts(counts: TokenCounts) -> JsonObject:
    """Return `usage`, whose input includes the cache."""
    return {
        "input_tokens": counts.input,
        "input_tokens_details": {
            "cached_tokens": counts.cache_read or 0,
            "cache_write_tokens": counts.cache_write or 0,
        },
        "output_tokens": counts.output,
        "output_tokens_details": {"reasoning_tokens": counts.reasoning or 0},
        "total_tokens": counts.input + counts.output,
    }
