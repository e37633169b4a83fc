"""Estimate the tokens of a request from the length of its text."""

from __future__ import annotations

import msgspec

from sidecar_transforms.translation.formats import format_named
from sidecar_transforms.translation.losses import LossLog
from sidecar_transforms.translation.model import (
    DocumentPart,
    ImagePart,
    ModelRequest,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
    TranslationError,
    TurnPart,
)
from sidecar_transforms.translation.wire_format import read_json

_TOKEN_CHARACTERS = 3.5
_MEDIA_TOKENS = 1600
"""About what an image of the usual size takes."""


def estimate_tokens(source: str, body: bytes) -> bytes:
    """Return an estimate as the answer to a request of this protocol that counts tokens.

    Raises:
        TranslationError: The request is no JSON object, or the protocol has no such request.
    """
    reader, document = format_named(source), read_json(body)
    try:
        size = _text_size(reader.read_request(document, LossLog()))
    except TranslationError:  # such as a tool that only the vendor has
        size = len(body)
    return msgspec.json.encode(reader.write_count(int(size / _TOKEN_CHARACTERS) + 1))


def _text_size(request: ModelRequest) -> float:
    """Return the characters of a request that a model reads."""
    size = sum(_size(part) for part in request.system)
    size += sum(_size(part) for turn in request.turns for part in turn.parts)
    for tool in request.tools:
        size += len(tool.name) + len(tool.description) + len(msgspec.json.encode(tool.parameters))
    return size


def _size(part: TurnPart) -> float:
    match part:
        case TextPart(text=text):
            return len(text)
        case ToolCallPart(name=name, arguments=arguments):
            return len(name) + len(arguments)
        case ToolResultPart(content=content):
            return sum(_size(each) for each in content)
        case ImagePart() | DocumentPart():
            return _MEDIA_TOKENS * _TOKEN_CHARACTERS
        case ThinkingPart():
            return 0  # thinking of earlier turns is not counted
