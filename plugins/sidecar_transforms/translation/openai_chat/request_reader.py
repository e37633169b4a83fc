"""Read a request of OpenAI's chat completions."""

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
    Signature,
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
from sidecar_transforms.translation.openai_chat.thinking import read_details
from sidecar_transforms.translation.openai_shared import read_data_url
from sidecar_transforms.translation.wire_format import (
    as_dict,
    as_dicts,
    as_integer,
    as_number,
    as_text,
)

_READ = frozenset({
    "model", "messages", "tools", "tool_choice", "parallel_tool_calls", "max_tokens",
    "max_completion_tokens", "temperature", "top_p", "top_k", "seed", "frequency_penalty",
    "presence_penalty", "stop", "stream", "stream_options", "reasoning_effort", "response_format",
    "user", "safety_identifier", "prompt_cache_key", "n", "modalities",
    "prompt_cache_retention", "prompt_cache_options", "verbosity",
})  # fmt: skip
_REFUSED: Mapping[str, str] = {
    "functions": "`functions` are obsolete; send `tools`",
    "function_call": "`function_call` is obsolete; send `tool_choice`",
    "web_search_options": "`web_search_options` are OpenAI's own search",
    "audio": "an answer in `audio` is OpenAI's own",
}


def read_request(body: JsonObject, losses: LossLog) -> ModelRequest:
    """Return the request."""
    _refuse(body)
    if any(value is not None and name not in _READ for name, value in body.items()):
        losses.add(Loss.FIELDS)
    system, turns = _conversation(as_dicts(body.get("messages")), losses)
    stop = body.get("stop")
    options = as_dict(body.get("stream_options"))
    bounds = (body.get("max_completion_tokens"), body.get("max_tokens"))
    effort = body.get("reasoning_effort")
    return ModelRequest(
        turns=turns,
        system=system,
        tools=[_tool(each) for each in as_dicts(body.get("tools"))],
        tool_choice=_tool_choice(body),
        max_output=next((n for n in map(as_integer, bounds) if n is not None), None),
        sampling=_sampling(body),
        stop=[stop] if isinstance(stop, str) else [as_text(s) for s in _list(stop) if s],
        reasoning=Reasoning(cast("Effort", effort) if as_text(effort) in EFFORTS else None),
        output=_output(as_dict(body.get("response_format"))),
        streaming=body.get("stream") is True,
        stream_usage=options.get("include_usage") is True,
        user=as_text(body.get("safety_identifier")) or as_text(body.get("user")),
        cache_key=as_text(body.get("prompt_cache_key")),
        verbosity=as_text(body.get("verbosity")),
    )


def _refuse(body: JsonObject) -> None:
    for name, why in _REFUSED.items():
        if body.get(name):
            raise TranslationError(why)
    if body.get("n") not in (None, 1):
        raise TranslationError("`n` asks for several answers, and other providers give one")
    if any(each != "text" for each in _list(body.get("modalities"))):
        raise TranslationError("`modalities` other than text are OpenAI's own")


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _sampling(body: JsonObject) -> Sampling:
    return Sampling(
        as_number(body.get("temperature")),
        as_number(body.get("top_p")),
        as_integer(body.get("top_k")),
        as_integer(body.get("seed")),
        as_number(body.get("frequency_penalty")),
        as_number(body.get("presence_penalty")),
    )


def _conversation(messages: list[JsonObject], losses: LossLog) -> tuple[list[TextPart], list[Turn]]:
    """Return the system prompt and the turns; results of tools join the user's next message."""
    system: list[TextPart] = []
    turns: list[Turn] = []
    results: Turn | None = None
    for message in messages:
        role = message.get("role")
        if role == "tool":
            if results is None:
                results = Turn("user", [])
                turns.append(results)
            results.parts.append(_result(message, losses))
        elif role == "user":
            parts = _parts(message.get("content"), losses)
            if results is None:
                turns.append(Turn("user", parts))
            else:
                results.parts.extend(parts)
            results = None
        elif role == "assistant":
            turns.append(Turn("assistant", _answer(message, losses)))
            results = None
        elif role in ("system", "developer"):
            texts = _texts(message.get("content"), losses)
            if turns:
                turns.append(Turn("system", cast("list[TurnPart]", texts)))
            else:
                system += texts
            results = None
        else:
            raise TranslationError(f"a message has the unknown role {role!r}")
    return system, turns


def _cache(part: JsonObject) -> CacheMark | None:
    mark = part.get("prompt_cache_breakpoint")
    return CacheMark(as_text(mark.get("ttl"))) if isinstance(mark, dict) else None


def _texts(content: object, losses: LossLog) -> list[TextPart]:
    return [each for each in _parts(content, losses) if isinstance(each, TextPart)]


def _parts(content: object, losses: LossLog) -> list[TurnPart]:
    if isinstance(content, str):
        return [TextPart(content)] if content else []
    return [_part(each, losses) for each in as_dicts(content)]


def _part(part: JsonObject, losses: LossLog) -> TurnPart:
    match part.get("type"):
        case "text":
            return TextPart(as_text(part.get("text")), _cache(part))
        case "refusal":
            return TextPart(as_text(part.get("refusal")))
        case "image_url":
            image = as_dict(part.get("image_url"))
            if image.get("detail") not in (None, "auto"):
                losses.add(Loss.IMAGE_DETAIL)
            media_type, data, url = read_data_url(as_text(image.get("url")))
            return ImagePart(media_type, data, url, _cache(part))
        case "file":
            return _file(as_dict(part.get("file")), _cache(part))
        case kind:
            raise TranslationError(f"the content part `{kind}` is OpenAI's own, or is unknown")


def _file(file: JsonObject, cache: CacheMark | None) -> DocumentPart:
    if file.get("file_id"):
        raise TranslationError("an uploaded file is kept at OpenAI; send its bytes instead")
    media_type, data, url = read_data_url(as_text(file.get("file_data")))
    return DocumentPart(media_type, data, url, as_text(file.get("filename")), cache)


def _result(message: JsonObject, losses: LossLog) -> ToolResultPart:
    content = _parts(message.get("content"), losses)
    inner = [each for each in content if isinstance(each, TextPart | ImagePart | DocumentPart)]
    return ToolResultPart(as_text(message.get("tool_call_id")), inner)


def _answer(message: JsonObject, losses: LossLog) -> list[TurnPart]:
    parts: list[TurnPart] = []
    parts += read_details(message, "")
    reasoning = as_text(message.get("reasoning_content"))
    if reasoning and not parts:
        # A provider that sends its thinking without a signature takes it back like this.
        parts.append(ThinkingPart(reasoning, Signature("openai_chat", "")))
    parts += _parts(message.get("content"), losses)
    refusal = as_text(message.get("refusal"))
    if refusal:
        parts.append(TextPart(refusal))
    if message.get("audio") or message.get("function_call"):
        raise TranslationError("a message has `audio` or the obsolete `function_call`")
    for call in as_dicts(message.get("tool_calls")):
        if call.get("type", "function") != "function":
            raise TranslationError(f"the tool call of type `{call['type']}` is OpenAI's own")
        function = as_dict(call.get("function"))
        name, arguments = as_text(function.get("name")), as_text(function.get("arguments"))
        parts.append(ToolCallPart(as_text(call.get("id")), name, arguments))
    return parts


def _tool(tool: JsonObject) -> ToolSpec:
    if tool.get("type") != "function":
        raise TranslationError(
            f"the tool of type `{tool.get('type')}` is OpenAI's own; only functions translate"
        )
    function = as_dict(tool.get("function"))
    strict = function.get("strict")
    return ToolSpec(
        as_text(function.get("name")),
        as_text(function.get("description")),
        as_dict(function.get("parameters")),
        strict if isinstance(strict, bool) else None,
    )


def _tool_choice(body: JsonObject) -> ToolChoice:
    parallel = body.get("parallel_tool_calls") is not False
    choice = body.get("tool_choice")
    if choice == "required":
        return ToolChoice("required", parallel=parallel)
    if choice == "none":
        return ToolChoice("none")
    choice = as_dict(choice)
    match choice.get("type"):
        case "function":
            name = as_text(as_dict(choice.get("function")).get("name"))
            return ToolChoice("tool", name, parallel)
        case "allowed_tools":
            allowed = as_dict(choice.get("allowed_tools"))
            functions = (as_dict(each.get("function")) for each in as_dicts(allowed.get("tools")))
            names = tuple(as_text(each.get("name")) for each in functions)
            must = allowed.get("mode") == "required"
            return ToolChoice("required" if must else "auto", "", parallel, names)
        case None:
            return ToolChoice(parallel=parallel)
        case kind:
            raise TranslationError(f"the tool choice of type `{kind}` is OpenAI's own")


def _output(form: JsonObject) -> OutputFormat | None:
    match form.get("type"):
        case "json_object":
            return OutputFormat()
        case "json_schema":
            given = as_dict(form.get("json_schema"))
            strict = given.get("strict")
            return OutputFormat(
                as_dict(given.get("schema")),
                as_text(given.get("name")),
                strict if isinstance(strict, bool) else None,
            )
        case _:
            return None
