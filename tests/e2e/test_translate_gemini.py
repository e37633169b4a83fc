"""A route with `translate: true` joins Google's SDK and Gemini with other vendors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anthropic
import pytest
from google import genai
from google.genai import errors, types
from running_sidecar import Sidecar
from running_sidecar import sidecar as start_sidecar
from scripted_vendor import ScriptedVendor, answer, stream
from translation_samples import GEMINI_USAGE, generate_stream, message_stream

YAML = """
providers:
  ge: {{plugin: gemini, base_url: "{url}", credential: env:UPSTREAM_KEY}}
  an: {{plugin: anthropic, base_url: "{url}", credential: env:UPSTREAM_KEY}}
groups:
  Claude: {{vendor: anthropic, routes: [ge: {{as: gemini-3-flash, translate: true}}]}}
  Google: {{vendor: gemini, routes: [an: {{as: claude-5, translate: true}}]}}
keys:
  claude: {{group: Claude, max_wait: 0s, hash: "{{claude}}"}}
  google: {{group: Google, max_wait: 0s, hash: "{{google}}"}}
"""


@pytest.fixture
async def translating(tmp_path: Path, vendor: ScriptedVendor) -> AsyncIterator[Sidecar]:
    yaml = YAML.format(url=vendor.url)
    async with start_sidecar(tmp_path, yaml, ("claude", "google")) as started:
        yield started


def google_client(proxy: Sidecar) -> genai.Client:
    options = types.HttpOptions(base_url=proxy.url)
    return genai.Client(api_key=proxy.keys["google"], http_options=options)


async def test_anthropic_sdk_reads_a_stream_of_gemini(
    translating: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(stream(generate_stream([{"text": "H"}], [{"text": "i"}], usage=GEMINI_USAGE)))
    async with (
        anthropic.AsyncAnthropic(
            base_url=translating.url, api_key=translating.keys["claude"], max_retries=0
        ) as claude,
        claude.messages.stream(
            model="claude-5", max_tokens=99, messages=[{"role": "user", "content": "?"}]
        ) as got,
    ):
        message = await got.get_final_message()
    assert message.content[0].text == "Hi"  # type: ignore[union-attr]
    assert vendor.last.path == "/v1beta/models/gemini-3-flash:streamGenerateContent?alt=sse"
    record = await translating.record()
    assert record.usage is not None
    assert (record.usage.input_tokens, record.usage.output_tokens) == (1200, 340)


async def test_googles_sdk_reads_an_answer_and_a_stream_of_claude(
    translating: Sidecar, vendor: ScriptedVendor
) -> None:
    client = google_client(translating)
    vendor.play(stream(message_stream({"type": "text", "text": "Hi"})))
    responses = await client.aio.models.generate_content_stream(model="gemini-x", contents="?")
    assert "".join([each.text or "" async for each in responses]) == "Hi"
    assert vendor.last.path == "/v1/messages"
    assert vendor.last.json()["model"] == "claude-5"
    record = await translating.record()
    assert (record.dialect, record.endpoint, record.transform) == ("gemini", "stream", "translate")
    assert record.usage is not None
    assert record.usage.output_tokens == 340


async def test_googles_sdk_raises_its_own_error_for_one_of_claude(
    translating: Sidecar, vendor: ScriptedVendor
) -> None:
    error = b'{"type":"error","error":{"type":"invalid_request_error","message":"told so"}}'
    vendor.play(answer(error, "400 Bad Request"))
    with pytest.raises(errors.ClientError, match="told so") as caught:
        await google_client(translating).aio.models.generate_content(model="m", contents="?")
    assert caught.value.status == "INVALID_ARGUMENT"


async def test_stream_without_alt_sse_is_a_json_array(
    translating: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(stream(message_stream({"type": "text", "text": "Hi"})))
    got = await translating.ask(
        "/v1beta/models/m:streamGenerateContent", b'{"contents":[{"parts":[{"text":"?"}]}]}',
        key="google",
    )  # fmt: skip
    assert got.headers["content-type"] == "application/json"
    rows = got.json()
    assert rows[-1]["candidates"][0]["finishReason"] == "STOP"  # type: ignore[index]
