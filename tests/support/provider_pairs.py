"""Two providers of one vendor, the second as a fallback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from running_sidecar import Sidecar, sidecar
from sample_answers import CHAT, body
from scripted_vendor import Script, ScriptedVendor, answer

YAML = """
defaults: {{max_wait: {wait}, sticky_wait: {sticky}}}
providers:
  one: {{plugin: openai, base_url: "{one}/v1", credential: [env:UPSTREAM_KEY{second}]{limits}}}
  two: {{plugin: openai, base_url: "{two}/v1", credential: env:UPSTREAM_KEY}}
  an: {{plugin: anthropic, base_url: "{one}", credential: env:UPSTREAM_KEY}}
groups:
  GPT: {{vendor: openai, routes: [{routes}]}}
  Claude: {{vendor: anthropic, routes: [an]}}
keys:
  day: {{group: GPT, hash: "{{day}}"}}
  claude: {{group: Claude, hash: "{{claude}}"}}
"""


GOOD = answer(body(CHAT))


NO = b'{"error":{"message":"no","type":"t","code":"c"}}'


def says(status: str, **headers: str) -> Script:
    return answer(NO, status, **headers)


@asynccontextmanager
async def pair(
    path: Path, one: ScriptedVendor, two: ScriptedVendor | None = None, *, wait: str = "20s",
    sticky: str = "5s", routes: str = "", second: str = "", limits: str = "",
) -> AsyncIterator[Sidecar]:  # fmt: skip
    """A sidecar with one provider, or two."""
    text = YAML.format(
        one=one.url, two=(two or one).url, wait=wait, sticky=sticky, second=second, limits=limits,
        routes=routes or ("one" if two is None else "one, two"),
    )  # fmt: skip
    async with sidecar(
        path, text, ("day", "claude"), environ={"SECOND_KEY": "sk-second"}
    ) as running:
        yield running
