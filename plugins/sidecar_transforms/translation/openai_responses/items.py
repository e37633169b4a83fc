"""The items of a response's output, and the events with which each is streamed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeAlias

from sidecar_transforms.translation.events import PartStarted
from sidecar_transforms.translation.model import JsonObject, Signature
from sidecar_transforms.translation.openai_responses.reasoning import write_encrypted
from sidecar_transforms.translation.openai_responses.tools import (
    CustomText,
    ToolShape,
    write_shell_action,
)

Events: TypeAlias = list[tuple[str, JsonObject]]


def open_item(part: PartStarted, shape: ToolShape, place: int, ident: str) -> OpenItem:
    """Return the item of a part that begins at this place of the output."""
    if part.kind == "text":
        return _Message(place, f"msg_{ident}")
    if part.kind != "tool_call":
        return _Reasoning(place, f"rs_{ident}", hidden=part.kind == "hidden_thinking")
    name: JsonObject = {"name": shape.name or part.name}
    if shape.namespace:
        name["namespace"] = shape.namespace
    if shape.kind == "custom":
        return _CustomCall(place, f"ctc_{ident}", part.id, name)
    if shape.kind == "local_shell":
        return _ShellCall(place, f"lsh_{ident}", part.id)
    return _FunctionCall(place, f"fc_{ident}", part.id, name)


class OpenItem(ABC):
    """An item that is being written.

    Attributes:
        item: The item as it is now; whole after `end`.
        signature: That of thinking, once it is known.
    """

    def __init__(self, place: int, item: JsonObject) -> None:
        self._output = {"output_index": place}
        self._place = {"item_id": item["id"], "output_index": place}
        self._pieces: list[str] = []
        self.item = item
        self.signature: Signature | None = None

    def begin(self) -> Events:
        """Return the events with which the item begins."""
        return [("response.output_item.added", {**self._output, "item": self.item})]

    def add(self, text: str) -> Events:
        """Return the events of more text."""
        self._pieces.append(text)
        return self._delta(text)

    def end(self, status: str) -> Events:
        """Return the events with which the item ends."""
        done = self._done("".join(self._pieces))
        if "status" in self.item:
            self.item = {**self.item, "status": status}
        return [*done, ("response.output_item.done", {**self._output, "item": self.item})]

    @abstractmethod
    def _delta(self, text: str) -> Events:
        """Return the events of more text."""

    @abstractmethod
    def _done(self, whole: str) -> Events:
        """Complete the item with its whole text, and return the events before its last one."""


class _Message(OpenItem):
    def __init__(self, place: int, ident: str) -> None:
        super().__init__(place, {
            "id": ident, "type": "message", "status": "in_progress", "content": [],
            "role": "assistant",
        })  # fmt: skip
        self._part = {**self._place, "content_index": 0}

    def begin(self) -> Events:
        part = {**self._part, "part": _text("")}
        return [*super().begin(), ("response.content_part.added", part)]

    def _delta(self, text: str) -> Events:
        return [("response.output_text.delta", {**self._part, "delta": text, "logprobs": []})]

    def _done(self, whole: str) -> Events:
        self.item = {**self.item, "content": [_text(whole)]}
        return [
            ("response.output_text.done", {**self._part, "text": whole, "logprobs": []}),
            ("response.content_part.done", {**self._part, "part": _text(whole)}),
        ]


def _text(text: str) -> JsonObject:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


class _Reasoning(OpenItem):
    def __init__(self, place: int, ident: str, *, hidden: bool) -> None:
        super().__init__(place, {"id": ident, "type": "reasoning", "summary": []})
        self._part = {**self._place, "summary_index": 0}
        self._hidden = hidden

    def _delta(self, text: str) -> Events:
        begun: Events = []
        if len(self._pieces) == 1:
            part = {**self._part, "part": _summary("")}
            begun = [("response.reasoning_summary_part.added", part)]
        return [*begun, ("response.reasoning_summary_text.delta", {**self._part, "delta": text})]

    def _done(self, whole: str) -> Events:
        encrypted = write_encrypted(self.signature, hidden=self._hidden)
        if encrypted:
            self.item = {**self.item, "encrypted_content": encrypted}
        if not self._pieces:
            return []
        self.item = {**self.item, "summary": [_summary(whole)]}
        return [
            ("response.reasoning_summary_text.done", {**self._part, "text": whole}),
            ("response.reasoning_summary_part.done", {**self._part, "part": _summary(whole)}),
        ]


def _summary(text: str) -> JsonObject:
    return {"type": "summary_text", "text": text}


class _FunctionCall(OpenItem):
    def __init__(self, place: int, ident: str, call: str, name: JsonObject) -> None:
        super().__init__(place, {
            "id": ident, "type": "function_call", "status": "in_progress", "arguments": "",
            "call_id": call, **name,
        })  # fmt: skip

    def _delta(self, text: str) -> Events:
        return [("response.function_call_arguments.delta", {**self._place, "delta": text})]

    def _done(self, whole: str) -> Events:
        missing = [] if whole else self._delta("{}")
        whole = whole or "{}"
        self.item = {**self.item, "arguments": whole}
        done = {**self._place, "arguments": whole, "name": self.item["name"]}
        return [*missing, ("response.function_call_arguments.done", done)]


class _CustomCall(OpenItem):
    def __init__(self, place: int, ident: str, call: str, name: JsonObject) -> None:
        super().__init__(place, {
            "id": ident, "type": "custom_tool_call", "status": "in_progress", "call_id": call,
            "input": "", **name,
        })  # fmt: skip
        self._found = CustomText()

    def _delta(self, text: str) -> Events:
        return self._input(self._found.feed(text))

    def _input(self, text: str) -> Events:
        if not text:
            return []
        return [("response.custom_tool_call_input.delta", {**self._place, "delta": text})]

    def _done(self, whole: str) -> Events:
        rest, text = self._found.end()
        self.item = {**self.item, "input": text}
        done = ("response.custom_tool_call_input.done", {**self._place, "input": text})
        return [*self._input(rest), done]


class _ShellCall(OpenItem):
    def __init__(self, place: int, ident: str, call: str) -> None:
        action = write_shell_action("")
        super().__init__(place, {
            "id": ident, "type": "local_shell_call", "status": "in_progress", "call_id": call,
            "action": action,
        })  # fmt: skip

    def _delta(self, text: str) -> Events:
        return []

    def _done(self, whole: str) -> Events:
        self.item = {**self.item, "action": write_shell_action(whole)}
        return []
