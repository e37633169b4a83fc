"""Read a request of Anthropic's Messages API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import msgspec

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
    ThinkingPart,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
    ToolSpec,
    TranslationError,
    Turn,
    TurnPart,
)
from sidecar_transforms.translation.signatures import unwrap_signature
from sidecar_transforms.translation.wire_format import (
    as_dict,
    as_dicts,
    as_integer,
    as_number,
    as_text,
)

_READ = frozenset({
    "model", "max_tokens", "messages", "system", "tools", "tool_choice", "temperature", "top_p",
    "top_k", "stop_sequences", "stream", "thinking", "output_config", "output_format", "metadata",
    "cache_control",
})  # fmt: skip
_REFUSED: Mapping[str, str] = {
    "mcp_servers": "`mcp_servers` run at Anthropic, and no other provider has them",
    "container": "a `container` is kept at Anthropic, and no other provider has it",
}
_TOOL_FIELDS = frozenset({"name", "description", "input_schema", "type", "strict", "cache_control"})
_SHOWN = {"summarized": True, "omitted": False}
_BILLING_HEADER = "x-anthropic-billing-header:"


def read_request(body: JsonObject, losses: LossLog) -> ModelRequest:
    """Return the request."""
    for name, why in _REFUSED.items():
        if body.get(name):
            raise TranslationError(why)
    output = as_dict(body.get("output_config"))
    if any(body[name] is not None for name in body.keys() - _READ):
        losses.add(Loss.FIELDS)
    return ModelRequest(
        turns=[_turn(each, losses) for each in as_dicts(body.get("messages"))],
        system=_system(body.get("system")),
        tools=[_tool(each, losses) for each in as_dicts(body.get("tools"))],
        tool_choice=_tool_choice(as_dict(body.get("tool_choice"))),
        max_output=as_integer(body.get("max_tokens")),
        sampling=Sampling(
            as_number(body.get("temperature")),
            as_number(body.get("top_p")),
            as_integer(body.get("top_k")),
        ),
        stop=[each for each in _strings(body.get("stop_sequences")) if each.strip()],
        reasoning=_reasoning(as_dict(body.get("thinking")), output.get("effort")),
        output=_output(as_dict(output.get("format") or body.get("output_format"))),
        streaming=body.get("stream") is True,
        user=as_text(as_dict(body.get("metadata")).get("user_id")),
        cache=_cache(body),
    )


def _strings(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _cache(block: JsonObject) -> CacheMark | None:
    mark = block.get("cache_control")
    return CacheMark(as_text(mark.get("ttl"))) if isinstance(mark, dict) else None


def _system(value: object) -> list[TextPart]:
    """Return the system prompt without Claude Code's billing line.

    The line is for Anthropic alone, and changes with each call, so that no other provider could
    cache the prompt behind it.
    """
    if isinstance(value, str):
        return [TextPart(value)] if value else []
    texts = [TextPart(as_text(each.get("text")), _cache(each)) for each in as_dicts(value)]
    return [each for each in texts if not each.text.startswith(_BILLING_HEADER)]


def _turn(message: JsonObject, losses: LossLog) -> Turn:
    role = message.get("role")
    if role not in ("user", "assistant", "system"):
        raise TranslationError(f"a message has the unknown role {role!r}")
    content = message.get("content")
    parts = [TextPart(content)] if isinstance(content, str) else _parts(content, losses)
    return Turn(role, cast("list[TurnPart]", parts))


def _parts(content: object, losses: LossLog) -> list[TurnPart]:
    found: list[TurnPart] = []
    for block in as_dicts(content):
        kind = as_text(block.get("type"))
        read = _BLOCKS.get(kind)
        if read is None:
            raise TranslationError(
                f"the content block `{kind}` belongs to Anthropic's own tools, or is unknown"
            )
        found += read(block, losses)
        if "citations" in block and as_dict(block["citations"]).get("enabled"):
            losses.add(Loss.CITATIONS)
    return found


def _text(block: JsonObject, _: LossLog) -> list[TurnPart]:
    return [TextPart(as_text(block.get("text")), _cache(block))]


def _image(block: JsonObject, _: LossLog) -> list[TurnPart]:
    kind, data, url = _source(block)
    return [ImagePart(kind, data, url, _cache(block))]


def _source(block: JsonObject) -> tuple[str, str, str]:
    source = as_dict(block.get("source"))
    match source.get("type"):
        case "base64":
            return as_text(source.get("media_type")), as_text(source.get("data")), ""
        case "url":
            return "", "", as_text(source.get("url"))
        case "file":
            raise TranslationError("an uploaded file is kept at Anthropic; send its bytes instead")
        case kind:
            raise TranslationError(f"the source `{kind}` of a content block is unknown")


def _document(block: JsonObject, losses: LossLog) -> list[TurnPart]:
    source, title = as_dict(block.get("source")), as_text(block.get("title"))
    context, cache = as_text(block.get("context")), _cache(block)
    before: list[TurnPart] = [TextPart(context)] if context else []
    match source.get("type"):
        case "text":
            text = as_text(source.get("data"))
            return [*before, TextPart(f"{title}\n\n{text}" if title else text, cache)]
        case "content":
            content = source.get("content")
            inner = [TextPart(content)] if isinstance(content, str) else _parts(content, losses)
            return [*before, *inner]
    media_type, data, url = _source(block)
    return [*before, DocumentPart(media_type or "application/pdf", data, url, title, cache)]


def _thinking(block: JsonObject, _: LossLog) -> list[TurnPart]:
    signature = unwrap_signature(as_text(block.get("signature")), "anthropic")
    return [ThinkingPart(as_text(block.get("thinking")), signature)]


def _redacted(block: JsonObject, _: LossLog) -> list[TurnPart]:
    signature = unwrap_signature(as_text(block.get("data")), "anthropic")
    return [ThinkingPart("", signature, hidden=True)]


def _tool_use(block: JsonObject, _: LossLog) -> list[TurnPart]:
    arguments = msgspec.json.encode(block.get("input", {})).decode()
    return [
        ToolCallPart(as_text(block.get("id")), as_text(block.get("name")), arguments, _cache(block))
    ]


def _tool_result(block: JsonObject, losses: LossLog) -> list[TurnPart]:
    content = block.get("content")
    parts = [TextPart(content)] if isinstance(content, str) else _parts(content, losses)
    if not all(isinstance(each, TextPart | ImagePart | DocumentPart) for each in parts):
        raise TranslationError("the result of a tool holds a content block that is unknown there")
    inner = cast("list[TextPart | ImagePart | DocumentPart]", parts)
    ident, failed = as_text(block.get("tool_use_id")), block.get("is_error") is True
    return [ToolResultPart(ident, inner, failed, _cache(block))]


def _search_result(block: JsonObject, losses: LossLog) -> list[TurnPart]:
    title, source = as_text(block.get("title")), as_text(block.get("source"))
    head: list[TurnPart] = [TextPart(f"{title}\n{source}".strip())]
    return [*head, *_parts(block.get("content"), losses)]


_BLOCKS: Mapping[str, Callable[[JsonObject, LossLog], list[TurnPart]]] = {
    "text": _text,
    "image": _image,
    "thinking": _thinking,
    "redacted_thinking": _redacted,
    "tool_use": _tool_use,
    "document": _document,
    "search_result": _search_result,
    "tool_result": _tool_result,
}


def _tool(tool: JsonObject, losses: LossLog) -> ToolSpec:
    if not tool.keys() <= _TOOL_FIELDS:
        losses.add(Loss.TOOL_HINTS)
    kind, name = tool.get("type"), as_text(tool.get("name"))
    if kind not in (None, "custom"):
        raise TranslationError(
            f"the tool `{kind}` is Anthropic's own; only tools with an `input_schema` translate"
        )
    strict = tool.get("strict")
    return ToolSpec(
        name,
        as_text(tool.get("description")),
        as_dict(tool.get("input_schema")),
        strict if isinstance(strict, bool) else None,
        _cache(tool),
    )


def _tool_choice(choice: JsonObject) -> ToolChoice:
    parallel = choice.get("disable_parallel_tool_use") is not True
    match choice.get("type"):
        case "any":
            return ToolChoice("required", parallel=parallel)
        case "tool":
            return ToolChoice("tool", as_text(choice.get("name")), parallel=parallel)
        case "none":
            return ToolChoice("none")
        case _:
            return ToolChoice(parallel=parallel)


def _reasoning(thinking: JsonObject, effort: object) -> Reasoning:
    known = cast("Effort", effort) if as_text(effort) in EFFORTS else None
    shown = _SHOWN.get(as_text(thinking.get("display")))
    match thinking.get("type"):
        case None:
            return Reasoning(known)
        case "disabled":
            return Reasoning(known, enabled=False)
        case _:
            return Reasoning(known, as_integer(thinking.get("budget_tokens")), True, shown)


def _output(output: JsonObject) -> OutputFormat | None:
    return OutputFormat(as_dict(output.get("schema"))) if output.get("schema") else None
