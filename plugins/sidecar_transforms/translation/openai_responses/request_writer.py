"""Write a request of the Responses API."""

from __future__ import annotations

from sidecar_transforms.translation.losses import Loss, LossLog
from sidecar_transforms.translation.model import (
    DocumentPart,
    ImagePart,
    JsonObject,
    ModelRequest,
    Reasoning,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
    Turn,
)
from sidecar_transforms.translation.openai_responses.reasoning import write_reasoning
from sidecar_transforms.translation.openai_shared import (
    MAX_CACHE_KEY,
    effort_of,
    is_openai,
    may_reason,
    write_output,
    write_tools,
    write_verbosity,
)
from sidecar_transforms.translation.wire_format import as_text

_MIN_OUTPUT = 16
"""OpenAI rejects a smaller bound."""
_FAILED = "Error: "


def write_request(request: ModelRequest, model: str, losses: LossLog) -> JsonObject:
    """Return the body, of which the provider keeps nothing."""
    body: JsonObject = {"model": model, "store": False}
    if request.system:
        body["instructions"] = losses.texts(request.system)
    body["input"] = [item for turn in request.turns for item in _turn(turn, model, losses)]
    if request.turns and request.turns[-1].role == "assistant":
        losses.add(Loss.PREFILL)
    # A tool is strict where that is left out.
    write_tools(body, request, losses, _typed, strict=False)
    if request.max_output is not None:
        if request.max_output < _MIN_OUTPUT:
            losses.add(Loss.MAX_OUTPUT)
        body["max_output_tokens"] = max(request.max_output, _MIN_OUTPUT)
    _write_reasoning(body, request.reasoning, model, losses)
    _write_text(body, request, model, losses)
    _write_sampling(body, request, model, losses)
    losses.marks(request.cache)
    if request.user or request.cache_key:
        # Calls of one conversation share the key, so that they reach the machine with the prefix.
        body["prompt_cache_key"] = (request.cache_key or request.user)[-MAX_CACHE_KEY:]
    if request.streaming:
        body["stream"] = True
    return body


def _turn(turn: Turn, model: str, losses: LossLog) -> list[JsonObject]:
    """Return the items of a turn; parts that follow each other join in one message."""
    items: list[JsonObject] = []
    content: list[JsonObject] = []
    for part in turn.parts:
        if isinstance(part, TextPart | ImagePart | DocumentPart):
            if not content:
                items.append({"type": "message", "role": turn.role, "content": content})
            content.append(_content(part, turn.role, losses))
            continue
        content = []
        item = _item(part, model, losses)
        if item is not None:
            items.append(item)
    return items


def _content(part: TextPart | ImagePart | DocumentPart, role: str, losses: LossLog) -> JsonObject:
    losses.marks(part.cache)
    match part:
        case TextPart(text=text):
            return {"type": "output_text" if role == "assistant" else "input_text", "text": text}
        case ImagePart(media_type=media_type, data=data, url=url):
            found = url or f"data:{media_type};base64,{data}"
            return {"type": "input_image", "detail": "auto", "image_url": found}
        case DocumentPart(url=url) if url:
            return {"type": "input_file", "file_url": url}
        case DocumentPart(media_type=media_type, data=data, name=name):
            found = f"data:{media_type};base64,{data}"
            return {"type": "input_file", "filename": name or "document.pdf", "file_data": found}


def _item(
    part: ToolCallPart | ToolResultPart | ThinkingPart, model: str, losses: LossLog
) -> JsonObject | None:
    match part:
        case ToolCallPart(id=ident, name=name, arguments=arguments):
            losses.marks(part.cache)
            return {
                "type": "function_call", "call_id": ident, "name": name,
                "arguments": arguments or "{}",
            }  # fmt: skip
        case ToolResultPart():
            return _result(part, losses)
        case ThinkingPart():
            found = write_reasoning(part, model)
            if found is None:
                losses.add(Loss.THINKING)
            return found


def _result(part: ToolResultPart, losses: LossLog) -> JsonObject:
    losses.marks(part.cache)
    content = [_content(each, "user", losses) for each in part.content]
    if part.error:
        losses.add(Loss.TOOL_ERROR)
        content.insert(0, {"type": "input_text", "text": _FAILED})
    output: object = content
    if all(each["type"] == "input_text" for each in content) and (part.error or len(content) < 2):
        output = "".join(as_text(each["text"]) for each in content)
    return {"type": "function_call_output", "call_id": part.id, "output": output}


def _write_reasoning(body: JsonObject, reasoning: Reasoning, model: str, losses: LossLog) -> None:
    if may_reason(model):
        body["include"] = ["reasoning.encrypted_content"]
    found: JsonObject = {}
    effort = effort_of(reasoning, model, losses)
    if effort is not None:
        found["effort"] = effort
    wanted = reasoning.enabled if reasoning.shown is None else reasoning.shown
    if wanted and may_reason(model):
        found["summary"] = "auto"
    if found:
        body["reasoning"] = found


def _write_text(body: JsonObject, request: ModelRequest, model: str, losses: LossLog) -> None:
    found: JsonObject = {}
    if request.output is not None:
        found["format"] = write_output(request.output, _typed)
    verbosity = write_verbosity(request.verbosity, model, losses)
    if verbosity:
        found["verbosity"] = verbosity
    if found:
        body["text"] = found


def _write_sampling(body: JsonObject, request: ModelRequest, model: str, losses: LossLog) -> None:
    sampling = request.sampling
    given = {"temperature": sampling.temperature, "top_p": sampling.top_p}
    lost = {
        Loss.TOP_K: sampling.top_k is not None,
        Loss.SEED: sampling.seed is not None,
        Loss.PENALTIES: bool(sampling.frequency_penalty or sampling.presence_penalty),
        Loss.STOP_SEQUENCES: bool(request.stop),
    }
    if is_openai(model) and may_reason(model):
        # Its reasoning models accept 1 only, which is their own value.
        lost[Loss.TEMPERATURE] = sampling.temperature not in {None, 1}
        lost[Loss.TOP_P] = sampling.top_p not in {None, 1}
        given = {}
    for loss, is_lost in lost.items():
        if is_lost:
            losses.add(loss)
    body.update({name: value for name, value in given.items() if value is not None})


def _typed(kind: str, fields: JsonObject) -> JsonObject:
    return {"type": kind, **fields}
