"""Error responses of vendors reach the client unchanged, unless the client cannot parse them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from provider_pairs import GOOD, NO, pair, says
from running_sidecar import Raw, Sidecar
from scripted_vendor import ScriptedVendor, answer, raw
from vendor_apis import APIS, CHAT, Api

from sidecar.proxy.responses import EXCERPT_CHARACTERS, excerpt

EVERY_API = pytest.mark.parametrize("api", APIS, ids=lambda api: api.name)
PAGE = b"""<html><head><title>502 Bad Gateway</title><style>p {color: red}</style></head>
<body><!-- a comment --><center><h1>502 Bad Gateway</h1></center>
<hr>nginx &amp; more</body></html>"""
SAID = "502 Bad Gateway 502 Bad Gateway nginx & more"


def error_of(api: Api, found: Raw) -> dict[str, object]:
    error: dict[str, object] = found.json()["error"]
    return error


@EVERY_API
@pytest.mark.parametrize(
    ("body", "content_type", "said"),
    [
        (PAGE, "text/html", SAID),
        (b"", "text/html", "without a word"),
        (b"upstream connect error", "text/plain", "upstream connect error"),
    ],
    ids=["page", "empty", "text"],
)
async def test_server_error_without_json_gets_the_dialects_shape(
    impatient: Sidecar, vendor: ScriptedVendor, api: Api, body: bytes, content_type: str,
    said: str,
) -> None:  # fmt: skip
    for status in (500, 502, 504, 520, 529):
        vendor.play(answer(body, f"{status} Oops", content_type, x_request_id="r1"))
        found = await api.call(impatient)
        assert found.status == status
        assert found.headers["content-type"] == "application/json"
        assert [n for n, _ in found.pairs].count("Content-Type") == 1
        assert found.headers["x-request-id"] == "r1"
        message = str(error_of(api, found)["message"])
        assert f"answered {status}" in message
        assert said in message
        if api.name == "gemini":
            assert error_of(api, found)["code"] == status


@pytest.mark.parametrize(
    ("status", "body", "coding"),
    [
        ("500 Oops", b'{"error":{"message":"x"}}', "identity"),
        ("500 Oops", b'\n [{"error":{}}]', "identity"),
        ("500 Oops", gzip.compress(PAGE), "gzip"),
        ("400 Bad", PAGE, "identity"),
        ("404 Not Found", b"", "identity"),
    ],
    ids=["JSON", "array", "coded", "client's", "client's, empty"],
)
async def test_other_errors_pass_byte_for_byte(
    proxy: Sidecar, vendor: ScriptedVendor, status: str, body: bytes, coding: str
) -> None:
    vendor.play(answer(body, status, "text/html", content_encoding=coding))
    found = await CHAT.call(proxy)
    assert (found.status, found.body) == (int(status[:3]), body)
    assert found.headers["content-type"] == "text/html"


async def test_server_error_on_head_passes_unchanged(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(raw(b"HTTP/1.1 500 Oops\r\nContent-Type: text/html\r\nContent-Length: 99\r\n\r\n"))
    found = await proxy.ask("/v1/files", method="HEAD")
    assert (found.status, found.body) == (500, b"")
    assert found.headers["content-type"] == "text/html"


def test_excerpt_of_a_long_page_is_short_and_on_one_line() -> None:
    text = excerpt(b"<p>" + b"word\n\x00\x1b" * 10_000)
    assert len(text) <= EXCERPT_CHARACTERS + 2
    assert text.isprintable()
    assert json.loads(json.dumps(text)) == text


def test_excerpt_of_unclosed_markup_takes_linear_time() -> None:
    for part in (b"<", b"<script ", b"<!--", b"<style></sty"):
        assert excerpt(part * 100_000) == ""


# ── hints ───────────────────────────────────────────────────────────────────────────────────────

NONSENSE = ["soon", "-5", "1e20", "99999999999999", "nan", "inf", "1_0", "0x10", "", "5 seconds"]
USABLE = ["0", "30", "1.5", "86400", "Wed, 21 Oct 2026 07:28:00 GMT"]


@pytest.mark.parametrize("name", ["Retry-After", "retry-after-ms"])
async def test_invalid_retry_hint_is_not_relayed(
    proxy: Sidecar, vendor: ScriptedVendor, name: str
) -> None:
    for hint in NONSENSE:
        for status in ("400 Bad", "413 Large", "500 Oops"):
            vendor.play(answer(NO, status, **{name: hint}))
            found = await CHAT.call(proxy)
            assert (found.status, found.body) == (int(status[:3]), NO)
            assert name.lower() not in found.headers, hint


@pytest.mark.parametrize("hint", USABLE)
async def test_valid_retry_hint_is_relayed_unchanged(
    proxy: Sidecar, vendor: ScriptedVendor, hint: str
) -> None:
    vendor.play(answer(NO, "400 Bad", Retry_After=hint))
    assert (await CHAT.call(proxy)).headers["retry-after"] == hint


@pytest.mark.parametrize("status", ["429 Slow", "529 Overloaded", "503 No"])
@pytest.mark.parametrize("word", ["false", "False"])
async def test_error_with_should_retry_false_is_not_retried(
    tmp_path: Path, vendor: ScriptedVendor, status: str, word: str
) -> None:
    vendor.play(says(status, retry_after_ms="10", x_should_retry=word), GOOD)
    async with pair(tmp_path, vendor) as proxy:
        found = await proxy.ask("/v1/chat/completions", b'{"model":"gpt-5"}', key="day")
        assert (found.status, found.body, len(vendor.requests)) == (int(status[:3]), NO, 1)
        assert found.headers["x-should-retry"] == word


async def test_error_with_should_retry_false_is_followed_by_the_next_provider(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor
) -> None:
    vendor.play(says("429 Slow", x_should_retry="false"))
    other.play(GOOD)
    async with pair(tmp_path, vendor, other) as proxy:
        found = await proxy.ask("/v1/chat/completions", b'{"model":"gpt-5"}', key="day")
        assert (found.status, found.headers["x-sidecar-provider"]) == (200, "two")
