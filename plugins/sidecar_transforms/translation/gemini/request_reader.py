"""Read a request of Google's generateContent API."""

from __future__ import annotations

from collections.abc import Mapping

from sidecar_transforms.translation.gemini.conversation_reader import Conversation, read_parts
from sidecar_transforms.translation.gemini.schemas import camel, closed, read_schema
from sidecar_transforms.translation.losses import Loss, LossLog
from sidecar_transforms.translation.model import (
    Effort,
    JsonObject,
    ModelRequest,
    OutputFormat,
    Reasoning,
    Sampling,
    TextPart,
    ToolChoice,
    ToolSpec,
    TranslationError,
)
from sidecar_transforms.translation.wire_format import (
    as_dict,
    as_dicts,
    as_integer,
    as_number,
    as_text,
)

_READ = frozenset({
    "model", "contents", "systemInstruction", "tools", "toolConfig", "generationConfig",
    "safetySettings",
})  # fmt: skip
_READ_CONFIG = frozenset({
    "maxOutputTokens", "temperature", "topP", "topK", "seed", "frequencyPenalty",
    "presencePenalty", "stopSequences", "candidateCount", "responseMimeType", "responseSchema",
    "responseJsonSchema", "responseModalities", "thinkingConfig", "mediaResolution",
})  # fmt: skip
_DECLARATION_FIELDS = frozenset({"name", "description", "parameters", "parametersJsonSchema"})
_SERVER_TOOLS: Mapping[str, str] = {
    "googleSearch": "Google's own search", "googleSearchRetrieval": "Google's own search",
    "enterpriseWebSearch": "Google's own search", "googleMaps": "Google's own maps",
    "codeExecution": "run at Google", "urlContext": "run at Google", "fileSearch": "run at Google",
    "computerUse": "Google's own", "mcpServers": "run at Google", "retrieval": "run at Google",
}  # fmt: skip
_LEVELS: Mapping[str, Effort] = {
    "MINIMAL": "minimal", "LOW": "low", "MEDIUM": "medium", "HIGH": "high", "XHIGH": "xhigh",
}  # fmt: skip


def read_request(body: JsonObject, losses: LossLog) -> ModelRequest:
    """Return the request; one that counts tokens may hold it in `generateContentRequest`."""
    given = camel(body)
    given = camel(given.get("generateContentRequest")) or given
    if given.get("cachedContent"):
        raise TranslationError("`cachedContent` is kept at Google; send the content itself")
    if any(value is not None and name not in _READ for name, value in given.items()):
        losses.add(Loss.FIELDS)
    if given.get("safetySettings"):
        losses.add(Loss.SAFETY)
    config = camel(given.get("generationConfig"))
    _check(config, losses)
    conversation = Conversation(losses)
    for content in as_dicts(given.get("contents")):
        conversation.add(content)
    stop = config.get("stopSequences")
    return ModelRequest(
        turns=conversation.turns(),
        system=_system(given.get("systemInstruction"), losses),
        tools=_tools(given.get("tools"), losses),
        tool_choice=_tool_choice(camel(given.get("toolConfig")), losses),
        max_output=as_integer(config.get("maxOutputTokens")),
        sampling=_sampling(config),
        stop=[as_text(each) for each in stop if each] if isinstance(stop, list) else [],
        reasoning=_reasoning(camel(config.get("thinkingConfig"))),
        output=_output(config),
    )


def _check(config: JsonObject, losses: LossLog) -> None:
    if config.get("candidateCount") not in {None, 0, 1}:
        raise TranslationError("`candidateCount` asks for several answers, and others give one")
    modalities = config.get("responseModalities")
    if isinstance(modalities, list) and {as_text(each).upper() for each in modalities} - {"TEXT"}:
        raise TranslationError("`responseModalities` other than text are Google's own")
    if any(value is not None and name not in _READ_CONFIG for name, value in config.items()):
        losses.add(Loss.FIELDS)
    if config.get("mediaResolution"):
        losses.add(Loss.IMAGE_DETAIL)


def _system(value: object, losses: LossLog) -> list[TextPart]:
    if isinstance(value, str):
        return [TextPart(value)]
    parts = read_parts(camel(value).get("parts"), losses)
    return [each for each in parts if isinstance(each, TextPart)]


def _sampling(config: JsonObject) -> Sampling:
    top_k = as_number(config.get("topK"))  # a float in Google's schema
    return Sampling(
        as_number(config.get("temperature")),
        as_number(config.get("topP")),
        None if top_k is None else int(top_k),
        as_integer(config.get("seed")),
        as_number(config.get("frequencyPenalty")),
        as_number(config.get("presencePenalty")),
    )


def _reasoning(config: JsonObject) -> Reasoning:
    budget = as_integer(config.get("thinkingBudget"))
    level = _LEVELS.get(as_text(config.get("thinkingLevel")).upper())
    if budget == 0:
        return Reasoning(enabled=False)
    if budget is not None and budget > 0:
        return Reasoning(level, budget, enabled=True)
    wanted = budget is not None or level is not None or config.get("includeThoughts") is True
    return Reasoning(level, enabled=True if wanted else None)


def _output(config: JsonObject) -> OutputFormat | None:
    match as_text(config.get("responseMimeType")):
        case "" | "text/plain":
            return None
        case "application/json":
            schema = as_dict(config.get("responseJsonSchema"))
            schema = schema or read_schema(as_dict(config.get("responseSchema")))
            return OutputFormat(closed(schema) if schema else None)
        case kind:
            raise TranslationError(f"an answer of the type `{kind}` is Google's own")


def _tools(value: object, losses: LossLog) -> list[ToolSpec]:
    found: list[ToolSpec] = []
    for tool in map(camel, as_dicts(value)):
        for name, given in tool.items():
            if name != "functionDeclarations" and given is not None:
                why = _SERVER_TOOLS.get(name, "unknown here")
                raise TranslationError(f"the tool `{name}` is {why}; only functions translate")
        for each in map(camel, as_dicts(tool.get("functionDeclarations"))):
            if any(each[name] is not None for name in set(each) - _DECLARATION_FIELDS):
                losses.add(Loss.TOOL_HINTS)
            schema = as_dict(each.get("parametersJsonSchema"))
            schema = schema or read_schema(as_dict(each.get("parameters")))
            found.append(
                ToolSpec(as_text(each.get("name")), as_text(each.get("description")), schema)
            )
    return found


def _tool_choice(config: JsonObject, losses: LossLog) -> ToolChoice:
    if any(value is not None for name, value in config.items() if name != "functionCallingConfig"):
        losses.add(Loss.FIELDS)
    calling = camel(config.get("functionCallingConfig"))
    names = calling.get("allowedFunctionNames")
    allowed = tuple(as_text(each) for each in names) if isinstance(names, list) and names else None
    match as_text(calling.get("mode")).upper():
        case "ANY":
            if allowed is not None and len(allowed) == 1:
                return ToolChoice("tool", allowed[0])
            return ToolChoice("required", allowed=allowed)
        case "NONE":
            return ToolChoice("none")
        case _:
            return ToolChoice(allowed=allowed)
