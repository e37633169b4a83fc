"""Write the contents of a request, with the signatures at the parts that they belong to."""

from __future__ import annotations

import mimetypes

from sidecar_transforms.translation.losses import Loss, LossLog
from sidecar_transforms.translation.model import (
    DocumentPart,
    ImagePart,
    JsonObject,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
    TranslationError,
    Turn,
    TurnPart,
)
from sidecar_transforms.translation.wire_format import read_arguments

_UNSIGNED = "skip_thought_signature_validator"
"""Google's own word in place of the signature of a call that another model made."""


def write_contents(
    turns: list[Turn], model: str, losses: LossLog, *, signs_calls: bool
) -> list[JsonObject]:
    """Return the contents, in which the roles alternate.

    Args:
        turns: The conversation.
        model: The model that the request is for.
        losses: What is lost.
        signs_calls: The model rejects a call without a signature, and takes media in results.
    """
    names: dict[str, str] = {}
    found: list[tuple[str, list[JsonObject]]] = []
    for turn in turns:
        if turn.role == "system":
            losses.add(Loss.SYSTEM_ORDER)
        if turn.role == "assistant":
            # A later call may have the id of an earlier one.
            names |= {p.id: p.name for p in turn.parts if isinstance(p, ToolCallPart)}
            role, parts = "model", _answer(turn.parts, model, losses, signs_calls=signs_calls)
        else:
            role, parts = "user", _user(turn.parts, names, losses, media_in_results=signs_calls)
        if found and found[-1][0] == role:
            found[-1][1].extend(parts)
        elif parts:
            found.append((role, parts))
    for role, parts in found:
        if role == "user":
            # Google wants the results of functions before anything else.
            parts.sort(key=lambda part: "functionResponse" not in part)
    return [{"role": role, "parts": parts} for role, parts in found]


def _user(
    parts: list[TurnPart], names: dict[str, str], losses: LossLog, *, media_in_results: bool
) -> list[JsonObject]:
    found: list[JsonObject] = []
    for part in parts:
        match part:
            case ToolResultPart():
                name = names.get(part.id)
                if name is None:
                    raise TranslationError(f"the result of the tool call `{part.id}` has no call")
                found += _result(part, name, losses, media_inside=media_in_results)
            case TextPart() | ImagePart() | DocumentPart():
                found += _content(part, losses)
            case _:
                raise TranslationError("a message of the user holds a part of the model's")
    return found


def _content(part: TextPart | ImagePart | DocumentPart, losses: LossLog) -> list[JsonObject]:
    losses.marks(part.cache)
    if isinstance(part, TextPart):
        return [{"text": part.text}] if part.text else []
    if isinstance(part, DocumentPart) and part.name:
        losses.add(Loss.FIELDS)
    if not part.url:
        return [{"inlineData": {"mimeType": part.media_type, "data": part.data}}]
    kind = part.media_type or mimetypes.guess_type(part.url)[0]
    return [{"fileData": {**({"mimeType": kind} if kind else {}), "fileUri": part.url}}]


def _result(
    part: ToolResultPart, name: str, losses: LossLog, *, media_inside: bool
) -> list[JsonObject]:
    """Return the response of a function, and what must follow it."""
    losses.marks(part.cache)
    text = losses.texts([each for each in part.content if isinstance(each, TextPart)])
    given = {"error" if part.error else "output": text}
    response: JsonObject = {"id": part.id, "name": name, "response": given}
    media: list[JsonObject] = []
    for each in part.content:
        if not isinstance(each, TextPart):
            media += _content(each, losses)
    if media and media_inside and all("inlineData" in each for each in media):
        response["parts"] = media
        media = []
    elif media:
        losses.add(Loss.TOOL_MEDIA)
        media.insert(0, {"text": f"From the result of the tool call {part.id}:"})
    return [{"functionResponse": response}, *media]


def _answer(
    parts: list[TurnPart], model: str, losses: LossLog, *, signs_calls: bool
) -> list[JsonObject]:
    found: list[JsonObject] = []
    held: list[str] = []  # signatures of the next part
    for part in parts:
        match part:
            case ThinkingPart(text=text, signature=signature):
                if signature is None or not signature.fits("gemini", model):
                    losses.add(Loss.THINKING)
                elif text:
                    found.append(
                        {"text": text, "thought": True, "thoughtSignature": signature.value}
                    )
                else:
                    held.append(signature.value)
            case TextPart() | ImagePart() | DocumentPart():
                found += [_signed(each, held) for each in _content(part, losses)]
            case ToolCallPart():
                losses.marks(part.cache)
                found.append(_signed(_call(part, losses), held[-1:]))
                held.clear()
            case ToolResultPart():
                raise TranslationError("a message of the model holds a part of the user's")
    if held:
        found.append({"text": "", "thoughtSignature": held[-1]})
    _sign_first_call(found, required=signs_calls)
    return found


def _signed(part: JsonObject, held: list[str]) -> JsonObject:
    if held:
        part["thoughtSignature"] = held.pop(0)
    return part


def _call(part: ToolCallPart, losses: LossLog) -> JsonObject:
    arguments = read_arguments(part.arguments)
    if arguments.get("arguments") == part.arguments:
        losses.add(Loss.ARGUMENTS)
    return {"functionCall": {"id": part.id, "name": part.name, "args": arguments}}


def _sign_first_call(parts: list[JsonObject], *, required: bool) -> None:
    """Sign the first call of a step, which is the only one that Google signs.

    Clients of chat return all thinking before the text, so that the signature of the call may
    stand at the text.
    """
    call = next((part for part in parts if "functionCall" in part), None)
    if call is None or "thoughtSignature" in call:
        return
    before = parts[: parts.index(call)]
    signed = [part for part in before if "thoughtSignature" in part and not part.get("thought")]
    if signed:
        call["thoughtSignature"] = signed[-1].pop("thoughtSignature")
    elif required:
        call["thoughtSignature"] = _UNSIGNED
