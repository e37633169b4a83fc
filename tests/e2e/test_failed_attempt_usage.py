"""Usage of failed attempts: counted once where the vendor reported it, unknown where the attempt
may have been billed, and zero where it cannot have been."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from ledger_checks import rows
from recorded_answers import sse
from running_sidecar import Sidecar, sidecar
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
from vendor_apis import figures, settled

from sidecar.errors import ErrorKind, LocalReply
from sidecar.records import AttemptUsage, CallRecord, Cost, Usage, UsageState
from sidecar.scheduling.estimates.tokens import MIN_SAMPLES

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
ASKED = b'{"model":"m","stream":true,"max_tokens":900}'
YAML = """
defaults: {{max_wait: {wait}}}
prices: {{"*": {{input: 2, output: 8}}}}
providers:
  one: {{plugin: openai, base_url: "{one}/v1", credential: env:UPSTREAM_KEY, timeouts: {{first_byte: 1s}}}}
  two: {{plugin: openai, base_url: "{two}/v1", credential: env:UPSTREAM_KEY}}
  an: {{plugin: anthropic, base_url: "{one}", credential: env:UPSTREAM_KEY}}
groups:
  GPT: {{vendor: openai, multiplier: 0.5, routes: [one: {{retry: at-least-once}}, two]}}
  Claude: {{vendor: anthropic, routes: [an]}}
keys:
  gpt: {{group: GPT, limits: {{otpm: 2000, rpm: 100}}, hash: "{{gpt}}"}}
  claude: {{group: Claude, hash: "{{claude}}"}}
"""  # noqa: E501 - a provider a line
FAILED = b'"error":{"message":"x","type":"server_error","code":"server_error"}'
TOLD = b'"usage":{"prompt_tokens":70,"completion_tokens":20}'
SERVED = sse(
    {"choices": [], "usage": {"prompt_tokens": 30, "completion_tokens": 4}}, "[DONE]"
)  # fmt: skip
GOOD = stream(SERVED)
OWN, BOTH = Usage(30, 4), Usage(100, 24)
# Dollars a million tokens are nano-dollars a token times a thousand; the group pays half of it.
OWN_COST, TOLD_COST = Cost(92_000, 46_000, "routes.yaml:3"), Cost(300_000, 150_000, "routes.yaml:3")
BOTH_COST = Cost(392_000, 196_000, "routes.yaml:3")


@asynccontextmanager
async def pair(
    path: Path, one: str, other: ScriptedVendor, wait: str = "20s"
) -> AsyncIterator[Sidecar]:
    other.play(GOOD)
    text = YAML.format(one=one, two=other.url, wait=wait)
    async with sidecar(path, text, ("gpt", "claude")) as running:
        yield running


async def served(proxy: Sidecar) -> CallRecord:
    found = await proxy.ask(CHAT, ASKED)
    assert (found.status, found.headers["x-sidecar-provider"]) == (200, "two")
    assert found.body == SERVED
    record = await proxy.record()
    await settled(proxy.running)
    return record


async def told(proxy: Sidecar) -> dict[str, Any]:
    """The row, once it is written; its attempts read."""
    assert await proxy.running.services.ledger.flush()
    (row,) = rows(proxy.state)
    return row | {"attempts": json.loads(row["attempts"])}


async def total(proxy: Sidecar, name: str) -> float:
    return sum((await figures(proxy.running, name)).values())


def output_counted(proxy: Sidecar) -> int:
    """Output tokens of the last minute, as the key's limit has them."""
    scheduler = proxy.running.services.scheduler
    (window,) = [each.window for each in scheduler.limits if each.window.kind == "otpm"]
    return window.limit - window.remaining(scheduler.now())


def lost(how: str = "fin", data: bytes = b"") -> Script:
    return cut(data, how)


# ── told ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("first", "spent", "kept"),
    [
        (stream(b"data: {%s,%s}\n\n" % (FAILED, TOLD)), UsageState.REPORTED, 20),
        (stream(b"data: {%s}\n\ndata: {%s}\n\n" % (FAILED, TOLD)), UsageState.REPORTED, 20),
        (cut(STREAM_HEAD + chunk(b"data: {%s,%s}\n\n" % (FAILED, TOLD))), UsageState.REPORTED, 20),
        (answer(b"{%s,%s}" % (FAILED, TOLD), "500 Oops"), UsageState.REPORTED, 20),
        (answer(b"{%s,%s}" % (FAILED, TOLD), "429 Slow", retry_after="9"), UsageState.REPORTED, 20),
    ],
    ids=["in its event", "behind it", "and cut", "500", "429"],
)  # fmt: skip
async def test_usage_reported_by_a_failed_attempt_is_counted_once(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor,
    first: Script, spent: UsageState, kept: int,
) -> None:  # fmt: skip
    vendor.play(first)
    async with pair(tmp_path, vendor.url, other) as proxy:
        record = await served(proxy)
        assert (record.usage, record.usage_state, record.cost) == (BOTH, "reported", BOTH_COST)
        failed, good = record.attempts
        assert failed.spent == AttemptUsage(spent, Usage(70, 20), TOLD_COST)
        assert good.spent is None
        assert output_counted(proxy) == kept + 4
        row = await told(proxy)
        assert (row["input_tokens"], row["output_tokens"], row["cost_charged"]) == (
            100, 24, 196_000,
        )  # fmt: skip
        assert row["attempts"][0]["spent"]["usage"]["output_tokens"] == 20
        assert await total(proxy, "sidecar_tokens_total") == 124
        assert await total(proxy, "sidecar_cost_dollars_total") == pytest.approx(196e-6)
        assert await total(proxy, "sidecar_usage_unknown_total") == 0


async def test_usage_in_an_error_that_the_client_gets_is_counted(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor
) -> None:
    vendor.play(answer(b"{%s,%s}" % (FAILED, TOLD), "400 Bad"))
    async with pair(tmp_path, vendor.url, other) as proxy:
        assert (await proxy.ask(CHAT, ASKED)).status == 400
        record = await proxy.record()
        assert (record.outcome, record.usage) == ("client_error", Usage(70, 20))
        assert (record.usage_state, record.cost) == ("reported", TOLD_COST)
        await settled(proxy.running)
        assert output_counted(proxy) == 20


async def test_error_after_the_first_event_passes_and_is_counted_once(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor
) -> None:
    start = {"model": "m", "usage": {"input_tokens": 12, "output_tokens": 1}}
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "x"}}
    events = sse({"type": "message_start", "message": start}, error, names=True)
    vendor.play(stream(events))
    async with pair(tmp_path, vendor.url, other) as proxy:
        found = await proxy.ask(MESSAGES, ASKED, key="claude")
        assert found.body == events
        record = await proxy.record()
        assert (record.outcome, record.usage) == ("upstream_error", Usage(12, 1))
        assert [each.spent for each in record.attempts] == [None]
        assert record.cost == Cost(32_000, 32_000, "routes.yaml:3")


async def test_usage_of_all_attempts_is_summed_when_all_failed(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor
) -> None:
    vendor.play(answer(b"{%s,%s}" % (FAILED, TOLD), "500 Oops"))
    async with pair(tmp_path, vendor.url, other) as proxy:
        other.play(answer(b"{%s,%s}" % (FAILED, TOLD), "500 Oops"))
        assert (await proxy.ask(CHAT, ASKED)).status == 500
        record = await proxy.record()
        assert (record.usage, record.usage_state) == (Usage(140, 40), "reported")
        assert record.cost == Cost(600_000, 300_000, "routes.yaml:3")


async def test_usage_of_failed_attempts_does_not_change_the_estimates(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor
) -> None:
    vendor.play(answer(b"{%s,%s}" % (FAILED, TOLD), "400 Bad"))
    async with pair(tmp_path, vendor.url, other) as proxy:
        for number in range(1, MIN_SAMPLES + 1):
            assert (await proxy.ask(CHAT, ASKED)).status == 400
            assert (await proxy.record(number)).usage == Usage(70, 20)
        assert not proxy.running.services.scheduler.has_learned("gpt", "m")


async def test_usage_in_the_error_of_a_get_by_id_is_not_counted(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor
) -> None:
    vendor.play(answer(b"{%s,%s}" % (FAILED, TOLD), "400 Bad"))
    async with pair(tmp_path, vendor.url, other) as proxy:
        assert (await proxy.ask("/v1/responses/resp_1", method="GET")).status == 400
        record = await proxy.record()
        assert (record.usage, record.usage_state, record.cost) == (None, "none", None)


# ── perhaps billed, and nothing told ────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "first",
    [
        raw(b"nonsense\r\n\r\n", close=True), lost(), lost("rst"), hang,
        raw(b"HTTP/1.1 777 What\r\nContent-Length: 0\r\n\r\n"),
        stream(b"data: {%s}\n\n" % FAILED), stream(), cut(STREAM_HEAD),
    ],
    ids=["nonsense", "closed", "reset", "no answer in time", "no status", "first event",
         "empty stream", "cut stream"],
)  # fmt: skip
async def test_usage_of_a_possibly_billed_attempt_without_a_report_is_unknown(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor, first: Script
) -> None:
    """The call is known to have used at least what its answer told."""
    vendor.play(first)
    async with pair(tmp_path, vendor.url, other) as proxy:
        record = await served(proxy)
        assert (record.usage, record.usage_state) == (OWN, "unknown")
        assert record.cost == Cost(92_000, 46_000, "routes.yaml:3", whole=False)
        assert [each.spent for each in record.attempts] == [AttemptUsage(UsageState.UNKNOWN), None]
        # What it was thought to take stays counted: a smaller amount is not proved.
        assert output_counted(proxy) == 900 + 4
        row = await told(proxy)
        assert (row["usage_state"], row["input_tokens"], row["cost_whole"]) == ("unknown", 30, 0)
        assert await total(proxy, "sidecar_usage_unknown_total") == 1
        assert await total(proxy, "sidecar_tokens_total") == 34


# ── never billed ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "first",
    [
        answer(b"{}", "429 Slow", retry_after="9"), answer(b"{}", "529 Overloaded"),
        answer(b"{}", "500 Oops"), answer(b'{"usage":{"left":"none"}}', "503 Unavailable"),
        raw(b"HTTP/1.1 503 No\r\nContent-Length: 9\r\n\r\n{", close=True),
        None,
    ],
    ids=["429", "529", "500", "no figures", "cut error", "closed port"],
)  # fmt: skip
async def test_usage_of_an_attempt_that_cannot_be_billed_is_zero(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor, first: Script | None
) -> None:
    url = vendor.url
    if first is None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{free.getsockname()[1]}"
    else:
        vendor.play(first)
    async with pair(tmp_path, url, other) as proxy:
        record = await served(proxy)
        assert (record.usage, record.usage_state, record.cost) == (OWN, "reported", OWN_COST)
        assert [each.spent for each in record.attempts] == [None, None]
        assert output_counted(proxy) == 4


async def test_usage_of_a_redirect_is_zero(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor
) -> None:
    vendor.play(answer(b"", "301 Moved", location="https://elsewhere.example/v1"))
    async with pair(tmp_path, vendor.url, other) as proxy:
        assert (await proxy.ask(CHAT, ASKED)).status == 502
        record = await proxy.record()
        assert (record.outcome, record.usage_state) == ("upstream_error", "none")
        assert output_counted(proxy) == 0


# ── cut short from here ─────────────────────────────────────────────────────────────────────────


async def leave(proxy: Sidecar, ready: asyncio.Event, key: str = "gpt", path: str = CHAT) -> None:
    leaving = asyncio.create_task(proxy.ask(path, ASKED, key=key))
    await asyncio.wait_for(ready.wait(), 5)
    leaving.cancel()


def told_then_hang(data: bytes, sent: asyncio.Event) -> Script:
    async def script(wire: Wire) -> None:
        await wire.send(data)
        sent.set()
        await wire.until_gone()

    return script


async def test_attempt_that_its_client_left_is_in_the_trail_of_the_call(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor
) -> None:
    vendor.play(hang)
    async with pair(tmp_path, vendor.url, other) as proxy:
        await leave(proxy, vendor.arrived)
        record = await proxy.record()
        assert (record.outcome, record.usage, record.usage_state) == ("cancelled", None, "unknown")
        (attempt,) = record.attempts
        assert (attempt.provider, attempt.verdict, attempt.status) == ("one", "cancelled", None)
        assert (attempt.reason, attempt.model) == ("the client left", "m")
        assert 0 < attempt.duration <= record.duration
        assert attempt.spent == AttemptUsage(UsageState.UNKNOWN)
        assert output_counted(proxy) == 900
        assert await figures(proxy.running, "sidecar_attempts_total") == {
            'provider="one",credential="env:UPSTREAM_KEY",verdict="cancelled"': 1
        }


async def test_usage_reported_before_a_client_left_a_held_stream_is_counted(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.proxy.stream.start.HELD_SECONDS", 30.0)
    sent = asyncio.Event()
    start = {"model": "m", "usage": {"input_tokens": 12, "output_tokens": 1}}
    begun = sse({"type": "message_start", "message": start}, names=True).removesuffix(b"\n")
    vendor.play(told_then_hang(STREAM_HEAD + chunk(begun), sent))
    async with pair(tmp_path, vendor.url, other) as proxy:
        leaving = asyncio.create_task(proxy.ask(MESSAGES, ASKED, key="claude"))
        await sent.wait()
        await asyncio.sleep(0.1)  # until it was read
        leaving.cancel()
        record = await proxy.record()
        assert (record.outcome, record.usage_state) == ("cancelled", "partial")
        assert (record.usage, record.cost) == (
            Usage(12, 1), Cost(32_000, 32_000, "routes.yaml:3")
        )  # fmt: skip
        (attempt,) = record.attempts
        assert (attempt.verdict, attempt.status) == ("cancelled", 200)


async def test_usage_of_a_client_that_leaves_during_an_error_is_zero(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor
) -> None:
    sent = asyncio.Event()
    vendor.play(told_then_hang(b"HTTP/1.1 500 Oops\r\nContent-Length: 9\r\n\r\n{", sent))
    async with pair(tmp_path, vendor.url, other) as proxy:
        leaving = asyncio.create_task(proxy.ask(CHAT, ASKED))
        await sent.wait()
        await asyncio.sleep(0.1)  # until its head was read
        leaving.cancel()
        record = await proxy.record()
        assert (record.outcome, record.usage_state) == ("cancelled", "none")
        (attempt,) = record.attempts
        assert (attempt.verdict, attempt.status, attempt.spent) == ("cancelled", 500, None)
        assert output_counted(proxy) == 0


@asynccontextmanager
async def wordless(reached: asyncio.Event) -> AsyncIterator[str]:
    """A provider that takes a connection and never says a word of TLS."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        await reader.read(-1)
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_usage_of_a_client_that_leaves_before_a_connection_is_zero(
    tmp_path: Path, other: ScriptedVendor
) -> None:
    reached = asyncio.Event()
    async with wordless(reached) as url, pair(tmp_path, url, other) as proxy:
        await leave(proxy, reached)
        record = await proxy.record()
        assert (record.outcome, record.usage_state) == ("cancelled", "none")
        (attempt,) = record.attempts
        assert (attempt.verdict, attempt.spent) == ("cancelled", None)
        assert output_counted(proxy) == 0


async def test_usage_of_a_timeout_before_a_connection_is_zero(
    tmp_path: Path, other: ScriptedVendor
) -> None:
    async with wordless(asyncio.Event()) as url, pair(tmp_path, url, other) as proxy:
        record = await served(proxy)
        assert (record.usage_state, record.attempts[0].spent) == ("reported", None)
        assert output_counted(proxy) == 4


ENDINGS: dict[str, Callable[[Sidecar], object]] = {
    "Sidecar is shutting down": lambda proxy: proxy.running.services.live.end(
        LocalReply(ErrorKind.DRAINING, "Sidecar is shutting down")
    ),
    "revoked": lambda proxy: proxy.running.services.live.end(
        LocalReply(ErrorKind.KEY_DISABLED, "revoked"), key="gpt"
    ),
}


@pytest.mark.parametrize("reason", ENDINGS)
async def test_attempt_that_sidecar_ends_has_its_reason_in_the_trail(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor, reason: str
) -> None:
    vendor.play(hang)
    async with pair(tmp_path, vendor.url, other) as proxy:
        asking = asyncio.create_task(proxy.ask(CHAT, ASKED))
        await vendor.arrived.wait()
        ENDINGS[reason](proxy)
        await asking
        record = await proxy.record()
        assert (record.outcome, record.reason) == ("revoked", reason)
        (attempt,) = record.attempts
        assert (attempt.verdict, attempt.reason) == ("cancelled", reason)
        assert attempt.spent == AttemptUsage(UsageState.UNKNOWN)
