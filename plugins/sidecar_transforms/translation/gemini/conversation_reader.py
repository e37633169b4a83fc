"""Read the contents of a request, whose calls and results may have no ids."""

from __future__ import annotations

import base64
import binascii
from collections import defaultdict, deque
from collections.abc import Mapping
from typing import Literal

import msgspec

from sidecar_transforms.translation.gemini.schemas import camel
from sidecar_transforms.translation.gemini.thoughts import carried
from sidecar_transforms.translation.losses import Loss, LossLog
from sidecar_transforms.translation.model import (
    DocumentPart,
    ImagePart,
    JsonObject,
    Signature,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
    TranslationError,
    Turn,
    TurnPart,
)
from sidecar_transforms.translation.wire_format import as_dict, as_dicts, as_text

_ROLES: Mapping[object, Literal["user", "assistant"]] = {
    "user": "user", "function": "user", None: "user", "": "user", "model": "assistant",
}  # fmt: skip
_TEXT_TYPES = ("text/", "application/json")
_AT_GOOGLE = ("gs://", "files/", "https://generativelanguage.googleapis.com/")
_RESULT_NAMES = ("output", "result")
_ANY = ("any", "")


class _PendingCalls:
    """The calls of a turn that have no result yet. A turn may have thousands, so none is searched
    for."""

    def __init__(self) -> None:
        self._waiting: defaultdict[tuple[str, str], deque[ToolCallPart]] = defaultdict(deque)
        self._taken: set[int] = set()

    def add(self, call: ToolCallPart) -> None:
        """Add the next call."""
        for place in (("id", call.id), ("name", call.name), _ANY):
            self._waiting[place].append(call)

    def take(self, ident: str, name: str) -> ToolCallPart | None:
        """Remove and return the first call of this id; without an id the first of this name, else
        the first of all."""
        for place in (("id", ident),) if ident else (("name", name), _ANY):
            waiting = self._waiting.get(place, deque())
            while waiting:
                call = waiting.popleft()
                if id(call) not in self._taken:
                    self._taken.add(id(call))
                    return call
        return None


class Conversation:
    """Turns from contents. Contents of one role that follow each other are one turn."""

    def __init__(self, losses: LossLog) -> None:
        self._losses = losses
        self._turns: list[Turn] = []
        self._calls = 0
        self._pending = _PendingCalls()
        self._carrying: set[int] = set()

    def add(self, value: JsonObject) -> None:
        """Add the next content."""
        content = camel(value)
        role = _ROLES.get(content.get("role"))
        if role is None:
            raise TranslationError(f"a content has the unknown role {content.get('role')!r}")
        if not self._turns or self._turns[-1].role != role:
            self._turns.append(Turn(role, []))
            if role == "assistant":
                self._pending = _PendingCalls()
        parts = self._turns[-1].parts
        for part in map(camel, as_dicts(content.get("parts"))):
            if role == "assistant":
                self._answer(part, parts)
            elif isinstance(part.get("functionResponse"), dict):
                parts.append(self._result(camel(part["functionResponse"])))
            else:
                parts += _read_part(part, self._losses)

    def turns(self) -> list[Turn]:
        """Return the turns, in which thoughts that a signature carries stand once."""
        for index in self._carrying:
            turn = self._turns[index]
            turn.parts = [
                part
                for part in turn.parts
                if not isinstance(part, ThinkingPart) or part.signature is not None
            ]
        return [turn for turn in self._turns if turn.parts]

    def _answer(self, part: JsonObject, parts: list[TurnPart]) -> None:
        text, signature = as_text(part.get("text")), as_text(part.get("thoughtSignature"))
        thoughts = carried(signature)
        if thoughts is not None:
            self._carrying.add(len(self._turns) - 1)
            parts += thoughts
        elif part.get("thought"):
            parts.append(ThinkingPart(text, Signature("gemini", signature) if signature else None))
        elif signature:
            parts.append(ThinkingPart("", Signature("gemini", signature)))
        if part.get("thought"):
            return
        if isinstance(part.get("functionCall"), dict):
            parts.append(self._call(camel(part["functionCall"])))
            return
        for each in _read_part(part, self._losses):
            last = parts[-1] if parts else None
            if isinstance(each, TextPart) and isinstance(last, TextPart):
                last.text += each.text  # pieces of a stream
            else:
                parts.append(each)

    def _call(self, call: JsonObject) -> ToolCallPart:
        # The number of the call stays the same in every later request of the conversation.
        ident = as_text(call.get("id")) or f"gemini_{self._calls}"
        self._calls += 1
        arguments = msgspec.json.encode(as_dict(call.get("args"))).decode()
        found = ToolCallPart(ident, as_text(call.get("name")), arguments)
        self._pending.add(found)
        return found

    def _result(self, given: JsonObject) -> ToolResultPart:
        ident, name = as_text(given.get("id")), as_text(given.get("name"))
        call = self._pending.take(ident, name)
        if call is not None:
            ident = call.id
        elif not ident:
            raise TranslationError(f"the result of the function `{name}` follows no call of it")
        text, failed = _response(as_dict(given.get("response")))
        content: list[TextPart | ImagePart | DocumentPart] = [TextPart(text)] if text else []
        content += read_parts(given.get("parts"), self._losses)
        return ToolResultPart(ident, content, failed)


def _response(response: JsonObject) -> tuple[str, bool]:
    """Return the text of a function's response, and whether it failed."""
    if len(response) == 1:
        ((name, value),) = response.items()
        if name == "error" or name in _RESULT_NAMES:
            text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
            return text, name == "error"
    return msgspec.json.encode(response).decode() if response else "", False


def read_parts(value: object, losses: LossLog) -> list[TextPart | ImagePart | DocumentPart]:
    """Return texts, images and documents."""
    return [each for part in as_dicts(value) for each in _read_part(camel(part), losses)]


def _read_part(part: JsonObject, losses: LossLog) -> list[TextPart | ImagePart | DocumentPart]:
    """Return what a part holds, with its names in camel case; [] for an empty text."""
    if part.get("mediaResolution"):
        losses.add(Loss.IMAGE_DETAIL)
    if part.get("videoMetadata"):
        losses.add(Loss.FIELDS)
    if isinstance(part.get("inlineData"), dict):
        return [_inline(camel(part["inlineData"]))]
    if isinstance(part.get("fileData"), dict):
        return [_file(camel(part["fileData"]))]
    text = as_text(part.get("text"))
    if text:
        return [TextPart(text)]
    unknown = [name for name in part if name not in {"text", "thought", "thoughtSignature"}]
    if unknown:
        raise TranslationError(
            f"the part `{unknown[0]}` belongs to Google's own tools, or is unknown"
        )
    return []


def _inline(blob: JsonObject) -> TextPart | ImagePart | DocumentPart:
    kind, data = as_text(blob.get("mimeType")), as_text(blob.get("data"))
    data = data.replace("-", "+").replace("_", "/")  # Google's SDKs use the alphabet of URLs
    if kind.startswith(_TEXT_TYPES):
        try:
            return TextPart(base64.b64decode(data + "=" * (-len(data) % 4)).decode())
        except (binascii.Error, UnicodeDecodeError):
            raise TranslationError(f"the inline data of type {kind} is no text") from None
    return _media(kind, data, "", as_text(blob.get("displayName")))


def _file(file: JsonObject) -> ImagePart | DocumentPart:
    uri = as_text(file.get("fileUri"))
    if uri.startswith(_AT_GOOGLE):
        raise TranslationError("an uploaded file is kept at Google; send its bytes instead")
    kind = as_text(file.get("mimeType"))
    return _media(kind, "", uri, as_text(file.get("displayName")))


def _media(kind: str, data: str, url: str, name: str) -> ImagePart | DocumentPart:
    if kind.startswith(("audio/", "video/")) or not kind:
        raise TranslationError(f"media of type {kind or 'unknown'} are Google's own")
    if kind.startswith("image/"):
        return ImagePart(kind, data, url)
    return DocumentPart(kind, data, url, name)
