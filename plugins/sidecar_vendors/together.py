"""Together AI: OpenAI-shaped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from sidecar import (
    Classification,
    ErrorClass,
    Quota,
    QuotaKind,
    Serving,
    UpstreamResponse,
    Vendor,
    classify_by_status,
    hookimpl,
)
from sidecar_vendors.common import CHAT, STORED, read_windows, window

_WINDOWS = (
    window(QuotaKind.REQUESTS, "x-ratelimit-{}", 1.0),
    window(QuotaKind.TOKENS, "x-tokenlimit-{}", 1.0),
)


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
            CHAT | STORED | {"embeddings", "rerank", "images", "transcriptions", "speech", "other"}
        ),
    }

    def classify(self, answer: UpstreamResponse) -> Classification:
        """A 403 says that prompt and bound together exceed the model's context. Above the caller's
        rate the answer is 429; below it, when the vendor has no room, 503."""
        if answer.status == 403:
            return Classification(ErrorClass.CLIENT_ERROR, "403 larger than the context")
        return classify_by_status(answer, self.codes)

    def read_quota(self, headers: Mapping[str, str], now: float) -> tuple[Quota, ...]:
        """`x-ratelimit-*` for requests and `x-tokenlimit-*` for tokens, by the second, and for
        each model."""
        return read_windows(headers, now, _WINDOWS)


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """Together AI."""
    return [Together()]
