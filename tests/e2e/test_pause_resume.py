"""Pause and resume: paused calls wait, none fails, and the pause is shown everywhere."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from admin_client import ask, explained, order, see
from running_sidecar import Raw, Sidecar
from running_sidecar import sidecar as start_sidecar
from scripted_vendor import ScriptedVendor, Wire, answer
from vendor_apis import figures, until

CHAT, ASKED = "/v1/chat/completions", b'{"model":"gpt-5"}'
YAML = """
providers:
  first: {{plugin: openai, base_url: "{url}/first/v1", credential: env:UPSTREAM_KEY}}
  second: {{plugin: openai, base_url: "{url}/second/v1", credential: env:UPSTREAM_KEY}}
groups:
  GPT: {{vendor: openai, routes: [first, second]}}
  second: {{vendor: openai, routes: [second]}}
keys:
  codex: {{group: GPT, hash: "{{codex}}", max_wait: 20ms}}
  nightly: {{group: GPT, hash: "{{nightly}}"}}
  other one: {{group: second, hash: "{{other one}}"}}
"""
KEYS = ("codex", "nightly", "other one")


@pytest.fixture
async def proxy(tmp_path: Path, vendor: ScriptedVendor) -> AsyncIterator[Sidecar]:
    vendor.play(answer(b"{}"))
    async with start_sidecar(tmp_path, YAML.format(url=vendor.url), KEYS) as started:
        yield started


def calling(proxy: Sidecar, key: str) -> asyncio.Task[Raw]:
    return asyncio.create_task(proxy.ask(CHAT, ASKED, key=key))


async def parked(proxy: Sidecar, number: int) -> None:
    await until(lambda: len(proxy.running.services.scheduler.waiting) == number)


@pytest.mark.parametrize(
    ("what", "held"),
    [
        (("any", "codex"), {"kind": "key", "name": "codex"}),
        (("key", "codex"), {"kind": "key", "name": "codex"}),
        (("any", "GPT"), {"kind": "group", "name": "GPT"}),
        (("group", "GPT"), {"kind": "group", "name": "GPT"}),
        (("any", "all"), {"kind": "all", "name": ""}),
    ],
)
async def test_paused_call_waits_and_is_sent_after_resume(
    proxy: Sidecar, vendor: ScriptedVendor, what: tuple[str, str], held: dict[str, str]
) -> None:
    done = await order(proxy, "pause", *what)
    assert {name: done[name] for name in ("kind", "name")} == held
    assert (done["news"], done["running"], done["waiting"]) == (True, 0, 0)
    call = calling(proxy, "codex")
    await parked(proxy, 1)
    assert vendor.requests == []
    assert (await order(proxy, "pause", *what))["news"] is False
    gone_on = await order(proxy, "resume", *what)
    assert (gone_on["news"], gone_on["still"]) == (True, [])
    assert (await call).status == 200
    assert (await order(proxy, "resume", *what))["news"] is False
    record = await proxy.record()
    assert ["is paused" in wait.behind for wait in record.waits] == [True]


async def test_pause_of_one_key_delays_no_other_key(proxy: Sidecar) -> None:
    await order(proxy, "pause", "key", "codex")
    call = calling(proxy, "codex")
    await parked(proxy, 1)
    assert (await calling(proxy, "nightly")).status == 200
    await order(proxy, "resume", "key", "codex")
    assert (await call).status == 200


async def test_call_whose_only_provider_is_paused_waits_for_the_resume(proxy: Sidecar) -> None:
    await order(proxy, "pause", "provider", "second")
    call = calling(proxy, "other one")
    await parked(proxy, 1)
    await order(proxy, "resume", "provider", "second")
    assert (await call).status == 200


async def test_paused_call_waits_beyond_max_wait(
    proxy: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.scheduling.lease.PARKED_RECHECK_SECONDS", 0.02)
    await order(proxy, "pause", "key", "codex")
    call = calling(proxy, "codex")
    await parked(proxy, 1)
    async with asyncio.timeout(10):
        while (line := (await see(proxy, "live"))["lines"][0])["waited"] < 0.2:
            assert line["remaining_wait"] is None
    assert not call.done()
    await order(proxy, "resume", "key", "codex")
    assert (await call).status == 200


async def test_running_call_is_unaffected_by_a_pause(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    limiter = asyncio.Event()

    async def held_back(wire: Wire) -> None:
        await limiter.wait()
        await answer(b"{}")(wire)

    vendor.play(held_back)
    running = calling(proxy, "nightly")
    await vendor.arrived.wait()
    done = await order(proxy, "pause", "group", "GPT")
    assert (done["running"], done["waiting"]) == (1, 0)
    waiting = calling(proxy, "codex")
    await parked(proxy, 1)
    done = await order(proxy, "pause", "any", "all")
    assert (done["running"], done["waiting"]) == (1, 1)
    limiter.set()
    assert (await running).status == 200
    assert not waiting.done()
    await order(proxy, "resume", "any", "all")
    assert (await waiting).status == 200


async def test_paused_provider_is_skipped_for_the_next_one(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    await order(proxy, "pause", "any", "first")
    assert (await calling(proxy, "nightly")).status == 200
    assert vendor.last.path.startswith("/second/")
    await order(proxy, "pause", "provider", "second")
    call = calling(proxy, "nightly")
    await parked(proxy, 1)
    done = await order(proxy, "resume", "provider", "first")
    assert (await call).status == 200
    assert vendor.last.path.startswith("/first/")
    assert done["waiting"] == 0


async def test_resume_of_a_part_names_the_pause_that_remains(proxy: Sidecar) -> None:
    for what in (("key", "codex"), ("group", "GPT"), ("provider", "first")):
        await order(proxy, "pause", *what)
    done = await order(proxy, "resume", "key", "codex")
    assert [each["scope"] for each in done["still"]] == ['group "GPT"']
    call = calling(proxy, "codex")
    await parked(proxy, 1)
    assert (await order(proxy, "resume", "any", "all"))["still"] == []
    assert (await call).status == 200
    assert len(proxy.running.services.scheduler.pauses) == 0


@pytest.mark.parametrize("verb", ["pause", "resume"])
@pytest.mark.parametrize(
    ("what", "status", "says"),
    [
        (("any", "second"), 400, '"second" is a group and a provider; say which one with '
                                 "--group or --provider"),
        (("any", "codx"), 404, 'there is no key, group or provider "codx"; did you mean "codex"?'),
        (("group", "codex"), 404, 'there is no group "codex"; there is: GPT, second'),
        (("key", "all"), 404, 'there is no key "all"'),
        (("planet", "codex"), 404, "planet"),
    ],
)  # fmt: skip
async def test_pause_of_an_unknown_or_ambiguous_name_is_rejected(
    proxy: Sidecar, verb: str, what: tuple[str, str], status: int, says: str
) -> None:
    raw = await ask(proxy, "POST", verb, *what)
    assert raw.status == status
    assert says in raw.message
    assert len(proxy.running.services.scheduler.pauses) == 0


async def test_pause_of_a_name_with_special_characters_works(proxy: Sidecar) -> None:
    done = await order(proxy, "pause", "any", "other one")
    assert done["resume"] == "sidecar resume --key 'other one'"
    assert (await order(proxy, "resume", "any", "other one"))["news"] is True


async def test_pause_is_shown_in_log_metrics_status_and_headers(
    proxy: Sidecar, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "sidecar"):
        await order(proxy, "pause", "group", "GPT")
    call = calling(proxy, "nightly")
    await parked(proxy, 1)
    assert 'paused: group "GPT"' in caplog.text
    assert await figures(proxy.running, "sidecar_paused") == {r'scope="group \"GPT\""': 1.0}
    assert await figures(proxy.running, "sidecar_calls_waiting") == {'urgency="normal"': 1.0}
    for path in ("status", "live"):
        (hold,) = (await see(proxy, path))["holds"]
        assert (hold["kind"], hold["name"], hold["waiting"]) == ("group", "GPT", 1)
        assert hold["resume"] == "sidecar resume --group GPT"
    assert (await see(proxy, "status"))["waiting"] == 1
    found = await explained(proxy, "codex", "gpt-5")
    assert found["now"]["outcome"] == "waits"
    assert 'group "GPT" is paused (sidecar resume --group GPT)' in found["now"]["text"]
    assert [each["behind"]["before"] for each in found["candidates"]] == [1, 1]
    assert found["candidates"][0]["gates"][0]["what"] == "hold"
    with caplog.at_level(logging.WARNING, "sidecar"):
        await order(proxy, "resume", "group", "GPT")
    assert 'resumed: group "GPT"' in caplog.text
    assert await figures(proxy.running, "sidecar_paused") == {}
    assert (await call).status == 200


async def test_pause_survives_a_restart_and_a_rename(
    tmp_path: Path, vendor: ScriptedVendor, caplog: pytest.LogCaptureFixture
) -> None:
    vendor.play(answer(b"{}"))
    yaml = YAML.format(url=vendor.url)
    async with start_sidecar(tmp_path, yaml, KEYS) as proxy:
        await order(proxy, "pause", "key", "codex")
        since = (await see(proxy, "status"))["holds"][0]["since"]
        assert await proxy.rewrite(lambda text: text.replace("  codex:", "  laptop:"))
        text = proxy.file.read_text()
        (hold,) = (await see(proxy, "status"))["holds"]
        assert (hold["name"], hold["since"]) == ("laptop", since)
        assert 'renamed: key "codex" is now key "laptop"; it stays paused' in caplog.text
        call = calling(proxy, "codex")
        await parked(proxy, 1)
        call.cancel()
    text = text.replace("  laptop:", "  desktop:")  # while no process runs
    async with start_sidecar(tmp_path, text, ()) as again:
        again.keys.update(proxy.keys)
        assert "is still paused" in caplog.text
        (hold,) = (await see(again, "status"))["holds"]
        assert (hold["name"], hold["since"]) == ("desktop", since)
        call = calling(again, "codex")
        await parked(again, 1)
        await order(again, "resume", "any", "desktop")
        assert (await call).status == 200
    file = tmp_path / "state" / "holds.json"
    assert json.loads(file.read_text()) == []
    assert file.stat().st_mode & 0o777 == 0o600


async def test_pause_of_a_removed_key_can_be_resumed(proxy: Sidecar) -> None:
    await order(proxy, "pause", "any", "codex")
    assert await proxy.rewrite(
        lambda text: "\n".join(line for line in text.splitlines() if "codex:" not in line)
    )
    assert (await order(proxy, "resume", "any", "codex"))["news"] is True


async def test_pause_that_cannot_be_saved_is_reported(
    proxy: Sidecar, caplog: pytest.LogCaptureFixture
) -> None:
    (proxy.state / "holds.json").mkdir()
    done = await order(proxy, "pause", "any", "codex")
    assert (done["news"], done["kept"]) == (True, False)
    assert "pauses will not outlive a restart" in caplog.text
    (proxy.state / "holds.json").rmdir()
    assert (await order(proxy, "pause", "any", "nightly"))["kept"] is True


@pytest.mark.parametrize("text", ["", "{", "[[1]]", '[{"kind": "key"}]', "\xff"])
async def test_unreadable_file_of_pauses_pauses_nothing(
    tmp_path: Path, vendor: ScriptedVendor, text: str
) -> None:
    vendor.play(answer(b"{}"))
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / "holds.json").write_text(text, "latin-1")
    async with start_sidecar(tmp_path, YAML.format(url=vendor.url), KEYS) as proxy:
        assert (await proxy.ask(CHAT, ASKED, key="codex")).status == 200


async def test_pause_over_tcp_is_rejected(proxy: Sidecar) -> None:
    assert (await proxy.admin("/api/live")).status == 404
    assert (await proxy.admin("/api/explain?key=codex&model=x")).status == 404
