"""The protocols by name."""

from __future__ import annotations

from collections.abc import Mapping

from sidecar_transforms.translation.anthropic import AnthropicFormat
from sidecar_transforms.translation.gemini import GeminiFormat
from sidecar_transforms.translation.model import TranslationError
from sidecar_transforms.translation.openai_chat import OpenAIChatFormat
from sidecar_transforms.translation.openai_responses import OpenAIResponsesFormat
from sidecar_transforms.translation.wire_format import WireFormat

_ALL: tuple[WireFormat, ...] = (
    AnthropicFormat(),
    OpenAIChatFormat(),
    OpenAIResponsesFormat(),
    GeminiFormat(),
)
FORMATS: Mapping[str, WireFormat] = {each.name: each for each in _ALL}


def format_named(name: str) -> WireFormat:
    """Return the format of a protocol; raise `TranslationError` if there is none."""
    found = FORMATS.get(name)
    if found is None:
        raise TranslationError(f"there is no protocol {name!r}; there are {', '.join(FORMATS)}")
    return found
