"""Groq: OpenAI-shaped, with usage in `x_groq` as well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from sidecar import Quota, Serving, Vendor, hookimpl
from sidecar_vendors.endpoints import CHAT_AND_RESPONSES, STORED
from sidecar_vendors.openai import read_ratelimit


class Groq(Vendor):
    """Groq."""

    name = "groq"
    title = "Groq"
    base_url = "https://api.groq.com/openai/v1"
    credential = "GROQ_API_KEY"
    serves: ClassVar[tuple[str, ...]] = ("openai",)
    dialects: ClassVar[Mapping[str, Serving]] = {
        "openai": Serving(CHAT_AND_RESPONSES | STORED | {"transcriptions", "speech"}),
    }

    def read_quota(self, headers: Mapping[str, str], now: float) -> tuple[Quota, ...]:
        """As OpenAI's, but requests are counted by the day."""
        return read_ratelimit(headers, {"requests": 86400.0, "tokens": 60.0})


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """Groq."""
    return [Groq()]
