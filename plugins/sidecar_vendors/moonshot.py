"""Moonshot AI (Kimi): OpenAI-shaped chat, and Anthropic-shaped messages below `/anthropic`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from sidecar import (
    Answer,
    Judgement,
    Serving,
    Vendor,
    Verdict,
    error_code,
    hookimpl,
    judge_by_status,
    retry_after,
)
from sidecar_vendors.endpoints import CHAT_AND_RESPONSES, MESSAGES, STORED


class Moonshot(Vendor):
    """Moonshot AI. A spent balance comes as a 429 with a code of its own."""

    name = "moonshot"
    title = "Moonshot AI"
    base_url = "https://api.moonshot.ai/v1"
    credential = "MOONSHOT_API_KEY"
    price_list = "moonshotai"
    serves: ClassVar[tuple[str, ...]] = ("openai", "anthropic")
    dialects: ClassVar[Mapping[str, Serving]] = {
        "openai": Serving(CHAT_AND_RESPONSES | STORED),
        "anthropic": Serving(MESSAGES, strip="/v1", add="/anthropic"),
    }
    spent: ClassVar[frozenset[str]] = frozenset({"exceeded_current_quota_error"})

    def judge(self, answer: Answer) -> Judgement:
        """A 429 may also say that the engine, not the caller, is too busy."""
        if answer.status == 429 and error_code(answer.body) == "engine_overloaded_error":
            wait = retry_after(answer.headers)
            return Judgement(Verdict.OVERLOADED, "429 engine_overloaded_error", wait)
        return judge_by_status(answer, self.spent)


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """Moonshot AI."""
    return [Moonshot()]
