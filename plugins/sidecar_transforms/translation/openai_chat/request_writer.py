"""Write a request of OpenAI's chat completions."""

from __future__ import annotations

from sidecar_transforms.translation.losses import Loss, LossLog
from sidecar_transforms.translation.model import (
    DocumentPart,
    ImagePart,
    JsonObject,
    ModelRequest,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
    TranslationError,
    Turn,
    TurnPart,
)
from sidecar_transforms.translation.openai_shared import (
    MAX_CACHE_KEY,
    effort_of,
    is_openai,
    may_reason,
    write_output,
    write_tools,
    write_verbosity,
)

_MAX_STOPS = 4
_REJECTED = {"temperature": Loss.TEMPERATURE, "top_p": Loss.TOP_P}
"""What OpenAI's reasoning models accept as 1 only, which is their own value."""
_FAILED = "Error: "


def write_request(request: ModelRequest, model: str, losses: LossLog) -> JsonObject:
    """Return the body; a stream always asks for its usage."""
    openai = is_openai(model)
    messages: list[JsonObject] = []
    if request.system:
        messages.append({"role": "system", "content": losses.texts(request.system)})
    for turn in request.turns:
        messages += _turn(turn, model, losses)
    if request.turns and request.turns[-1].role == "assistant":
        losses.add(Loss.PREFILL)
    body: JsonObject = {"model": model, "messages": messages}
    write_tools(body, request, losses, _typed)
    if request.max_output is not None:
        body["max_completion_tokens" if openai else "max_tokens"] = request.max_output
    effort = effort_of(request.reasoning, model, losses)
    if effort is not None:
        body["reasoning_effort"] = effort
    verbosity = write_verbosity(request.verbosity, model, losses)
    if verbosity:
        body["verbosity"] = verbosity
    _write_sampling(body, request, losses, reasons=openai and may_reason(model))
    if request.output is not None:
        body["response_format"] = write_output(request.output, _typed)
    _write_identity(body, request, losses, openai=openai)
    if request.streaming:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    return body


def _write_identity(
    body: JsonObject, request: ModelRequest, losses: LossLog, *, openai: bool
) -> None:
    """Write the user and the cache key, which only OpenAI's own servers are sure to take."""
    losses.marks(request.cache)
    if not (request.user or request.cache_key):
        return
    if not openai:
        losses.add(Loss.USER)
        return
    # Calls of one conversation share the key, so that they reach the machine with the prefix.
    body["prompt_cache_key"] = (request.cache_key or request.user)[-MAX_CACHE_KEY:]


def _turn(turn: Turn, model: str, losses: LossLog) -> list[JsonObject]:
    if turn.role == "system":
        texts = [part for part in turn.parts if isinstance(part, TextPart)]
        return [{"role": "system", "content": losses.texts(texts)}]
    if turn.role == "assistant":
        return [_answer(turn.parts, model, losses)]
    found: list[JsonObject] = []
    content: list[TurnPart] = []
    for part in turn.parts:
        if isinstance(part, ToolResultPart):
            message, media = _result(part, losses)
            found.append(message)
            content += media
        else:
            content.append(part)
    if content:
        found.append({"role": "user", "content": _content(content, losses)})
    return found


def _result(part: ToolResultPart, losses: LossLog) -> tuple[JsonObject, list[TurnPart]]:
    """Return the message of a tool, and what only a user's message may hold."""
    texts = [each for each in part.content if isinstance(each, TextPart)]
    media: list[TurnPart] = [each for each in part.content if not isinstance(each, TextPart)]
    losses.marks(part.cache)
    text = losses.texts(texts)
    if part.error:
        losses.add(Loss.TOOL_ERROR)
        text = _FAILED + text
    if media:
        losses.add(Loss.TOOL_MEDIA)
        text = text or "The result follows in the next message."
        media.insert(0, TextPart(f"From the result of the tool call {part.id}:"))
    return {"role": "tool", "tool_call_id": part.id, "content": text}, media


def _content(parts: list[TurnPart], losses: LossLog) -> str | list[JsonObject]:
    if all(isinstance(part, TextPart) for part in parts) and len(parts) == 1:
        return losses.texts([part for part in parts if isinstance(part, TextPart)])
    return [_part(part, losses) for part in parts]


def _part(part: TurnPart, losses: LossLog) -> JsonObject:
    match part:
        case TextPart(text=text, cache=cache):
            losses.marks(cache)
            return {"type": "text", "text": text}
        case ImagePart(media_type=media_type, data=data, url=url, cache=cache):
            losses.marks(cache)
            found = url or f"data:{media_type};base64,{data}"
            return {"type": "image_url", "image_url": {"url": found}}
        case DocumentPart(cache=cache):
            losses.marks(cache)
            return _file(part)
        case _:
            raise TranslationError("a message of the user holds a part of the model's")


def _file(part: DocumentPart) -> JsonObject:
    if part.url:
        raise TranslationError("chat takes no document by its URL; send its bytes instead")
    name = part.name or "document.pdf"
    data = f"data:{part.media_type};base64,{part.data}"
    return {"type": "file", "file": {"filename": name, "file_data": data}}


def _answer(parts: list[TurnPart], model: str, losses: LossLog) -> JsonObject:
    texts: list[str] = []
    thinking: list[str] = []
    calls: list[JsonObject] = []
    for part in parts:
        match part:
            case TextPart(text=text, cache=cache):
                losses.marks(cache)
                if calls:
                    losses.add(Loss.PART_ORDER)
                texts.append(text)
            case ToolCallPart(id=ident, name=name, arguments=arguments, cache=cache):
                losses.marks(cache)
                function = {"name": name, "arguments": arguments or "{}"}
                calls.append({"id": ident, "type": "function", "function": function})
            case ThinkingPart(text=text, signature=signature):
                if signature is not None and text and signature.fits("openai_chat", model):
                    thinking.append(text)
                else:
                    losses.add(Loss.THINKING)
            case _:
                raise TranslationError("a message of the model holds a part of the user's")
    message: JsonObject = {"role": "assistant", "content": "".join(texts) if texts else None}
    if calls:
        message["tool_calls"] = calls
    elif not texts:
        message["content"] = ""
    if thinking:
        message["reasoning_content"] = "".join(thinking)
    return message


def _write_sampling(
    body: JsonObject, request: ModelRequest, losses: LossLog, *, reasons: bool
) -> None:
    """Write the sampling; OpenAI's reasoning models reject most of it."""
    sampling = request.sampling
    if sampling.top_k is not None:
        losses.add(Loss.TOP_K)
    given = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
    }
    stop = request.stop[: 0 if reasons else _MAX_STOPS]
    if len(stop) < len(request.stop):
        losses.add(Loss.STOP_SEQUENCES)
    if stop:
        body["stop"] = stop
    for name, loss in _REJECTED.items() if reasons else ():
        if given[name] not in {None, 1}:
            losses.add(loss)
        given[name] = None
    body.update({name: value for name, value in given.items() if value is not None})


def _typed(kind: str, fields: JsonObject) -> JsonObject:
    return {"type": kind, kind: fields}
