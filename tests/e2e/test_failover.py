"""Failover: other candidates, waiting, cooldowns, sticky sessions and the retry budget."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from provider_pairs import GOOD, NO, pair, says
from raw_http_client import connected, exchange
from running_sidecar import Raw, Sidecar, request
from sample_answers import CHAT, HELLO, MESSAGE, body
from scripted_vendor import STREAM_HEAD, Script, ScriptedVendor, Wire, answer, chunk, raw, stream
from vendor_apis import until
from vendor_sdks import both_sdks

PATH, ASKED = "/v1/chat/completions", b'{"model":"gpt-5"}'


SLOW = says("429 Too Many Requests", retry_after_ms="60")
BUSY = says("529 Overloaded")


async def ask(proxy: Sidecar, **headers: str) -> Raw:
    pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return await proxy.ask(PATH, ASKED, key="day", headers=pairs)


def cooling(proxy: Sidecar) -> dict[str, float]:
    """Return the upstreams in cooldown and their remaining seconds."""
    scheduler = proxy.running.services.scheduler
    return {
        f"{account.key.provider} {account.key.family}".strip(): account.cooldown.until
        - scheduler.now()
        for account in scheduler.upstreams
        if account.cooldown.is_active
    }


@pytest.mark.parametrize("no", [SLOW, BUSY, says("503 Unavailable")], ids=["429", "529", "503"])
async def test_short_429_is_retried_without_the_client_noticing(
    tmp_path: Path, vendor: ScriptedVendor, no: Script
) -> None:
    vendor.play(no, no, GOOD)
    async with pair(tmp_path, vendor) as proxy:
        found = await ask(proxy)
        assert (found.status, len(vendor.requests)) == (200, 3)
        assert found.headers["x-sidecar-tried"].count(";") == 2
        record = await proxy.record()
        assert [attempt.verdict for attempt in record.attempts][-1] == "ok"
        assert record.wait > 0
        assert any("is cooling down" in wait.behind for wait in record.waits)
        assert cooling(proxy) == {}


async def test_both_sdks_get_one_response_after_a_retry(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    vendor.play(SLOW, GOOD, BUSY, answer(body(MESSAGE)))
    async with pair(tmp_path, vendor) as proxy, both_sdks(proxy, "day", "claude") as (gpt, claude):
        await gpt.chat.completions.create(model="gpt-5", messages=HELLO)  # type: ignore[call-overload]
        await claude.messages.create(model="claude-x", max_tokens=9, messages=HELLO)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("hint", "status"),
    [
        ("600", 429),
        ("86400", 429),
        *((hint, 200) for hint in ("518400", "soon", "0")),
    ],
)
async def test_retry_hint_beyond_five_minutes_is_capped(
    tmp_path: Path, vendor: ScriptedVendor, hint: str, status: int
) -> None:
    """A hint beyond the client's remaining wait is relayed at once, with all headers."""
    vendor.play(
        answer(NO, "429 Too Many Requests", retry_after=hint, x_ratelimit_limit_requests="9"), GOOD
    )
    async with pair(tmp_path, vendor) as proxy:
        found = await ask(proxy)
        assert found.status == status
        if status == 429:
            assert found.body == NO
            assert found.headers["retry-after"] == hint
            assert found.headers["x-ratelimit-limit-requests"] == "9"
            assert all(0 < seconds <= 300 for seconds in cooling(proxy).values())
            assert len(vendor.requests) == 1


async def test_vendor_error_is_returned_at_once_with_max_wait_zero(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    vendor.play(SLOW, GOOD)
    async with pair(tmp_path, vendor, wait="0s") as proxy:
        found = await ask(proxy)
        assert (found.status, found.body, len(vendor.requests)) == (429, NO, 1)
        assert "x-should-retry" not in found.headers


async def test_client_gets_should_retry_false_after_all_retries(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    vendor.play(SLOW)
    async with pair(tmp_path, vendor, wait="400ms") as proxy:
        found = await ask(proxy)
        assert (found.status, found.body) == (429, NO)
        assert len(vendor.requests) > 1
        assert found.headers["x-should-retry"] == "false"


async def test_repeated_failure_is_named_once_in_the_error(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    """A call that is parked for long would else get an error of any length."""
    vendor.play(stream(b'data: {"error":{"message":"x","code":"server_error"}}\n\n'))
    async with pair(tmp_path, vendor, wait="2s") as proxy:
        found = await proxy.ask(PATH, b'{"model":"gpt-5","stream":true}', key="day")
        assert len(vendor.requests) > 1
        assert found.message.count("in its stream: server_error") == 1


@pytest.mark.parametrize(
    "no",
    [
        SLOW, BUSY, says("500 Oops"), says("503 Unavailable"), says("404 Not Found"),
        raw(b"", close=True), raw(b"nonsense\r\n\r\n", close=True),
        stream(b'data: {"error":{"message":"x","type":"server_error","code":"server_error"}}\n\n'),
    ],
    ids=["429", "529", "500", "503", "404", "closed", "nonsense", "in its stream"],
)  # fmt: skip
async def test_next_candidate_serves_at_once_when_the_first_fails(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor, no: Script
) -> None:
    vendor.play(no)
    other.play(stream(b'data: {"id":"1","choices":[]}\n\n', b"data: [DONE]\n\n"))
    routes = "one: {retry: at-least-once}, two"
    async with pair(tmp_path, vendor, other, routes=routes) as proxy:
        asked = b'{"model":"gpt-5","stream":true}'
        found = await proxy.ask(PATH, asked, key="day")
        assert (found.status, found.headers["x-sidecar-provider"]) == (200, "two")
        assert found.headers["x-sidecar-tried"].startswith("one ")
        assert (len(vendor.requests), len(other.requests)) == (1, 1)
        record = await proxy.record()
        assert record.wait < 1


async def test_upstream_in_cooldown_is_skipped_while_another_serves(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor
) -> None:
    vendor.play(says("429 Too Many Requests", retry_after="30"))
    other.play(GOOD)
    async with pair(tmp_path, vendor, other) as proxy:
        for _ in range(5):
            assert (await ask(proxy)).headers["x-sidecar-provider"] == "two"
        assert (len(vendor.requests), len(other.requests)) == (1, 5)
        text = (await proxy.admin("/metrics")).body.decode()
        assert 'sidecar_cooldown_seconds{provider="one"' in text


async def test_one_probe_follows_a_cooldown_and_its_success_admits_the_rest(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    """Ten wait for a vendor that cools down: it is asked once, not ten times."""
    probe = asyncio.Event()

    async def slowly(wire: Wire) -> None:
        await probe.wait()
        await GOOD(wire)

    vendor.play(says("429 Too Many Requests", retry_after_ms="200"), slowly)
    async with pair(tmp_path, vendor) as proxy:
        calls = [asyncio.create_task(ask(proxy))]
        await until(lambda: bool(cooling(proxy)))
        calls += [asyncio.create_task(ask(proxy)) for _ in range(9)]
        await until(lambda: len(vendor.requests) == 2)
        await asyncio.sleep(0.1)
        assert len(vendor.requests) == 2
        probe.set()
        assert {each.status for each in await asyncio.gather(*calls)} == {200}
        assert len(vendor.requests) == 11


async def test_slot_of_a_429_is_released_only_after_its_cooldown_starts(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    """The slot of a refused attempt is free only once its account is known to cool down."""
    vendor.play(says("429 Too Many Requests", retry_after="30"))
    async with pair(tmp_path, vendor, wait="60s", limits=", limits: {concurrency: 1}") as proxy:
        calls = [asyncio.create_task(ask(proxy)) for _ in range(4)]
        await until(lambda: len(proxy.running.services.scheduler.waiting) == 4)
        assert len(vendor.requests) == 1
        for call in calls:
            call.cancel()


@pytest.mark.parametrize("status", ["400 Bad Request", "413 Too Large", "422 Unprocessable"])
async def test_client_error_starts_no_cooldown_and_no_retry(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor, status: str
) -> None:
    vendor.play(says(status))
    async with pair(tmp_path, vendor, other) as proxy:
        for _ in range(8):
            assert (await ask(proxy)).status == int(status[:3])
        assert (len(vendor.requests), len(other.requests)) == (8, 0)
        assert cooling(proxy) == {}


async def test_server_error_is_not_retried_and_starts_no_cooldown(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    vendor.play(says("500 Oops"))
    async with pair(tmp_path, vendor) as proxy:
        for number in range(1, 6):
            assert (await ask(proxy)).status == 500
            assert len(vendor.requests) == number
        assert cooling(proxy) == {}
        await ask(proxy)
        assert list(cooling(proxy)) == ["one gpt-5"]


async def test_exhausted_quota_is_distinguished_and_not_waited_for(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor
) -> None:
    broke = answer(
        b'{"error":{"message":"pay","type":"insufficient_quota","code":"insufficient_quota"}}',
        "429 Too Many Requests",
    )
    vendor.play(broke)
    other.play(GOOD)
    async with pair(tmp_path, vendor) as proxy:
        found = await ask(proxy)
        assert (found.status, found.json()["error"]["message"]) == (429, "pay")
        found = await ask(proxy)
        assert found.headers["x-should-retry"] == "false"
        assert found.json()["error"]["code"] == "insufficient_quota"
        assert "429 insufficient_quota; it is asked again in" in found.message
        assert len(vendor.requests) == 1
        text = lambda before: before.replace("routes: [one]", "routes: [one, two]")  # noqa: E731
        assert await proxy.rewrite(text)
        assert (await ask(proxy)).headers["x-sidecar-provider"] == "two"


async def test_session_stays_with_the_provider_that_served_it(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor
) -> None:
    vendor.play(GOOD)
    other.play(GOOD)
    routes = "one: {priority: 1}, two: {priority: 1}"
    async with pair(tmp_path, vendor, other, routes=routes) as proxy:
        homes = set()
        for session in range(12):
            served = {
                (await ask(proxy, session_id=f"s{session}")).headers["x-sidecar-provider"]
                for _ in range(4)
            }
            assert len(served) == 1
            homes |= served
        assert homes == {"one", "two"}  # and conversations share both, by weight


async def test_session_stays_with_its_only_provider_when_it_gets_a_choice(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor
) -> None:
    vendor.play(GOOD)
    other.play(GOOD)
    async with pair(tmp_path, vendor, other, routes="two") as proxy:
        assert (await ask(proxy, session_id="a")).headers["x-sidecar-provider"] == "two"
        assert await proxy.rewrite(
            lambda before: before.replace("routes: [two]", "routes: [one, two]")
        )
        assert (await ask(proxy, session_id="b")).headers["x-sidecar-provider"] == "one"
        assert (await ask(proxy, session_id="a")).headers["x-sidecar-provider"] == "two"


async def test_sessions_are_spread_over_several_credentials(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    vendor.play(GOOD)
    async with pair(tmp_path, vendor, second=", env:SECOND_KEY") as proxy:
        for session in range(16):
            for _ in range(2):
                await ask(proxy, session_id=f"s{session}")
        used = [received.get("authorization")[0] for received in vendor.requests]
        assert used[::2] == used[1::2]
        assert len(set(used)) == 2


async def test_session_waits_sticky_wait_for_its_provider_and_then_moves(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor
) -> None:
    vendor.play(GOOD, says("429 Too Many Requests", retry_after="10"), GOOD)
    other.play(GOOD)
    async with pair(tmp_path, vendor, other, sticky="200ms") as proxy:
        assert (await ask(proxy, session_id="a")).headers["x-sidecar-provider"] == "one"
        assert (await ask(proxy, session_id="b")).headers["x-sidecar-provider"] == "two"
        assert cooling(proxy)
        moved = await ask(proxy, session_id="a")
        assert moved.headers["x-sidecar-provider"] == "two"
        assert int(moved.headers["x-sidecar-wait-ms"]) >= 190
        again = await ask(proxy, session_id="a")
        assert (again.headers["x-sidecar-provider"], again.headers["x-sidecar-wait-ms"]) == (
            "two",
            "0",
        )


async def test_flapping_provider_loses_no_call(tmp_path: Path, vendor: ScriptedVendor) -> None:
    """Good, busy, throttled and closed by turns, for forty calls at once."""
    number = 0

    async def script(wire: Wire) -> None:
        nonlocal number
        number += 1
        await (GOOD, GOOD, GOOD, says("529 Overloaded", retry_after_ms="20"), GOOD, SLOW)[
            number % 6
        ](wire)

    vendor.play(script)
    async with pair(tmp_path, vendor, wait="60s") as proxy:
        assert (await ask(proxy)).status == 200
        found = await asyncio.gather(*(ask(proxy) for _ in range(40)))
        assert {each.status for each in found} == {200}
        assert not proxy.running.services.scheduler._admission.leases


async def test_restarting_provider_is_waited_for(tmp_path: Path, vendor: ScriptedVendor) -> None:
    """Its port is closed for a while; calls wait as long as they are patient."""
    vendor.play(GOOD)
    async with pair(tmp_path, vendor) as proxy:
        assert (await ask(proxy)).status == 200
        relay = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
        port = relay.sockets[0].getsockname()[1]
        relay.close()
        await relay.wait_closed()
        assert await proxy.rewrite(lambda text: text.replace(str(vendor.port), str(port)))
        call = asyncio.create_task(ask(proxy))
        await until(lambda: bool(cooling(proxy)))
        back = await asyncio.start_server(_good, "127.0.0.1", port)
        async with back:
            assert (await call).status == 200


async def _good(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    data = body(CHAT)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    writer.write(head % len(data) + data)
    await writer.drain()
    writer.close()


async def test_retries_are_limited_to_a_share_of_the_calls(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    vendor.play(says("429 Too Many Requests", retry_after_ms="0"))
    async with pair(tmp_path, vendor, wait="1s") as proxy:
        text = (await proxy.admin("/metrics")).body.decode()
        assert "sidecar_retry_budget_left 30" in text
        proxy.running.services.scheduler.record_failure = lambda *_, **__: 0.0  # type: ignore[method-assign]
        found = await ask(proxy)
        assert found.status == 429
        assert 30 <= len(vendor.requests) <= 34


async def test_call_waits_for_a_retry_where_the_budget_is_spent(
    tmp_path: Path, vendor: ScriptedVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.scheduling.limiter.MAX_SAVED_RETRIES", 2.0)
    monkeypatch.setattr("sidecar.scheduling.limiter.MIN_RETRIES_PER_SECOND", 10.0)
    vendor.play(*[says("429 Too Many Requests", retry_after_ms="0")] * 5, GOOD)
    async with pair(tmp_path, vendor) as proxy:
        proxy.running.services.scheduler.record_failure = lambda *_, **__: 0.0  # type: ignore[method-assign]
        assert (await ask(proxy)).status == 200
        waits = (await proxy.record()).waits
        assert "retries are limited to" in waits[0].behind


async def test_quota_headers_of_the_vendor_delay_calls(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    """It says that two requests are left: the third waits until one has grown back."""
    figures = {
        "x_ratelimit_limit_requests": "60", "x_ratelimit_remaining_requests": "2",
        "x_ratelimit_reset_requests": "11s",
    }  # fmt: skip
    vendor.play(answer(body(CHAT), **figures), GOOD)
    async with pair(tmp_path, vendor) as proxy:
        await ask(proxy)
        found = await asyncio.gather(*(ask(proxy) for _ in range(3)))
        assert {each.status for each in found} == {200}
        waits = sorted(int(each.headers["x-sidecar-wait-ms"]) for each in found)
        assert waits[:2] == [0, 0]
        assert waits[2] > 0
        text = (await proxy.admin("/metrics")).body.decode()
        assert 'quota="requests/minute"} 60' in text
        await proxy.record(4)
        record = max(proxy.records, key=lambda each: each.wait)
        assert "is at the vendor's limit on requests" in record.waits[0].behind


async def test_slow_first_event_is_relayed_without_delay(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    go = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.send(STREAM_HEAD)
        await go.wait()
        await wire.send(chunk(b'data: {"id":"1"}\n\n') + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")

    vendor.play(script)
    async with pair(tmp_path, vendor) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(request("POST", PATH, proxy.bearer("day"), b'{"model":"m","stream":true}'))
        async with asyncio.timeout(5):
            head = await reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in head
        go.set()
        rest = await reader.read(-1)
        assert rest.count(b"data:") == 2
        assert rest.endswith(b"0\r\n\r\n")
        writer.close()


async def test_error_later_in_a_stream_passes_unchanged(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor
) -> None:
    events = (b'data: {"id":"1"}\n\n', b'data: {"error":{"code":"server_error","message":"m"}}\n\n')
    vendor.play(stream(*events, b"data: [DONE]\n\n"))
    async with pair(tmp_path, vendor, other) as proxy:
        asked = request("POST", PATH, proxy.bearer("day"), b'{"model":"gpt-5","stream":true}')
        found = await exchange(proxy.port, asked)
        assert found.get("x-sidecar-provider") == ["one"]
        assert b"".join(events) in found.body
        assert other.requests == []


async def test_client_that_leaves_between_two_attempts_ends_the_retries(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    vendor.play(says("429 Too Many Requests", retry_after_ms="150"), GOOD)
    async with pair(tmp_path, vendor) as proxy:
        async with connected(proxy.port) as line:
            await line.send(request("POST", PATH, proxy.bearer("day"), ASKED))
            await until(lambda: bool(cooling(proxy)))
            line.hang_up()
        record = await proxy.record()
        assert record.outcome == "cancelled"
        await asyncio.sleep(0.3)
        assert len(vendor.requests) == 1
        assert not proxy.running.services.scheduler._admission.leases
        assert len(proxy.running.services.scheduler.waiting) == 0
