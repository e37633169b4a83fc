"""Together AI: OpenAI-shaped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from sidecar import Quota, QuotaKind, Serving, Vendor, hookimpl
from sidecar_vendors.endpoints import CHAT, STORED
from sidecar_vendors.ratelimits import read_ratelimits


class Together(Vendor):
    """Together AI."""

    name = "together"
    title = "Together AI"
    base_url = "https://api.together.ai/v1"
    credential = "TOGETHER_API_KEY"
    price_list = "together"
    serves: ClassVar[tuple[str, ...]] = ("openai",)
    dialects: ClassVar[Mapping[str, Serving]] = {
        "openai": Serving(
            CHAT | STORED | {"embeddings", "images", "transcriptions", "speech", "other"}
        ),
    }

    def read_quota(self, headers: Mapping[str, str], now: float) -> tuple[Quota, ...]:
        """`x-ratelimit-*` for requests and `x-tokenlimit-*` for tokens, by the second."""
        return read_ratelimits(
            headers, {"": (QuotaKind.REQUESTS, 1.0)}, stem="x-ratelimit-{}"
        ) + read_ratelimits(headers, {"": (QuotaKind.TOKENS, 1.0)}, stem="x-tokenlimit-{}")


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """Together AI."""
    return [Together()]
