"""Z.ai (GLM): OpenAI-shaped chat under `/v4`, Anthropic-shaped messages below `/api/anthropic`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from sidecar import Serving, Vendor, hookimpl
from sidecar_vendors.endpoints import CHAT, MESSAGES


class Zai(Vendor):
    """Z.ai. Its error codes are numbers in strings; arrears come as a 429."""

    name = "zai"
    title = "Z.ai"
    base_url = "https://api.z.ai/api/paas/v4"
    credential = "ZAI_API_KEY"
    serves: ClassVar[tuple[str, ...]] = ("openai", "anthropic")
    dialects: ClassVar[Mapping[str, Serving]] = {
        "openai": Serving(CHAT),
        "anthropic": Serving(MESSAGES, strip="/paas/v4", add="/anthropic"),
    }
    spent: ClassVar[frozenset[str]] = frozenset({"1113", "1304", "1308", "1309", "1310"})


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """Z.ai."""
    return [Zai()]
