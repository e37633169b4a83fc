"""Groq: OpenAI-shaped, with usage in `x_groq` as well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from sidecar import (
    Answer,
    Judgement,
    Quota,
    QuotaKind,
    Serving,
    Vendor,
    Verdict,
    hookimpl,
    judge_by_status,
)
from sidecar_vendors.endpoints import CHAT_AND_RESPONSES, STORED
from sidecar_vendors.ratelimits import OPENAI, read_ratelimits


class Groq(Vendor):
    """Groq."""

    name = "groq"
    title = "Groq"
    base_url = "https://api.groq.com/openai/v1"
    credential = "GROQ_API_KEY"
    price_list = "groq"
    serves: ClassVar[tuple[str, ...]] = ("openai",)
    dialects: ClassVar[Mapping[str, Serving]] = {
        "openai": Serving(CHAT_AND_RESPONSES | STORED | {"transcriptions", "speech"}),
    }

    def judge(self, answer: Answer) -> Judgement:
        """498 says that the flex tier has no room."""
        if answer.status == 498:
            return Judgement(Verdict.OVERLOADED, "498 capacity exceeded")
        return judge_by_status(answer)

    def read_quota(self, headers: Mapping[str, str], now: float) -> tuple[Quota, ...]:
        """As OpenAI's, but requests are counted by the day."""
        return read_ratelimits(headers, {**OPENAI, "requests": (QuotaKind.REQUESTS, 86400.0)})


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """Groq."""
    return [Groq()]
