"""Unusual requests that are valid are served."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from conftest import KEYS, YAML
from running_sidecar import Sidecar, parse, request, sidecar, talk
from scripted_vendor import ScriptedVendor, Wire, answer

CHAT = "/v1/chat/completions"


@pytest.mark.parametrize("text", [r"\ud83e", r"\udd8a", r"\ud83e\udd8a", r"\\ud83e", r"\uD83E x"])
async def test_half_of_a_surrogate_pair_passes_unchanged(
    proxy: Sidecar, vendor: ScriptedVendor, text: str
) -> None:
    vendor.play(answer(b"{}"))
    body = f'{{"messages":[{{"content":"{text}"}}],"model":"gpt-5"}}'.encode()
    found = parse(await talk(proxy.port, request("POST", CHAT, proxy.bearer("gpt"), body)))
    assert found.status == 200
    assert vendor.last.body == body


@pytest.mark.parametrize("name", ["key", "Key", "k%65y", "api-key", "access_token"])
async def test_credential_in_the_query_is_not_relayed(
    proxy: Sidecar, vendor: ScriptedVendor, name: str
) -> None:
    vendor.play(answer(b"{}"))
    target = f"{CHAT}?a=1&{name}={proxy.keys['gpt']}&b=%2F"
    body = json.dumps({"model": "gpt-5"}).encode()
    assert parse(await talk(proxy.port, request("POST", target, {}, body))).status == 200
    assert vendor.last.path == f"{CHAT}?a=1&b=%2F"


async def test_client_that_pauses_does_not_count_as_vendor_idle(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    """The vendor has sent all; the client reads only after more than the idle time."""
    size = 24 << 20

    async def script(wire: Wire) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nContent-Length: {size}\r\n\r\n"
        await wire.send(head.encode() + bytes(size))

    vendor.play(script)
    yaml = YAML.format(url=vendor.url).replace("idle: 30s", "idle: 250ms")
    async with sidecar(tmp_path, yaml, KEYS) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port, limit=1 << 16)
        body = json.dumps({"model": "tts", "input": "x"}).encode()
        writer.write(request("POST", "/v1/audio/speech", proxy.bearer("gpt"), body))
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.8)  # longer than the vendor may be silent: that is the point
        assert len(await reader.readexactly(size)) == size
        writer.close()
