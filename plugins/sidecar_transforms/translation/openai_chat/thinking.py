"""Thinking in chat completions.

OpenAI's own chat shows none. Other providers send `reasoning_content` (some: `reasoning`) and take
it back. `reasoning_details`, as OpenRouter has it, carries signatures too; clients that return it
keep the thinking of a signing model.
"""

from __future__ import annotations

from sidecar_transforms.translation.model import JsonObject, Signature, ThinkingPart
from sidecar_transforms.translation.signatures import unwrap_signature, wrap_signature
from sidecar_transforms.translation.wire_format import as_dicts, as_integer, as_text

THINKING_FIELDS = frozenset({"reasoning_details", "reasoning_content", "reasoning"})
"""The fields of a message or of a delta that hold thinking."""
_TEXT = "reasoning.text"
_HIDDEN = "reasoning.encrypted"


def read_details(message: JsonObject, model: str) -> list[ThinkingPart]:
    """Return the thinking in `reasoning_details`; pieces of one index are one part."""
    found: dict[int, ThinkingPart] = {}
    for number, each in enumerate(as_dicts(message.get("reasoning_details"))):
        hidden = each.get("type") == _HIDDEN
        index = as_integer(each.get("index"))
        key = number if index is None else index
        part = found.setdefault(key, ThinkingPart("", hidden=hidden))
        part.text += as_text(each.get("text"))
        value = as_text(each.get("data" if hidden else "signature"))
        if value:
            part.signature = unwrap_signature(value, "openai_chat")
    for part in found.values():
        if part.signature is None:
            part.signature = Signature("openai_chat", "", model)
    return list(found.values())


def write_detail(part: ThinkingPart, index: int) -> JsonObject:
    """Return one item of `reasoning_details`."""
    value = wrap_signature(part.signature, "openai_chat")
    if part.hidden:
        return {"type": _HIDDEN, "data": value, "index": index}
    found: JsonObject = {"type": _TEXT, "text": part.text, "index": index}
    if value:
        found["signature"] = value
    return found
