"""Sidecar's own responses, and error responses over the size limit."""

from __future__ import annotations

import json

from running_sidecar import Sidecar, parse, request, talk
from scripted_vendor import ScriptedVendor, answer

BODY = json.dumps({"model": "gpt-5", "messages": []}).encode()


async def test_response_does_not_name_the_server_library(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b"{}"))
    for headers, path in ((proxy.bearer("gpt"), "/v1/chat/completions"), ({}, "/v1/models")):
        found = parse(await talk(proxy.port, request("POST", path, headers, BODY)))
        assert b"aiohttp" not in found.whole
    for line in (b"GARBAGE\r\n\r\n", request("GET", "/healthz", {})):
        assert b"aiohttp" not in await talk(proxy.admin_port, line)


async def test_error_response_without_end_is_a_502(proxy: Sidecar, vendor: ScriptedVendor) -> None:
    vendor.play(answer(b'{"error":"' + b"x" * (3 << 20) + b'"}', "400 Bad Request"))
    call = request("POST", "/v1/chat/completions", proxy.bearer("gpt"), BODY)
    found = parse(await talk(proxy.port, call))
    assert found.status == 502
    assert json.loads(found.body)["error"]["code"] == "upstream_invalid"
