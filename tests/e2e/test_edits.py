"""Edits of the file under load: valid ones take effect, invalid ones change nothing."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from recorded_answers import CHAT_USAGE, delta, sse
from recorded_answers import chunk as chat_chunk
from running_sidecar import Sidecar
from scripted_vendor import STREAM_HEAD, ScriptedVendor, answer, chunk, paced
from vendor_apis import until

from sidecar.app import serve
from sidecar.errors import ConfigError
from sidecar.records import KeyTimes

CHAT, BODY = "/v1/chat/completions", b'{"model":"gpt-5-mini"}'
RESTLESS = pytest.mark.usefixtures("restless")


@pytest.fixture(autouse=True)
def answering(vendor: ScriptedVendor) -> None:
    vendor.play(answer(b"{}"))


def disabled(text: str) -> str:
    """The file with the key `gpt` switched off."""
    changed = text.replace("gpt: {group: GPT,", "gpt: {group: GPT, enabled: false,", 1)
    assert changed != text
    return changed


def is_off(proxy: Sidecar) -> bool:
    return not proxy.running.snapshot.keys["gpt"].enabled


async def look(proxy: Sidecar) -> bool:
    """Have the file looked at; whether it is good."""
    return (await proxy.running.services.configuration.reload()).accepted


# ways of writing a file


async def test_file_moved_away_and_created_again_takes_effect(proxy: Sidecar) -> None:
    text = disabled(proxy.file.read_text())
    proxy.file.rename(proxy.file.with_name("routes.yaml~"))
    proxy.file.write_text(text)
    await until(lambda: is_off(proxy))
    found = await proxy.ask(CHAT, BODY)
    assert (found.status, 'key "gpt" is disabled' in found.message) == (403, True)


async def test_edit_that_keeps_size_and_time_takes_effect(proxy: Sidecar) -> None:
    before = proxy.file.stat()
    proxy.file.write_text(proxy.file.read_text().replace("enabled: false", "enabled: true "))
    os.utime(proxy.file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert proxy.file.stat().st_size == before.st_size
    await until(lambda: proxy.running.snapshot.keys["off"].enabled)
    assert (await proxy.ask(CHAT, BODY, key="off")).status == 200


# bad edits

BAD = {
    "no YAML": lambda text: text + b"\n  - : {",
    "a group with another vendor's provider": lambda text: text.replace(
        b"routes: [oa]", b"routes: [ge, an]"
    ).replace(b"vendor: openai", b"vendor: mistral"),
    "many aliases": lambda _: (
        b"x-a: &a [1]\n"
        + b"".join(
            b"x-%c: &%c [%s]\n" % (b, b, b",".join([b"*%c" % (b - 1)] * 9)) for b in b"bcdefghij"
        )
    ),
    "deep": lambda _: b"groups: " + b"[" * 5000,
    "huge": lambda text: text + b"#" * (5 << 20),
    "binary": lambda _: bytes(range(256)) * 40,
}


@RESTLESS
@pytest.mark.parametrize("spoil", BAD.values(), ids=BAD.keys())
async def test_invalid_edit_is_rejected_whole_and_shown_everywhere(
    proxy: Sidecar, spoil: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    before, digest_before = proxy.file.read_bytes(), proxy.running.snapshot.digest
    spoilt = spoil(before)
    assert spoilt != before
    proxy.file.write_bytes(spoilt)
    with caplog.at_level(logging.INFO, "sidecar"):
        found = await proxy.running.services.configuration.reload()
    assert not found.accepted
    assert all("routes.yaml:" in problem for problem in found.problems)
    assert "stays in force" in caplog.text
    assert found.problems[0] in caplog.text
    assert proxy.running.snapshot.digest == digest_before
    assert (await proxy.ask(CHAT, BODY)).status == 200
    metrics = (await proxy.admin("/metrics")).body
    assert b"sidecar_config_last_reload_successful 0" in metrics
    assert (await proxy.admin("/healthz")).json()["config"] == "stale"

    proxy.file.write_bytes(before)
    assert await look(proxy)
    assert b"sidecar_config_last_reload_successful 1" in (await proxy.admin("/metrics")).body
    assert (await proxy.admin("/healthz")).json()["config"] == "current"


@RESTLESS
async def test_rejected_edit_logs_the_configuration_that_stays_in_force(
    proxy: Sidecar, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.file.write_text(disabled(proxy.file.read_text()) + "\nnonsense: 1\n")
    assert not await look(proxy)
    stays = proxy.running.services.configuration.status.stays
    assert any('"gpt"' in line and "ENABLED" in line for line in stays)
    assert stays[0] in caplog.text
    assert (await proxy.ask(CHAT, BODY)).status == 200


@RESTLESS
async def test_same_invalid_file_is_logged_once(
    proxy: Sidecar, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.file.write_text("nonsense: 1\n")
    for _ in range(3):
        assert not await look(proxy)
    assert caplog.text.count("stays in force") == 1


@RESTLESS
async def test_valid_edit_logs_its_changes(
    proxy: Sidecar, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sidecar")
    proxy.file.write_text(disabled(proxy.file.read_text()))
    assert await look(proxy)
    told = [each.message for each in caplog.records if each.name == "sidecar.config"]
    assert told == ["routes.yaml: key gpt: disabled"]


# calls in flight


def streamed(*events: object) -> bytes:
    return chunk(sse(*events))


@RESTLESS
async def test_stream_in_flight_is_unaffected_by_an_edit(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    limiter = asyncio.Event()
    begun = streamed(chat_chunk(choices=[delta("a")]))
    rest = streamed(chat_chunk(choices=[delta("b", "stop")]),
                    chat_chunk(choices=[], usage=CHAT_USAGE), "[DONE]")  # fmt: skip
    vendor.play(paced(STREAM_HEAD, begun, limiter, rest, b"0\r\n\r\n"), answer(b"{}"))
    call = asyncio.create_task(proxy.ask(CHAT, BODY))
    await until(lambda: any(each.provider for each in proxy.running.services.live))
    assert await proxy.rewrite(lambda text: disabled(text).replace("oa:", "moved:", 1)
                               .replace("[oa]", "[moved]").replace("[oa:", "[moved:"))  # fmt: skip
    assert (await proxy.ask(CHAT, BODY)).status == 403
    limiter.set()
    found = await call
    assert found.ended
    assert found.body == sse(
        chat_chunk(choices=[delta("a")]), chat_chunk(choices=[delta("b", "stop")]),
        chat_chunk(choices=[], usage=CHAT_USAGE), "[DONE]",
    )  # fmt: skip
    await proxy.record(2)
    # Either may be recorded first: a record waits for the caller lookup.
    record = next(each for each in proxy.records if each.provider)
    assert (record.outcome, record.provider, record.usage_state) == ("ok", "oa", "reported")


@RESTLESS
async def test_call_uses_one_configuration_from_start_to_end(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    limiter = asyncio.Event()
    slow = b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\n{}"
    vendor.play(paced(limiter, slow), answer(b'{"id":1}'))
    assert await proxy.rewrite(_two_routes)
    call = asyncio.create_task(proxy.ask(CHAT, BODY))
    await vendor.arrived.wait()
    assert await proxy.rewrite(lambda text: text.replace("routes: [oa, second]", "routes: [oa]"))
    limiter.set()
    assert (await call).headers["x-sidecar-provider"] == "second"


def _two_routes(text: str) -> str:
    line = next(line for line in text.splitlines() if line.startswith("  oa:"))
    second = line.replace("  oa:", "  second:")
    return text.replace(line, f"{line}\n{second}").replace("routes: [oa]}", "routes: [oa, second]}")


@RESTLESS
async def test_key_removed_from_the_file_is_unknown(proxy: Sidecar) -> None:
    def without(text: str) -> str:
        return "\n".join(line for line in text.splitlines() if not line.startswith("  gpt:"))

    assert await proxy.rewrite(without)
    assert (await proxy.ask(CHAT, BODY)).status == 401
    assert (await proxy.ask("/v1/messages", BODY, key="claude")).status == 200


async def test_many_calls_while_edits_come_in_all_succeed(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    done = asyncio.Event()

    async def edit() -> None:
        for number in range(4):
            assert await proxy.rewrite(lambda text, n=number: f"{text}\n# edit {n}\n")
        done.set()

    async def call() -> set[int]:
        statuses = set()
        while not done.is_set():
            statuses.add((await proxy.ask(CHAT, BODY)).status)
        return statuses

    _, *seen = await asyncio.gather(edit(), call(), call())
    assert seen == [{200}, {200}]


# the start


async def test_start_with_a_broken_file_and_no_copy_reports_every_problem(tmp_path: Path) -> None:
    file = tmp_path / "routes.yaml"
    file.write_text("nonsense: 1\nkeys: {a: {group: nobody}}\n")
    with pytest.raises(ConfigError) as caught:
        async with serve(file, tmp_path / "state", listen="127.0.0.1:0", admin="127.0.0.1:0"):
            raise AssertionError("it must not serve")
    assert len(caught.value.problems) >= 2


@RESTLESS
async def test_key_times_survive_a_rename(proxy: Sidecar) -> None:
    await proxy.ask(CHAT, BODY)
    assert await proxy.rewrite(lambda text: text.replace("  gpt:", "  renamed key:", 1))
    # The times of a call that had just ended, too.
    assert proxy.running.services.ledger.times("renamed key").last_used is not None
    assert proxy.running.services.ledger.times("gpt") == KeyTimes()
