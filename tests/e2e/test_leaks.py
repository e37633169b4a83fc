"""What a vendor echoes of the credential it was sent does not reach the client, and no text of a
local key reaches a vendor. What a model wrote passes, whatever it is."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from recorded_answers import chunk as chat_chunk
from recorded_answers import delta, sse
from running_sidecar import Raw, Sidecar, request, talk
from running_sidecar import sidecar as start_sidecar
from scripted_vendor import ScriptedVendor, answer, raw, stream

from sidecar.api_keys import digest, mint

SECRET = "sk-up/stream+canary=7f3a9e_x"
MASKED = "*" * len(SECRET)
JSON = SECRET.replace("/", "\\/")
UNICODE = "".join(f"\\u{ord(c):04x}" for c in SECRET)
PERCENT = "".join(c if c.isalnum() else f"%{ord(c):02X}" for c in SECRET)
HTML = SECRET.replace("/", "&#x2F;").replace("=", "&#61;")
SPELLED = [SECRET, JSON, UNICODE, PERCENT, HTML]
IDS = ["raw", "json", "unicode", "percent", "html"]
CHOSEN = "my own key"
YAML = """
defaults: {{max_wait: 0s}}
providers:
  oa: {{plugin: openai, base_url: "{url}/v1", credential: env:SECRET}}
  an: {{plugin: anthropic, base_url: "{url}", credential: env:SECRET}}
  ge: {{plugin: gemini, base_url: "{url}", credential: env:SECRET}}
  tiny: {{plugin: openai, base_url: "{url}/v1", credential: env:TINY}}
groups:
  GPT: {{vendor: openai, routes: [oa]}}
  Claude: {{vendor: anthropic, routes: [an]}}
  Gemini: {{vendor: gemini, routes: [ge]}}
  Tiny: {{vendor: openai, routes: [tiny]}}
keys:
  gpt: {{group: GPT, hash: "{{gpt}}"}}
  claude: {{group: Claude, hash: "{{claude}}"}}
  gemini: {{group: Gemini, hash: "{{gemini}}"}}
  tiny: {{group: Tiny, hash: "{{tiny}}"}}
  chosen: {{group: GPT, hash: "sha256:{chosen}"}}
"""
CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
GENERATE = "/v1beta/models/m:streamGenerateContent?alt=sse"
ASKED, PLAIN = b'{"model":"m","stream":true,"max_tokens":9}', b'{"model":"m","max_tokens":9}'


@pytest.fixture
async def proxy(tmp_path: Path, vendor: ScriptedVendor) -> AsyncIterator[Sidecar]:
    yaml = YAML.format(url=vendor.url, chosen=digest(CHOSEN).hex())
    names = ("gpt", "claude", "gemini", "tiny")
    environ = {"SECRET": SECRET, "TINY": "ok"}
    async with start_sidecar(tmp_path, yaml, names, environ) as started:
        yield started


def head_of(found: Raw) -> bytes:
    return found.whole.partition(b"\r\n\r\n")[0] + b"\r\n"


def shows(found: bytes) -> list[str]:
    """The spellings in which the credential, or the beginning of one, stands in `found`."""
    return [each for each in SPELLED if each[: len(each) // 2].encode() in found]


# ── what vendors echo ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", ["200 OK", "404 Not Found", "429 Slow", "500 Oops"])
@pytest.mark.parametrize("form", [SECRET, PERCENT, JSON], ids=["raw", "percent", "json"])
async def test_credential_echoed_in_any_header_is_masked(
    proxy: Sidecar, vendor: ScriptedVendor, status: str, form: str
) -> None:
    names = ("x_request_id", "X_Debug", "ETag", "openai_processing_ms", "Server", "retry_after")
    vendor.play(answer(b"{}", status, **dict.fromkeys(names, f"a {form}")))
    found = await proxy.ask(CHAT, PLAIN)
    assert not shows(head_of(found))
    assert found.headers["x-debug"] == "a " + "*" * len(form)


@pytest.mark.parametrize("status", [200, 400, 503])
async def test_credential_echoed_as_status_reason_is_masked(
    proxy: Sidecar, vendor: ScriptedVendor, status: int
) -> None:
    head = f"HTTP/1.1 {status} no {SECRET}!\r\nContent-Length: 2\r\n\r\n{{}}"
    vendor.play(raw(head.encode()))
    found = await proxy.ask(CHAT, PLAIN)
    assert head_of(found).startswith(f"HTTP/1.1 {status} no {MASKED}!\r\n".encode())


@pytest.mark.parametrize("form", SPELLED, ids=IDS)
@pytest.mark.parametrize("name", ["Location", "Content-Location"])
async def test_credential_echoed_in_an_address_is_masked(
    proxy: Sidecar, vendor: ScriptedVendor, form: str, name: str
) -> None:
    url = f"{vendor.url}/v1/files/1?key={form}"
    body = f'<a href="{url}">'.encode()
    addresses = {"Location": url} | {name.replace("-", "_"): url}
    vendor.play(answer(body, "307 Temporary", "text/html", **addresses))
    found = await proxy.ask("/v1/files/1", method="GET")
    assert found.status == 307
    assert not shows(head_of(found) + found.body)
    assert found.headers[name.lower()] == f"http://127.0.0.1/v1/files/1?key={'*' * len(form)}"
    assert found.body == body.replace(form.encode(), b"*" * len(form))


@pytest.mark.parametrize("form", SPELLED, ids=IDS)
@pytest.mark.parametrize("status", ["400 No", "401 No", "403 No", "422 No", "429 No", "500 No"])
async def test_credential_echoed_in_an_error_is_masked_in_place(
    proxy: Sidecar, vendor: ScriptedVendor, status: str, form: str
) -> None:
    body = f'{{"error":{{"message":"wrong key {form}.","code":"{form}","type":"x"}}}}'.encode()
    vendor.play(answer(body, status))
    found = await proxy.ask(CHAT, PLAIN)
    assert not shows(head_of(found) + found.body)
    if not status.startswith(("401", "403")):  # those are Sidecar's to mend, and answered by it
        assert found.body == body.replace(form.encode(), b"*" * len(form))
    record = await proxy.record()
    assert not shows(repr(record).encode())


@pytest.mark.parametrize("form", SPELLED, ids=IDS)
async def test_credential_echoed_in_an_error_page_is_masked(
    proxy: Sidecar, vendor: ScriptedVendor, form: str
) -> None:
    vendor.play(answer(f"<html><b>No: {form}</b></html>".encode(), "502 Bad", "text/html"))
    found = await proxy.ask(CHAT, PLAIN)
    assert found.status == 502
    assert not shows(head_of(found) + found.body)
    assert "***" in found.body.decode()


ERRORS = [
    ("gpt", CHAT, 'data: {{"error":{{"message":"bad {}","code":"{}"}}}}\n\n'),
    ("gpt", RESPONSES, 'event: error\ndata: {{"type":"error","code":"{}","message":"{}"}}\n\n'),
    ("gpt", RESPONSES, 'event: response.failed\ndata: {{"type":"response.failed","response":'
     '{{"id":"r","status":"failed","error":{{"code":"{}","message":"{}"}}}}}}\n\n'),
    ("claude", MESSAGES, 'event: error\ndata: {{"type":"error","error":{{"type":"{}","message":"{}"}}}}\n\n'),
    ("gemini", GENERATE, 'data: {{"error":{{"code":500,"status":"{}","message":"{}"}}}}\r\n\r\n'),
]  # fmt: skip
BEGUN = {
    CHAT: sse(chat_chunk(choices=[delta(SECRET)])),
    RESPONSES: b'data: {"type":"response.output_text.delta","delta":"%b"}\n\n' % SECRET.encode(),
    MESSAGES: b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":'
    b'{"type":"text_delta","text":"%b"}}\n\n' % SECRET.encode(),
    GENERATE: b'data: {"candidates":[{"content":{"parts":[{"text":"%b"}]}}]}\r\n\r\n'
    % SECRET.encode(),
}


@pytest.mark.parametrize(("key", "target", "template"), ERRORS)
@pytest.mark.parametrize("form", [SECRET, JSON, UNICODE], ids=["raw", "json", "unicode"])
async def test_credential_echoed_in_an_error_event_is_masked_wherever_it_is_cut(
    proxy: Sidecar, vendor: ScriptedVendor, key: str, target: str, template: str, form: str
) -> None:
    """The event before it holds the same text, which a model wrote, and passes."""
    begun, error = BEGUN[target], template.format(form, form).encode()
    masked = begun + error.replace(form.encode(), b"*" * len(form))
    for number, at in enumerate(range(1, len(error), 7), 1):
        vendor.play(stream(begun, error[:at], error[at:]))
        found = await proxy.ask(target, ASKED, key=key)
        assert (found.status, found.body.startswith(masked)) == (200, True)
        assert not shows(found.body[len(begun) :])
        assert not shows(repr(await proxy.record(number)).encode())


@pytest.mark.parametrize(("key", "target", "template"), ERRORS)
async def test_credential_echoed_in_an_event_that_breaks_off_is_masked(
    proxy: Sidecar, vendor: ScriptedVendor, key: str, target: str, template: str
) -> None:
    begun, error = BEGUN[target], template.format(SECRET, SECRET).encode()
    last = error.rindex(SECRET.encode())
    for at in range(last, last + len(SECRET) + 3, 3):
        vendor.play(stream(begun, error[:at], end=b""))
        found = await proxy.ask(target, ASKED, key=key)
        assert found.body.startswith(begun)
        assert SECRET[:8].encode() not in found.body[len(begun) :]


@pytest.mark.parametrize(("key", "target", "template"), ERRORS)
async def test_credential_echoed_in_a_stream_that_begins_with_an_error_is_masked(
    proxy: Sidecar, vendor: ScriptedVendor, key: str, target: str, template: str
) -> None:
    vendor.play(stream(template.format(SECRET, SECRET).encode()))
    found = await proxy.ask(target, ASKED, key=key)
    assert not shows(head_of(found) + found.body)
    assert not shows(repr(await proxy.record()).encode())


@pytest.mark.parametrize("coding", ["gzip", "deflate", "x-unknown"])
async def test_credential_echoed_in_a_coded_error_is_masked(
    proxy: Sidecar, vendor: ScriptedVendor, coding: str
) -> None:
    body = json.dumps({"error": {"message": f"bad {SECRET}", "code": "x"}}).encode()
    coded = {"gzip": gzip.compress(body), "deflate": zlib.compress(body)}
    sent = coded.get(coding, body)
    vendor.play(answer(sent, "400 No", Content_Encoding=coding))
    found = await proxy.ask(CHAT, PLAIN)
    assert found.status == 400
    assert not shows(found.body)
    if coding == "x-unknown":
        assert found.headers["content-encoding"] == coding
    else:
        assert "content-encoding" not in found.headers
        assert found.json() == {"error": {"message": f"bad {MASKED}", "code": "x"}}


@pytest.mark.parametrize("form", SPELLED, ids=IDS)
async def test_text_of_a_model_with_a_credential_passes_byte_for_byte(
    proxy: Sidecar, vendor: ScriptedVendor, form: str
) -> None:
    whole = f'{{"id":"c","choices":[{{"message":{{"content":"{form}"}}}}]}}'.encode()
    vendor.play(answer(whole))
    assert (await proxy.ask(CHAT, PLAIN)).body == whole
    for target, key in (
        (CHAT, "gpt"),
        (RESPONSES, "gpt"),
        (MESSAGES, "claude"),
        (GENERATE, "gemini"),
    ):
        event = BEGUN[target].replace(SECRET.encode(), form.encode())
        for at in range(1, len(event), 9):
            vendor.play(stream(event[:at], event[at:], event))
            assert (await proxy.ask(target, ASKED, key=key)).body == event + event


async def test_masked_stream_of_known_length_keeps_it(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    error = sse({"error": {"message": SECRET, "code": "x"}})
    body = BEGUN[CHAT] + error
    vendor.play(answer(body, content_type="text/event-stream"))
    found = await proxy.ask(CHAT, ASKED)
    assert found.headers["content-length"] == str(len(body))
    assert found.body == BEGUN[CHAT] + error.replace(SECRET.encode(), MASKED.encode())


async def test_placeholder_credential_is_not_masked(proxy: Sidecar, vendor: ScriptedVendor) -> None:
    body = b'{"error":{"message":"not ok","code":"ok"}}'
    vendor.play(answer(body, "400 Not ok", x_state="ok"))
    found = await proxy.ask(CHAT, PLAIN, key="tiny")
    assert (found.body, found.headers["x-state"]) == (body, "ok")


# ── what clients put where it does not belong ───────────────────────────────────────────────────

HEADERS = [
    ("X-Custom", "Bearer {}"), ("Helicone-Auth", "Bearer {}"), ("X-Note", "key={};v=1"),
    ("cf-aig-authorization", "{}"), ("User-Agent", "agent/1 ({})"), ("X-Url", "http://h/?k={}"),
    ("x-session-id", "{}"), ("{}", "1"),
]  # fmt: skip
QUERIES = ["token={}", "a={}x", "x=Bearer+{}", "{}", "{}=1", "u=http%3A%2F%2Fh%2F%3Fk%3D{}"]


def encoded(text: str) -> str:
    return "".join(f"%{ord(c):02x}" for c in text)


async def sent_on(proxy: Sidecar, vendor: ScriptedVendor, text: str, pairs: list[tuple[str, str]],
                  query: str) -> bytes:  # fmt: skip
    """The head that a vendor gets of a call with this key."""
    vendor.play(answer(b'{"id":"c"}'))
    headers = [("Authorization", f"Bearer {text}"), ("X-Kept", "50% ok"), *pairs]
    found = await talk(proxy.port, request("POST", f"{CHAT}?keep=1&{query}&b=%20", headers, PLAIN))
    assert found.startswith(b"HTTP/1.1 200")
    received = vendor.requests[-1]
    assert received.get("x-kept") == ["50% ok"]
    return received.head


@pytest.mark.parametrize(("name", "value"), HEADERS)
async def test_header_with_a_key_secret_is_not_relayed(
    proxy: Sidecar, vendor: ScriptedVendor, name: str, value: str
) -> None:
    own, other = proxy.keys["gpt"], mint()
    for text in (own, other, encoded(own)):
        if name == "{}" and "%" in text:
            continue  # no header's name may hold one
        pairs = [(name.format(text), value.format(text))]
        head = await sent_on(proxy, vendor, own, pairs, "c=2")
        assert text.encode() not in head
        assert b"?keep=1&c=2&b=%20 HTTP" in head
    assert own not in repr(proxy.records)
    assert other not in repr(proxy.records)


@pytest.mark.parametrize("query", QUERIES)
async def test_query_parameter_with_a_key_secret_is_not_relayed(
    proxy: Sidecar, vendor: ScriptedVendor, query: str
) -> None:
    own, other = proxy.keys["gpt"], mint()
    for text in (own, other, encoded(own), encoded(encoded(own))):
        head = await sent_on(proxy, vendor, own, [], query.format(text))
        assert f"POST {CHAT}?keep=1&b=%20 HTTP/1.1".encode() in head


async def test_key_secret_of_a_users_choice_is_not_relayed(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    pairs = [("X-Custom", f"Bearer {CHOSEN}"), ("X-Other", "my own keyboard"), ("X-Own", "my own")]
    head = await sent_on(proxy, vendor, CHOSEN, pairs, "t=my+own+key&u=my%20own%20key&v=my+own")
    assert b"X-Custom" not in head
    assert b"X-Own: my own\r\n" in head
    assert f"POST {CHAT}?keep=1&v=my+own&b=%20 HTTP/1.1".encode() in head


async def test_body_with_a_key_secret_is_relayed_unchanged(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    body = json.dumps({"model": "m", "messages": [{"content": proxy.keys["gpt"]}]}).encode()
    vendor.play(answer(b'{"id":"c"}'))
    found: Raw = await proxy.ask(CHAT, body)
    assert (found.status, vendor.requests[-1].body) == (200, body)
