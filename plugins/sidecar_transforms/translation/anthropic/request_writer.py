"""Write a request of Anthropic's Messages API."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sidecar_transforms.translation.losses import Loss, LossLog
from sidecar_transforms.translation.model import (
    CacheMark,
    DocumentPart,
    Effort,
    ImagePart,
    JsonObject,
    ModelRequest,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
    ToolSpec,
    TranslationError,
    Turn,
    TurnPart,
)
from sidecar_transforms.translation.signatures import wrap_signature
from sidecar_transforms.translation.wire_format import as_dict, as_dicts, read_arguments

_CLAUDE = re.compile(r"claude", re.IGNORECASE)
_OLD = re.compile(r"claude-(?:[23]|instant|(?:opus|sonnet|haiku)-4(?:[-.][0135]\b|-20|@|$))")
"""Models that think within a budget of tokens; later ones decide by an effort."""
_SMALL = re.compile(r"claude-(?:2|instant|3-(?:opus|sonnet|haiku))")
_MIDDLE = re.compile(r"claude-3[-.][57]")
_BUDGETS: dict[str, int] = {
    "minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 24576, "max": 31999,
}  # fmt: skip
_EFFORTS: dict[Effort, Effort] = {"minimal": "low"}
_MIN_BUDGET_TOKENS = 1024
_BAD_IN_ID = re.compile(r"[^a-zA-Z0-9_-]")
_JSON_ONLY = "Answer with one JSON object and nothing else."


def write_request(request: ModelRequest, model: str, losses: LossLog) -> JsonObject:
    """Return the body, with a bound on the output, which Anthropic requires."""
    if request.max_output is None:
        losses.add(Loss.MAX_OUTPUT)
    body: JsonObject = {"model": model, "max_tokens": request.max_output or _max_output(model)}
    system = [_text(part.text, part.cache) for part in request.system if part.text]
    if request.output is not None and request.output.schema is None:
        losses.add(Loss.JSON_OBJECT)
        system.append(_text(_JSON_ONLY, None))
    if system:
        body["system"] = system
    body["messages"] = _messages(request.turns, model, losses)
    _write_tools(body, request)
    _write_thinking(body, request, model, losses)
    _write_sampling(body, request, losses)
    if request.verbosity:
        losses.add(Loss.VERBOSITY)
    if request.stop:
        body["stop_sequences"] = request.stop
    if request.output is not None and request.output.schema is not None:
        form = {"type": "json_schema", "schema": request.output.schema}
        body["output_config"] = {**as_dict(body.get("output_config")), "format": form}
    if request.user:
        body["metadata"] = {"user_id": request.user}
    if request.cache is not None:
        body["cache_control"] = _mark(request.cache)
    elif request.cache_key:
        losses.add(Loss.CACHE_KEY)
        body["cache_control"] = {"type": "ephemeral"}
    if request.streaming:
        body["stream"] = True
    return body


def _max_output(model: str) -> int:
    if _SMALL.search(model):
        return 4096
    return 32000 if _CLAUDE.search(model) and not _MIDDLE.search(model) else 8192


def _mark(cache: CacheMark) -> JsonObject:
    # Anthropic has two lifetimes; any other one is an hour at most.
    longer = cache.ttl not in {"", "5m"}
    return {"type": "ephemeral", "ttl": "1h"} if longer else {"type": "ephemeral"}


def _marked(block: JsonObject, cache: CacheMark | None) -> JsonObject:
    if cache is not None:
        block["cache_control"] = _mark(cache)
    return block


def _text(text: str, cache: CacheMark | None) -> JsonObject:
    return _marked({"type": "text", "text": text}, cache)


def _messages(turns: list[Turn], model: str, losses: LossLog) -> list[JsonObject]:
    """Return the messages, in which the roles alternate."""
    found: list[tuple[str, list[JsonObject]]] = []
    for turn in turns:
        role = "assistant" if turn.role == "assistant" else "user"
        if turn.role == "system":
            losses.add(Loss.SYSTEM_ORDER)
        blocks = _blocks(turn.parts, model, losses)
        if found and found[-1][0] == role:
            found[-1][1].extend(blocks)
        elif blocks:
            found.append((role, blocks))
    for role, blocks in found:
        if role == "user":
            # Anthropic wants the results of tools before anything else.
            blocks.sort(key=lambda block: block["type"] != "tool_result")
    return [{"role": role, "content": blocks} for role, blocks in found]


def _blocks(parts: Sequence[TurnPart], model: str, losses: LossLog) -> list[JsonObject]:
    found = (_block(part, model, losses) for part in parts)
    return [block for block in found if block is not None]


def _block(part: TurnPart, model: str, losses: LossLog) -> JsonObject | None:
    match part:
        case TextPart(text=text, cache=cache):
            return _text(text, cache) if text.strip() else None  # rejected if blank
        case ImagePart():
            return _marked(
                {"type": "image", "source": _source(part.media_type, part.data, part.url)},
                part.cache,
            )
        case DocumentPart():
            return _document(part)
        case ToolCallPart(id=ident, name=name):
            arguments = _arguments(part.arguments, losses)
            return _marked(
                {"type": "tool_use", "id": _id(ident), "name": name, "input": arguments}, part.cache
            )
        case ToolResultPart():
            return _tool_result(part, model, losses)
        case ThinkingPart():
            return _thinking(part, model, losses)


def _id(ident: str) -> str:
    return _BAD_IN_ID.sub("_", ident)


def _arguments(text: str, losses: LossLog) -> JsonObject:
    found = read_arguments(text)
    if found.get("arguments") == text:
        losses.add(Loss.ARGUMENTS)
    return found


def _source(media_type: str, data: str, url: str) -> JsonObject:
    if url:
        return {"type": "url", "url": url}
    return {"type": "base64", "media_type": media_type, "data": data}


def _document(part: DocumentPart) -> JsonObject:
    if not part.url and part.media_type != "application/pdf":
        raise TranslationError(f"a document of type {part.media_type or 'unknown'} is no PDF")
    block: JsonObject = {
        "type": "document",
        "source": _source(part.media_type, part.data, part.url),
    }
    if part.name:
        block["title"] = part.name
    return _marked(block, part.cache)


def _tool_result(part: ToolResultPart, model: str, losses: LossLog) -> JsonObject:
    block: JsonObject = {"type": "tool_result", "tool_use_id": _id(part.id)}
    content = _blocks(part.content, model, losses)
    if content:
        block["content"] = content
    if part.error:
        block["is_error"] = True
    return _marked(block, part.cache)


def _thinking(part: ThinkingPart, model: str, losses: LossLog) -> JsonObject | None:
    if part.signature is None or not part.signature.fits("anthropic", model):
        losses.add(Loss.THINKING)
        return None
    signature = wrap_signature(part.signature, "anthropic")
    if part.hidden:
        return {"type": "redacted_thinking", "data": signature}
    return {"type": "thinking", "thinking": part.text, "signature": signature}


def _write_tools(body: JsonObject, request: ModelRequest) -> None:
    choice = request.tool_choice
    tools = request.tools
    if choice.allowed is not None:
        tools = [tool for tool in tools if tool.name in choice.allowed]
    if not tools:
        _write_tools_of_history(body, request.turns)
        return
    body["tools"] = [_tool(tool) for tool in tools]
    found: JsonObject = {"type": "any" if choice.mode == "required" else choice.mode}
    if choice.mode == "tool":
        found["name"] = choice.name
    if not choice.parallel and choice.mode != "none":
        found["disable_parallel_tool_use"] = True
    if found != {"type": "auto"}:
        body["tool_choice"] = found


def _write_tools_of_history(body: JsonObject, turns: list[Turn]) -> None:
    """Declare the tools of earlier calls, which Anthropic requires, and allow none of them."""
    parts = [part for turn in turns for part in turn.parts]
    names = dict.fromkeys(part.name for part in parts if isinstance(part, ToolCallPart))
    if names:
        body["tools"] = [_tool(ToolSpec(name, "", {})) for name in names]
        body["tool_choice"] = {"type": "none"}


def _tool(tool: ToolSpec) -> JsonObject:
    found: JsonObject = {"name": tool.name, "input_schema": tool.parameters or {"type": "object"}}
    if tool.description:
        found["description"] = tool.description
    if tool.strict:
        found["strict"] = True
    return _marked(found, tool.cache)


def _write_thinking(body: JsonObject, request: ModelRequest, model: str, losses: LossLog) -> None:
    reasoning = request.reasoning
    effort, budget = reasoning.effort, reasoning.budget
    if reasoning.enabled is False or effort == "none":
        body["thinking"] = {"type": "disabled"}
        return
    if effort is None and budget is None and not reasoning.enabled:
        return
    if request.tool_choice.mode in {"required", "tool"} and request.tools:
        losses.add(Loss.EFFORT)  # a forced tool call excludes thinking
        return
    # Other models with this protocol have it as it was before efforts.
    if _CLAUDE.search(model) and not _OLD.search(model):
        body["thinking"] = {"type": "adaptive"}
        if reasoning.shown:
            body["thinking"] = {"type": "adaptive", "display": "summarized"}
        if effort is not None:
            body["output_config"] = {"effort": _EFFORTS.get(effort, effort)}
        return
    most = (request.max_output or _max_output(model)) - 1
    tokens = min(budget or _BUDGETS[effort or "medium"], most)
    if _SMALL.search(model) or tokens < _MIN_BUDGET_TOKENS or _loop_without_thinking(body):
        losses.add(Loss.EFFORT)
        return
    body["thinking"] = {"type": "enabled", "budget_tokens": tokens}


def _loop_without_thinking(body: JsonObject) -> bool:
    """Return whether the last call of tools has no thinking before it.

    Models with a budget reject thinking in the middle of such a loop.
    """
    last = [as_dicts(each.get("content")) for each in as_dicts(body["messages"])[-2:]]
    if len(last) < 2 or last[1][0]["type"] != "tool_result":
        return False
    return last[0][0]["type"] not in {"thinking", "redacted_thinking"}


def _write_sampling(body: JsonObject, request: ModelRequest, losses: LossLog) -> None:
    sampling = request.sampling
    if sampling.seed is not None:
        losses.add(Loss.SEED)
    if sampling.frequency_penalty or sampling.presence_penalty:
        losses.add(Loss.PENALTIES)
    thinks = "thinking" in body and body["thinking"] != {"type": "disabled"}
    temperature, top_p = sampling.temperature, sampling.top_p
    if temperature is not None:
        if thinks or temperature > 1:
            losses.add(Loss.TEMPERATURE)
        if not thinks:
            body["temperature"] = min(temperature, 1)
    if top_p is not None:
        if thinks or temperature is not None:
            losses.add(Loss.TOP_P)
        else:
            body["top_p"] = top_p
    if sampling.top_k is not None and not thinks:
        body["top_k"] = sampling.top_k
    elif sampling.top_k is not None:
        losses.add(Loss.TOP_K)
