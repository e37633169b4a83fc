"""The vendors' SDKs, configured as in an agent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anthropic
import openai
from running_sidecar import Sidecar


@asynccontextmanager
async def both_sdks(
    proxy: Sidecar, gpt: str, claude: str
) -> AsyncIterator[tuple[openai.AsyncOpenAI, anthropic.AsyncAnthropic]]:
    """One of each with these keys; neither tries again by itself."""
    async with (
        openai.AsyncOpenAI(
            base_url=f"{proxy.url}/v1", api_key=proxy.keys[gpt], max_retries=0
        ) as ours,
        anthropic.AsyncAnthropic(
            base_url=proxy.url, api_key=proxy.keys[claude], max_retries=0
        ) as theirs,
    ):
        yield ours, theirs
