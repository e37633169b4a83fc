"""A transform of a plugin changes calls on the routes that name it, and its failures are clear."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from admin_client import explained
from project_paths import ROOT
from recorded_answers import chunk, delta, sse
from running_sidecar import Sidecar, parse, request
from running_sidecar import sidecar as start_sidecar
from scripted_vendor import STREAM_HEAD, ScriptedVendor, Wire, answer
from scripted_vendor import chunk as framed

from sidecar.admin.api_types.live import Explanation, TransformState
from sidecar.cli.render.explain import explanation_lines

BROKEN = """
from sidecar import Transform, TransformedRequest, TransformRefused, hookimpl


class Broken(Transform):
    name = "broken"
    title = "Fails where its option says"
    options = {"where": "the method that fails"}

    def __init__(self, where=""):
        self.where = where

    def configured(self, options):
        where = options.get("where", ("",))[0]
        if where == "nowhere":
            raise ValueError("write where: and a method")
        return Broken(where)

    def request(self, call):
        if self.where == "refusal":
            raise TransformRefused("it has no verse")
        if self.where == "request":
            raise KeyError("secret-of-the-prompt")
        return TransformedRequest(call.body, notes=("a note",))

    def response(self, request, status, content_type):
        if self.where == "response":
            raise KeyError("secret-of-the-prompt")
        self.status, self.content_type, self.fed = status, content_type, 0
        return self

    def feed(self, data):
        self.fed += data.count(b"data:")
        if self.where == "feed" or (self.where == "later" and self.fed > 1):
            raise KeyError("secret-of-the-prompt")
        return data

    def end(self, *, complete):
        if self.where == "end":
            raise KeyError("secret-of-the-prompt")
        return b""


@hookimpl
def sidecar_transforms():
    return [Broken()]
"""
YAML = """
plugins: [polite.py, broken.py]
providers:
  oa: {{plugin: openai, base_url: "{url}/v1", credential: env:UPSTREAM_KEY}}
  second: {{plugin: openai, base_url: "{url}/second/v1", credential: env:UPSTREAM_KEY}}
groups:
  GPT: {{vendor: openai, routes: [oa: {{transforms: {{polite: {{wish: [Answer in verse.]}}}}}}]}}
  Bare: {{vendor: openai, routes: [oa]}}
keys:
  gpt: {{group: GPT, hash: "{{gpt}}"}}
"""
WHERE = ("refusal", "request", "response", "feed", "later", "end")
for _name in WHERE:
    YAML += (
        f'  {_name}: {{{{group: Bare, hash: "{{{{{_name}}}}}", '
        f"transforms: {{{{broken: {{{{where: [{_name}]}}}}}}}}}}}}\n"
    )
YAML += """
  falls:
    group: Bare
    hash: "{{falls}}"
    routes: [oa: {{transforms: {{broken: {{where: [refusal]}}}}}}, second]
"""
BODY = json.dumps({"model": "gpt-5", "messages": [{"role": "user", "content": "hello"}]}).encode()
STREAMED = BODY[:-1] + b', "stream": true}'
CHAT = "/v1/chat/completions"


@pytest.fixture
async def changing(tmp_path: Path, vendor: ScriptedVendor) -> AsyncIterator[Sidecar]:
    page = (ROOT / "docs/plugins.md").read_text().partition("## Write a transform")[2]
    example = page.partition("```python\n")[2].partition("```")[0]
    (tmp_path / "polite.py").write_text(example)
    (tmp_path / "broken.py").write_text(BROKEN)
    keys = ("gpt", *WHERE, "falls")
    async with start_sidecar(tmp_path, YAML.format(url=vendor.url), keys) as started:
        yield started


async def test_example_of_the_documentation_changes_the_call(
    changing: Sidecar, vendor: ScriptedVendor, caplog: pytest.LogCaptureFixture
) -> None:
    vendor.play(answer(b'{"usage":{"prompt_tokens":7,"completion_tokens":1}}'))
    for _ in range(2):
        got = await changing.ask(CHAT, BODY)
    assert vendor.last.json()["messages"] == [
        {"role": "system", "content": "Answer in verse."}, {"role": "user", "content": "hello"},
    ]  # fmt: skip
    assert (got.status, got.headers["x-sidecar-transform"]) == (200, "polite")
    record = await changing.record()
    assert (record.transform, record.usage and record.usage.input_tokens) == ("polite", 7)
    notes = [each.message for each in caplog.records if "a wish was added" in each.message]
    assert notes == ['key "gpt": polite: a wish was added']
    found = msgspec.convert(await explained(changing, "gpt", "gpt-5"), Explanation)
    assert found.candidates[0].transforms == [TransformState(name="polite", to=None, losses=[])]
    assert found.notes == ["polite: a wish was added"]
    assert "   changed by polite" in explanation_lines(found)


@pytest.mark.parametrize(
    ("key", "status", "message"),
    [
        ("refusal", 400, "broken refuses the call: it has no verse (routes.yaml:8)"),
        ("request", 500, "transform broken: request raised KeyError"),
        ("response", 500, "transform broken: response raised KeyError"),
        ("feed", 502, "transform broken: feed raised KeyError"),
    ],
)
async def test_failing_transform_is_a_local_reply(
    changing: Sidecar, vendor: ScriptedVendor, key: str, status: int, message: str
) -> None:
    vendor.play(answer(b'data: {"usage":{"prompt_tokens":7}}'))
    got = await changing.ask(CHAT, BODY, key=key)
    assert got.status == status
    assert message in got.message
    assert "secret-of-the-prompt" not in got.whole.decode()
    assert len(vendor.requests) == (key not in {"refusal", "request"})


async def test_transform_that_fails_in_a_stream_ends_it_with_an_error_event(
    changing: Sidecar, vendor: ScriptedVendor
) -> None:
    first, second = (sse(chunk(choices=[delta(text)])) for text in ("one", "two"))
    arrived = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.send(STREAM_HEAD + framed(first))
        await arrived.wait()
        await wire.send(framed(second))

    vendor.play(script)
    reader, writer = await asyncio.open_connection("127.0.0.1", changing.port)
    writer.write(request("POST", CHAT, changing.bearer("later"), STREAMED))
    begun = await reader.readuntil(first)
    arrived.set()
    got = parse(begun + await reader.read())
    writer.close()
    events = got.body.split(b"\n\n")
    assert not got.ended
    assert b"transform broken: feed raised KeyError" in events[-2]
    record = await changing.record()
    assert record.outcome.value == "cut"


async def test_transform_that_fails_in_the_first_bytes_of_a_stream_is_a_local_reply(
    changing: Sidecar, vendor: ScriptedVendor
) -> None:
    async def script(wire: Wire) -> None:
        await wire.send(STREAM_HEAD + framed(sse(chunk(choices=[delta("one")]))))
        await wire.until_gone()

    vendor.play(script)
    got = await changing.ask(CHAT, STREAMED, key="feed")
    assert (got.status, got.headers["content-type"]) == (502, "application/json")
    assert "transform broken: feed raised KeyError" in got.message
    await vendor.gone.wait()  # the provider does not work for it any more
    assert (await changing.record()).outcome.value == "upstream_error"


async def test_transform_that_fails_at_the_end_of_a_stream_leaves_it_truncated(
    changing: Sidecar, vendor: ScriptedVendor
) -> None:
    body = sse(chunk(choices=[delta("one")])) + b"data: [DONE]\n\n"
    vendor.play(answer(body, content_type="text/event-stream"))
    got = await changing.ask(CHAT, STREAMED, key="end")
    assert got.body.startswith(body)
    assert b"transform broken: end raised KeyError" in got.body
    assert not got.ended
    assert (await changing.record()).outcome.value == "cut"


async def test_refused_call_goes_to_the_next_route_without_the_transform(
    changing: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b"{}"))
    got = await changing.ask(CHAT, BODY, key="falls")
    assert (got.status, vendor.last.path, vendor.last.body) == (200, f"/second{CHAT}", BODY)
    assert "x-sidecar-transform" not in got.headers


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("{broken: {where: [nowhere]}}", "write where: and a method"),
        ("{broken: {were: [refusal]}}", 'broken has no option "were"; did you mean "where"?'),
        ("{politer: {}}", 'no plugin has a transform "politer"; did you mean "polite"?'),
    ],
)
async def test_wrong_transform_is_an_error_in_the_file(
    changing: Sidecar, caplog: pytest.LogCaptureFixture, written: str, problem: str
) -> None:
    accepted = await changing.rewrite(
        lambda text: text.replace("{broken: {where: [refusal]}}", written)
    )
    assert not accepted
    assert any(problem in each.message for each in caplog.records)
