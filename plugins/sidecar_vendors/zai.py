"""Z.ai (GLM): OpenAI-shaped chat under `/v4`, Anthropic-shaped messages below `/api/anthropic`."""

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
)
from sidecar_vendors.endpoints import CHAT, MESSAGES

_REJECTED = frozenset({"1000", "1001", "1002", "1003", "1004"})


class Zai(Vendor):
    """Z.ai. Its error codes are numbers in strings; arrears come as a 429."""

    name = "zai"
    title = "Z.ai"
    base_url = "https://api.z.ai/api/paas/v4"
    credential = "ZAI_API_KEY"
    price_list = "zai"
    serves: ClassVar[tuple[str, ...]] = ("openai", "anthropic")
    dialects: ClassVar[Mapping[str, Serving]] = {
        "openai": Serving(CHAT),
        "anthropic": Serving(MESSAGES, strip="/paas/v4", add="/anthropic"),
    }
    spent: ClassVar[frozenset[str]] = frozenset({"1113", "1304", "1308", "1309", "1310"})

    def judge(self, answer: Answer) -> Judgement:
        """By the code, where there is one: statuses are vague here."""
        code = error_code(answer.body)
        if answer.status >= 400 and code in _REJECTED:
            return Judgement(Verdict.CREDENTIAL, f"{answer.status} {code}")
        if answer.status >= 400 and code == "1211":
            return Judgement(Verdict.MISSING, f"{answer.status} no such model")
        return judge_by_status(answer, self.spent)


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """Z.ai."""
    return [Zai()]
