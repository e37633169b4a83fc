"""The protocols by name."""

from __future__ import annotations

from collections.abc import Mapping

from sidecar_transforms.translation.anthropic import AnthropicFormat
from sidecar_transforms.translation.gemini import GeminiFormat
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
