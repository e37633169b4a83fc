"""Queueing: limits, urgency, pauses and reloads, with real clients on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anthropic
import openai
import pytest
from held_vendor import Gate, waiting
from raw_http_client import connected
from running_sidecar import Raw, Sidecar, request, sidecar
from sample_answers import CHAT, HELLO, MESSAGE, body
from scripted_vendor import Script, ScriptedVendor, Wire, answer
from vendor_apis import until
from vendor_sdks import both_sdks

YAML = """
defaults: {{max_wait: 30s}}
providers:
  oa: {{plugin: openai, base_url: "{url}/v1", credential: env:UPSTREAM_KEY{oa}}}
  an: {{plugin: anthropic, base_url: "{url}", credential: env:UPSTREAM_KEY}}
groups:
  GPT: {{vendor: openai, routes: [oa]{gpt}}}
  Claude: {{vendor: anthropic, routes: [an]{claude}}}
keys:
  now: {{group: GPT, urgency: interactive, hash: "{{now}}"{key}}}
  day: {{group: GPT, hash: "{{day}}"{key}}}
  night: {{group: GPT, urgency: background, hash: "{{night}}"{key}}}
  claude: {{group: Claude, hash: "{{claude}}"{key}}}
"""
KEYS = ("now", "day", "night", "claude")
PATH, ASKED = "/v1/chat/completions", b'{"model":"gpt-5"}'


@asynccontextmanager
async def waiting_room(
    path: Path, vendor: ScriptedVendor, *, oa: str = "", gpt: str = "", claude: str = "",
    key: str = "",
) -> AsyncIterator[Sidecar]:  # fmt: skip
    """A sidecar with such limits, in front of the vendor."""
    text = YAML.format(url=vendor.url, oa=oa, gpt=gpt, claude=claude, key=key)
    async with sidecar(path, text, KEYS) as running:
        yield running


async def ask(proxy: Sidecar, key: str, *, who: str = "", **headers: str) -> Raw:
    pairs = [("x-who", who or key), *((n.replace("_", "-"), v) for n, v in headers.items())]
    return await proxy.ask(PATH, ASKED, key=key, headers=pairs)


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
async def test_twenty_sdk_clients_on_a_key_for_two_all_succeed_and_see_no_429(
    tmp_path: Path, vendor: ScriptedVendor, monkeypatch: pytest.MonkeyPatch, dialect: str
) -> None:
    """Also within a small rpm: the minute is shortened, what it does is not."""
    monkeypatch.setattr("sidecar.scheduling.windows.MINUTE_SECONDS", 0.2)
    most = [0, 0]

    async def script(wire: Wire) -> None:
        most[0] += 1
        most[1] = max(most)
        await asyncio.sleep(0.005)
        most[0] -= 1
        await answer(body(CHAT if dialect == "openai" else MESSAGE))(wire)

    vendor.play(script)
    limits = ", limits: {concurrency: 2, rpm: 7}"
    async with waiting_room(tmp_path, vendor, key=limits) as proxy:
        options = {"max_retries": 0}  # any 429 would be raised
        if dialect == "openai":
            gpt = openai.AsyncOpenAI(
                base_url=f"{proxy.url}/v1", api_key=proxy.keys["day"], **options
            )
            async with gpt:
                asked = [
                    gpt.chat.completions.create(model="gpt-5", messages=HELLO)  # type: ignore[call-overload]
                    for _ in range(20)
                ]
                answers = await asyncio.gather(*asked)
        else:
            claude = anthropic.AsyncAnthropic(
                base_url=proxy.url, api_key=proxy.keys["claude"], **options
            )
            async with claude:
                asked = [
                    claude.messages.create(model="claude-x", max_tokens=9, messages=HELLO)  # type: ignore[arg-type]
                    for _ in range(20)
                ]
                answers = await asyncio.gather(*asked)
        assert len(answers) == 20
        await proxy.record(20)
        assert [record.status for record in proxy.records] == [200] * 20
        assert most[1] == 2
        assert len(vendor.requests) == 20
        assert sum(record.wait > 0 for record in proxy.records) == 18
        assert all(record.waits for record in proxy.records if record.wait > 0)


@pytest.mark.parametrize("body", [b"{}", b"no JSON"])
async def test_call_that_is_refused_is_recorded_with_the_urgency_of_its_key(
    tmp_path: Path, vendor: ScriptedVendor, body: bytes
) -> None:
    async with waiting_room(tmp_path, vendor) as proxy:
        assert (await proxy.ask(PATH, body, key="now")).status == 400
        assert (await proxy.record()).urgency == "interactive"


async def test_urgent_calls_go_first_and_callers_can_only_lower_urgency(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    limiter = Gate()
    vendor.play(limiter)
    async with waiting_room(tmp_path, vendor, oa=", limits: {concurrency: 1}") as proxy:
        calls = [asyncio.create_task(ask(proxy, "day", who="first"))]
        await until(lambda: limiter.order == ["first"])
        for number, (key, who, wish) in enumerate(
            [
                ("night", "night", ""), ("day", "day", ""), ("now", "humble", "background"),
                ("night", "pushy", "interactive"), ("now", "now", ""), ("day", "odd", "nonsense"),
            ],
            1,
        ):  # fmt: skip
            headers = {"x_sidecar_urgency": wish} if wish else {}
            calls.append(asyncio.create_task(ask(proxy, key, who=who, **headers)))
            await until(lambda number=number: waiting(proxy) == number)  # type: ignore[misc]
        limiter.let(7)
        found = await asyncio.gather(*calls)
        assert [each.status for each in found] == [200] * 7
        assert limiter.order == ["first", "now", "day", "odd", "night", "humble", "pushy"]
        assert not any(received.get("x-sidecar-urgency") for received in vendor.requests)
        assert int(found[1].headers["x-sidecar-wait-ms"]) >= 0
        await proxy.record(7)
        record = next(r for r in proxy.records if r.key == "now" and r.urgency == "interactive")
        [wait] = record.waits
        assert "provider oa (env:UPSTREAM_KEY) is at its limit of 1 concurrency" in wait.behind
        assert "(routes.yaml:4)" in wait.behind


async def test_waiter_of_one_limit_delays_no_waiter_of_another(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    limiter = Gate()
    vendor.play(limiter)
    async with waiting_room(tmp_path, vendor, key=", limits: {concurrency: 1}") as proxy:
        calls = [asyncio.create_task(ask(proxy, "now")) for _ in range(3)]
        await until(lambda: waiting(proxy) == 2)
        calls.append(asyncio.create_task(ask(proxy, "night")))
        await until(lambda: limiter.order == ["now", "night"])
        limiter.let(4)
        assert {each.status for each in await asyncio.gather(*calls)} == {200}


async def test_client_that_leaves_the_queue_is_not_sent_and_delays_no_call(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    limiter = Gate()
    vendor.play(limiter)
    async with waiting_room(tmp_path, vendor, oa=", limits: {concurrency: 1}") as proxy:
        first = asyncio.create_task(ask(proxy, "day", who="first"))
        await until(lambda: limiter.order == ["first"])
        async with connected(proxy.port) as line:
            await line.send(request("POST", PATH, proxy.bearer("now"), ASKED))
            await until(lambda: waiting(proxy) == 1)
            second = asyncio.create_task(ask(proxy, "night", who="second"))
            await until(lambda: waiting(proxy) == 2)
            line.hang_up()
            await until(lambda: waiting(proxy) == 1)
        limiter.let(2)
        assert ((await first).status, (await second).status) == (200, 200)
        assert limiter.order == ["first", "second"]
        await proxy.record(3)
        left = next(r for r in proxy.records if r.key == "now")
        assert (left.outcome, left.attempts) == ("cancelled", ())
        assert left.wait > 0


async def test_raised_limit_wakes_waiters_and_a_lowered_one_binds_at_once(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    limiter = Gate()
    vendor.play(limiter)
    async with waiting_room(tmp_path, vendor, gpt=", limits: {concurrency: 1}") as proxy:
        calls = [asyncio.create_task(ask(proxy, "day")) for _ in range(6)]
        await until(lambda: waiting(proxy) == 5)
        assert await proxy.rewrite(lambda text: text.replace("concurrency: 1", "concurrency: 4"))
        await until(lambda: limiter.at_once == 4)
        assert waiting(proxy) == 2
        assert await proxy.rewrite(lambda text: text.replace("concurrency: 4", "concurrency: 2"))
        limiter.let(2)
        await until(lambda: sum(call.done() for call in calls) == 2)
        assert (limiter.at_once, waiting(proxy)) == (2, 2)
        limiter.let(4)
        assert {each.status for each in await asyncio.gather(*calls)} == {200}
        assert limiter.most == 4


async def test_new_limit_counts_the_running_calls(tmp_path: Path, vendor: ScriptedVendor) -> None:
    limiter = Gate()
    vendor.play(limiter)
    async with waiting_room(tmp_path, vendor) as proxy:
        calls = [asyncio.create_task(ask(proxy, "day")) for _ in range(3)]
        await until(lambda: limiter.at_once == 3)
        assert await proxy.rewrite(
            lambda text: text.replace("routes: [oa]", "routes: [oa], limits: {concurrency: 3}")
        )
        calls.append(asyncio.create_task(ask(proxy, "day")))
        await until(lambda: waiting(proxy) == 1)
        limiter.let(4)
        assert {each.status for each in await asyncio.gather(*calls)} == {200}
        assert limiter.most == 3


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda text: text.replace("  day:", "  # day:"), "was removed while its call waited"),
        (
            lambda text: text.replace("  day: {", "  day: {enabled: false, "),
            "was disabled (routes.yaml:11) while its call waited",
        ),
    ],
    ids=["removed", "disabled"],
)
async def test_removed_key_is_rejected_in_the_queue(
    tmp_path: Path, vendor: ScriptedVendor, edit: object, words: str
) -> None:
    limiter = Gate()
    vendor.play(limiter)
    async with waiting_room(tmp_path, vendor, oa=", limits: {concurrency: 1}") as proxy:
        first = asyncio.create_task(ask(proxy, "now"))
        await until(lambda: limiter.at_once == 1)
        second = asyncio.create_task(ask(proxy, "day"))
        await until(lambda: waiting(proxy) == 1)
        assert await proxy.rewrite(edit)  # type: ignore[arg-type]
        refused = await second
        assert (refused.status, refused.headers["x-sidecar-error"]) == (403, "key_disabled")
        assert words in refused.message
        limiter.let(1)
        assert (await first).status == 200


async def test_renamed_key_keeps_waiting_and_its_counts(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    limiter = Gate()
    vendor.play(limiter)
    async with waiting_room(tmp_path, vendor, key=", limits: {concurrency: 1}") as proxy:
        calls = [asyncio.create_task(ask(proxy, "day")) for _ in range(2)]
        await until(lambda: waiting(proxy) == 1)
        assert await proxy.rewrite(lambda text: text.replace("  day:", "  tag:"))
        assert (limiter.at_once, waiting(proxy)) == (1, 1)
        limiter.let(2)
        assert {each.status for each in await asyncio.gather(*calls)} == {200}
        assert limiter.most == 1


async def refused(proxy: Sidecar, key: str = "day") -> Raw:
    found = await ask(proxy, key)
    assert found.status == 429
    return found


async def test_rejection_names_the_limit_its_line_and_retry_after(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(body(CHAT)))
    limits = ", max_wait: 2s, limits: {rpm: 1}"
    async with waiting_room(tmp_path, vendor, key=limits) as proxy:
        assert (await ask(proxy, "day")).status == 200
        found = await refused(proxy)
        assert 'key "day" is at its limit of 1 rpm (routes.yaml:11)' in found.message
        assert "room in 60 s at the soonest" in found.message
        assert "longer than its max_wait of 2 s" in found.message
        assert found.headers["retry-after"] == "60"
        assert found.headers["ratelimit-policy"] == '"rpm";q=1;w=60'
        assert found.headers["ratelimit"] == '"rpm";r=0;t=60'
        assert found.json()["error"]["code"] == "rate_limit_exceeded"
        assert "x-should-retry" not in found.headers
        assert len(vendor.requests) == 1
        text = (await proxy.admin("/metrics")).body.decode()
        assert 'sidecar_lease_refusals_total{limit="rpm"} 1' in text
        assert 'sidecar_limit_used_ratio{scope="key \\"day\\"",limit="rpm",models=""} 1' in text


async def test_call_beyond_max_wait_is_rejected_with_its_limit(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    limiter = Gate()
    vendor.play(limiter)
    limits = ", max_wait: 600ms, limits: {concurrency: 1}"
    async with waiting_room(tmp_path, vendor, key=limits) as proxy:
        first = asyncio.create_task(ask(proxy, "day"))
        await until(lambda: limiter.at_once == 1)
        found = await refused(proxy)
        assert "is at its limit of 1 concurrency (routes.yaml:11)" in found.message
        assert "it waited 1 s of its max_wait of 0.6 s" in found.message
        assert found.headers["retry-after"] == "2"
        limiter.let(1)
        assert (await first).status == 200


async def test_limit_of_zero_rejects_every_call_without_retry_after(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    async with waiting_room(tmp_path, vendor, key=", limits: {rpm: 0}") as proxy:
        found = await refused(proxy)
        assert "nothing passes there" in found.message
        assert found.headers["x-should-retry"] == "false"
        assert "retry-after" not in found.headers
        assert vendor.requests == []


async def test_both_sdks_raise_their_rate_limit_error_with_retry_after(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(body(CHAT)), answer(body(MESSAGE)))
    limits = ", max_wait: 0s, limits: {rpm: 1}"
    async with waiting_room(tmp_path, vendor, key=limits) as proxy:
        async with both_sdks(proxy, "day", "claude") as (gpt, claude):
            await gpt.chat.completions.create(model="gpt-5", messages=HELLO)  # type: ignore[call-overload]
            with pytest.raises(openai.RateLimitError, match="at its limit of 1 rpm"):
                await gpt.chat.completions.create(model="gpt-5", messages=HELLO)  # type: ignore[call-overload]
            await claude.messages.create(model="c", max_tokens=9, messages=HELLO)  # type: ignore[arg-type]
            with pytest.raises(anthropic.RateLimitError, match="at its limit of 1 rpm") as caught:
                await claude.messages.create(model="c", max_tokens=9, messages=HELLO)  # type: ignore[arg-type]
        assert 0 < int(caught.value.response.headers["retry-after"]) <= 60


async def test_tokens_are_reserved_by_estimate_and_settled_by_reported_usage(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    usage = {"prompt_tokens": 30, "completion_tokens": 10, "total_tokens": 40}
    vendor.play(answer(body(CHAT | {"usage": usage})))
    limits = ", max_wait: 0s, limits: {tpm: 100}"
    async with waiting_room(tmp_path, vendor, key=limits) as proxy:
        asked = b'{"model":"gpt-5","max_tokens":90}'

        async def call() -> int:
            return (await proxy.ask(PATH, asked, key="day")).status

        # 8 + 90 are reserved each time, 40 are what it comes to: 0, 40; with 80 there is no room.
        assert [await call() for _ in range(2)] == [200, 429]
        assert _left(proxy, "tpm") == 60
        small = b'{"model":"gpt-5","max_tokens":20}'
        assert (await proxy.ask(PATH, small, key="day")).status == 200
        assert _left(proxy, "tpm") == 20


def _left(proxy: Sidecar, kind: str) -> int:
    scheduler = proxy.running.services.scheduler
    [window] = [w for n, w, _ in scheduler.limits if n[:2] == ("key", "day") and w.kind == kind]
    return window.remaining(scheduler.now())


@pytest.mark.parametrize(
    ("script", "left"),
    [
        (answer(b'{"error":{"message":"no"}}', "400 Bad Request"), 1000),
        (answer(b"{}"), 1000 - 3 - 500),  # its usage is unknown
    ],
    ids=["a wrong request", "no usage"],
)
async def test_every_outcome_releases_the_unused_reservation(
    tmp_path: Path, vendor: ScriptedVendor, script: Script, left: int
) -> None:
    vendor.play(script)
    async with waiting_room(tmp_path, vendor, key=", limits: {tpm: 1000}") as proxy:
        await proxy.ask(PATH, b'{"model":"gpt-5","max_tokens":500}'[:-1] + b"}", key="day")
        await proxy.record()
        assert abs(_left(proxy, "tpm") - left) <= 6
        assert not proxy.running.services.scheduler._admission.leases


async def test_daily_limit_survives_a_restart(tmp_path: Path, vendor: ScriptedVendor) -> None:
    vendor.play(answer(body(CHAT)))
    limits = ", max_wait: 0s, limits: {rpd: 3}"
    async with waiting_room(tmp_path, vendor, key=limits) as proxy:
        assert [(await ask(proxy, "day")).status for _ in range(2)] == [200, 200]
    async with waiting_room(tmp_path, vendor, key=limits) as proxy:
        assert [(await ask(proxy, "day")).status for _ in range(2)] == [200, 429]


async def test_second_route_to_a_provider_keeps_its_own_limits_after_a_reload(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    limiter = Gate()
    vendor.play(limiter)
    routes = (
        "routes: [oa: {models: other, limits: {concurrency: 9}},"
        " oa: {models: gpt-5, limits: {concurrency: 1}}], "
    )
    async with waiting_room(tmp_path, vendor) as p:
        assert await p.rewrite(lambda text: text.replace("  day: {", "  day: {" + routes))
        first = asyncio.create_task(ask(p, "day"))
        await until(lambda: limiter.at_once == 1)
        second = asyncio.create_task(ask(p, "day"))
        await until(lambda: waiting(p) == 1)
        assert await p.rewrite(lambda text: text + "# nothing that matters\n")
        assert (limiter.at_once, waiting(p)) == (1, 1)
        limiter.let(2)
        assert {each.status for each in await asyncio.gather(first, second)} == {200}


async def test_paused_call_stays_queued_although_its_limit_is_used_up(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(body(CHAT)))
    limits = ", max_wait: 100ms, limits: {rpm: 1}"
    async with waiting_room(tmp_path, vendor, key=limits) as proxy:
        assert (await ask(proxy, "day")).status == 200
        proxy.running.services.scheduler.pauses.pause(("key", "day"))
        parked = asyncio.create_task(ask(proxy, "day"))
        await until(lambda: waiting(proxy) == 1)
        proxy.running.services.scheduler.pauses.resume(("key", "day"))
        assert (await parked).status == 429


@pytest.mark.parametrize("kind", ["tpm", "otpm", "tpd"])
async def test_tokens_reserved_by_a_running_call_are_waited_for(
    tmp_path: Path, vendor: ScriptedVendor, kind: str
) -> None:
    """Time alone would open the limit long after `max_wait`; the call that runs gives back most."""
    limiter = Gate()
    vendor.play(limiter)
    async with waiting_room(tmp_path, vendor, key=f", limits: {{{kind}: 6000}}") as proxy:
        first = asyncio.create_task(ask(proxy, "day"))
        await until(lambda: limiter.at_once == 1)
        second = asyncio.create_task(ask(proxy, "day"))
        await until(lambda: waiting(proxy) == 1)
        limiter.let(2)
        assert [(await each).status for each in (first, second)] == [200, 200]


@pytest.mark.parametrize("kind", ["tpm", "tpd", "rpm"])
async def test_limit_used_up_by_finished_calls_refuses_at_once_beyond_max_wait(
    tmp_path: Path, vendor: ScriptedVendor, kind: str
) -> None:
    vendor.play(answer(body(CHAT)))
    most = {"tpm": 10, "tpd": 10, "rpm": 1}[kind]
    async with waiting_room(tmp_path, vendor, key=f", limits: {{{kind}: {most}}}") as proxy:
        assert (await ask(proxy, "day")).status == 200
        refused = await ask(proxy, "day")
        assert refused.status == 429
        assert "that is longer than its max_wait of 30 s" in refused.message
