"""A route that renames a model changes only the bytes of the model, wherever it is."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import brotli
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from property_tests import examples
from raw_http_client import Got, exchange
from running_sidecar import Sidecar, request
from running_sidecar import sidecar as start_sidecar
from scripted_vendor import ScriptedVendor, answer

from sidecar.http.content_coding import zstd

YAML = """
server: {{max_body: 1MiB}}
providers:
  oa: {{plugin: openai, base_url: "{url}/v1", credential: env:UPSTREAM_KEY}}
  an: {{plugin: anthropic, base_url: "{url}", credential: env:UPSTREAM_KEY}}
  ge: {{plugin: gemini, base_url: "{url}", credential: env:UPSTREAM_KEY}}
groups:
  GPT:
    vendor: openai
    routes: [oa: {{as: {{"gpt-*": "vendor/gpt-*", whisper-1: ears, same: same, "ü-*": "数/🦊-*"}}}}]
  Plain: {{vendor: openai, routes: [oa]}}
  Claude: {{vendor: anthropic, routes: [an: {{as: {{"claude-*": "anthropic.claude-*:0"}}}}]}}
  Gemini: {{vendor: gemini, routes: [ge: {{as: {{"gemini-*": "tuned é/g-*"}}}}]}}
keys:
  gpt: {{group: GPT, hash: "{{gpt}}"}}
  plain: {{group: Plain, hash: "{{plain}}"}}
  claude: {{group: Claude, hash: "{{claude}}"}}
  gemini: {{group: Gemini, hash: "{{gemini}}"}}
"""
CHAT = "/v1/chat/completions"


@pytest.fixture
async def renaming(tmp_path: Path, vendor: ScriptedVendor) -> AsyncIterator[Sidecar]:
    vendor.play(answer(b'{"model":"vendor/gpt-5"}'))
    keys = ("gpt", "plain", "claude", "gemini")
    async with start_sidecar(tmp_path, YAML.format(url=vendor.url), keys) as started:
        yield started


async def post(
    proxy: Sidecar, body: bytes, target: str = CHAT, key: str = "gpt", **headers: str
) -> Got:
    pairs = [*proxy.bearer(key).items()]
    pairs += [(name.replace("_", "-"), value) for name, value in headers.items()]
    return await exchange(proxy.port, request("POST", target, pairs, body))


BODIES = [
    (b'{"model":"gpt-5"}', b'{"model":"vendor/gpt-5"}'),
    (b' {\n "x" : 1.0E+2,\t"model" :\r\n "gpt-5" , "y":[ ] }\n', b' {\n "x" : 1.0E+2,\t"model" :\r\n "vendor/gpt-5" , "y":[ ] }\n'),
    (b'{"m":{"model":"gpt-5"},"model":"gpt-5"}', b'{"m":{"model":"gpt-5"},"model":"vendor/gpt-5"}'),
    (b'{"model":"gpt-5","m":{"model":"gpt-5"}}', b'{"model":"vendor/gpt-5","m":{"model":"gpt-5"}}'),
    (b'{"model":"gpt-5","m":"\\"model\\":\\"gpt-5\\""}', b'{"model":"vendor/gpt-5","m":"\\"model\\":\\"gpt-5\\""}'),
    (b'{"model":"o9","model":"gpt-5"}', b'{"model":"o9","model":"vendor/gpt-5"}'),
    (b'{"model":"gp\\u0074-5"}', b'{"model":"vendor/gpt-5"}'),
    (b'{"\\u006dodel":"gpt-5"}', b'{"\\u006dodel":"vendor/gpt-5"}'),
    (b'{"model":"same"}', b'{"model":"same"}'),
]  # fmt: skip


@pytest.mark.parametrize(("body", "wanted"), BODIES)
async def test_body_rename_changes_the_bytes_of_the_top_level_model_only(
    renaming: Sidecar, vendor: ScriptedVendor, body: bytes, wanted: bytes
) -> None:
    got = await post(renaming, body)
    assert got.status == 200, got.body
    assert vendor.last.body == wanted
    assert vendor.last.get("content-length") == [str(len(wanted))]
    assert got.body == b'{"model":"vendor/gpt-5"}'
    assert got.get("x-sidecar-model") == [json.loads(wanted)["model"]]


async def test_body_rename_to_a_name_beyond_ascii_is_valid_json(
    renaming: Sidecar, vendor: ScriptedVendor
) -> None:
    got = await post(renaming, '{"model":"ü-1","x":"ü-1"}'.encode())
    assert got.status == 200, got.body
    assert vendor.last.json() == {"model": "数/🦊-1", "x": "ü-1"}
    assert vendor.last.body.endswith(',"x":"ü-1"}'.encode())


JUNK = st.recursive(
    st.none() | st.integers() | st.sampled_from(["gpt-5", '"model":"gpt-5"', "数🦊", "model"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["model", "x", "messages"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@examples(60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    before=st.dictionaries(st.sampled_from("abc"), JUNK, max_size=3),
    after=st.dictionaries(st.sampled_from("xyz"), JUNK, max_size=3),
    indent=st.sampled_from([None, 0, 3]),
    plain=st.booleans(),
)
async def test_body_rename_keeps_the_bytes_around_the_model(
    renaming: Sidecar,
    vendor: ScriptedVendor,
    before: dict[str, object],
    after: dict[str, object],
    indent: int | None,
    plain: bool,
) -> None:
    def written(model: str) -> bytes:
        asked = {**before, "model": model, **after}
        return json.dumps(asked, indent=indent, ensure_ascii=plain).encode()

    got = await post(renaming, written("gpt-5"))
    assert got.status == 200, got.body
    assert vendor.last.body == written("vendor/gpt-5")


@pytest.mark.parametrize(
    ("key", "target", "upstream"),
    [
        ("gemini", "/v1beta/models/gemini-3:generateContent?x=gemini-3", "/v1beta/models/tuned%20%C3%A9/g-3:generateContent?x=gemini-3"),
        ("gemini", "/v1/models/gemini-3%3AcountTokens", "/v1/models/tuned%20%C3%A9/g-3%3AcountTokens"),
        ("gemini", "/v1beta/models/other:generateContent", None),
        ("gpt", "/v1/embeddings?model=gpt-5", "/v1/embeddings?model=gpt-5"),
    ],
)  # fmt: skip
async def test_path_rename_changes_the_models_segment_only(
    renaming: Sidecar, vendor: ScriptedVendor, key: str, target: str, upstream: str | None
) -> None:
    body = b'{"model":"gpt-5","contents":[{"parts":[{"text":"gemini-3"}]}]}'
    got = await post(renaming, body, target, key)
    if upstream is None:
        assert got.status == 403, "`as` with a map is the list of models too"
        return
    assert got.status == 200, got.body
    assert vendor.last.path == upstream
    if key == "gemini":
        assert vendor.last.body == body


def form(model: bytes, boundary: str = "b-1") -> bytes:
    parts = [
        b'Content-Disposition: form-data; name="file"; filename="model"\r\n'
        b"Content-Type: audio/wav\r\n\r\n\x00\xff name=\"model\"\r\n\r\nwhisper-1\r\n--b-",
        b'Content-Disposition: form-data; name="model"\r\n\r\n' + model,
        b'Content-Disposition: form-data; name="language"\r\n\r\nwhisper-1',
    ]  # fmt: skip
    mark = f"--{boundary}".encode()
    return b"".join(mark + b"\r\n" + part + b"\r\n" for part in parts) + mark + b"--\r\n"


@pytest.mark.parametrize("quoted", [False, True])
async def test_form_rename_changes_the_models_field_only(
    renaming: Sidecar, vendor: ScriptedVendor, quoted: bool
) -> None:
    content_type = "multipart/form-data; boundary=" + ('"b-1"' if quoted else "b-1")
    got = await post(
        renaming, form(b"whisper-1"), "/v1/audio/transcriptions", Content_Type=content_type
    )
    assert got.status == 200, got.body
    assert vendor.last.body == form(b"ears")
    assert vendor.last.get("content-type") == [content_type]


async def test_form_without_a_rename_is_relayed_unchanged(
    renaming: Sidecar, vendor: ScriptedVendor
) -> None:
    content_type = "multipart/form-data; boundary=b-1"
    target = "/v1/audio/transcriptions"
    await post(renaming, form(b"whisper-1"), target, "plain", Content_Type=content_type)
    assert vendor.last.body == form(b"whisper-1")


CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstd.compress,
    "br": brotli.compress,
    "GZIP": gzip.compress,
}
ASKED = b'{"model":"gpt-5","messages":["' + "数🦊 ".encode() * 999 + b'"]}'


@pytest.mark.parametrize("coding", CODINGS)
async def test_compressed_body_is_parsed_and_relayed_unchanged(
    renaming: Sidecar, vendor: ScriptedVendor, coding: str
) -> None:
    body = CODINGS[coding](ASKED)
    got = await post(renaming, body, key="plain", Content_Encoding=coding)
    assert got.status == 200, got.body
    assert vendor.last.body == body
    assert vendor.last.get("content-encoding") == [coding]
    assert got.get("x-sidecar-model") == ["gpt-5"]


@pytest.mark.parametrize("coding", CODINGS)
async def test_compressed_body_with_a_rename_is_relayed_decoded(
    renaming: Sidecar, vendor: ScriptedVendor, coding: str
) -> None:
    got = await post(renaming, CODINGS[coding](ASKED), Content_Encoding=coding)
    assert got.status == 200, got.body
    assert vendor.last.body == ASKED.replace(b"gpt-5", b"vendor/gpt-5")
    assert vendor.last.get("content-encoding") == []


@pytest.mark.parametrize("coding", ["gzip", "zstd", "br"])
async def test_decompression_bomb_is_rejected_with_413(
    renaming: Sidecar, vendor: ScriptedVendor, coding: str
) -> None:
    bomb = CODINGS[coding](b'{"model":"gpt-5"' + b" " * (16 << 20) + b"}")
    assert len(bomb) < 1 << 20
    got = await post(renaming, bomb, Content_Encoding=coding)
    assert got.status == 413
    assert "once decoded" in got.message
    assert vendor.requests == []


@pytest.mark.parametrize(
    ("coding", "body", "status"),
    [
        ("compress", b"x", 415),
        ("gzip, br", b"x", 415),
        ("made-up", b"{}", 415),
        ("gzip", b"not gzip", 400),
        ("gzip", gzip.compress(ASKED, mtime=0)[:-9], 400),
        ("zstd", zstd.compress(ASKED)[:-9], 400),
        ("br", brotli.compress(ASKED)[:-9], 400),
        ("gzip", gzip.compress(b"{", mtime=0), 400),
        ("identity", b'{"model":"gpt-5"}', 200),
    ],
)
async def test_content_coding_that_cannot_be_decoded_is_rejected_by_name(
    renaming: Sidecar, vendor: ScriptedVendor, coding: str, body: bytes, status: int
) -> None:
    got = await post(renaming, body, Content_Encoding=coding)
    assert got.status == status, got.body
    if status != 200:
        assert vendor.requests == []
    if status == 415:
        assert coding in got.message
        assert "gzip" in got.message
        assert "zstd" in got.message


async def test_unsupported_content_coding_passes_where_no_model_is_read(
    renaming: Sidecar, vendor: ScriptedVendor
) -> None:
    got = await post(renaming, b"\x00anything", "/v1/files", Content_Encoding="made-up")
    assert got.status == 200, got.body
    assert (vendor.last.body, vendor.last.get("content-encoding")) == (b"\x00anything", ["made-up"])


async def test_rename_applies_to_anthropic_messages(
    renaming: Sidecar, vendor: ScriptedVendor
) -> None:
    await post(renaming, b'{"model": "claude-x" }', "/v1/messages", "claude")
    assert vendor.last.body == b'{"model": "anthropic.claude-x:0" }'
    batch = b'{"requests":[{"params":{"model":"claude-x"}},{"params":{"model":"claude-y"}}]}'
    got = await post(renaming, batch, "/v1/messages/batches", "claude")
    assert got.status == 404
    assert "renames models" in got.message
