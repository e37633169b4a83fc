"""Tools of the Responses API: functions, custom tools, and the local shell.

Other protocols have functions only. A custom tool, whose call is a plain text, is a function with
this text as its one argument; so the model's answer is turned back by the tool's own shape.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from sidecar_transforms.translation.losses import Loss, LossLog
from sidecar_transforms.translation.model import (
    JsonObject,
    ToolCallPart,
    ToolChoice,
    ToolSpec,
    TranslationError,
)
from sidecar_transforms.translation.wire_format import as_dict, as_dicts, as_text, read_json

ARGUMENT = "input"
"""The argument of a function that stands for a custom tool."""
LOCAL_SHELL = "local_shell"
_LEFT_OUT = ("web_search", "image_generation", "tool_search")
"""Agents declare these unasked; a request must not fail because of them."""
_SHELL: JsonObject = {
    "type": "object",
    "properties": {
        "command": {"type": "array", "items": {"type": "string"}},
        "working_directory": {"type": "string"},
        "timeout_ms": {"type": "integer"},
    },
    "required": ["command"],
}
_HEAD = re.compile(rf'\s*\{{\s*"{ARGUMENT}"\s*:\s*"')
_WHOLE_CHARACTERS = re.compile(
    r"(?:[^\"\\]|\\[^u]|\\u(?![dD][89a-fA-F])[0-9a-fA-F]{4}"
    r"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})*"
)
"""The start of a JSON string up to an escape that may continue, such as half of a pair."""


@dataclass(frozen=True, slots=True)
class ToolShape:
    """The form of a call that the client expects of one of its tools."""

    kind: Literal["function", "custom", "local_shell"] = "function"
    name: str = ""
    namespace: str = ""


def is_left_out(kind: str) -> bool:
    """Return whether a tool or an item of this type is left out of a translated request."""
    return kind.startswith(_LEFT_OUT)


def flat_name(item: JsonObject) -> str:
    """Return a tool's name with its namespace, as other protocols have none."""
    name, namespace = as_text(item.get("name")), as_text(item.get("namespace"))
    if not namespace:
        return name
    return f"{namespace}{name}" if namespace.endswith("__") else f"{namespace}__{name}"


def read_tools(given: object, losses: LossLog) -> list[ToolSpec]:
    """Return the tools that a function can stand for.

    Raises:
        TranslationError: A tool runs at OpenAI, and is not one that agents declare unasked.
    """
    found: list[ToolSpec] = []
    for tool in _flattened(given):
        kind = as_text(tool.get("type"))
        if kind == "function":
            strict = tool.get("strict")
            parameters = as_dict(tool.get("parameters"))
            # A tool without the field is strict at OpenAI, but other providers reject its schema.
            wanted = strict if isinstance(strict, bool) else None
            description = as_text(tool.get("description"))
            found.append(ToolSpec(flat_name(tool), description, parameters, wanted))
        elif kind == "custom":
            found.append(_custom(tool, losses))
        elif kind == LOCAL_SHELL:
            found.append(ToolSpec(LOCAL_SHELL, "Run a command on this machine.", _SHELL))
        elif is_left_out(kind):
            losses.add(Loss.SERVER_TOOLS)
        else:
            raise TranslationError(
                f"the tool of type `{kind}` is OpenAI's own; functions and custom tools translate"
            )
    return found


def _flattened(given: object) -> list[JsonObject]:
    found: list[JsonObject] = []
    for tool in as_dicts(given):
        if tool.get("type") == "namespace":
            inner = as_dicts(tool.get("tools"))
            found += [{**each, "namespace": tool.get("name")} for each in inner]
        else:
            found.append(tool)
    return found


def _custom(tool: JsonObject, losses: LossLog) -> ToolSpec:
    form = as_dict(tool.get("format"))
    what = "The whole text of the call, as the tool takes it."
    texts = [as_text(tool.get("description")), f"Send that text as the string `{ARGUMENT}`."]
    if form.get("type") == "grammar":
        losses.add(Loss.GRAMMAR)
        syntax, definition = as_text(form.get("syntax")), as_text(form.get("definition"))
        texts.append(f"It must follow this grammar ({syntax}):\n{definition}")
    parameters: JsonObject = {
        "type": "object",
        "properties": {ARGUMENT: {"type": "string", "description": what}},
        "required": [ARGUMENT],
        "additionalProperties": False,
    }
    return ToolSpec(flat_name(tool), "\n\n".join(filter(None, texts)), parameters)


def shapes_of(given: object) -> Mapping[str, ToolShape]:
    """Return the shape of each tool that is no plain function, by its name for the model."""
    found: dict[str, ToolShape] = {}
    for tool in _flattened(given):
        kind, namespace = tool.get("type"), as_text(tool.get("namespace"))
        if kind == LOCAL_SHELL:
            found[LOCAL_SHELL] = ToolShape("local_shell")
        elif kind == "custom":
            found[flat_name(tool)] = ToolShape("custom", as_text(tool.get("name")), namespace)
        elif kind == "function" and namespace:
            found[flat_name(tool)] = ToolShape("function", as_text(tool.get("name")), namespace)
    return found


def read_tool_choice(body: JsonObject) -> ToolChoice:
    """Return which tools the model may or must call."""
    parallel = body.get("parallel_tool_calls") is not False
    choice = body.get("tool_choice")
    if choice == "required":
        return ToolChoice("required", parallel=parallel)
    if choice == "none":
        return ToolChoice("none")
    choice = as_dict(choice)
    match choice.get("type"):
        case "function" | "custom":
            return ToolChoice("tool", flat_name(choice), parallel)
        case "allowed_tools":
            tools = as_dicts(choice.get("tools"))
            names = tuple(filter(None, (flat_name(each) for each in tools)))
            must = choice.get("mode") == "required"
            return ToolChoice("required" if must else "auto", "", parallel, names)
        case None:
            return ToolChoice(parallel=parallel)
        case kind:
            raise TranslationError(f"the tool choice of type `{kind}` is OpenAI's own")


def write_custom_arguments(text: str) -> str:
    """Return the arguments of a function for the text of a custom tool's call."""
    return msgspec.json.encode({ARGUMENT: text}).decode()


def read_shell_call(item: JsonObject, ident: str) -> ToolCallPart:
    """Return the call of a function for a call of the local shell."""
    action = as_dict(item.get("action"))
    names = as_dict(_SHELL["properties"])
    given = {name: action[name] for name in names if action.get(name) is not None}
    return ToolCallPart(ident, LOCAL_SHELL, msgspec.json.encode(given).decode())


def write_shell_action(arguments: str) -> JsonObject:
    """Return the action of a call of the local shell."""
    try:
        found = read_json(arguments.encode())
    except TranslationError:
        found = {}
    return {"type": "exec", "command": [], "env": {}, **found}


class CustomText:
    """Find the text of a custom tool's call in a function's arguments, as they arrive."""

    def __init__(self) -> None:
        self._json: list[str] = []
        self._rest = ""
        self._inside = False
        self._sent: list[str] = []

    def feed(self, piece: str) -> str:
        """Return what a piece of the arguments adds to the text."""
        self._json.append(piece)
        self._rest += piece
        if not self._inside:
            head = _HEAD.match(self._rest)
            if head is None:
                return ""
            self._inside = True
            self._rest = self._rest[head.end() :]
        found = _WHOLE_CHARACTERS.match(self._rest)
        raw = found.group() if found is not None else ""
        self._rest = self._rest[len(raw) :]
        try:
            text: str = json.loads(f'"{raw}"', strict=False)
        except ValueError:
            text = raw  # no JSON escape; the model meant the characters
        self._sent.append(text)
        return text

    def end(self) -> tuple[str, str]:
        """Return what is missing of the text, and the whole text.

        A model that wrote no such JSON meant all that it wrote.
        """
        sent, raw = "".join(self._sent), "".join(self._json)
        try:
            found = as_dict(json.loads(raw, strict=False)).get(ARGUMENT)
        except (ValueError, RecursionError):
            found = None
        whole = found if isinstance(found, str) else sent or raw
        whole = whole.encode(errors="replace").decode()
        if not whole.startswith(sent):
            whole = sent
        return whole[len(sent) :], whole
