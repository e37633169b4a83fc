"""Read a request of the Responses API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from sidecar_transforms.translation.losses import Loss, LossLog
from sidecar_transforms.translation.model import (
    EFFORTS,
    CacheMark,
    DocumentPart,
    Effort,
    ImagePart,
    JsonObject,
    ModelRequest,
    OutputFormat,
    Reasoning,
    Sampling,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    TranslationError,
    Turn,
    TurnPart,
)
from sidecar_transforms.translation.openai_responses.reasoning import read_reasoning
from sidecar_transforms.translation.openai_responses.tools import (
    flat_name,
    is_left_out,
    read_shell_call,
    read_tool_choice,
    read_tools,
    write_custom_arguments,
)
from sidecar_transforms.translation.openai_shared import read_data_url
from sidecar_transforms.translation.wire_format import (
    as_dict,
    as_dicts,
    as_integer,
    as_number,
    as_text,
)

_READ = frozenset({
    "model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls",
    "max_output_tokens", "temperature", "top_p", "stream", "stream_options", "reasoning", "text",
    "user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
    "prompt_cache_options", "store", "include", "background", "truncation",
    # Codex's own account of itself, for OpenAI alone
    "client_metadata",
})  # fmt: skip
_WITHOUT_EFFECT: Mapping[str, tuple[object, ...]] = {
    "store": (None, False), "background": (None, False), "truncation": (None, "disabled"),
}  # fmt: skip
_REFUSED: Mapping[str, str] = {
    "previous_response_id": "`previous_response_id` names an answer that no other provider keeps;"
    " send the whole conversation as `input`",
    "conversation": "a `conversation` is kept at OpenAI; send it as `input`",
    "prompt": "a stored `prompt` is kept at OpenAI; send its text as `instructions`",
    "background": "an answer in the `background` is kept at OpenAI",
}
_ECHOED = (
    "instructions", "max_output_tokens", "metadata", "parallel_tool_calls", "prompt_cache_key",
    "reasoning", "safety_identifier", "temperature", "text", "tool_choice", "tools", "top_p",
    "user",
)  # fmt: skip
_ENCRYPTED = "reasoning.encrypted_content"
_MORE_TOOLS = "additional_tools"
"""An item that declares tools, as Codex sends them, beside or instead of the field."""
_CALLS = frozenset({"function_call", "custom_tool_call", "local_shell_call"})


def read_request(body: JsonObject, losses: LossLog) -> ModelRequest:
    """Return the request."""
    for name, why in _REFUSED.items():
        if body.get(name):
            raise TranslationError(why)
    _note_fields(body, losses)
    conversation = _Conversation(losses)
    instructions = as_text(body.get("instructions"))
    if instructions:
        conversation.system.append(TextPart(instructions))
    given = body.get("input")
    if isinstance(given, str):
        conversation.add({"role": "user", "content": given})
    for item in as_dicts(given):
        conversation.add(item)
    text = as_dict(body.get("text"))
    tools = _declared(body)
    return ModelRequest(
        turns=conversation.turns,
        system=conversation.system,
        tools=read_tools(tools, losses),
        tool_choice=read_tool_choice(body),
        max_output=as_integer(body.get("max_output_tokens")),
        sampling=Sampling(as_number(body.get("temperature")), as_number(body.get("top_p"))),
        reasoning=_reasoning(as_dict(body.get("reasoning"))),
        output=_output(as_dict(text.get("format"))),
        streaming=body.get("stream") is True,
        user=as_text(body.get("safety_identifier")) or as_text(body.get("user")),
        cache_key=as_text(body.get("prompt_cache_key")),
        verbosity=as_text(text.get("verbosity")),
        echo={name: body[name] for name in _ECHOED if body.get(name) is not None}
        | ({"tools": tools} if tools else {}),
    )


def _declared(body: JsonObject) -> list[JsonObject]:
    """Return the tools of the field and of the items that declare more."""
    more = [each for each in as_dicts(body.get("input")) if each.get("type") == _MORE_TOOLS]
    return [tool for each in (body, *more) for tool in as_dicts(each.get("tools"))]


def _note_fields(body: JsonObject, losses: LossLog) -> None:
    lost = any(value is not None and name not in _READ for name, value in body.items())
    lost = lost or any(body.get(name) not in ok for name, ok in _WITHOUT_EFFECT.items())
    include = body.get("include")
    if lost or (isinstance(include, list) and set(include) - {_ENCRYPTED}):
        losses.add(Loss.FIELDS)


def _reasoning(given: JsonObject) -> Reasoning:
    effort, summary = given.get("effort"), given.get("summary", given.get("generate_summary"))
    known = cast("Effort", effort) if as_text(effort) in EFFORTS else None
    return Reasoning(known, shown=bool(summary) if given else None)


def _output(form: JsonObject) -> OutputFormat | None:
    match form.get("type"):
        case "json_object":
            return OutputFormat()
        case "json_schema":
            strict = form.get("strict")
            return OutputFormat(
                as_dict(form.get("schema")),
                as_text(form.get("name")),
                strict if isinstance(strict, bool) else None,
            )
        case _:
            return None


class _Conversation:
    """Join items to turns: the model's between two of the user's, and results with what follows."""

    def __init__(self, losses: LossLog) -> None:
        self._losses = losses
        self._results: Turn | None = None
        self.system: list[TextPart] = []
        self.turns: list[Turn] = []

    def add(self, item: JsonObject) -> None:
        """Add the next item."""
        kind = as_text(item.get("type")) or "message"
        if kind == "message":
            self._message(item)
        elif kind == "reasoning":
            self._answer([read_reasoning(item, "")])
        elif kind in _CALLS:
            self._answer([_call(item, kind)])
        elif kind.removesuffix("_output") in _CALLS:
            self._result(item)
        elif kind == _MORE_TOOLS:
            pass
        elif is_left_out(kind):
            self._losses.add(Loss.SERVER_TOOLS)
        else:
            raise TranslationError(
                f"the item of type `{kind}` belongs to OpenAI's own tools or state, or is unknown"
            )

    def _message(self, item: JsonObject) -> None:
        role = item.get("role")
        parts = _parts(item.get("content"), self._losses)
        if role == "assistant":
            self._answer(parts)
        elif role == "user":
            if self._results is not None:
                self._results.parts += parts
            else:
                self.turns.append(Turn("user", parts))
        elif role in {"system", "developer"}:
            if self.turns:
                self.turns.append(Turn("system", parts))
            else:
                self.system += [each for each in parts if isinstance(each, TextPart)]
        else:
            raise TranslationError(f"a message has the unknown role {role!r}")
        self._results = None

    def _answer(self, parts: list[TurnPart]) -> None:
        self._results = None
        if self.turns and self.turns[-1].role == "assistant":
            self.turns[-1].parts += parts
        else:
            self.turns.append(Turn("assistant", list(parts)))

    def _result(self, item: JsonObject) -> None:
        if self._results is None:
            self._results = Turn("user", [])
            self.turns.append(self._results)
        parts = _parts(item.get("output"), self._losses)
        inner = [each for each in parts if isinstance(each, TextPart | ImagePart | DocumentPart)]
        ident = as_text(item.get("call_id")) or as_text(item.get("id"))
        self._results.parts.append(ToolResultPart(ident, inner))


def _call(item: JsonObject, kind: str) -> ToolCallPart:
    ident = as_text(item.get("call_id")) or as_text(item.get("id"))
    if kind == "function_call":
        return ToolCallPart(ident, flat_name(item), as_text(item.get("arguments")))
    if kind == "custom_tool_call":
        arguments = write_custom_arguments(as_text(item.get("input")))
        return ToolCallPart(ident, flat_name(item), arguments)
    return read_shell_call(item, ident)


def _parts(content: object, losses: LossLog) -> list[TurnPart]:
    if isinstance(content, str):
        return [TextPart(content)] if content else []
    return [_part(each, losses) for each in as_dicts(content)]


def _part(part: JsonObject, losses: LossLog) -> TurnPart:
    mark = part.get("prompt_cache_breakpoint")
    cache = CacheMark(as_text(mark.get("ttl"))) if isinstance(mark, dict) else None
    if part.get("file_id"):
        raise TranslationError("an uploaded file is kept at OpenAI; send its bytes instead")
    match part.get("type"):
        case "input_text" | "output_text" | "text":
            return TextPart(as_text(part.get("text")), cache)
        case "refusal":
            return TextPart(as_text(part.get("refusal")))
        case "input_image":
            if part.get("detail") not in {None, "auto"}:
                losses.add(Loss.IMAGE_DETAIL)
            return ImagePart(*read_data_url(as_text(part.get("image_url"))), cache)
        case "input_file":
            return _file(part, cache)
        case kind:
            raise TranslationError(f"the content part `{kind}` is OpenAI's own, or is unknown")


def _file(part: JsonObject, cache: CacheMark | None) -> DocumentPart:
    name, data = as_text(part.get("filename")), as_text(part.get("file_data"))
    if data and not data.startswith("data:"):
        return DocumentPart("application/pdf", data, "", name, cache)
    return DocumentPart(*read_data_url(data or as_text(part.get("file_url"))), name, cache)
