"""Anthropic: dialect, usage and rate limits."""

from sidecar_vendors.anthropic.dialect import sidecar_dialects, sidecar_vendors

__all__ = ["sidecar_dialects", "sidecar_vendors"]
