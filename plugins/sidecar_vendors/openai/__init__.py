"""OpenAI: dialect, paths, usage and rate limits."""

from sidecar_vendors.openai.dialect import sidecar_dialects, sidecar_vendors

__all__ = ["sidecar_dialects", "sidecar_vendors"]
