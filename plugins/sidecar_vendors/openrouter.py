"""OpenRouter: many vendors behind OpenAI-shaped chat and Anthropic-shaped messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from sidecar import (
    Answer,
    Judgement,
    Serving,
    Vendor,
    Verdict,
    hookimpl,
    judge_by_status,
    retry_after,
)
from sidecar_vendors.endpoints import CHAT_AND_RESPONSES, MESSAGES


class OpenRouter(Vendor):
    """OpenRouter."""

    name = "openrouter"
    title = "OpenRouter"
    base_url = "https://openrouter.ai/api/v1"
    credential = "OPENROUTER_API_KEY"
    price_list = "openrouter"
    reports_cost = True
    serves: ClassVar[tuple[str, ...]] = ("openai", "anthropic")
    dialects: ClassVar[Mapping[str, Serving]] = {
        "openai": Serving(CHAT_AND_RESPONSES | {"embeddings", "other"}),
        "anthropic": Serving(MESSAGES, strip="/v1"),
    }

    def judge(self, answer: Answer) -> Judgement:
        """A 402 may be a short hold for calls that still run; a 403 is about the prompt."""
        wait = retry_after(answer.headers)
        if answer.status == 402 and (wait or b"openrouter_in_flight_budget" in answer.body):
            return Judgement(Verdict.SLOW_DOWN, "402 held for running calls", wait, True)
        if answer.status == 403:
            return Judgement(Verdict.CLIENT, "403 moderation")
        return judge_by_status(answer)


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """OpenRouter."""
    return [OpenRouter()]
