"""No secret comes out anywhere: not to the log, to metrics, into an error, or onto the disk.

Every kind of secret is a canary, every way of handling it badly is tried, and then everything that
Sidecar ever wrote is searched.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from recorded_answers import chunk as chat_chunk
from recorded_answers import delta, sse
from running_sidecar import CANARY, Sidecar, parse, request, talk, talk_inside
from running_sidecar import sidecar as start_sidecar
from scripted_vendor import (
    STREAM_HEAD,
    Script,
    ScriptedVendor,
    Wire,
    answer,
    chunk,
    cut,
    hang,
    raw,
    stream,
)
from vendor_apis import settled

from sidecar.access_log import CallLog
from sidecar.api_keys import mint

CHAT = "/v1/chat/completions"
PROMPT = "prompt-canary-5d1e"
ANSWER = "answer-canary-8b07"
FOREIGN = "sk-foreign-canary-91c2"
FILED = "sk-filed-canary-44aa"
COMMANDED = "sk-commanded-canary-19be"
HEADER = "sk-header-canary-6f6f"
BODY = f'{{"model":"gpt-5","messages":[{{"role":"user","content":"{PROMPT}"}}]}}'.encode()

YAML = """
defaults: {{max_wait: 0s, timeouts: {{first_byte: 200ms}}}}
server: {{metrics_token: "file:{folder}/token"}}
providers:
  oa: {{plugin: openai, base_url: "{url}/v1", credential: env:UPSTREAM_KEY}}
  filed: {{plugin: openai, base_url: "{url}/f/v1", credential: "file:{folder}/filed"}}
  commanded:
    plugin: openai
    base_url: "{url}/c/v1"
    credential: "command:cat {folder}/commanded"
  dead: {{plugin: openai, base_url: "http://127.0.0.1:1/v1", credential: env:UPSTREAM_KEY}}
groups:
  GPT: {{vendor: openai, routes: [oa]}}
  All: {{vendor: openai, routes: [dead, commanded, oa]}}
  Filed: {{vendor: openai, routes: [filed]}}
keys:
  gpt: {{group: GPT, hash: "{{gpt}}"}}
  all: {{group: All, hash: "{{all}}"}}
  filed: {{group: Filed, hash: "{{filed}}"}}
  off: {{group: GPT, hash: "{{off}}", enabled: false}}
"""
SECRETS = {"filed": FILED, "commanded": COMMANDED, "token": HEADER}


def echoing(status: str) -> Script:
    """A vendor that repeats the credential it was sent, wherever it can."""

    async def script(wire: Wire) -> None:
        sent = wire.request.get("authorization")[0]
        body = f'{{"error":{{"message":"bad credential: {sent} {ANSWER}"}}}}'.encode()
        places = ("authorization", "x_api_key", "set_cookie", "x_request_id", "server", "x_debug")
        await answer(body, f"{status} {sent}", **dict.fromkeys(places, sent))(wire)

    return script


def quoting(made: Callable[[str], Script]) -> Script:
    """A vendor whose answer is made of the credential that it was sent."""

    async def script(wire: Wire) -> None:
        await made(wire.request.get("authorization")[0].removeprefix("Bearer "))(wire)

    return script


def escaped(text: str) -> bytes:
    """The text as JSON may spell it."""
    return "".join(f"\\u{ord(c):04x}" for c in text).encode()


@pytest.fixture
async def proxy(
    tmp_path: Path, vendor: ScriptedVendor, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[Sidecar]:
    caplog.set_level(logging.DEBUG)
    for name, text in SECRETS.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    yaml = YAML.format(url=vendor.url, folder=tmp_path)
    loop = asyncio.get_running_loop()
    loop.set_debug(True)  # asyncio's own log then tells the most
    async with start_sidecar(tmp_path, yaml, ("gpt", "all", "filed", "off")) as started:
        yield started


def secrets(proxy: Sidecar) -> list[str]:
    return [CANARY, FOREIGN, PROMPT, ANSWER, *SECRETS.values(), *proxy.keys.values()]


async def everything_tried(proxy: Sidecar, vendor: ScriptedVendor) -> list[bytes]:
    """Calls that end in every way; what their clients got."""
    key = proxy.keys["gpt"]
    said = f'{{"id":"file-1","model":"gpt-5","choices":[],"x":"{ANSWER}"}}'.encode()
    begun = sse(chat_chunk(choices=[delta(ANSWER)]))
    scripts = [
        answer(said), stream(begun, sse("[DONE]")), hang, cut(STREAM_HEAD + chunk(begun)),
        *map(echoing, ("400 No", "401 No", "403 No", "404 No", "429 No", "500 No", "999 No")),
        cut(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n" + said),
        raw(f"{CANARY} {ANSWER}\r\n\r\n".encode(), close=True),
        answer(b"", "302 Found", location=f"http://127.0.0.1:1/?key={CANARY}"),
        quoting(lambda it: answer(b"", "307 Moved", location=f"{vendor.url}/v1/x?key={it}")),
        quoting(lambda it: answer(escaped(it), f"418 {it}", x_debug=escaped(it).decode())),
        quoting(lambda it: stream(begun, sse({"error": {"message": f"bad {it}", "code": it}}))),
        quoting(lambda it: stream(begun, b'data: {"error":{"message":"' + escaped(it), end=b"")),
        quoting(lambda it: stream(sse({"error": {"message": it, "code": it}}))),
        stream(begun, sse({"error": {"message": ANSWER, "code": "server_error"}})),
    ]  # fmt: skip
    got = []
    for script in scripts:
        vendor.play(script)
        for account in proxy.running.services.scheduler.upstreams:
            account.cooldown.record_success()
        for name in ("gpt", "all", "filed"):
            headers = [("Cookie", f"t={FOREIGN}"), ("Session-Id", "s1")]
            text = proxy.keys[name]
            target = f"{CHAT}?key={FOREIGN}&token={text}&x=%73{text[1:]}"
            headers += [("User-Agent", text), ("X-Custom", f"Bearer {text}"), ("Session-Id", text)]
            whole = request("POST", target, [*proxy.bearer(name).items(), *headers], BODY)
            got.append(await talk(proxy.port, whole))
    pairs = [("Authorization", f"Bearer {FOREIGN}")]
    malformed = [
        request("POST", CHAT, pairs, BODY),
        request("POST", f"{CHAT}?key={FOREIGN}", [], BODY),
        request("POST", CHAT, proxy.bearer("off"), BODY),
        request("POST", CHAT, proxy.bearer("gpt"), b'{"model": 7, "x": "' + PROMPT.encode()),
        request("POST", CHAT, proxy.bearer("gpt"), f'{{"model": ["{PROMPT}"]}}'.encode()),
        request("POST", CHAT, [*pairs, ("Host", f"{FOREIGN}.example")], BODY),
        request("POST", CHAT, [*pairs, ("Origin", f"https://{FOREIGN}")], BODY),
        request("TRACE", f"/{key}", pairs),
        request("GET", f"/v1/models/../{FOREIGN}", pairs),
        f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization Bearer {key}\r\n\r\n".encode(),
        f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nX: {key}\x00\r\n\r\n".encode(),
        f"POST {CHAT} {key}\r\n\r\n".encode(),
        f"{key} {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode(),
        f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {key}\r\n\r\n".encode(),
        f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
        f"Transfer-Encoding: chunked\r\n\r\n{PROMPT}\r\n".encode(),
    ]
    got += [await talk(proxy.port, each) for each in malformed]
    got += [await talk(proxy.admin_port, each) for each in malformed]
    await settled(proxy.running)
    return got


async def test_secrets_appear_in_no_file_log_metric_or_error(
    proxy: Sidecar, vendor: ScriptedVendor, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    got = await everything_tried(proxy, vendor)
    with_token = request("GET", "/metrics", {"Authorization": f"Bearer {HEADER}"})
    metrics = await talk(proxy.admin_port, with_token)
    assert b"sidecar_calls_total" in metrics
    socket = [await talk_inside(proxy, "GET", f"/api/{path}") for path in (
        "status", "keys", "explain?key=gpt&model=gpt-5", "models?key=gpt", "key?name=gpt",
        "groups", "group?name=GPT", "provider?name=oa", "config", "version?number=1", "agents",
        "times")]  # fmt: skip
    assert all(each.startswith(b"HTTP/1.1 200") for each in socket)
    assert b'"gpt"' in socket[1]
    logged = [f"{each.getMessage()} {each.exc_text} {each.args!r}" for each in caplog.records]
    assert len(logged) > 20
    kept = {path: path.read_bytes() for path in proxy.state.rglob("*") if path.is_file()}
    assert any(b"SQLite" in each for each in kept.values())
    run = proxy.running
    shown = repr(
        (run, run.snapshot, run.services.configuration, proxy.records, list(run.services.live))
    )
    for secret in secrets(proxy):
        assert not [line for line in logged if secret in line]
        assert not [path for path, each in kept.items() if secret.encode() in each]
        assert secret.encode() not in metrics + b"".join(socket)
        assert secret not in shown
    for secret in (
        CANARY,
        escaped(CANARY[:6]).decode(),
        FOREIGN,
        *SECRETS.values(),
        *proxy.keys.values(),
    ):
        assert not [each for each in got if secret.encode() in each]
    sent_on = [each.head for each in vendor.requests]
    assert not [each for each in sent_on for text in proxy.keys.values() if text.encode() in each]
    assert any(b"bad credential: Bearer " + b"*" * len(CANARY) in each for each in got)


async def test_secrets_appear_in_no_line_of_the_access_log(
    proxy: Sidecar, vendor: ScriptedVendor, tmp_path: Path
) -> None:
    await everything_tried(proxy, vendor)
    with (tmp_path / "log").open("w") as file:
        CallLog(file)(*proxy.records)
    text = (tmp_path / "log").read_text()
    assert text.count("\n") == len(proxy.records)
    assert not [secret for secret in secrets(proxy) if secret in text]


@pytest.mark.usefixtures("restless")
async def test_credential_in_a_broken_file_is_not_quoted(
    proxy: Sidecar, caplog: pytest.LogCaptureFixture
) -> None:
    """A secret that was pasted where its place belongs is not repeated in the complaint."""
    for spoilt in (
        f"credential: {FOREIGN}",
        f"credential: env:{FOREIGN}",
        f"credentials: {FOREIGN}",
    ):
        before = proxy.file.read_text()
        proxy.file.write_text(before.replace("credential: env:UPSTREAM_KEY", spoilt, 1))
        await proxy.running.services.configuration.reload()
        proxy.file.write_text(before)
        await proxy.running.services.configuration.reload()
    text = proxy.keys["gpt"]
    proxy.file.write_text(before.replace('hash: "sha256:', f'hash: "{text}', 1))
    assert not (await proxy.running.services.configuration.reload()).accepted
    assert FOREIGN not in caplog.text
    assert text not in caplog.text


async def test_key_secret_in_a_path_or_model_is_not_shown_elsewhere(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    """Users paste keys everywhere; nothing of what a stranger sent becomes a label."""
    text = mint()
    vendor.play(answer(b"{}", "404 Not Found"))
    await proxy.ask(CHAT, f'{{"model":"{text}"}}'.encode())
    await proxy.ask(f"/v1/{text}", b"{}")
    headers = {"Authorization": f"Bearer {HEADER}", "User-Agent": f"{text}/1"}
    await proxy.ask(CHAT, BODY, headers=[("User-Agent", f"{text}/1")])
    found = parse(await talk(proxy.admin_port, request("GET", "/metrics", headers)))
    assert (found.status, text.encode() in found.body) == (200, False)


@pytest.mark.parametrize("sent", ["", "Bearer ", f"Bearer {HEADER}x", "Bearer \udcff\udcfe"])
async def test_metrics_are_refused_without_their_token(proxy: Sidecar, sent: str) -> None:
    asked = request("GET", "/metrics", {"Authorization": sent})
    assert parse(await talk(proxy.admin_port, asked)).status == 401
