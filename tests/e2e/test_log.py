"""What the log has besides the line of each call: failovers, rejected credentials, no price."""

from __future__ import annotations

from pathlib import Path

import pytest
from provider_pairs import GOOD, pair, says
from sample_answers import CHAT, body
from scripted_vendor import ScriptedVendor, answer, scripted_vendor

PATH = "/v1/chat/completions"
ASKED = b'{"model":"gpt-5","messages":[{"role":"user","content":"PRIVATE-PROMPT"}]}'
QUOTED = answer(b'{"error":{"message":"PRIVATE-PROMPT is bad"}}', "503 Unavailable")
REJECTED = says("401 Unauthorized")


def lines(caplog: pytest.LogCaptureFixture, *loggers: str) -> list[str]:
    assert "PRIVATE-PROMPT" not in caplog.text
    return [each.getMessage() for each in caplog.records if each.name in loggers]


async def test_failover_is_logged_once_with_its_reason_and_no_text_of_the_vendor(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with scripted_vendor() as one, scripted_vendor() as two:
        one.play(QUOTED, QUOTED)
        two.play(GOOD)
        async with pair(tmp_path, one, two) as proxy:
            found = await proxy.ask(PATH, ASKED, key="day")
            assert found.status == 200
            record = await proxy.record()
    told = lines(caplog, "sidecar.proxy.dispatch")
    assert told == [
        f'call {record.call_id} of key "day" goes from one (env:UPSTREAM_KEY) to two '
        "(env:UPSTREAM_KEY), because: it answered 503 (overloaded)"
    ]


async def test_call_served_at_once_logs_no_failover(
    tmp_path: Path, vendor: ScriptedVendor, caplog: pytest.LogCaptureFixture
) -> None:
    vendor.play(GOOD)
    async with pair(tmp_path, vendor) as proxy:
        assert (await proxy.ask(PATH, ASKED, key="day")).status == 200
    assert lines(caplog, "sidecar.proxy.dispatch", "sidecar.config.credentials") == []


async def test_rejected_credential_is_logged_once_until_it_changes(
    tmp_path: Path, vendor: ScriptedVendor, caplog: pytest.LogCaptureFixture
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("sk-first-secret")
    vendor.play(*[REJECTED] * 6)
    async with pair(tmp_path, vendor) as proxy:
        assert await proxy.rewrite(lambda t: t.replace("[env:UPSTREAM_KEY]", f'"file:{secret}"'))
        for _ in range(3):
            await proxy.ask(PATH, ASKED, key="day")
            assert len(lines(caplog, "sidecar.config.credentials")) == 1
        secret.write_text("sk-second-secret")
        for _ in range(2):  # the first call finds the new one, the second is rejected with it
            await proxy.ask(PATH, ASKED, key="day")
        told = lines(caplog, "sidecar.config.credentials")
    assert len(told) == 2
    assert f"the vendor rejects the credential file:{secret} (routes.yaml:" in told[0]
    assert "secret" not in caplog.text.replace(str(secret), "")


async def test_call_without_a_price_is_logged_once_for_its_key_and_model(
    tmp_path: Path, vendor: ScriptedVendor, caplog: pytest.LogCaptureFixture
) -> None:
    unknown = answer(body(CHAT | {"model": "brand-new"}))
    vendor.play(unknown, unknown, GOOD)
    asked = ASKED.replace(b"gpt-5", b"brand-new")
    async with pair(tmp_path, vendor) as proxy:
        for each in (asked, asked, ASKED):
            assert (await proxy.ask(PATH, each, key="day")).status == 200
    (told,) = lines(caplog, "sidecar.pricing")
    assert told.startswith('key "day": no price is known for brand-new at one, so the cost of')
    assert "priced_as" in told
