"""Names that a client or vendor chooses are recorded with a bounded length."""

from __future__ import annotations

import json

import pytest
from running_sidecar import Sidecar
from scripted_vendor import ScriptedVendor, answer
from vendor_apis import CHAT

GOOD = answer(b'{"id":"c1","model":"gpt-5-mini","choices":[]}')
LONG = 1 << 20


def chat(**fields: object) -> bytes:
    return json.dumps({**CHAT.asked, **fields}).encode()


@pytest.mark.parametrize("target", ["body", "path", "form"])
async def test_model_name_of_a_megabyte_is_rejected_and_not_recorded(
    proxy: Sidecar, vendor: ScriptedVendor, target: str
) -> None:
    vendor.play(GOOD)
    if target == "body":
        got = await proxy.ask(CHAT.path, chat(model="m" * LONG))
    elif target == "path":
        got = await proxy.ask(f"/v1beta/models/{'m' * 6000}:generateContent", b"{}", key="gemini")
    else:
        part = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n%b\r\n--b--\r\n'
        kind = [("Content-Type", "multipart/form-data; boundary=b")]
        got = await proxy.ask("/v1/audio/transcriptions", part % (b"m" * LONG), headers=kind)
    record = await proxy.record()
    assert vendor.requests == []
    assert got.status == 400
    assert len(repr(record)) < 8000


async def test_model_name_of_512_characters_is_served(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(GOOD)
    assert (await proxy.ask(CHAT.path, chat(model="m" * 512))).status == 200
    assert (await proxy.ask(CHAT.path, chat(model="m" * 513))).status == 400


async def test_session_of_a_megabyte_is_kept_as_its_hash(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(GOOD)
    for session in ("s" * LONG, "s" * LONG + "t", "s" * LONG, "s" * 256):
        body = chat(prompt_cache_key=session, user=session)
        assert (await proxy.ask(CHAT.path, body)).status == 200
    await proxy.record(4)
    found = [record.session for record in proxy.records]
    assert found[0] == found[2] != found[1]
    assert all(each and len(each) <= 256 for each in found)
    assert found[3] == "s" * 256


async def test_model_and_ids_of_a_vendor_are_recorded_truncated(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(json.dumps({"id": "c1", "model": "m" * LONG, "choices": []}).encode()))
    assert (await proxy.ask(CHAT.path, chat())).status == 200
    assert len(repr(await proxy.record())) < 8000


async def test_path_of_a_rejected_call_is_recorded_truncated(proxy: Sidecar) -> None:
    assert (await proxy.ask("/v1beta/" + "x" * 6000, b"{}")).status == 404
    assert len(repr(await proxy.record())) < 4000
