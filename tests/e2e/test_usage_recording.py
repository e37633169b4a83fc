"""Each call is recorded once, and the usage that its vendor reported is in the ledger."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from prometheus_client.parser import text_string_to_metric_families
from recorded_answers import RECORDED, Recorded
from running_sidecar import Sidecar, request, talk
from scripted_vendor import (
    STREAM_HEAD,
    Script,
    ScriptedVendor,
    Wire,
    answer,
    chunk,
    cut,
    hang,
    stream,
)
from vendor_apis import figures, settled

from sidecar.metrics.metrics import disjoint

CHAT, BODY = "/v1/chat/completions", b'{"model":"gpt-5-mini"}'
TARGETS = {
    "chat": ("gpt", CHAT), "embeddings": ("gpt", "/v1/embeddings"),
    "responses": ("gpt", "/v1/responses"), "transcriptions": ("gpt", "/v1/audio/transcriptions"),
    "images": ("gpt", "/v1/images/generations"), "speech": ("gpt", "/v1/audio/speech"),
    "messages": ("claude", "/v1/messages"), "count_tokens": ("claude", "/v1/messages/count_tokens"),
    "interactions": ("gemini", "/v1beta/interactions"),
    "generate": ("gemini", "/v1beta/models/m:generateContent"),
    "cached": ("gemini", "/v1beta/cachedContents"),
    "other": ("gpt", "/v1/unheard/of"), "ocr": ("gpt", "/v1/ocr"),
    "stream": ("gemini", "/v1beta/models/m:streamGenerateContent?alt=sse"),
}  # fmt: skip
FORM = b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--B--\r\n'


def then_hang(data: bytes) -> Script:
    """These bytes, and then nothing until Sidecar hangs up."""

    async def script(wire: Wire) -> None:
        await wire.send(data)
        await wire.until_gone()

    return script


def body_for(recorded: Recorded) -> tuple[bytes, list[tuple[str, str]]]:
    if recorded.endpoint == "transcriptions":
        return FORM, [("Content-Type", "multipart/form-data; boundary=B")]
    return b'{"model":"m"}', [("Content-Type", "application/json")]


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda each: each.name)
async def test_reported_usage_is_counted_once(
    proxy: Sidecar, vendor: ScriptedVendor, recorded: Recorded
) -> None:
    key, target = TARGETS[recorded.endpoint]
    body, headers = body_for(recorded)
    vendor.play(answer(recorded.body, content_type=recorded.content_type))
    found = await proxy.ask(target, body, key=key, headers=headers)
    assert found.body.startswith(recorded.body)
    record = await proxy.record()
    assert record.usage == recorded.usage
    kinds = await figures(proxy.running, "sidecar_tokens_total")
    counted: Counter[str] = Counter()  # over the models of its parts
    for labels, amount in kinds.items():
        counted[labels.rpartition('kind="')[2].rstrip('"')] += int(amount)
    told = {} if recorded.usage is None else disjoint(recorded.usage)
    assert counted == {kind: amount for kind, amount in told.items() if amount}
    assert len(proxy.records) == 1


async def test_every_request_is_recorded_once_for_any_outcome(
    impatient: Sidecar, vendor: ScriptedVendor
) -> None:
    """Afterwards nothing is in flight, and the metrics hold as many calls as were made."""
    begun = chunk(b'data: {"choices":[]}\n\n')
    scripts = [
        answer(b"{}"), answer(b"{}", "429 Slow"), answer(b"{}", "400 Bad"),
        stream(b"data: [DONE]\n\n"), cut(b"x\r\n\r\n"),
        cut(STREAM_HEAD + begun), cut(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"),
    ]  # fmt: skip
    for script in scripts:
        vendor.play(script)
        await impatient.ask(CHAT, BODY)
        impatient.running.services.scheduler.forget(
            impatient.running.snapshot.providers["oa"].credentials
        )
    for key, body in (("off", BODY), ("mini", b'{"model":"o9"}'), ("gpt", b"{"), ("gpt", b"")):
        await impatient.ask(CHAT, body, key=key)
    await talk(impatient.port, request("POST", CHAT, {}, BODY))
    for script in (hang, then_hang(STREAM_HEAD + begun)):
        vendor.play(script)
        vendor.arrived.clear()
        vendor.gone.clear()
        leaving = asyncio.create_task(impatient.ask(CHAT, BODY))
        await vendor.arrived.wait()
        leaving.cancel()
        await asyncio.wait_for(vendor.gone.wait(), 5)
    made = len(scripts) + 4 + 1 + 2
    await impatient.record(made)
    await settled(impatient.running)
    assert len(impatient.records) == made
    assert len({record.call_id for record in impatient.records}) == made
    assert sum((await figures(impatient.running, "sidecar_calls_total")).values()) == made
    assert await figures(impatient.running, "sidecar_calls_in_flight") == {}
    assert all(record.duration >= 0 for record in impatient.records)


async def test_request_to_the_root_path_is_not_recorded(proxy: Sidecar) -> None:
    for method, target in (
        ("GET", "/"),
        ("HEAD", "/"),
        ("HEAD", "/api/hello"),
        ("GET", "/api/hello"),
    ):
        await talk(proxy.port, request(method, target, {}))
    assert proxy.records == []
    assert await figures(proxy.running, "sidecar_calls_total") == {}


async def test_model_becomes_a_label_after_a_vendor_served_it(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b"{}", "404 Not Found"))
    for number in range(20):
        await proxy.ask(CHAT, f'{{"model":"made-up-{number}"}}'.encode())
    assert b"made-up" not in await proxy.running.services.metrics.render()
    vendor.play(answer(b"{}"))
    await proxy.ask(CHAT, '{"model":"gpt-\\"5\\\\数🦊"}'.encode())
    await proxy.ask(CHAT, b'{"model":"with a\\nline"}')
    await proxy.record(22)
    text = (await proxy.running.services.metrics.render()).decode()
    labels = [
        sample.labels["model"]
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "sidecar_calls_total"
    ]
    assert set(labels) == {'gpt-"5\\数🦊', "other"}


async def test_edit_changes_no_counter_and_removes_series_of_deleted_keys(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b'{"usage":{"prompt_tokens":3,"completion_tokens":2}}'))
    await proxy.ask(CHAT, BODY)
    await proxy.record()
    before = await figures(proxy.running, "sidecar_tokens_total")
    assert sum(before.values()) == 5
    assert await proxy.rewrite(lambda text: text + "# edited\n")
    assert await figures(proxy.running, "sidecar_tokens_total") == before
    assert await proxy.rewrite(
        lambda text: "\n".join(line for line in text.splitlines() if "  gpt:" not in line)
    )
    assert 'key="gpt"' not in (await proxy.running.services.metrics.render()).decode()


async def test_failover_is_one_call_and_two_attempts(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    line = next(row for row in proxy.file.read_text().splitlines() if row.startswith("  oa:"))
    assert await proxy.rewrite(
        lambda text: text.replace(line, f"{line}\n{line.replace('  oa:', '  ob:')}").replace(
            "routes: [oa]}", "routes: [oa, ob]}"
        )
    )
    usage = b'{"usage":{"prompt_tokens":3,"completion_tokens":2}}'
    vendor.play(answer(usage, "529 Overloaded"), answer(usage))
    await proxy.ask(CHAT, BODY)
    record = await proxy.record()
    assert [(each.provider, each.status) for each in record.attempts] == [("oa", 529), ("ob", 200)]
    assert (record.provider, record.outcome) == ("ob", "ok")
    assert sum((await figures(proxy.running, "sidecar_attempts_total")).values()) == 2
    # Both said what they used.
    assert sum((await figures(proxy.running, "sidecar_tokens_total")).values()) == 10


@pytest.mark.parametrize(
    ("key", "target", "state"),
    [("gpt", CHAT, "unknown"), ("claude", "/v1/messages/count_tokens", "none")],
)
async def test_usage_of_a_client_that_left_during_a_response_is_unknown(
    proxy: Sidecar, vendor: ScriptedVendor, key: str, target: str, state: str
) -> None:
    vendor.play(hang)
    leaving = asyncio.create_task(proxy.ask(target, BODY, key=key))
    await vendor.arrived.wait()
    leaving.cancel()
    record = await proxy.record()
    assert (record.outcome, record.usage, record.usage_state) == ("cancelled", None, state)


async def test_usage_of_a_client_that_left_the_queue_is_zero(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b"{}", "429 Slow", retry_after="30"))
    leaving = asyncio.create_task(proxy.ask(CHAT, BODY))
    async with asyncio.timeout(10):
        while not any(call.waiter for call in proxy.running.services.live):  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.005)
    leaving.cancel()
    record = await proxy.record()
    assert (record.outcome, record.usage_state) == ("cancelled", "none")


async def test_usage_seen_before_a_client_left_is_partial(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    start = next(each for each in RECORDED if each.name == "messages stream cut after its start")
    vendor.play(then_hang(STREAM_HEAD + chunk(start.body)))
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    headers = proxy.bearer("claude")
    writer.write(request("POST", "/v1/messages", headers, b'{"model":"m","stream":true}'))
    await reader.readuntil(start.body[-20:])
    writer.close()
    record = await proxy.record()
    assert (record.outcome, record.usage_state) == ("cancelled", "partial")
    assert start.usage is not None
    assert record.usage == start.usage
