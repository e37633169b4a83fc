"""The protocols by name."""

from __future__ import annotations

from collections.abc import Mapping

from sidecar_transforms.translation.anthropic import AnthropicFormat
from sidecar_transforms.translation.wire_format import WireFormat

FORMATS: Mapping[str, WireFormat] = {each.name: each for each in (AnthropicFormat(),)}
