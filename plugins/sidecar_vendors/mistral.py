"""Mistral AI: OpenAI-shaped chat, usage in every stream without asking."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from sidecar import Quota, QuotaKind, Serving, Vendor, hookimpl
from sidecar_vendors.endpoints import CHAT_AND_RESPONSES, STORED


class Mistral(Vendor):
    """Mistral AI."""

    name = "mistral"
    title = "Mistral"
    base_url = "https://api.mistral.ai/v1"
    credential = "MISTRAL_API_KEY"
    serves: ClassVar[tuple[str, ...]] = ("openai",)
    dialects: ClassVar[Mapping[str, Serving]] = {
        "openai": Serving(
            CHAT_AND_RESPONSES
            | STORED
            | {"embeddings", "moderations", "transcriptions", "speech", "other"}
        ),
    }

    def read_quota(self, headers: Mapping[str, str], now: float) -> tuple[Quota, ...]:
        """`x-ratelimit-{limit,remaining}-{req,tokens}-minute`."""
        found = []
        for name, kind in (("req", QuotaKind.REQUESTS), ("tokens", QuotaKind.TOKENS)):
            limit = headers.get(f"x-ratelimit-limit-{name}-minute", "")
            left = headers.get(f"x-ratelimit-remaining-{name}-minute", "")
            if limit.isdecimal() and left.isdecimal():
                found.append(Quota(kind, int(limit), int(left), None, 60.0))
        return tuple(found)


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """Mistral."""
    return [Mistral()]
