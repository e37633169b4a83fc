"""Together AI: OpenAI's dialect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from sidecar import (
    Classification,
    ErrorClass,
    QuotaKind,
    Serving,
    UpstreamResponse,
    Vendor,
    classify_by_status,
    hookimpl,
)
from sidecar_vendors.common import CHAT, STORED, HeaderLimitedVendor, window


class Together(HeaderLimitedVendor):
    """The API of Together AI."""

    name = "together"
    title = "Together AI"
    base_url = "https://api.together.ai/v1"
    credential = "TOGETHER_API_KEY"
    price_list = "together"
    serves = ("openai",)
    dialects: ClassVar[Mapping[str, Serving]] = {
        "openai": Serving(
            CHAT | STORED | {"embeddings", "rerank", "images", "transcriptions", "speech", "other"}
        ),
    }
    # By the second, for each model.
    windows = (
        window(QuotaKind.REQUESTS, "x-ratelimit-{}", 1.0),
        window(QuotaKind.TOKENS, "x-tokenlimit-{}", 1.0),
    )

    def classify(self, answer: UpstreamResponse) -> Classification:
        """Classify 403, prompt and output bound beyond the model's context, as a client error.

        A 429 is the caller's rate limit; a 503 is the vendor's capacity.
        """
        if answer.status == 403:
            return Classification(ErrorClass.CLIENT_ERROR, "403 larger than the context")
        return classify_by_status(answer, self.codes)


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """Return this vendor."""
    return [Together()]
