"""A login that an agent presents reaches providers with `credential: caller`, and nothing else."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import subprocess
import time
from collections.abc import AsyncIterator
from email.utils import formatdate
from pathlib import Path

import anthropic
import openai
import pytest
from cli_runner import SIDECAR
from running_sidecar import CANARY, Sidecar, parse, request, sidecar, talk, talk_inside
from scripted_vendor import Script, ScriptedVendor, Wire, answer
from vendor_apis import settled

LOGIN = "sk-ant-oat01-login-canary-2f8d"
OTHER_LOGIN = "sk-ant-oat01-other-canary-77aa"
CHATGPT = "eyJhbGciOiJSUzI1NiJ9.eyJjYW5hcnkiOiI0In0.c2lnbmF0dXJlLWNhbmFyeQ"
ACCOUNT = "account-canary-91c2"
YAML = """
defaults: {{max_wait: 0s}}
providers:
  plan: {{plugin: anthropic, base_url: "{url}/plan", credential: caller}}
  api: {{plugin: anthropic, base_url: "{url}/api", credential: env:UPSTREAM_KEY}}
  chatgpt: {{plugin: openai, base_url: "{url}/backend-api/codex", credential: caller}}
groups:
  Plan: {{vendor: anthropic, routes: [plan], budget: $1/day}}
  Both: {{vendor: anthropic, routes: [plan, api]}}
  Api: {{vendor: anthropic, routes: [api]}}
  Codex: {{vendor: openai, routes: [chatgpt]}}
keys:
  plan: {{group: Plan, hash: "{{plan}}"}}
  both: {{group: Both, hash: "{{both}}"}}
  api: {{group: Api, hash: "{{api}}"}}
  codex: {{group: Codex, hash: "{{codex}}"}}
"""
KEYS = ("plan", "both", "api", "codex")
MODEL = "claude-opus-5-5"
MESSAGE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": MODEL,
    "stop_reason": "end_turn", "content": [{"type": "text", "text": "hi"}],
    "usage": {"input_tokens": 1_000_000, "output_tokens": 1_000_000},
}  # fmt: skip
HELLO = answer(json.dumps(MESSAGE).encode())
RESPONSE = {
    "id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-5", "output": [],
    "status": "completed", "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
    "usage": {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12,
              "input_tokens_details": {"cached_tokens": 0},
              "output_tokens_details": {"reasoning_tokens": 0}},
}  # fmt: skip
UNAUTHORIZED = json.dumps({
    "type": "error",
    "error": {"type": "authentication_error", "message": "OAuth token has expired."},
}).encode()  # fmt: skip
BODY = json.dumps({"model": MODEL, "max_tokens": 5, "messages": []}).encode()


@pytest.fixture
async def proxy(tmp_path: Path, vendor: ScriptedVendor) -> AsyncIterator[Sidecar]:
    async with sidecar(tmp_path, YAML.format(url=vendor.url), KEYS) as started:
        yield started


def claude(proxy: Sidecar, key: str, login: str = LOGIN) -> anthropic.AsyncAnthropic:
    """Anthropic's SDK with a login, and the local key in a header of its own."""
    headers = {"x-sidecar-key": proxy.keys[key]}
    return anthropic.AsyncAnthropic(
        base_url=proxy.url, auth_token=login, default_headers=headers, max_retries=0
    )


async def ask(client: anthropic.AsyncAnthropic) -> anthropic.types.Message:
    return await client.messages.create(
        model=MODEL, max_tokens=5, messages=[{"role": "user", "content": "hi"}]
    )


def echoing(status: str) -> Script:
    """A vendor that repeats the login, wherever it was sent one."""

    async def script(wire: Wire) -> None:
        login = LOGIN if LOGIN.encode() in wire.request.head else "none"
        body = json.dumps({"error": {"type": "x", "message": f"bad {login}"}}).encode()
        await answer(body, f"{status} {login}", x_echo=login, authorization=login)(wire)

    return script


async def send(proxy: Sidecar, *pairs: tuple[str, str]) -> tuple[int, str]:
    found = parse(await talk(proxy.port, request("POST", "/v1/messages", list(pairs), BODY)))
    return found.status, found.body.decode()


async def test_login_of_an_anthropic_client_reaches_its_provider_as_it_was_sent(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(HELLO)
    async with claude(proxy, "plan") as client:
        assert (await ask(client)).content[0].type == "text"
    sent = vendor.last
    assert sent.path == "/plan/v1/messages"
    assert sent.get("authorization") == [f"Bearer {LOGIN}"]
    assert sent.get("x-api-key") == []
    assert sent.get("x-sidecar-key") == []
    assert proxy.keys["plan"].encode() not in sent.head


async def test_chatgpt_login_reaches_its_provider_with_its_account(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(json.dumps(RESPONSE).encode()))
    headers = {"x-sidecar-key": proxy.keys["codex"], "chatgpt-account-id": ACCOUNT}
    async with openai.AsyncOpenAI(
        base_url=f"{proxy.url}/v1", api_key=CHATGPT, default_headers=headers, max_retries=0
    ) as client:
        assert (await client.responses.create(model="gpt-5", input="hi")).id == "resp_1"
    assert vendor.last.path == "/backend-api/codex/responses"
    assert vendor.last.get("authorization") == [f"Bearer {CHATGPT}"]
    assert vendor.last.get("chatgpt-account-id") == [ACCOUNT]


async def test_other_provider_of_the_route_gets_its_own_credential(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b"{}", "529 Overloaded"), HELLO)
    async with anthropic.AsyncAnthropic(
        base_url=proxy.url, auth_token=LOGIN, max_retries=0,
        default_headers={"x-sidecar-key": proxy.keys["both"], "anthropic-workspace-id": ACCOUNT},
    ) as client:  # fmt: skip
        await ask(client)
    plan, api = vendor.requests
    assert plan.get("anthropic-workspace-id") == [ACCOUNT]
    assert (api.path, api.get("x-api-key")) == ("/api/v1/messages", [CANARY])
    assert LOGIN.encode() not in api.head
    assert ACCOUNT.encode() not in api.head


async def test_vendors_401_reaches_the_client_and_no_other_provider_is_tried(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(UNAUTHORIZED, "401 Unauthorized", request_id="req_7"))
    async with claude(proxy, "both") as client:
        with pytest.raises(anthropic.AuthenticationError) as raised:
            await ask(client)
    assert raised.value.response.content == UNAUTHORIZED
    assert raised.value.request_id == "req_7"
    assert [each.path for each in vendor.requests] == ["/plan/v1/messages"]


SPYING = """
from sidecar import Transform, TransformedRequest, hookimpl


class Spying(Transform):
    name = "spying"
    title = "Sends what it sees"

    def request(self, call):
        seen = [(b"x-saw", name + b"=" + value) for name, value in call.headers]
        return TransformedRequest(call.body, headers=(*call.headers, *seen))

    def response(self, request, status, content_type):
        self.status, self.content_type = status, content_type
        return self

    def feed(self, data):
        return data

    def end(self, *, complete):
        return b""


@hookimpl
def sidecar_transforms():
    return [Spying()]
"""


async def test_transform_of_a_plugin_sees_no_login(tmp_path: Path, vendor: ScriptedVendor) -> None:
    (tmp_path / "spying.py").write_text(SPYING)
    yaml = YAML.format(url=vendor.url).replace(
        "routes: [plan], budget", "routes: [plan: {transforms: {spying: {}}}], budget"
    )
    vendor.play(HELLO)
    async with sidecar(tmp_path, f"plugins: [spying.py]\n{yaml}", KEYS) as proxy:
        pairs = [("Authorization", f"Bearer {LOGIN}"), ("x-sidecar-key", proxy.keys["plan"])]
        pairs += [("anthropic-workspace-id", ACCOUNT), ("x-other", "seen")]
        assert (await send(proxy, *pairs))[0] == 200
    assert vendor.last.get("authorization") == [f"Bearer {LOGIN}"]
    assert vendor.last.get("anthropic-workspace-id") == [ACCOUNT]
    saw = " ".join(vendor.last.get("x-saw"))
    assert "x-other=seen" in saw
    assert LOGIN not in saw
    assert ACCOUNT not in saw


async def test_call_without_a_login_is_told_to_log_in(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    status, text = await send(proxy, ("x-api-key", proxy.keys["plan"]))
    assert status == 401
    assert "plan has credential: caller" in text
    assert "x-sidecar-key" in text
    assert vendor.requests == []


async def test_call_without_a_login_goes_to_the_other_provider(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(HELLO)
    assert (await send(proxy, ("x-api-key", proxy.keys["both"])))[0] == 200
    assert vendor.last.path == "/api/v1/messages"


async def test_login_without_a_key_gets_401_with_what_to_write(proxy: Sidecar) -> None:
    for login in (LOGIN, CHATGPT):
        status, text = await send(proxy, ("Authorization", f"Bearer {login}"))
        assert status == 401
        assert "credential: caller" in text
        assert "ANTHROPIC_CUSTOM_HEADERS" in text
        assert login not in text


@pytest.mark.parametrize("header", ["x-sidecar-key", "x-api-key"])
async def test_login_that_no_provider_takes_spends_no_credential(
    proxy: Sidecar, vendor: ScriptedVendor, header: str
) -> None:
    status, text = await send(
        proxy, ("Authorization", f"Bearer {LOGIN}"), (header, proxy.keys["api"])
    )
    assert status == 400
    assert "credential: caller at provider api (routes.yaml:5)" in text
    assert vendor.requests == []


async def test_key_of_another_kind_beside_the_local_key_is_dropped(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(HELLO)
    pairs = [("Authorization", "Bearer unused"), ("x-sidecar-key", proxy.keys["api"])]
    assert (await send(proxy, *pairs))[0] == 200
    assert vendor.last.get("x-api-key") == [CANARY]
    assert b"unused" not in vendor.last.head


async def test_revoked_local_key_is_no_login(proxy: Sidecar, vendor: ScriptedVendor) -> None:
    stale = proxy.keys["api"]
    assert await proxy.rewrite(lambda text: text[: text.index("  api: {group: Api")])
    pairs = [("Authorization", f"Bearer {stale}"), ("x-sidecar-key", proxy.keys["plan"])]
    assert (await send(proxy, *pairs))[0] == 401
    assert vendor.requests == []


async def test_cooldown_of_one_login_does_not_bind_another(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b"{}", "429 Too Many Requests", retry_after="60"), HELLO)
    async with claude(proxy, "plan") as first, claude(proxy, "plan", OTHER_LOGIN) as second:
        with pytest.raises(anthropic.RateLimitError):
            await ask(first)
        with pytest.raises(anthropic.RateLimitError, match="plan"):
            await ask(first)
        await ask(second)
    assert [each.get("authorization")[0] for each in vendor.requests] == [
        f"Bearer {LOGIN}",
        f"Bearer {OTHER_LOGIN}",
    ]


async def test_call_of_a_subscription_spends_no_budget_and_keeps_its_list_price(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(HELLO)
    async with claude(proxy, "plan") as client:
        await ask(client)
        await ask(client)
    cost = (await proxy.record(2)).cost
    assert cost is not None
    assert cost.charged == 0
    assert cost.listed > 10**9
    assert cost.price.startswith("subscription, ")


def anthropic_windows(reset: float, status: str = "allowed") -> dict[str, str]:
    start = "anthropic_ratelimit_unified_"
    return {
        f"{start}status": status, f"{start}reset": f"{time.time() + reset:.0f}",
        "date": formatdate(usegmt=True),
        f"{start}representative_claim": "five_hour",
        f"{start}5h_utilization": "0.42", f"{start}5h_reset": f"{time.time() + 7200:.0f}",
        f"{start}7d_utilization": "0.1", f"{start}7d_reset": f"{time.time() + 86400:.0f}",
    }  # fmt: skip


async def views(proxy: Sidecar, key: str) -> list[list[dict[str, object]]]:
    paths = ("status", "live", f"explain?key={key}&model={MODEL}")
    found = [parse(await talk_inside(proxy, "GET", f"/api/{each}")) for each in paths]
    return [json.loads(each.body)["subscriptions"] for each in found]


async def test_windows_of_a_subscription_are_shown_where_its_key_is(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(json.dumps(MESSAGE).encode(), **anthropic_windows(7200)))
    async with claude(proxy, "plan") as client:
        await ask(client)
    status, live, explained = await views(proxy, "plan")
    shown = [(each["provider"], each["key"], each["window"], each["used"]) for each in status]
    assert shown == [("plan", "plan", "5h", 0.42), ("plan", "plan", "7d", 0.1)]
    assert (
        [each["window"] for each in live] == [each["window"] for each in explained] == ["5h", "7d"]
    )
    assert (await views(proxy, "both"))[2] == []
    for _ in range(20):  # the line leaves out what a busy machine does not answer in 0.1 s
        line = await asyncio.to_thread(
            subprocess.run, [*SIDECAR, "statusline", "--state", str(proxy.state), "--key", "plan"],
            input=b"{}", capture_output=True, check=True,
        )  # fmt: skip
        if b"5h" in line.stdout:
            break
    assert b"42% of 5h \xc2\xb7 10% of 7d" in line.stdout
    top = await asyncio.to_thread(
        subprocess.run, [*SIDECAR, "top", "--once", "--state", str(proxy.state)],
        capture_output=True, check=True,
    )  # fmt: skip
    assert re.search(rb"plan +5h .*42%", top.stdout)


async def test_windows_of_a_chatgpt_login_are_shown(proxy: Sidecar, vendor: ScriptedVendor) -> None:
    windows = {
        "x_codex_primary_used_percent": "12.5", "x_codex_primary_window_minutes": "300",
        "x_codex_primary_reset_after_seconds": "60", "x_codex_secondary_used_percent": "80",
        "x_codex_secondary_window_minutes": "10080",
    }  # fmt: skip
    vendor.play(answer(json.dumps(RESPONSE).encode(), **windows))
    pairs = [("Authorization", f"Bearer {CHATGPT}"), ("x-sidecar-key", proxy.keys["codex"])]
    body = b'{"model":"gpt-5","input":"hi"}'
    found = parse(await talk(proxy.port, request("POST", "/v1/responses", pairs, body)))
    assert found.headers["x-codex-primary-used-percent"] == "12.5"
    status = (await views(proxy, "codex"))[0]
    assert [(each["window"], each["used"]) for each in status] == [("5h", 0.125), ("7d", 0.8)]
    assert status[1]["reset"] is None


async def test_subscription_that_resets_within_max_wait_is_waited_for(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    assert await proxy.rewrite(lambda text: text.replace("max_wait: 0s", "max_wait: 30s"))
    full = answer(b"{}", "429 Too Many Requests", **anthropic_windows(1, "rejected"))
    vendor.play(full, HELLO)
    async with claude(proxy, "plan") as client:
        await ask(client)
    waits = (await proxy.record()).waits
    assert [each.behind for each in waits] == ["provider plan (caller) is cooling down"]


async def test_subscription_that_resets_later_passes_the_vendors_answer_on(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    assert await proxy.rewrite(lambda text: text.replace("max_wait: 0s", "max_wait: 30s"))
    body = b'{"type":"error","error":{"type":"rate_limit_error","message":"used up"}}'
    vendor.play(answer(body, "429 Too Many Requests", **anthropic_windows(7100, "rejected")))
    async with claude(proxy, "plan") as client:
        with pytest.raises(anthropic.RateLimitError) as raised:
            await ask(client)
        assert raised.value.response.content == body
        assert raised.value.response.headers["anthropic-ratelimit-unified-status"] == "rejected"
        with pytest.raises(anthropic.APIStatusError, match="room in 119 min") as later:
            await ask(client)
    assert later.value.status_code == 402
    assert len(vendor.requests) == 1
    assert (await views(proxy, "plan"))[0][0]["used"] == 0.42


async def test_other_provider_serves_while_the_subscription_is_used_up(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    full = answer(b"{}", "429 Too Many Requests", **anthropic_windows(7100, "rejected"))
    vendor.play(full, HELLO)
    async with claude(proxy, "both") as client:
        await ask(client)
        await ask(client)
    assert [each.path.split("/")[1] for each in vendor.requests] == ["plan", "api", "api"]


async def test_login_appears_in_no_file_log_metric_error_or_view(
    proxy: Sidecar, vendor: ScriptedVendor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    got = []
    for status in ("200 OK", "400 No", "401 No", "403 No", "429 No", "500 No", "529 No"):
        vendor.play(HELLO if status == "200 OK" else echoing(status))
        for key in ("plan", "both", "api"):
            pairs = [("Authorization", f"Bearer {LOGIN}"), ("x-sidecar-key", proxy.keys[key])]
            pairs += [("anthropic-workspace-id", ACCOUNT), ("Session-Id", "s1")]
            got.append(await talk(proxy.port, request("POST", "/v1/messages", pairs, BODY)))
    got.append(await talk(proxy.port, request("POST", "/v1/messages", pairs[:1], BODY)))
    await settled(proxy.running)
    paths = ("status", "keys", "live", "explain?key=plan&model=m", "provider?name=plan", "config")
    got += [await talk_inside(proxy, "GET", f"/api/{each}") for each in paths]
    got.append(await talk(proxy.admin_port, request("GET", "/metrics", {})))
    assert all(each.startswith(b"HTTP/1.1 200") for each in got[-len(paths) :])
    kept = [each.read_bytes() for each in proxy.state.rglob("*") if each.is_file()]
    run = proxy.running
    accounts = [each.key.account for each in run.services.scheduler.upstreams]
    shown = repr((run.snapshot, proxy.records, list(run.services.live)))
    logged = caplog.text + repr([each.args for each in caplog.records])
    assert any(accounts)
    for secret in (LOGIN, *filter(None, accounts)):
        assert secret not in logged
        assert secret not in shown
        assert not [each for each in (*got, *kept) if secret.encode() in each]
    assert not [each for each in kept if ACCOUNT.encode() in each]
    for sent in vendor.requests:
        assert (LOGIN.encode() in sent.head) == sent.path.startswith("/plan/")
