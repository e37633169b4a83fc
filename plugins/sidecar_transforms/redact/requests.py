"""The texts of a request, in the JSON of any dialect."""

from __future__ import annotations

import re
from collections.abc import Callable

_NAMES = frozenset({
    "model", "id", "type", "role", "name", "tool_use_id", "tool_call_id", "call_id", "item_id",
    "previous_response_id", "signature", "thoughtSignature", "thought_signature",
    "encrypted_content", "media_type", "mimeType", "mime_type",
})  # fmt: skip
"""Fields whose values are names, or signed."""
_SIGNED = frozenset({"thinking", "redacted_thinking", "reasoning"})
"""Types of blocks that the provider checks: a change would make it reject the request."""
_FREE = frozenset({"args", "response", "arguments"})
"""Fields with the arguments or the result of a tool: the names inside are texts, too."""
_FILE_URL = re.compile(
    r"data:[\w.+-]+/[\w.+-]+(?:;[\w-]+=[\w.-]+)*;base64,[A-Za-z0-9+/_-]*=*", re.ASCII
)
"""A file as one URL. Other texts that begin with `data:`, such as events of a stream, are texts."""
_OF_FILES = ("media_type", "mimeType", "mime_type", "format")


def changed_texts(value: object, change: Callable[[str], str], *, free: bool = False) -> object:
    """Return a JSON value with `change` applied to its texts; the same object if none changed.

    `free` is whether the value is the arguments or the result of a tool.
    """
    match value:
        case str():
            return value if _FILE_URL.fullmatch(value) else change(value)
        case list():
            items = [changed_texts(each, change, free=free) for each in value]
            is_same = all(one is other for one, other in zip(items, value, strict=True))
            return value if is_same else items
        case dict() if free or not _is_signed(value):
            fields = {
                change(k) if free else k: _field(value, k, v, change, free=free)
                for k, v in value.items()
            }
            is_same = all(k in fields and fields[k] is v for k, v in value.items())
            return value if is_same else fields
    return value


def _field(
    owner: dict[str, object], name: str, value: object, change: Callable[[str], str], *, free: bool
) -> object:
    if free:
        return changed_texts(value, change, free=True)
    if name in _NAMES and isinstance(value, str):
        return value
    if name == "data" and any(each in owner for each in _OF_FILES):
        is_text = owner.get("type") == "text"
        return changed_texts(value, change) if is_text else value
    is_tool = name == "input" and str(owner.get("type")).endswith("tool_use")
    return changed_texts(value, change, free=name in _FREE or is_tool)


def _is_signed(block: dict[str, object]) -> bool:
    return block.get("type") in _SIGNED or block.get("thought") is True
