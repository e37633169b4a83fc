"""Mistral AI: OpenAI-shaped chat, usage in every stream without asking."""

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
from sidecar_vendors.ratelimits import read_ratelimits

_WINDOWS = {"req-minute": (QuotaKind.REQUESTS, 60.0), "tokens-minute": (QuotaKind.TOKENS, 60.0)}
_OLDER = {"minute": (QuotaKind.TOKENS, 60.0), "month": (QuotaKind.TOKENS, 30 * 86400.0)}


class Mistral(Vendor):
    """Mistral AI."""

    name = "mistral"
    title = "Mistral"
    base_url = "https://api.mistral.ai/v1"
    credential = "MISTRAL_API_KEY"
    price_list = "mistral"
    serves: ClassVar[tuple[str, ...]] = ("openai",)
    dialects: ClassVar[Mapping[str, Serving]] = {
        "openai": Serving(
            CHAT_AND_RESPONSES
            | STORED
            | {"embeddings", "moderations", "transcriptions", "speech", "other"}
        ),
    }

    def judge(self, answer: Answer) -> Judgement:
        """A limit of no requests at all means that the plan does not have the model."""
        if answer.status == 429 and answer.headers.get("x-ratelimit-limit-req-minute") == "0":
            return Judgement(Verdict.MISSING, "429 the model is not on the plan")
        return judge_by_status(answer)

    def read_quota(self, headers: Mapping[str, str], now: float) -> tuple[Quota, ...]:
        """`x-ratelimit-{limit,remaining,reset}-{req,tokens}-minute`, and their older names."""
        return read_ratelimits(headers, _WINDOWS) + read_ratelimits(
            headers, _OLDER, stem="x-ratelimitbysize-{}-"
        )


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """Mistral."""
    return [Mistral()]
