"""xAI: OpenAI-shaped, with errors and arithmetic of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from msgspec import structs

from sidecar import (
    Answer,
    Endpoint,
    Judgement,
    Quota,
    Serving,
    Usage,
    Vendor,
    Verdict,
    hookimpl,
    judge_by_status,
)
from sidecar_vendors.endpoints import CHAT_AND_RESPONSES, STORED
from sidecar_vendors.ratelimits import read_ratelimits


class XAI(Vendor):
    """xAI. A wrong key is a 400, a blocked one a 403, and spent credits are a 429."""

    name = "xai"
    title = "xAI"
    base_url = "https://api.x.ai/v1"
    credential = "XAI_API_KEY"
    price_list = "x-ai"
    reports_cost = True
    serves: ClassVar[tuple[str, ...]] = ("openai",)
    dialects: ClassVar[Mapping[str, Serving]] = {
        "openai": Serving(CHAT_AND_RESPONSES | STORED | {"images", "videos", "other"}),
    }

    def judge(self, answer: Answer) -> Judgement:
        """By the words of the error, which is a plain text here."""
        body = answer.body
        if answer.status == 400 and b"Incorrect API key" in body:
            return Judgement(Verdict.CREDENTIAL, "400 incorrect key")
        if answer.status == 429 and (
            b"used all available credits" in body or b"spending limit" in body
        ):
            return Judgement(Verdict.SPENT, "429 credits used up", whole_credential=True)
        if answer.status == 403 and b"blocked" in body:
            return Judgement(Verdict.CREDENTIAL, "403 blocked key")
        return judge_by_status(answer)

    def normalise(self, usage: Usage, endpoint: Endpoint) -> Usage:
        """Chat counts reasoning beside the completion; elsewhere it is part of the output."""
        if endpoint.name != "chat" or usage.output_tokens is None or not usage.reasoning_tokens:
            return usage
        return structs.replace(usage, output_tokens=usage.output_tokens + usage.reasoning_tokens)

    def read_quota(self, headers: Mapping[str, str], now: float) -> tuple[Quota, ...]:
        """As OpenAI's."""
        return read_ratelimits(headers)


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """xAI."""
    return [XAI()]
