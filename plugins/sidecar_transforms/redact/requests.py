"""The texts of a request, in the JSON of any dialect."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

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


class RequestText(NamedTuple):
    """A text of a request: `owner[place]`; the name `place` itself if `is_name`."""

    owner: Any
    place: str | int
    text: str
    is_name: bool = False

    def replace(self, text: str) -> None:
        """Put another text in its place. A name is the last text of its object to be replaced."""
        if not self.is_name:
            self.owner[self.place] = text
            return
        fields = [(text if name == self.place else name, self.owner[name]) for name in self.owner]
        self.owner.clear()
        self.owner.update(fields)


def texts_of(document: object) -> list[RequestText]:
    """Return the texts of a JSON object or list, in the order in which they may be replaced."""
    found: list[RequestText] = []
    _add_texts(document, found)
    return found


def _add_texts(owner: object, found: list[RequestText], *, free: bool = False) -> None:
    """Add the texts in an object or a list. `free` is whether it belongs to the arguments or the
    result of a tool."""
    if isinstance(owner, list):
        for number, value in enumerate(owner):
            _add(owner, number, value, found, free=free)
    elif isinstance(owner, dict) and free:
        for name, value in owner.items():
            _add(owner, name, value, found, free=True)
        found += [RequestText(owner, name, name, is_name=True) for name in owner]
    elif isinstance(owner, dict) and not _is_signed(owner):
        for name, value in owner.items():
            if name in _NAMES and isinstance(value, str):
                continue
            if name == "data" and _is_file(owner):
                continue
            _add(owner, name, value, found, free=name in _FREE or _is_input(owner, name))


def _add(
    owner: object, place: str | int, value: object, found: list[RequestText], *, free: bool
) -> None:
    if not isinstance(value, str):
        _add_texts(value, found, free=free)
    elif not _FILE_URL.fullmatch(value):
        found.append(RequestText(owner, place, value))


def _is_signed(block: dict[str, object]) -> bool:
    return block.get("type") in _SIGNED or block.get("thought") is True


def _is_file(block: dict[str, object]) -> bool:
    return block.get("type") != "text" and any(each in block for each in _OF_FILES)


def _is_input(block: dict[str, object], name: str) -> bool:
    return name == "input" and str(block.get("type")).endswith("tool_use")
